"""The layers, one small file a family; each gives forward, backward and the forward-mode product.

Layers hold hyperparameters and declarations of parameters only: numbers live in the arena and on the tape. A class enters
LAYERS when its file is imported, which is here; `fs.Name` and the pages that list layers follow by tools/generate.py.
"""

from . import activations, dense, images, noise, normalization, residual, sequence, softmax
from .base import LAYERS, Layer

__all__ = [
    "LAYERS",
    "Layer",
    "activations",
    "dense",
    "images",
    "noise",
    "normalization",
    "residual",
    "sequence",
    "softmax",
]
