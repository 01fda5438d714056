"""What `python -m ssm` can do: one file per command.

Imports the verbs, `ssm.plotting`, `ssm.datasets`.
"""
