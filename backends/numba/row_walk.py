"""Walks the calls of a pass over one part of the rows after the other, in the kernel language (see kernels/targets/llvm).

Words of the calls that depend on the rows are written before each part, so that one table serves any number of rows.

The words of `walk_rows`: their own address; the addresses of calls [calls, 2] (entry, address of its words) and their number,
of moves [moves, 4] and their number, of the words of all calls, and of sources [sources, 3]; the number of rows, and of the
parts that they are cut into; the address of the number of the next part, from which threads take parts as they are done with
others; and the part before which to end.

A source is an array: its address, and the bytes from one row, and from one part, to the next. A move is a word that depends on
the rows: its place among the words, its value for no rows, what each row of a part adds, and the number of the source in which
it is an address (source 0 has the address 0, for what is no address).
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

import inspect
import sys
from functools import cache

from ...kernels.targets.llvm.exports import exported
from ...kernels.targets.llvm.machine import Native
from ...kernels.targets.llvm.memory import add_atomic, call, load, store


def walk_rows(address):
    # Takes the address of its words.
    given = load(address)
    calls, count, moves, moving = load(given + 8), load(given + 16), load(given + 24), load(given + 32)
    table, sources, rows, parts = load(given + 40), load(given + 48), load(given + 56), load(given + 64)
    following, end = load(given + 72), load(given + 80)
    part = add_atomic(following, 1)
    while part < end:
        start = rows * part // parts
        size = rows * (part + 1) // parts - start
        for k in range(moving):
            move = moves + 32 * k
            source = sources + 24 * load(move + 24)
            place = load(source) + start * load(source + 8) + part * load(source + 16)
            store(table + 8 * load(move), load(move + 8) + size * load(move + 16) + place)
        for k in range(count):
            call(load(calls + 16 * k), load(calls + 16 * k + 8))
        part = add_atomic(following, 1)


@cache
def row_walk() -> Native:
    """`walk_rows`, compiled."""
    this = sys.modules[__name__]
    return Native(exported(inspect.getsource(this), vars(this), ("walk_rows",))["walk_rows"])
