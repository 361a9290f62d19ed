"""How generated kernels read and write four adjacent elements: one by one, or in words of 8 bytes.

8 bytes is Numba's widest memory access; it needs arrays of uint64.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..cpu import FLOAT32
from ..storage import NARROW, Storage


def storages(names: Sequence[str], dtypes: Sequence[Any], compute: np.dtype[Any]) -> dict[str, Storage]:
    """Name -> how that array is stored: in 16 bits if its dtype is narrow, else in the type of the computation."""
    saved = (str(d) if str(d) in NARROW and compute == FLOAT32 else str(compute) for d in dtypes)
    return {n: Storage(k) for n, k in zip(names, saved, strict=True)}


def words_fit(names: Iterable[str]) -> bool:
    """Whether arrays stored in these types can be accessed in words of 8 bytes."""
    return all(name in ("float32", "bfloat16") for name in names)


def aligned(arguments: Iterable[Any]) -> bool:
    """Whether all arrays among the arguments start at multiples of 8 bytes."""
    for array in arguments:
        if hasattr(array, "dtype") and getattr(array, "ndim", False):
            # NumPy arrays of bfloat16 have no memoryview, so `data` is used only for arrays on the device.
            on_host = isinstance(array, np.ndarray)
            if (array.__array_interface__["data"][0] if on_host else array.data.ptr) % 8:
                return False
    return True


class Elements:
    """Source of the accesses to an array in an update, element by element."""

    def __init__(self, name: str, storage: Storage) -> None:
        self._array, self._storage = f"{name}_", storage

    def begin(self) -> list[str]:
        """Statements before the four elements."""
        return []

    def load(self, k: int) -> str:
        """The expression of the value of element k."""
        return self._storage.load(f"{self._array}[(q << u64(2)) + u64({k})]")

    def keep(self, k: int, value: str, random: str | None) -> list[str]:
        """Statements that write a variable's value to element k."""
        return self._storage.store(f"{self._array}[(q << u64(2)) + u64({k})]", value, random)

    def end(self) -> list[str]:
        """Statements after the four elements."""
        return []


class Words:
    """Source of the accesses to four elements of an array in words of 8 bytes, each two float32 or four bfloat16."""

    def __init__(self, name: str, storage: Storage, row: str = "", array: str = "") -> None:
        """Args: name – prefix of the variables in the source; storage; row – index of the row, such as "i, ", or "" for a
        vector;
            array – name of the array, default name_.

        Attributes: each – number of elements in a word.
        """
        self._name, self._storage = name, storage
        self.each = 4 if storage.name in NARROW else 2
        places = ["q"] if self.each == 4 else [f"(q << u64(1)) + u64({w})" for w in (0, 1)]
        self._places = [f"{array or f'{name}_'}[{row}{place}]" for place in places]

    def begin(self) -> list[str]:
        """Reads the words."""
        return [f"{self._name}_word{w} = {place}" for w, place in enumerate(self._places)]

    def _part(self, k: int) -> str:
        word, position = f"{self._name}_word{k // self.each}", k % self.each
        return f"u32({word} >> u64({position * 64 // self.each}))"

    def load(self, k: int) -> str:
        """The expression of the value of element k."""
        bits = self._part(k)
        return f"{bits}.view(np.float32)" if self.each == 2 else self._storage.load(f"{bits} & u32(65535)")

    def keep(self, k: int, value: str, random: str | None) -> list[str]:
        """Rounds a variable's value for element k; `end` writes it."""
        before, bits = self._storage.rounded(value, random)
        return [*before, f"{self._name}_new{k} = {f'f32({value}).view(np.uint32)' if self.each == 2 else f'u32({bits})'}"]

    def whole(self) -> list[str]:
        """Writes the words."""
        lines = []
        for w, place in enumerate(self._places):
            parts = [f"(u64({self._name}_new{w * self.each + n}) << u64({n * 64 // self.each}))" for n in range(self.each)]
            lines.append(f"{place} = {' | '.join(parts)}")
        return lines

    def end(self) -> list[str]:
        """Writes the words; elements after the last one of the group that are in the same word keep their old values."""
        lines = ["if place + u64(4) > inside:"]
        lines += [f"    {self._name}_word{w} = {place}" for w, place in enumerate(self._places)]
        mask = "" if self.each == 2 else " & u32(65535)"
        for k in range(1, 4):
            new = f"{self._name}_new{k}"
            lines.append(f"    {new} = {new} if place + u64({k}) < inside else u32({self._part(k)}{mask})")
        return [*lines, *self.whole()]
