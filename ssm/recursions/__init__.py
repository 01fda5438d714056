"""The members: every model the library holds, as one recursion each.

Imports `ssm.model`; each family is a room, and knows no other.
"""
