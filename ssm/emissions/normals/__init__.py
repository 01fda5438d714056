"""Normals and what is like them: components apart or correlated, shared, by factors, with heavy tails.

Imports `ssm.emissions.common.base` and its neighbours, and parts of models below.
Hands on no names: `ssm.emissions` does.
"""
