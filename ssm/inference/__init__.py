"""The verbs about states: the present, the past, the future.

Imports `ssm.passes`, `ssm.data` and what is below. Hands on no names.
"""
