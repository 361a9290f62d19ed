"""The limit for methods with an N x N matrix, and the error that states its cost."""

from __future__ import annotations

from ...errors import TooLarge

SPEED = 1e11
"""Operations per second assumed in estimates of time; stated in the message."""


def require_room(count: int, limit: int, dtype: str, what: str, *, solved: bool = True) -> None:
    """Raises TooLarge if count > limit, with the cost of a [count, count] matrix; solved – whether it will be decomposed."""
    if count <= limit:
        return
    width = 8 if dtype == "float64" else 4
    work, of = (9.0 * count**3, "9 N^3) to decompose it") if solved else (6.0 * count**2, "6 N^2) to update it")
    raise TooLarge(
        f"expected at most {limit:,} parameters for {what}, which has N^2 numbers; got N = {count:,}: "
        f"{_bytes(width * count**2)} for the matrix alone, and about {work:.1e} operations ({of}, "
        f"{_duration(work / SPEED)} at {SPEED / 1e9:.0f} GFLOP/s, in each iteration; use fs.LBFGS() or fs.HessianFree(), "
        "which keep O(N) numbers, or raise the limit if you have the room"
    )


def _bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024.0:
            return f"{size:.3g} {unit}"
        size /= 1024.0
    return f"{size:.3g} PiB"


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1g} seconds"
