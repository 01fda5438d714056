"""Series that begin anew at unknown times: run lengths, and best segmentations.

Imports `ssm.conjugate`, `ssm.passes` and what is below. Hands on no names.
"""
