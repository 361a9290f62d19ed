"""The layers, one small file a family; each gives forward, backward and the forward-mode product.

Layers hold hyperparameters and declarations of parameters only: numbers live in the arena and on the tape.
"""

from .activations import ELU, GELU, Identity, LeakyReLU, PReLU, ReLU, Sigmoid, SiLU, Tanh
from .base import LAYERS, Layer
from .dense import Linear, Maxout, TiedLinear
from .noise import Dropout, GaussianNoise
from .normalization import LayerNorm
from .residual import Residual
from .sequence import Sequence
from .softmax import Softmax

__all__ = [
    "ELU",
    "GELU",
    "LAYERS",
    "Dropout",
    "GaussianNoise",
    "Identity",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "Maxout",
    "PReLU",
    "ReLU",
    "Residual",
    "Sequence",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "TiedLinear",
]
