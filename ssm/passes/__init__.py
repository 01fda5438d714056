"""Ways through the data, and what may be asked of them: beliefs, evidence, its gradient, expected statistics.

Imports `ssm.scan`, `ssm.data`, `ssm.parameters`; knows no member. Hands on no names.
"""
