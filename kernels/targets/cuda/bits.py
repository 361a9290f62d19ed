"""The kernel that fills a matrix with random bits, the same as a formula with the same state and stream gets.

Philox4x32-10 gives four 32-bit words at a time, for four columns.
"""

from __future__ import annotations

from typing import Any

from ..cpu import WORDS
from .geometry import matrix_geometry, quarter
from .kernel import Generated, Launch, array_type, compiled_kernel, generate
from .loops import QUARTER, RANDOM_PARAMETERS, for_columns, for_rows, philox


def bits_source() -> Generated:
    """The kernel (out, state, stream) that fills a uint32 matrix with random bits."""
    lines = [
        "rows, width = u64(out.shape[0]), u64(out.shape[1])",
        *QUARTER,
        *for_rows(for_columns(["out[i, j] = bits"])),
    ]
    parameters = {"out": array_type(WORDS, 2), **RANDOM_PARAMETERS}
    return generate("random_bits", parameters, lines, philox().constants)


def random_bits(out: Any, state: Any, stream: int, launch: Launch) -> None:
    """Random bits for all of `out`; see kernels/targets/numpy.py."""
    rows, width = out.shape
    if rows and width:
        launch(compiled_kernel(bits_source), matrix_geometry(rows, quarter(width)), [out, state, stream])
