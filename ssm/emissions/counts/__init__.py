"""Symbols, counts, angles and waiting times: families whose densities are those of an exponential family.

Imports `ssm.emissions.common`, and parts of models below.
Hands on no names: `ssm.emissions` does.
"""
