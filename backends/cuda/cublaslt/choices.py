"""Cache of the fastest algorithm for each product, stored next to the generated kernels.

One small JSON file for each device, driver and library version, because algorithms are specific to a version.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ....kernels.targets import cache
from .codes import ALGORITHM_BYTES

FORMAT = "fusedstep.products"
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
        self.identity = identity
        home = cache.folder() if keep else None
        self._path = None if home is None else home / f"products_{cache.digest(identity)}.json"
        self._table = {} if self._path is None else _read(self._path, identity)

    def get(self, name: str) -> Choice | None:
        """The choice for a product, or None."""
        return self._table.get(name)

    def put(self, name: str, choice: Choice) -> None:
        """Stores a choice, also in the file, which is merged with what other processes have written in the meantime."""
        self._table[name] = choice
        if self._path is None:
            return
        table = {**_read(self._path, self.identity), **self._table}
        text = {
            "format": FORMAT, "version": VERSION, "identity": self.identity,
            "choices": {key: {**asdict(c), "algorithm": c.algorithm.hex()} for key, c in sorted(table.items())},
        }  # fmt: skip
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
            cache.write_whole(self._path, json.dumps(text, indent=1).encode())


def _read(path: Path, identity: str) -> dict[str, Choice]:
    """The choices in a file; none if it is missing, damaged, or of another version, because they can be measured again."""
    try:
        given: Any = json.loads(path.read_text(encoding="utf-8"))
        if (given["format"], given["version"], given["identity"]) != (FORMAT, VERSION, identity):
            return {}
        return {str(name): _choice(saved) for name, saved in given["choices"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _choice(saved: dict[str, Any]) -> Choice:
    algorithm = bytes.fromhex(saved["algorithm"])
    if len(algorithm) not in (0, ALGORITHM_BYTES):
        raise ValueError(f"an algorithm of {len(algorithm)} bytes")
    return Choice(algorithm, int(saved["workspace"]), float(saved["seconds"]), bool(saved["fused"]))
