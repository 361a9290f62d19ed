"""The GEMM of this package as one of the libraries of blas.py, for one core: small.py and packed.py, compiled with their tiles.

Each element of a result is a sum of sums: DEPTH terms in order with fused multiply-add, then the next ones. Its bits depend
neither on the other rows and columns, nor on threads, nor on which of the two computes it.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from ..blas import Blas
from ..llvm import packing
from ..llvm.compiler import Module
from ..llvm.kinds import I64, scalar_of
from ..llvm.machine import functions
from ..llvm.memory import load
from ..llvm.tiles import SOME, Registers, Tile, preamble, registers
from ..memory import LINE, cache_per_core
from .packed import packed
from .small import small

NAME = "fusedstep"
"""The name of this GEMM among the libraries."""
DEPTH = 256
"""Terms of the sums that are added before the next columns, so that a copy of the columns fits in the cache of a core."""
LEAST_WORK, LEAST_COLUMNS = 2**27, 256
"""Multiplications and columns below which factors that are not transposed are not copied, because that would take longer."""
SMALL = 2**16
"""Bytes of a block of rows on the stack; larger ones are allocated."""
LEAST_BLOCK = 2**18

_WORDS = 12
"""Arguments of the GEMM of a BLAS library, without the factor of the product, which is 1."""

BITS = SIZE = TRANSPOSED = 0


def product(form_b_at, form_a_at, n_at, m_at, k_at, b, b_line, a, a_line, beta, out, out_line, tiles):
    # Addresses, as BLAS takes them for out^T = op(b)^T op(a)^T, and that of the table of tiles.
    n, m, k = load(n_at), load(m_at), load(k_at)
    a_row, b_row, out_row = SIZE * load(a_line), SIZE * load(b_line), SIZE * load(out_line)
    fresh = 1 if load(beta) & BITS == 0 else 0
    a_turned, b_turned = load(form_a_at) & 255 == TRANSPOSED, load(form_b_at) & 255 == TRANSPOSED
    if not a_turned and not b_turned and (n < LEAST_COLUMNS or m * n * k < LEAST_WORK):
        small(n, m, k, b, b_row, a, a_row, fresh, out, out_row, tiles)
    else:
        a_term = SIZE
        if a_turned:
            a_term = a_row
            a_row = SIZE
        b_column = SIZE
        if b_turned:
            b_column = b_row
            b_row = SIZE
        packed(n, m, k, b, b_row, b_column, a, a_row, a_term, fresh, out, out_row, tiles)


_MEMORY = """
declare ptr @malloc(i64)
declare void @free(ptr)
define internal void @take(i64 %word, i64 %bytes) nounwind {
  %room = call ptr @malloc(i64 %bytes)
  %at = inttoptr i64 %word to ptr
  store ptr %room, ptr %at, align 8
  ret void
}
define internal void @give(i64 %address) nounwind {
  %room = inttoptr i64 %address to ptr
  call void @free(ptr %room)
  ret void
}
"""
"""Memory of the C library: `take` writes its address into a word, 0 if there is none."""


def _tiles(rows: int, few: int) -> tuple[list[Tile | None], dict[str, int]]:
    """The tiles of the table, and where each kind begins in it."""
    kinds: dict[str, list[Tile | None]] = {
        # Half of ROWS and fewer are never the first of several tiles.
        "KEEPING": [Tile(f"tile.keeping.{r}", r, 2, keeps=True) if 2 * r > rows else None for r in range(2, rows + 1, 2)],
        "WIDE": [Tile(f"tile.wide.{r}", r, 2) for r in range(1, rows + 1)],
        "NARROW": [Tile(f"tile.narrow.{r}", r, 1) for r in (8, 4, 2, 1)],
        "BROAD": [Tile(f"tile.broad.{v}.{r}", r, v) for v in (4, 8) for r in range(1, few // v + 1)],
    }
    table: list[Tile | None] = []
    places = {}
    for name, tiles in kinds.items():
        places[name] = len(table)
        table += tiles
    return table, places


@cache
def found_registers() -> Registers | None:
    """Those of this processor, or None where this GEMM is not used: Windows checks a stack before so much of it is taken."""
    if sys.platform == "win32":
        return None
    return registers(llvm.get_default_triple(), llvm.get_host_cpu_features())


@cache
def tiled_gemm(dtype: np.dtype[Any]) -> Blas:
    """It as a library, for float32 or float64 only; compiled when it is first used."""
    found, real = found_registers(), scalar_of(dtype)
    if found is None:
        raise NotImplementedError("expected a processor with known registers")
    width, rows = found
    few = 2 * rows - 4
    tiles, places = _tiles(rows, few)
    copiers = {"STRAIGHT": packing.straight, "TURNED": packing.turned, "LINES": packing.lines}
    names = ["null" if tile is None else f"@{tile.name}" for tile in tiles]
    for place in (*copiers, "TAKE", "GIVE"):
        places[place] = len(names)
        names.append(f"@{place.lower()}")
    line, pitch = DEPTH * real.size + LINE, -(-rows * real.size // width) * width
    copy = 2 * width * DEPTH
    panel = max(rows * line, DEPTH * pitch)
    block = max(LEAST_BLOCK, cache_per_core() // 4) // panel
    values = {
        "LANES": width // real.size, "ROWS": rows, "FEW": few, "SIZE": real.size, "DEPTH": DEPTH, "SOME": SOME,
        "BITS": -1 if real.bits == 64 else 2**real.bits - 1, "COPY": copy, "SMALL": SMALL,
        "COPY_WORDS": copy // 8 + 8, "ROOM_WORDS": (copy + SMALL) // 8 + 8, "COPIED_ROW": line,
        "PITCH": pitch, "BLOCK": block * panel, "BLOCK_ROWS": block * rows, "TRANSPOSED": ord("T"), **places,
    }  # fmt: skip
    source = "\n".join(inspect.getsource(sys.modules[part.__module__]) for part in (small, packed, product))

    def assembly(unique: Callable[[str], str]) -> str:
        module = Module(source, {**packed.__globals__, **globals(), **values})
        own, _ = module.called("product", (I64,) * (_WORDS + 1))
        given = [f"i64 %{k}" for k in range(_WORDS + 1)]
        return "\n".join([
            preamble(real, width),
            *(tile.assembly(real, width) for tile in tiles if tile is not None),
            *(copier(name.lower(), real, width) for name, copier in copiers.items()),
            _MEMORY,
            f"@tiles = internal constant [{len(names)} x ptr] [{', '.join(f'ptr {name}' for name in names)}]",
            module.assembly,
            f"define void @{unique(NAME)}({', '.join(given)}) nounwind {{",
            f"  call void @{own}({', '.join(given[:5] + given[6:])}, i64 ptrtoint (ptr @tiles to i64))",
            "  ret void",
            "}",
        ])  # fmt: skip

    address = functions(f"{NAME}_gemm", f"{source}{dtype}{values}", (NAME,), assembly)[NAME]
    single = dtype.itemsize == 4
    _sizes[address] = dtype.itemsize
    return Blas(NAME, "", address if single else 0, 0 if single else address)


_sizes: dict[int, int] = {}


def element_size(address: int) -> int:
    """Bytes of an element of this GEMM if it is at that address; 0 for any other one."""
    return _sizes.get(address, 0)
