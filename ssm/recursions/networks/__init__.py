"""Members without noise of their own: recurrent networks.

Imports `ssm.cells`, `ssm.heads`, `ssm.passes` and what is below. Hands on no names.
"""
