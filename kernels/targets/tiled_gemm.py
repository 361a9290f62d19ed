"""A GEMM of this package, for predictions: out [m, n] = a [m, k] b [k, n], row-major, on one core.

BLAS libraries copy both factors into another layout before they multiply, which takes long where rows are few. Here the rows of
`a` are read where they are, and two vectors of columns of `b` are copied by the first tile that multiplies with them, if there
are further ones. Each element of the result is one sum in order: its bits depend neither on the other rows and columns nor on
threads.
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

from .blas import Blas
from .llvm.compiler import Module
from .llvm.kinds import I64, scalar_of
from .llvm.machine import functions
from .llvm.memory import call, load, reserve
from .llvm.tiles import Registers, Tile, preamble, registers

NAME = "fusedstep"
"""The name of this GEMM among the libraries."""
LEAST = 2**11
"""Elements of a weight below which it is not worth compiling it."""
DEPTH = 512
"""Terms of the sums that are added before the next columns, so that a copy of the columns fits in the cache of a core."""

LANES = ROWS = FEW = SIZE = WORDS = BITS = KEEPING = WIDE = NARROW = BROAD = 0
"""What `product` is compiled for: columns of a vector; most rows of a tile of two vectors; most rows times vectors of a tile of
more vectors; bytes of an element; words of the copy; the bits of an element; where each kind of tiles begins in the table."""


def product(n_at, m_at, k_at, b, b_line, a, a_line, beta, out, out_line, tiles):
    # Addresses, as BLAS takes them, and that of the table of tiles.
    n, m, k = load(n_at), load(m_at), load(k_at)
    a_row, b_row, out_row = SIZE * load(a_line), SIZE * load(b_line), SIZE * load(out_line)
    copy = (reserve(WORDS) + 63) // 64 * 64
    for start in range(0, k, DEPTH):
        terms = min(DEPTH, k - start)
        fresh = 1 if start == 0 and load(beta) & BITS == 0 else 0
        a_block, b_block = a + SIZE * start, b + start * b_row
        column = 0
        # Few rows by many columns: long pieces of the rows of b are read faster than short ones.
        vectors = 8
        place = BROAD + FEW // 4
        while vectors > 2:
            while vectors * m <= FEW and n - column >= vectors * LANES:
                entry, w, result = load(tiles + 8 * (place + m - 1)), b_block + SIZE * column, out + SIZE * column
                call(entry, a_block, a_row, w, b_row, 0, result, out_row, terms, fresh, 0)
                column += vectors * LANES
            vectors = vectors // 2
            place = BROAD
        while n - column >= 2 * LANES:
            wide(a_block, a_row, b_block + SIZE * column, b_row, copy, out + SIZE * column, out_row, m, terms, fresh, tiles)
            column += 2 * LANES
        while column < n:
            columns = min(LANES, n - column)
            w, result = b_block + SIZE * column, out + SIZE * column
            narrow(a_block, a_row, w, b_row, result, out_row, m, terms, fresh, columns, tiles)
            column += LANES


def wide(a, a_row, b, b_row, copy, out, out_row, m, terms, fresh, tiles):
    # Two vectors of columns, in tiles of about the same number of rows; the first tile keeps b if there are others.
    first = 0
    if m > ROWS:
        count = (m + ROWS - 1) // ROWS
        first = ((m + count - 1) // count + 1) // 2 * 2
        entry = load(tiles + 8 * (KEEPING + first // 2 - 1))
        call(entry, a, a_row, b, b_row, copy, out, out_row, terms, fresh, 0)
        b = copy
        b_row = 2 * LANES * SIZE
    count = (m - first + ROWS - 1) // ROWS
    for part in range(count):
        row = first + (m - first) * part // count
        rows = first + (m - first) * (part + 1) // count - row
        entry = load(tiles + 8 * (WIDE + rows - 1))
        call(entry, a + row * a_row, a_row, b, b_row, 0, out + row * out_row, out_row, terms, fresh, 0)


def narrow(a, a_row, b, b_row, out, out_row, m, terms, fresh, columns, tiles):
    # One vector of columns, of which some may not be there.
    row = 0
    rows = 8
    place = NARROW
    while row < m:
        while rows > m - row:
            rows = rows // 2
            place += 1
        call(load(tiles + 8 * place), a + row * a_row, a_row, b, b_row, 0, out + row * out_row, out_row, terms, fresh, columns)
        row += rows


def _tiles(rows: int, few: int) -> tuple[list[Tile | None], dict[str, int]]:
    """The table of tiles, and where each kind begins in it."""
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
    table, places = _tiles(rows, few)
    values = {
        "LANES": width // real.size, "ROWS": rows, "FEW": few, "SIZE": real.size, "WORDS": (2 * width * DEPTH + 64) // 8,
        "BITS": -1 if real.bits == 64 else 2**real.bits - 1, **places,
    }  # fmt: skip
    names = {**globals(), **values}
    source = inspect.getsource(sys.modules[__name__])

    def assembly(unique: Callable[[str], str]) -> str:
        module = Module(source, names)
        own, _ = module.called("product", (I64,) * 11)
        entries = ", ".join("ptr null" if tile is None else f"ptr @{tile.name}" for tile in table)
        given = [f"i64 %{k}" for k in range(13)]
        return "\n".join([
            preamble(real, width),
            *(tile.assembly(real, width) for tile in table if tile is not None),
            f"@tiles = internal constant [{len(table)} x ptr] [{entries}]",
            module.assembly,
            f"define void @{unique(NAME)}({', '.join(given)}) nounwind {{",
            # Without the two letters that tell what is transposed, and without the factor, which is 1.
            f"  call void @{own}({', '.join(given[2:5] + given[6:])}, i64 ptrtoint (ptr @tiles to i64))",
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
