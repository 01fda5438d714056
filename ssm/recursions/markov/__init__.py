"""Members with discrete states: hidden Markov models, best paths, and their blocks side by side.

Imports parts of models, `ssm.passes` and what is below. Hands on no names.
"""
