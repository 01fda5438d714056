"""The way back: slopes of the evidence, smoothing, draws, disturbances.

Imports `system` and what it imports. Hands on no names.
"""
