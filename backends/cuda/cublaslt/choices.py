"""Cache of the fastest algorithm for each product, stored next to the generated kernels.

One small JSON file for each device, driver and library version, because algorithms are specific to a version.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from ....kernels.targets.saved_choices import SavedChoices
from .codes import ALGORITHM_BYTES
from .device import WORKSPACE_BYTES

VERSION = 1


@dataclass(frozen=True)
class Choice:
    """The algorithm that was selected for a product.

    Attributes: algorithm – empty if the library has none; workspace – bytes that it needs; seconds – measured time, or 0; fused
        – whether a product with an epilogue was faster than a plain product followed by other kernels.
    """

    algorithm: bytes
    workspace: int
    seconds: float
    fused: bool = True


class Choices:
    """Name of a product -> Choice; reads its file once and writes it after each new choice.

    Args: identity – text that describes device, driver and library; keep – whether to use a file.
    """

    def __init__(self, identity: str, keep: bool = True) -> None:
        self._saved = SavedChoices("products", VERSION, identity, _loaded, _dumped) if keep else None
        self._table = {} if self._saved is None else self._saved.read()

    def get(self, name: str) -> Choice | None:
        """The choice for a product, or None."""
        return self._table.get(name)

    def put(self, name: str, choice: Choice) -> None:
        """Stores a choice, also in the file, which is merged with what other processes have written in the meantime."""
        self._table[name] = choice
        if self._saved is not None:
            self._saved.add(self._table)


def _loaded(name: str, saved: dict[str, Any]) -> Choice:
    """A choice from the file; whether the algorithm suits the product is asked of the library before it is used."""
    choice = Choice(bytes.fromhex(saved["algorithm"]), saved["workspace"], saved["seconds"], saved["fused"])
    if not (
        len(choice.algorithm) in (0, ALGORITHM_BYTES)
        and type(choice.workspace) is int and 0 <= choice.workspace <= WORKSPACE_BYTES
        and type(choice.seconds) is float and 0.0 <= choice.seconds < math.inf
        and isinstance(choice.fused, bool)
    ):  # fmt: skip
        raise ValueError(f"no choice for {name}: {saved}")
    return choice


def _dumped(choice: Choice) -> dict[str, Any]:
    return {**asdict(choice), "algorithm": choice.algorithm.hex()}
