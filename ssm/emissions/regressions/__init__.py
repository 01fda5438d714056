"""Observations that follow inputs: linear, logistic, Poisson, of classes.

Imports `ssm.emissions.common`, and `normals`.
Hands on no names: `ssm.emissions` does.
"""
