"""Every elementwise formula of the library, one small function each.

Importing this package registers them all; what needs whole rows or columns lives in kernels/rows instead.
"""

from . import activations, augmentation, elementwise, losses, precision, random, updates, vectors

__all__ = ["activations", "augmentation", "elementwise", "losses", "precision", "random", "updates", "vectors"]
