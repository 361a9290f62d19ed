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
        self.identity = identity
        home = cache.folder() if keep else None
        self._path = None if home is None else home / f"products_{cache.digest(identity)}.json"
        self._table = {} if self._path is None else _read(self._path, identity)

    def get(self, name: str) -> Choice | None:
        """What was chosen, or None."""
        return self._table.get(name)

    def put(self, name: str, choice: Choice) -> None:
        """Keeps a choice, in the file as well where there is one; other processes may have written to it meanwhile."""
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
    """The choices of a file; none where it is missing, damaged, or of another version: they can be made again."""
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
