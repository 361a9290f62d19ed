"""Diagnostics of training: layer statistics, dead and saturated units, loss surfaces, event files.

Everything is computed on the device, and only on request; figures are drawn in plots/.
"""
