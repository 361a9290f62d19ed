"""The layers, one file per family; each defines forward, backward and the forward-mode product.

Layers contain only hyperparameters and declarations of parameters: values are in the arena and on the tape. Importing its file
here registers a class in LAYERS; tools/generate.py then adds `fs.Name` and updates the pages that list layers.
"""

from . import (
    activations,
    dense,
    embedding,
    ensemble,
    images,
    noise,
    normalization,
    number_embedding,
    residual,
    sequence,
    softmax,
)
from .base import LAYERS, Layer

__all__ = [
    "LAYERS", "Layer", "activations", "dense", "embedding", "ensemble", "images", "noise", "normalization", "number_embedding",
    "residual", "sequence", "softmax",
]  # fmt: skip
