"""Recurrent networks with random states, learnt by a bound.

Imports `ssm.cells`, `ssm.heads`, `ssm.passes` and what is below. Hands on no names.
"""
