"""out [m, n] = a [m, k] b [k, n] for small factors, on one core: nothing is copied but what several tiles read.

BLAS libraries copy both factors into another layout before they multiply, which takes long where rows are few. Here the rows of
`a` are read where they are, and two vectors of columns of `b` are copied by the first tile that multiplies with them, if there
are further ones. See packed.py for large factors, and library.py for the constants.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

from ..llvm.memory import call, load, reserve

LANES = ROWS = FEW = SIZE = BITS = DEPTH = COPY_WORDS = KEEPING = WIDE = NARROW = BROAD = 0


def small(n, m, k, b, b_row, a, a_row, fresh_sum, out, out_row, tiles):
    # Numbers, addresses, and bytes from row to row.
    copy = (reserve(COPY_WORDS) + 63) // 64 * 64
    for start in range(0, k, DEPTH):
        terms = min(DEPTH, k - start)
        fresh = fresh_sum if start == 0 else 0
        a_block, b_block = a + SIZE * start, b + start * b_row
        column = 0
        # Few rows by many columns: long pieces of the rows of b are read faster than short ones.
        vectors = 8
        place = BROAD + FEW // 4
        while vectors > 2:
            while vectors * m <= FEW and n - column >= vectors * LANES:
                entry, w, result = load(tiles + 8 * (place + m - 1)), b_block + SIZE * column, out + SIZE * column
                call(entry, a_block, a_row, SIZE, w, b_row, 0, result, out_row, terms, fresh, 0, w, 0, 0)
                column += vectors * LANES
            vectors = vectors // 2
            place = BROAD
        while n - column >= 2 * LANES:
            wide(a_block, a_row, b_block + SIZE * column, b_row, copy, out + SIZE * column, out_row, m, terms, fresh, tiles)
            column += 2 * LANES
        while column < n:
            columns = min(LANES, n - column)
            w, result = b_block + SIZE * column, out + SIZE * column
            narrow(a_block, a_row, SIZE, w, b_row, result, out_row, m, terms, fresh, columns, tiles)
            column += LANES


def wide(a, a_row, b, b_row, copy, out, out_row, m, terms, fresh, tiles):
    # Two vectors of columns, in tiles of about the same number of rows; the first tile keeps b if there are others.
    first = 0
    if m > ROWS:
        count = (m + ROWS - 1) // ROWS
        first = ((m + count - 1) // count + 1) // 2 * 2
        entry = load(tiles + 8 * (KEEPING + first // 2 - 1))
        call(entry, a, a_row, SIZE, b, b_row, copy, out, out_row, terms, fresh, 0, b, 0, 0)
        b = copy
        b_row = 2 * LANES * SIZE
    count = (m - first + ROWS - 1) // ROWS
    for part in range(count):
        row = first + (m - first) * part // count
        rows = first + (m - first) * (part + 1) // count - row
        x, result = a + row * a_row, out + row * out_row
        call(load(tiles + 8 * (WIDE + rows - 1)), x, a_row, SIZE, b, b_row, 0, result, out_row, terms, fresh, 0, b, 0, 0)


def narrow(a, a_row, a_term, b, b_row, out, out_row, m, terms, fresh, columns, tiles):
    # One vector of columns, of which some may not be there.
    row = 0
    rows = 8
    place = NARROW
    while row < m:
        while rows > m - row:
            rows = rows // 2
            place += 1
        x, result = a + row * a_row, out + row * out_row
        call(load(tiles + 8 * place), x, a_row, a_term, b, b_row, 0, result, out_row, terms, fresh, columns, b, 0, 0)
        row += rows
