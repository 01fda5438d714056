"""Families made of families: products, mixtures, ties, labels; and any distribution or network.

Imports `ssm.emissions.common`.
Hands on no names: `ssm.emissions` does.
"""
