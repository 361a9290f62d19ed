"""Error messages about names: column lists kept to a readable length, and the nearest known name.

Nothing here reads data; the readers and tables call it when a name is not found.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...errors import UnknownColumn

_SHOWN = 40


def listed(names: Sequence[str]) -> str:
    """Names joined by commas, the tail counted instead of printed when there are many."""
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown}, … and {len(names) - _SHOWN} more"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the nearest known name, or an empty string."""
    from difflib import get_close_matches

    by_lower = {candidate.lower(): candidate for candidate in known}
    nearest = get_close_matches(name.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[nearest[0]]!r}?" if nearest else ""


def unknown_column(missing: Sequence[str], known: Sequence[str], source: str, role: str = "column") -> UnknownColumn:
    """Build the error for names that a table does not have: what was asked for, what is there, and the nearest."""
    asked = listed([repr(name) for name in missing])
    plural = role if len(missing) == 1 else f"{role}s"
    where = f" in {source}" if source else ""
    return UnknownColumn(
        f"expected the {plural} {asked}{where}, found only: {listed(known)}{did_you_mean(missing[0], known)}"
    )
