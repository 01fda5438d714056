"""Missing data or matrices that vary: covariances, too, in blocks side by side.

Imports `steady`, `system`. Hands on no names.
"""
