"""Every elementwise formula of the library, one small function each.

Importing this package registers all of them; operations on whole rows or columns are in kernels/rows.
"""

from . import activations, augmentation, elementwise, embeddings, ensembles, losses, precision, random, updates, vectors

__all__ = [
    "activations", "augmentation", "elementwise", "embeddings", "ensembles", "losses", "precision", "random", "updates",
    "vectors",
]  # fmt: skip
