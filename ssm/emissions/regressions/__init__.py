"""Observations that follow inputs: linear, logistic, Poisson, of classes.

Imports `ssm.emissions.common.base` and its neighbours, and `normals`.
Hands on no names: `ssm.emissions` does.
"""
