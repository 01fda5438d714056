"""Particle filters over any `StateSpaceModel`, and how their evidence is differentiated.

Imports `ssm.recursions.state_space`, `ssm.passes` and what is below. Hands on no names.
"""
