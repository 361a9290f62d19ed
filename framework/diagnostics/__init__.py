"""Looking into training: statistics of layers, dead and saturated units, loss surfaces, event files.

Everything is computed on the device, and only when it is asked for; figures of it are drawn in plots/.
"""
