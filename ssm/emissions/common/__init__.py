"""What every family of emissions is, and what several share: components, starts, least scales, climbs.

Imports `ssm.parameters`, `ssm.distributions`, `ssm.numeric`. Hands on no names.
"""
