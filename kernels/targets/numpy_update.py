"""Updates of flat arrays on NumPy: the calls for all blocks of all segments are made once, and then run for many scalars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..formula import Formula
from .numpy import BLOCK, FOR_BITS, WORD, Array, Call, Registers, Wide, plan, random_bits

MOST_BOUND = 4
"""Patterns of scalars that are 1, such as with and without clipping, that an update keeps its calls for."""

_Part = tuple[list[Any], list[Call]]
"""A segment: values by node of the program, and the calls."""


class Update:
    """An update of flat arrays, segment by segment, in blocks.

    Args: arrays – in the order of the formula, all of one length; segments – int64 [segments, 3]: start, stop, group;
        groups – how many there are scalars for; random – (state, stream) of the bits that round new values of arrays of
        bfloat16, see Backend.update.
    """

    def __init__(
        self, formula: Formula, arrays: Sequence[Array], segments: Array, groups: int, random: tuple[Array, int] | None = None
    ) -> None:
        self._plan = compiled = plan(formula, arrays[0].dtype)
        inputs = [index for index, kind in zip(compiled.inputs, formula.kinds, strict=True) if kind == "group"]
        self._targets = [formula.parameters.index(name) for name in formula.overwrites]
        self._arrays, self._segments, self._random = arrays, segments.tolist(), random
        self._registers = Registers()
        self._bound: dict[tuple[bool, ...], list[_Part]] = {}
        # The calls read their scalars from here, one number each.
        self._scalars = np.empty((groups, len(inputs)), compiled.dtype)
        self._places = [{i: row[k : k + 1].reshape(()) for k, i in enumerate(inputs)} for row in self._scalars]

    def _bind(self) -> list[_Part]:
        """Makes the calls; products with scalars that are 1 now are left out."""
        compiled, arrays, registers = self._plan, self._arrays, self._registers
        parts = []
        for start, stop, group in self._segments:
            uniform = compiled.prepare(self._places[group])
            calls: list[Call] = []
            for low in range(start, stop, BLOCK):
                high = min(low + BLOCK, stop)
                slots, wide = uniform.copy(), Wide(registers)
                for index, array in zip(compiled.inputs, arrays, strict=False):
                    slots[index] = wide.read(array[low:high], calls)
                written = [wide.written(arrays[t][low:high]) for t in self._targets]
                calls += compiled.bind(slots, written, (high - low,), registers)
                if wide.rounded:
                    assert self._random is not None
                    bits = registers.take([WORD], 4 * -(-(high - low) // 4), FOR_BITS)[0][: 4 * -(-(high - low) // 4)]
                    calls.append((random_bits, (len(bits) // 4, 4, *self._random, low // 4, bits.reshape(-1, 4))))
                    for n, (_, (value, out)) in enumerate(wide.rounded):
                        calls.append((_round_at_random, (value, bits[: high - low], 16 * n, out)))
            parts.append((uniform, calls))
        return parts

    def run(self, scalars: Array) -> None:
        """Applies it once, with scalars [scalars, groups]; changes nothing where the first one is NaN."""
        mine = self._scalars
        mine[...] = scalars.T
        if math.isnan(mine.item(0)):
            return
        ones = tuple([number == 1.0 for group in mine.tolist() for number in group])
        parts = self._bound.get(ones)
        if parts is None:
            if len(self._bound) >= MOST_BOUND:
                self._bound.clear()
            parts = self._bound[ones] = self._bind()
        for slots, calls in parts:
            for word, arguments, index, _ in self._plan.uniform:
                word(*[slots[a] for a in arguments], out=slots[index])
            for function, given in calls:
                function(*given)


def _round_at_random(values: Array, bits: Array, shift: int, out: Array) -> None:
    """Values as bfloat16, rounded up with the probability of what is cut off; see Storage.rounded."""
    upper = (values.view(np.uint32).astype(np.uint64) + ((bits >> np.uint32(shift)) & np.uint32(0xFFFF))) >> np.uint64(16)
    np.copyto(out.view(np.uint16), upper.astype(np.uint16))
    np.copyto(out, np.nan, where=np.isnan(values))
