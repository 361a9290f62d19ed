"""The check of columns that hold codes of categories, on any backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..backends import Array, Backend
from ..errors import CategoryError


def require_codes(
    columns: Mapping[int, int], inputs: Array, backend: Backend, name: str = "x", numbers: Any = None
) -> None:  # fmt: skip
    """Raises CategoryError unless these columns hold whole numbers from 0 to the number of codes - 1.

    Args: columns – {column: number of codes}; inputs – [B, d] on the backend; name – its name in the message; numbers – of
        the rows, default 0, 1, ….
    """
    xp = backend.xp
    for column, codes in columns.items():
        values = inputs[:, column]
        wrong = xp.logical_not((values >= 0) & (values < codes) & (xp.floor(values) == values))
        if not bool(xp.any(wrong)):
            continue
        row = int(xp.argmax(xp.astype(wrong, xp.int32)))
        number = row if numbers is None else int(numbers[row])
        raise CategoryError(
            f"expected codes, whole numbers from 0 to {codes - 1}, in column {column} (counted from 0) of {name}; got "
            f"{float(values[row]):g} in row {number + 1}; encode it as in training, where unseen values need a code of their "
            "own, or raise the number of codes"
        )
