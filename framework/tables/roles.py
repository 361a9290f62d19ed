"""Which columns of a source are targets, and which one divides the rows; all others are features.

What a target is taken for is decided in `labels.py`; reading is in `reading.py`, division in `splits.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from ...errors import EmptyDataError, HyperparameterError
from ..sources.names import listed, unknown_column
from .column_kind import ColumnKind
from .columns import Column
from .kinds import require_names
from .labels import find_target
from .table import Matrix, SplitColumn
from .targets import Target, TargetLike, as_target, by_name

NOT_A_FEATURE = "only divides the rows"
"""Why a split column is dropped from the features."""


def target_names(target: str | Sequence[str] | None) -> tuple[str, ...]:
    """The names of the targets that the caller gave, each once."""
    return (target,) if isinstance(target, str) else tuple(dict.fromkeys(target or ()))


def split_names(group: str | None, time: str | None, targets: Collection[str]) -> tuple[str, ...]:
    """The name of the column that divides the rows, if there is one.

    Raises: HyperparameterError for both, or for a target.
    """
    if group is not None and time is not None:
        raise HyperparameterError(
            f"expected one of --group and --time (in Python group=, time=); got {group!r} and {time!r}; leave out one, as rows "
            "that are divided by time do not stay together by group"
        )
    names = tuple(name for name in (group, time) if name is not None)
    for name in names:
        if name in targets:
            raise HyperparameterError(
                f"--{_by(group)} {name}: expected a column other than the target; rows cannot be divided by what is predicted"
            )
    return names


def split_column(columns: Mapping[str, Column], group: str | None, time: str | None, source: str) -> SplitColumn | None:
    """The column that divides the rows; UnknownColumn if it is not there."""
    name = group if group is not None else time
    if name is None:
        return None
    if name not in columns:
        raise unknown_column([name], list(columns), source, f"--{_by(group)} column")
    return SplitColumn("group" if group is not None else "time", name, columns[name])


def from_matrix(
    features: Matrix, group: str | None, time: str | None, otherwise: Callable[[str], Column] | None = None
) -> tuple[Matrix, SplitColumn | None]:
    """The features without the column that divides the rows, and that column.

    Args: features – as read; group, time – name of the column; otherwise – reads it if it is not among the features.
    """
    name = group if group is not None else time
    if name is None:
        return features, None
    if name not in features.names and otherwise is not None:
        return features, split_column({name: otherwise(name)}, group, time, features.source)
    found = split_column({one: features.column(one) for one in features.names}, group, time, features.source)
    return features.select([one for one in features.names if one != name]), found


def find_targets(
    columns: Mapping[str, Column], names: Sequence[str], text: Collection[str], missing: Collection[str], task: str | None,
    typed: bool, decimal: str = ".",
) -> tuple[Target, tuple[str, ...]]:  # fmt: skip
    """One target, or several by name, as `find_target` takes each of them; and notes on them."""
    found = {name: find_target(columns[name], name, text, missing, task, typed, decimal) for name in names}
    notes = tuple(kind.note for _, kind in found.values() if kind.note)
    targets = {name: column for name, (column, _) in found.items()}
    return targets if len(names) > 1 else targets[names[0]], notes


def array_targets(
    target: TargetLike, name: str, text: Collection[str], missing: Collection[str], task: str | None
) -> Target:
    """The target of a file of arrays, in which missing labels are found as in those of tables; `name` – of a single one."""
    columns = by_name(as_target(target, f"target {name!r}"), name)
    return find_targets(columns, list(columns), text, missing, task, True)[0]


def require_targets(names: Sequence[str], targets: Sequence[str], source: str) -> None:
    """Raises UnknownColumn for targets that are no columns."""
    unknown = [target for target in targets if target not in names]
    if unknown:
        raise unknown_column(unknown, names, source, "target column")


def require_features(path: Path, targets: Sequence[str], features: Collection[str]) -> None:
    """Raises EmptyDataError if there are none."""
    if not features:
        beside = f"the target {targets[0]!r}" if len(targets) == 1 else f"the targets {listed(targets)}"
        raise EmptyDataError(f"{path}: expected feature columns beside {beside}, found none; add some")


def require_options(
    names: Sequence[str], targets: Collection[str], text: Collection[str], number: Collection[str], drop: Collection[str],
    source: str,
) -> None:  # fmt: skip
    """Checks the columns that the caller decides about."""
    require_names(names, text, number, drop, source)
    for option, chosen in (("number", number), ("drop", drop)):
        for target in targets:
            if target in chosen:
                raise HyperparameterError(f"--{option} {target}: expected a feature column, got the target; name another one")


def kinds_with_split(kinds: Sequence[ColumnKind], name: str) -> tuple[ColumnKind, ...]:
    """Kinds that say why the column that divides the rows is no feature."""
    return tuple(ColumnKind(name, "dropped", NOT_A_FEATURE) if one.name == name else one for one in kinds)


def _by(group: str | None) -> str:
    return "time" if group is None else "group"
