"""Linear-Gaussian members: the Kalman filter and the model that is learnt through it.

Imports its own rooms, `ssm.passes` and what is below. Hands on no names.
"""
