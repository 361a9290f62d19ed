"""Cache of the fastest algorithm for each product, stored next to the generated kernels.

One small JSON file for each device, driver and library version, because algorithms are specific to a version.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ....kernels.targets.saved_choices import SavedChoices
from .codes import ALGORITHM_BYTES

VERSION = 1


@dataclass(frozen=True)
class Choice:
    """What was chosen for a product.

    Attributes: algorithm – empty where the library has none; workspace – bytes that it needs; seconds – measured, or 0;
        fused – whether this was faster than the product and kernels for the rest.
    """

    algorithm: bytes
    workspace: int
    seconds: float
    fused: bool = True


class Choices:
    """A table of choices by the name of the problem; reads its file once and writes it after every new choice.

    Args: identity – device, driver and library, in words; keep – whether choices outlive the process.
    """

    def __init__(self, identity: str, keep: bool = True) -> None:
        self._saved = SavedChoices("products", VERSION, identity, _loaded, _dumped) if keep else None
        self._table = {} if self._saved is None else self._saved.read()

    def get(self, name: str) -> Choice | None:
        """What was chosen, or None."""
        return self._table.get(name)

    def put(self, name: str, choice: Choice) -> None:
        """Keeps a choice, in the file as well where there is one."""
        self._table[name] = choice
        if self._saved is not None:
            self._saved.add(self._table)


def _loaded(saved: dict[str, Any]) -> Choice:
    algorithm = bytes.fromhex(saved["algorithm"])
    if len(algorithm) not in (0, ALGORITHM_BYTES):
        raise ValueError(f"an algorithm of {len(algorithm)} bytes")
    return Choice(algorithm, int(saved["workspace"]), float(saved["seconds"]), bool(saved["fused"]))


def _dumped(choice: Choice) -> dict[str, Any]:
    return {**asdict(choice), "algorithm": choice.algorithm.hex()}
