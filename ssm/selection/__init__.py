"""Which model, and how sure: comparisons, orders, standard errors, matching of states.

Imports `ssm.fitting`, `ssm.inference` and what is below. Hands on no names.
"""
