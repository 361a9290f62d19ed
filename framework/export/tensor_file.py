"""Safetensors files with text as metadata and a checksum over everything; models and ensembles are stored in them.

What the metadata mean is decided by the modules that write them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DtypeError, FusedstepError, ModelFileError
from .output_paths import PathLike, replacing

CHECKSUM = "checksum"
"""Its name among the metadata; files of versions 0.1.0 and 0.2.0 have none."""

Tensors = Mapping[str, NDArray[Any]]


def checksum(metadata: Mapping[str, str], tensors: Tensors) -> str:
    """SHA-256 of all other metadata, and of the names, types, shapes and values of all tensors, whatever their order."""
    digest = hashlib.sha256(json.dumps(sorted(item for item in metadata.items() if item[0] != CHECKSUM)).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, tensor.dtype.str, tensor.shape]).encode())
        digest.update(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data)
    return f"sha256:{digest.hexdigest()}"


def write_tensors(path: PathLike, what: str, tensors: Tensors, metadata: Mapping[str, str]) -> None:
    """A safetensors file with its checksum and the version of the library, complete or not at all; see `replacing`."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    from ... import __version__

    written = {**metadata, "library": __version__}
    written[CHECKSUM] = checksum(written, tensors)
    with replacing(path, what, (OSError, SafetensorError)) as part:
        save_file(dict(tensors), part, written)


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    """Metadata and tensors of a safetensors file; raises ModelFileError with the reason where it cannot be read."""
    from safetensors import SafetensorError, safe_open

    if not os.path.isfile(path):
        state = "is a folder" if os.path.isdir(path) else "is a device or pipe" if os.path.exists(path) else "does not exist"
        raise ModelFileError(f"expected a model file; {str(path)!r} {state}; give the path that was saved to")
    try:
        with safe_open(str(path), framework="numpy") as stream:
            header: dict[str, str] = stream.metadata() or {}
            return header, {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        advice = "copy it again or save the model again"
        if _is_pickle(path):
            advice = "it begins as a pickle: read an estimator that you wrote yourself by joblib.load or pickle.load"
        raise ModelFileError(
            f"{path}: expected a safetensors file of a fusedstep model; reading failed ({error}): it is truncated, damaged "
            f"or of another format; {advice}"
        ) from error


def _is_pickle(path: Path) -> bool:
    """Whether a file begins as one of pickle or joblib: protocol 2 or newer, uncompressed."""
    try:
        with path.open("rb") as file:
            begin = file.read(2)
    except OSError:
        return False
    return len(begin) == 2 and begin[0] == 0x80 and 2 <= begin[1] <= 5


def require_unchanged(path: Path, metadata: Mapping[str, str], tensors: Tensors, without: Collection[str]) -> None:
    """Raises ModelFileError unless the contents are those that were written; to be called once the format is known.

    Args: without – all names of metadata in files of versions 0.1.0 and 0.2.0, which have no checksum and pass. With any other
        name, the checksum was there and its own name is damaged.
    """
    stored = metadata.get(CHECKSUM)
    if stored is None and not set(metadata) <= set(without):
        raise ModelFileError(
            f"{path}: expected the checksum that every file of a version after 0.2.0 has; found none, but "
            f"{sorted(set(metadata) - set(without))[0]!r}: it is damaged or was edited; copy it again or save the model again"
        )
    if stored is not None and stored != checksum(metadata, tensors):
        raise ModelFileError(
            f"{path}: expected contents with the checksum {stored[:71]!r} that was written with them; found others: it is "
            "damaged or was edited; copy it again or save the model again"
        )


@contextmanager
def as_written(path: Path, what: str, advice: str) -> Iterator[None]:
    """Around whatever makes sense of a file: a ModelFileError where a part is missing or wrong, whoever finds that out."""
    try:
        yield
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error
    except (FusedstepError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError) as error:
        raise ModelFileError(
            f"{path}: expected {what}; found a part missing or wrong ({type(error).__name__}: {error}); {advice}"
        ) from error


def as_json(value: Any, name: str) -> str:
    """`value` as text, or a DtypeError that calls it by `name`."""
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise DtypeError(
            f"{name}: expected plain values that JSON can hold (finite numbers, text, lists, dicts); {error}; convert them"
        ) from error
