"""Normals and what is like them: components apart or correlated, shared, by factors, with heavy tails.

Imports `ssm.emissions.common`, and parts of models below.
Hands on no names: `ssm.emissions` does.
"""
