"""Metrics on the host, in float64: formulas, their names, and in which direction each improves.

Losses, which are trained on a device, are in framework/losses.py; what a step evaluates on its backend in engine/metrics.py.
"""
