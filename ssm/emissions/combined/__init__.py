"""Families made of families: products, mixtures, ties, labels; and any distribution or network.

Imports `ssm.emissions.common.base` and its neighbours.
Hands on no names: `ssm.emissions` does.
"""
