"""What a column was taken for, and its form in a model file; decided in `kinds.py` and `labels.py`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from .cells import DATE_FORMS, MISSING, DateForm

Kind: TypeAlias = Literal["number", "text", "date", "boolean", "dropped"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class ColumnKind:
    """What a column was taken for.

    Args: name – of the column; kind; detail – its values in a few words, or why it was dropped; note – what could be meant
        otherwise, as a sentence; form – of a date in text; missing – number of missing values; forced – numbers on request,
        among which other cells are missing values.
    """

    name: str
    kind: Kind
    detail: str = ""
    note: str = ""
    form: DateForm | None = None
    missing: int = 0
    forced: bool = False


def kinds_to_json(kinds: Iterable[ColumnKind], missing: Collection[str] = MISSING) -> dict[str, Any]:
    """Plain values from which `kinds_from_json` restores kinds and missing tokens."""
    columns = []
    for one in kinds:
        why = one.detail if one.kind == "dropped" else ""  # what the others hold is known from their encoding
        further = {"detail": why, "form": one.form, "forced": one.forced}
        columns.append({"name": one.name, "kind": one.kind, **{key: value for key, value in further.items() if value}})
    return {"columns": columns, "missing": list(missing)}


def kinds_from_json(stored: Mapping[str, Any]) -> tuple[tuple[ColumnKind, ...], tuple[str, ...]]:
    """Kinds and missing tokens; KeyError, TypeError or ValueError if a part is missing or wrong."""
    kinds = []
    for one in stored["columns"]:
        name, kind = one["name"], one["kind"]
        detail, form, forced = one.get("detail", ""), one.get("form"), one.get("forced", False)
        if not isinstance(name, str) or not isinstance(detail, str) or not isinstance(forced, bool):
            raise TypeError("name and detail of a column are texts, and it was forced or not")
        if kind not in KINDS or form not in (None, *DATE_FORMS):
            raise ValueError("a column is of an unknown kind")
        kinds.append(ColumnKind(name, kind, detail, form=form, forced=forced))
    if len({one.name for one in kinds}) < len(kinds):
        raise ValueError("column names differ")
    missing = stored["missing"]
    if not isinstance(missing, list) or not all(isinstance(token, str) for token in missing):
        raise TypeError("missing tokens are a list of texts")
    return tuple(kinds), tuple(missing)
