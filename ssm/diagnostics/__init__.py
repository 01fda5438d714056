"""Do the data look like the model's: residuals, their tests, simulated checks.

Imports `ssm.inference` and what is below. Hands on no names.
"""
