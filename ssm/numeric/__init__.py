"""Arithmetic that knows no model: roots of covariances, sums of logarithms, checks of arguments, trees of arrays.

Imports only `ssm.shapes`. Hands on no names: its files are imported by their own.
"""
