"""The layers, one small file a family; each gives forward, backward and the forward-mode product.

Layers hold hyperparameters and declarations of parameters only: numbers live in the arena and on the tape.
"""

from .activations import ELU, GELU, Identity, LeakyReLU, PReLU, ReLU, Sigmoid, SiLU, Tanh
from .base import LAYERS, Layer
from .dense import Linear, Maxout, TiedLinear
from .images import Conv2d, Flatten, MaxPool2d
from .noise import Dropout, GaussianNoise
from .normalization import LayerNorm
from .residual import Residual
from .sequence import Sequence
from .softmax import Softmax

__all__ = [
    "ELU",
    "GELU",
    "LAYERS",
    "Conv2d",
    "Dropout",
    "Flatten",
    "GaussianNoise",
    "Identity",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "MaxPool2d",
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
