"""Regressions: their sums, priors and subspace starts. Knows no model.

Imports `ssm.parameters`, `ssm.numeric`. Hands on no names.
"""
