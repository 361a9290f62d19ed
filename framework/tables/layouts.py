"""What names say: which files and arrays are features, which are targets, and to which part of the data they belong.

Nothing is read here but the names in a folder.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from ...errors import DataFileError
from ..sources.names import listed, unknown_column

Value = TypeVar("Value")

PARTS = ("training", "validation", "test")
"""In the order in which their rows are joined."""

_PART_WORDS = {
    "train": "training", "training": "training",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test", "t10k": "test",
}  # fmt: skip
_FEATURES = ("x", "data", "features", "images", "inputs")
_TARGETS = ("y", "target", "targets", "labels", "label")
_UNNAMED = ("arr_0", "arr_1")
"""The arrays of np.savez(path, x, y)."""
_LEVELS = ("*", "*/*", "*/*/*")
"""How deep folders are searched: default/train/0000.parquet is the deepest layout known."""
_SHARD = re.compile(r"^(?P<name>.*?)[-_.]?(?P<number>\d+)(?:-of-(?P<count>\d+))?(?:[-_.][0-9a-f-]{16,}.*)?$")
_SPLIT = re.compile(r"[-_. ]+")
_GLUED = re.compile(r"([xy])(train|val|valid|test)|(train|val|valid|test)([xy])")
"""Names without a separator: Xtrain, testY."""


class Name(NamedTuple):
    """A name without the word for its part: "y_train" is the "y" of "training"; part – "" if it has no such word."""

    part: str
    rest: str


class Arrays(NamedTuple):
    """Names of the arrays of one part; target – None if it is not asked for."""

    features: str
    target: str | None


class PartFile(NamedTuple):
    """One file of a data set and the part that it is of."""

    part: str
    path: Path


def name_of(text: str) -> Name:
    """The part that a name states, and the rest of the name, in small letters."""
    glued = _GLUED.fullmatch(text.lower())
    words = [word for word in glued.groups() if word] if glued else _SPLIT.split(text.lower())
    stated = [word for word in words if word in _PART_WORDS]
    rest = "_".join(word for word in words if word not in stated[:1])
    return Name(_PART_WORDS[stated[0]] if stated else "", rest)


def find_arrays(stored: Sequence[str], target: str | None, source: str, wants_target: bool = True) -> dict[str, Arrays]:
    """The arrays of each part of an NPZ archive; one part "training" if the names state none.

    Features are called x, X, data, features, images or inputs, targets y, target, targets, labels or label, with or without a
    word for the part (x_train, train_images, val_labels, X_test …); or the archive holds arr_0 and arr_1 only.

    Args: stored – names of all arrays; target – name of the target array, with or without such a word; None: as above; source –
        for messages; wants_target – False to look for features only.
    Raises: UnknownColumn if an array is missing; DataFileError if it is not clear which one is meant.
    """
    if set(stored) == set(_UNNAMED) and target in (None, _UNNAMED[1]):
        return {"training": Arrays(_UNNAMED[0], _UNNAMED[1] if wants_target else None)}
    features = _by_part(stored, _FEATURES, "x", source)
    if not features:
        raise unknown_column(["x"], stored, source, "array")
    targets = _by_part(stored, _TARGETS, "y", source) if target is None else named_arrays(stored, target)
    whole = "" in features
    parts = [""] if whole else [part for part in PARTS if part in features]
    if not whole and parts[0] != "training" and wants_target:
        raise unknown_column(["x_train"], stored, source, "array")
    for part in parts if wants_target else ():
        if part not in targets:
            raise unknown_column([(target or "y") if whole else f"{target or 'y'} of the {part} part"], stored, source, "array")
    return {part or "training": Arrays(features[part], targets[part] if wants_target else None) for part in parts}


def chosen_part(parts: Mapping[str, Value], part: str | None, source: str) -> Value:
    """One part of data that may have several; raises DataFileError if none is chosen, or one that is not there."""
    if part is None and len(parts) == 1:
        return next(iter(parts.values()))
    if part is not None and part in parts:
        return parts[part]
    raise DataFileError(
        f"{source}: expected the {f'{part} part' if part else 'name of one part'}, found: {', '.join(parts)}; "
        f"choose one, such as --part {list(parts)[-1]} (in Python part=)"
    )


def _by_part(stored: Iterable[str], words: Collection[str], preferred: str, source: str) -> dict[str, str]:
    """Part -> the name of the array that is called by one of the words; the preferred word, as it is, goes before others."""
    found: dict[str, list[str]] = {}
    for text in stored:
        part, rest = name_of(text)
        if rest in words:
            found.setdefault(part, []).append(text)
    chosen = {}
    for part, names in found.items():
        first = [name for name in names if preferred in _SPLIT.split(name)]
        if len(names) > 1 and len(first) != 1:
            of = f"{'features' if preferred == 'x' else 'targets'}{part and f' for the {part} part'}"
            raise DataFileError(f"{source}: expected one array of {of}, found {listed(names)}; rename one of them {preferred}")
        chosen[part] = (first or names)[0]
    return chosen


def named_arrays(stored: Sequence[str], target: str) -> dict[str, str]:
    """Part, "" without one -> name of the array that the caller names, and of those that are called so in other parts."""
    given = name_of(target)
    same = {name_of(text).part: text for text in stored if name_of(text).rest == given.rest}
    return {**same, given.part: target} if target in stored else same


def labels_beside(features: Path) -> Path | None:
    """The file of labels that belongs to a file of features by its name, such as y_test.npy to x_test.npy; None if unclear."""
    stem, suffix = features.name.removesuffix(features.suffix), features.suffix
    own = name_of(stem)
    if own.rest not in _FEATURES or not features.parent.is_dir():
        return None
    there = [path for path in features.parent.iterdir() if path.suffix == suffix and path.is_file()]
    fitting = [path for path in there if (name := name_of(path.stem)).part == own.part and name.rest in _TARGETS]
    return fitting[0] if len(fitting) == 1 else None


def other_parts_beside(images: Path) -> list[PartFile]:
    """The files that hold the other parts of a training file, by their names: t10k-images-… of train-images-idx3-ubyte."""
    own = name_of(images.name)
    if own.part != "training" or not images.parent.is_dir():
        return []
    found: dict[str, list[Path]] = {}
    for path in sorted(images.parent.iterdir()):
        part, rest = name_of(path.name.removesuffix(".gz"))
        if part not in ("", "training") and rest == name_of(images.name.removesuffix(".gz")).rest and path.is_file():
            found.setdefault(part, []).append(path)
    # One that is there both gzipped and not is taken as the images are.
    alike = {part: [path for path in paths if path.suffix == images.suffix] or paths for part, paths in found.items()}
    return [PartFile(part, paths[0]) for part, paths in alike.items() if len(paths) == 1]


def find_part_files(folder: Path, extensions: Collection[str]) -> list[PartFile]:
    """The files of a data set that fills a folder, in the order of parts and shards.

    Each file states its part in its name (train-00000-of-00002.parquet, test.csv) or is in a folder that does
    (test/0000.parquet); files without a part must be shards of one table (part-00000.parquet).

    Args: extensions – with which files of data end; others are ignored, as are names that begin with a dot or an underscore.
    Raises: DataFileError for a folder without data, of several formats, without a training part, or with missing shards.
    """
    files = [
        path
        for pattern in _LEVELS
        for path in sorted(folder.glob(pattern))
        if _suffix(path) in extensions and path.is_file() and not _hidden(path.relative_to(folder))
    ]
    files = [path for path in files if _suffix(path) != ".txt"] or files  # beside data, it is a licence or the like
    if not files:
        raise DataFileError(
            f"expected a data file, {str(folder)!r} is a folder without files that end in {', '.join(extensions)}; give the "
            "path of one file in it"
        )
    kinds = sorted({_suffix(path) for path in files})
    if len(kinds) > 1:
        raise DataFileError(f"{folder}: expected files of one format, found {', '.join(kinds)}; give the path of one file")
    part_files = [PartFile(_part_of(path, folder), path) for path in files]
    unnamed = [one.path for one in part_files if not one.part]
    if (unnamed and len(unnamed) < len(part_files)) or (len(unnamed) > 1 and not _are_shards(unnamed)):
        raise DataFileError(
            f"{folder}: expected files whose names state their part, such as train.parquet and test-00000-of-00002.parquet, or "
            f"numbered shards; found {listed([str(path.relative_to(folder)) for path in unnamed])}; give the path of one file"
        )
    part_files = [PartFile(one.part or "training", one.path) for one in part_files]
    if all(one.part != "training" for one in part_files):
        raise DataFileError(f"{folder}: expected a training part, found only: {listed([one.path.name for one in part_files])}")
    _require_all_shards(folder, part_files)
    return sorted(part_files, key=lambda one: (PARTS.index(one.part), _order(one.path)))


def file_names(part_files: Sequence[PartFile]) -> list[str]:
    """The names of files for messages, with their folders where names occur twice."""
    names = [one.path.name for one in part_files]
    return names if len(set(names)) == len(names) else [f"{one.path.parent.name}/{one.path.name}" for one in part_files]


def _suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _stem(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).stem


def _hidden(path: Path) -> bool:
    return any(name.startswith((".", "_")) for name in path.parts)


def _part_of(path: Path, folder: Path) -> str:
    """The part that the name of a file states, or of the nearest folder that states one."""
    inside = path.relative_to(folder)
    stated = [name_of(name).part for name in (_stem(path), *reversed(inside.parts[:-1]))]
    return next(filter(None, stated), "")


def _order(path: Path) -> tuple[str, int, str]:
    match = _SHARD.match(_stem(path))
    return (str(path.parent), int(match["number"]), path.name) if match else (str(path.parent), -1, path.name)


def _are_shards(paths: Sequence[Path]) -> bool:
    """Whether names differ in their numbers only."""
    matches = [_SHARD.match(_stem(path)) for path in paths]
    return None not in matches and len({match["name"] for match in matches if match}) == 1


def _require_all_shards(folder: Path, part_files: Sequence[PartFile]) -> None:
    counts: dict[tuple[Path, str, int], set[int]] = {}
    for _, path in part_files:
        match = _SHARD.match(_stem(path))
        if match and match["count"]:
            counts.setdefault((path.parent, match["name"], int(match["count"])), set()).add(int(match["number"]))
    for (_, name, count), numbers in counts.items():
        missing = sorted(set(range(count)) - numbers)
        if missing:
            raise DataFileError(
                f"{folder}: expected {count} shards of {name!r}, found {len(numbers)} without number "
                f"{listed([str(n) for n in missing])}; get it again"
            )
