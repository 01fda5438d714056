"""Moments of smoothed states, and the M-step.

Imports `adjoint`, `regression`. Hands on no names.
"""
