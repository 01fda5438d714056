"""What `python -m ssm` can do: one file per command."""
