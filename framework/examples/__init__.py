"""The experiments of the lecture notes, one short file each, to run and to copy.

`fusedstep example --list` shows them; what they give back is in findings.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from ...errors import HyperparameterError
from ..sources.names import did_you_mean

if TYPE_CHECKING:
    from .findings import Result


@dataclass(frozen=True)
class Example:
    """One experiment.

    Attributes: row – its number, "e1" …; name; question – that it answers; source – the notes that it is from.
    """

    row: str
    name: str
    question: str
    source: str

    def run(self, backend: str | None = None) -> Result:
        """Runs it at its full size.

        Args: backend – "numpy", "numba", "cupy", "cuda"; None takes the best that works here.
        """
        result: Result = import_module(f"{__name__}.{self.name.replace('-', '_')}").run(backend)
        return result


EXAMPLES = (
    Example("e1", "sigmoid-neuron", "What are the gradients of a single neuron?", "003"),
    Example("e2", "affine-jacobian", "What is dz/dw of an affine layer?", "001"),
    Example("e3", "affine-chain", "Is backpropagation through a chain correct?", "004"),
    Example("e4", "two-gaussians", "How do squared error and hinge loss decrease?", "000"),
    Example("e5", "symmetry", "What if all weights start at zero, or at one?", "000, 002"),
    Example("e6", "l2-penalty", "How does L2 affect weights and accuracy?", "000"),
    Example("e7", "pruning", "How many weights can be removed?", "000"),
    Example("e8", "input-noise", "Is input noise equivalent to an L2 penalty?", "002"),
    Example("e9", "linear-regression", "Do GD and SGD reach the closed form?", "004"),
    Example("e10", "initial-variance", "What happens to signals over 50 layers?", "004"),
    Example("e11", "optimizers", "Which optimiser reduces the loss fastest?", "003"),
    Example("e12", "learning-rate", "What does a wrong learning rate look like?", "003"),
)
"""In the order of their rows."""


def find_example(name: str) -> Example:
    """The example of that name or row number.

    Raises: HyperparameterError for another name, with the list and the nearest one.
    """
    known = {key: example for example in EXAMPLES for key in (example.name, example.row)}
    found = known.get(name.strip().lower().replace("_", "-"))
    if found is None:
        names = ", ".join(f"{example.name} ({example.row})" for example in EXAMPLES)
        hint = did_you_mean(name.replace("_", "-"), [example.name for example in EXAMPLES])
        raise HyperparameterError(f"expected an example out of {names}; got {name!r}{hint or '; choose one of these'}")
    return found
