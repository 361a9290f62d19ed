"""A parameter as a layer declares it: shape, initial values, and whether penalties apply to it.

Its values are in the arena of the model that contains the layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from .initializers import Initializer


@dataclass(frozen=True, eq=False)
class Parameter:
    """A declared array of learnable numbers; layers that hold the same Parameter object share it.

    Args: name – such as "weight"; shape; initializer; fan_in, fan_out – number of inputs and outputs of a unit, for the
        initializer; decays – whether L1, L2 and weight decay apply: True for weights, False for biases and gains; gathered –
        whether each row of a minibatch uses only some of the elements, so that most of a gradient is 0.
    """

    name: str
    shape: tuple[int, ...]
    initializer: Initializer
    fan_in: int
    fan_out: int
    decays: bool = True
    gathered: bool = False

    @property
    def size(self) -> int:
        """The number of elements."""
        return prod(self.shape)
