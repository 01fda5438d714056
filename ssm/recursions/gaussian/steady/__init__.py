"""Constant matrices: gains until they rest, then means in blocks side by side.

Imports `learning`, `adjoint`, `system`. Hands on no names.
"""
