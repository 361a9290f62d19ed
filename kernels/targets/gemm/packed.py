"""out [m, n] = op(a) [m, k] op(b) [k, n] for large or transposed factors, on one core, from copies without gaps.

As in Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (2008): a block of op(a) is copied for the
second-level cache, and two vectors of columns of op(b) at a time for the first-level one. Tiles multiply them in registers, and
fetch meanwhile what will be copied next. See library.py for the constants.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

from ..llvm.memory import call, load, reserve, store
from .small import narrow

LANES = ROWS = SIZE = DEPTH = ROOM_WORDS = COPY = SMALL = BLOCK = BLOCK_ROWS = COPIED_ROW = PITCH = SOME = 0
WIDE = STRAIGHT = TURNED = LINES = TAKE = GIVE = 0


def packed(n, m, k, b, b_term, b_column, a, a_row, a_term, fresh_sum, out, out_row, tiles):
    # Bytes from term to term, and from row to row or from column to column: one of the two is SIZE.
    # Rows of `a` are copied as they are if their terms are side by side, otherwise term by term.
    x_row = COPIED_ROW
    x_term = SIZE
    panel = ROWS * COPIED_ROW
    if a_row == SIZE:
        x_row = SIZE
        x_term = PITCH
        panel = DEPTH * PITCH
    copy = (reserve(ROOM_WORDS) + 63) // 64 * 64
    room = copy + COPY
    most = SMALL // panel * ROWS
    taken = reserve(1)
    store(taken, 0)
    if m > most:
        call(load(tiles + 8 * TAKE), taken, BLOCK + 64)
        if load(taken) != 0:
            room = (load(taken) + 63) // 64 * 64
            most = BLOCK_ROWS
    blocks = (m + most - 1) // most
    for start in range(0, k, DEPTH):
        terms = min(DEPTH, k - start)
        fresh = fresh_sum if start == 0 else 0
        for number in range(blocks):
            first = m * number // blocks
            rows = m * (number + 1) // blocks - first
            parts = (rows + ROWS - 1) // ROWS
            for part in range(parts):
                low = rows * part // parts
                count = rows * (part + 1) // parts - low
                x = a + (first + low) * a_row + start * a_term
                if a_row == SIZE:
                    pack(x, a_row, a_term, room + part * panel, PITCH, terms, count, tiles)
                else:
                    call(load(tiles + 8 * LINES), x, a_row, room + part * panel, COPIED_ROW, terms, count)
            result = out + first * out_row
            w = b + start * b_term
            columns(n, rows, parts, terms, w, b_term, b_column, room, panel, x_row, x_term, copy, fresh, result, out_row, tiles)
    if load(taken) != 0:
        call(load(tiles + 8 * GIVE), load(taken))


def columns(n, rows, parts, terms, b, b_term, b_column, room, panel, x_row, x_term, copy, fresh, out, out_row, tiles):
    # All columns of a block of rows.
    column = 0
    while column < n:
        count = min(2 * LANES, n - column)
        w = b + column * b_column
        pack(w, b_column, b_term, copy, 2 * LANES * SIZE, terms, count, tiles)
        following = w + 2 * LANES * b_column
        for part in range(parts):
            low = rows * part // parts
            height = rows * (part + 1) // parts - low
            x, place = room + part * panel, out + low * out_row + column * SIZE
            if count == 2 * LANES:
                # Each tile fetches a part of the next columns.
                ahead = copy
                ahead_step = 0
                beside = 0
                if column + 4 * LANES <= n:
                    if b_column == SIZE and part * SOME < terms:
                        ahead = following + part * SOME * b_term
                        ahead_step = b_term
                        beside = LANES * SIZE
                    elif b_column != SIZE and part < LANES:
                        ahead = following + 2 * part * b_column
                        ahead_step = SOME * SIZE
                        beside = b_column
                entry, w_row = load(tiles + 8 * (WIDE + height - 1)), 2 * LANES * SIZE
                call(entry, x, x_row, x_term, copy, w_row, 0, place, out_row, terms, fresh, 0, ahead, ahead_step, beside)
            else:
                lane = 0
                while lane < count:
                    w, some = copy + lane * SIZE, min(LANES, count - lane)
                    to, w_row = place + lane * SIZE, 2 * LANES * SIZE
                    narrow(x, x_row, x_term, w, w_row, to, out_row, height, terms, fresh, some, tiles)
                    lane += LANES
        column += 2 * LANES


def pack(at, across, along, to, line, terms, count, tiles):
    # For each term one vector or more, of elements that are `across` apart.
    lane = 0
    while lane < count:
        some = min(LANES, count - lane)
        if across == SIZE:
            call(load(tiles + 8 * STRAIGHT), at + lane * SIZE, along, to + lane * SIZE, line, terms, some)
        else:
            call(load(tiles + 8 * TURNED), at + lane * across, across, to + lane * SIZE, line, terms, some)
        lane += LANES
