"""A parameter as a layer declares it: shape, initial values, and whether penalties apply to it.

Its values are in the arena of the model that contains the layer.
"""

from __future__ import annotations

from dataclasses import dataclass

from .initializers import Initializer


@dataclass(frozen=True, eq=False)
class Parameter:
    """A declared array of learnable numbers; two layers with the same object share it.

    Args: name – such as "weight"; shape; initializer; fan_in, fan_out – inputs and outputs of one unit, for it;
        decays – whether L1, L2 and weight decay apply: weights do, biases and gains do not.
    """

    name: str
    shape: tuple[int, ...]
    initializer: Initializer
    fan_in: int
    fan_out: int
    decays: bool = True

    @property
    def size(self) -> int:
        """The number of elements."""
        product = 1
        for extent in self.shape:
            product *= extent
        return product
