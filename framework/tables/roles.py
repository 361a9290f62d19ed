"""Which columns of a source are targets, divide the rows or weigh them; all others are features.

What a target is taken for is decided in `labels.py`, weights are checked in `weights.py`; reading is in `reading.py`, division
in `splits.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import EmptyDataError, HyperparameterError
from ..sources.names import listed, unknown_column
from .cells import MISSING
from .column_kind import ColumnKind
from .columns import Column
from .kinds import require_names
from .labels import find_target
from .table import Matrix, SplitColumn, WeightColumn
from .targets import Target, TargetLike, as_target, by_name
from .weights import weights_of

NOT_A_FEATURE, IS_A_WEIGHT = "only divides the rows", "the weight of each row"
"""Why a column of another role is dropped from the features."""


def target_names(target: str | Sequence[str] | None) -> tuple[str, ...]:
    """The names of the targets that the caller gave, each once."""
    return (target,) if isinstance(target, str) else tuple(dict.fromkeys(target or ()))


@dataclass(frozen=True)
class Roles:
    """The names of columns that are no features: of the groups or the time by which rows are divided, and of their weights."""

    group: str | None = None
    time: str | None = None
    weight: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Those that are given."""
        return tuple(name for name in (self.group, self.time, self.weight) if name is not None)

    def option_of(self, name: str) -> str:
        """The option by which the caller gave a name."""
        return "--weight" if name == self.weight else "--group" if name == self.group else "--time"

    def columns(
        self, columns: Mapping[str, Column], source: str, missing: Collection[str] = MISSING, decimal: str = "."
    ) -> tuple[SplitColumn | None, WeightColumn | None]:
        """The column that divides the rows, and their weights.

        Raises: UnknownColumn for one that is not there; SampleWeightError for weights that are no numbers >= 0.
        """
        for name in self.names:
            if name not in columns:
                raise unknown_column([name], list(columns), source, f"{self.option_of(name)} column")
        split = self.group if self.group is not None else self.time
        by = None if split is None else SplitColumn("time" if self.group is None else "group", split, columns[split])
        if self.weight is None:
            return by, None
        return by, WeightColumn(self.weight, weights_of(columns[self.weight], self.weight, missing, decimal))


def roles_of(group: str | None, time: str | None, weight: str | None, targets: Collection[str]) -> Roles:
    """The columns that are no features.

    Raises: HyperparameterError for both group and time, for a target, and for one column of two roles.
    """
    if group is not None and time is not None:
        raise HyperparameterError(
            f"expected one of --group and --time (in Python group=, time=); got {group!r} and {time!r}; leave out one, as rows "
            "that are divided by time do not stay together by group"
        )
    found = Roles(group, time, weight)
    for name in found.names:
        if name in targets:
            what = "weighed" if name == weight else "divided"
            raise HyperparameterError(
                f"{found.option_of(name)} {name}: expected a column other than the target; rows cannot be {what} by what is "
                "predicted"
            )
    if weight is not None and weight in (group, time):
        raise HyperparameterError(f"--weight {weight}: expected a column of weights other than that which divides the rows")
    return found


def from_matrix(
    features: Matrix, roles: Roles, otherwise: Callable[[str], Column] | None = None
) -> tuple[Matrix, SplitColumn | None, WeightColumn | None]:
    """The features without the columns of other roles, and those.

    Args: features – as read; roles; otherwise – reads a column that is not among the features.
    """
    if not roles.names:
        return features, None, None
    columns = {name: features.column(name) for name in features.names}
    if otherwise is not None:
        columns = {name: otherwise(name) for name in roles.names if name not in columns} | columns
    found = roles.columns(columns, features.source)
    return features.select([name for name in features.names if name not in roles.names]), *found


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


def kinds_with_roles(kinds: Sequence[ColumnKind], roles: Roles, aside: Collection[str]) -> tuple[ColumnKind, ...]:
    """Kinds that say why the columns of other roles are no features."""
    why = {name: IS_A_WEIGHT if name == roles.weight else NOT_A_FEATURE for name in aside}
    return tuple(ColumnKind(one.name, "dropped", why[one.name]) if one.name in why else one for one in kinds)
