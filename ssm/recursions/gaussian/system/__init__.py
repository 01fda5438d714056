"""Parameters, dynamics, gains and correlated noises of a linear system. Knows no filter.

Imports `regression`, parts of models. Hands on no names.
"""
