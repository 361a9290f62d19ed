"""Which network, loss and optimiser, and how they are trained; computes nothing itself, backends do.

The public names are gathered in the package's own __init__.
"""
