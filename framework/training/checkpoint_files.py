"""The files of checkpoints: a safetensors file each, a log of step losses beside them, and a lock.

Nothing here depends on what is saved: plain values, which go to JSON, and NumPy arrays.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import socket
import struct
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import CheckpointError, StateError
from ..export.output_paths import folder_error, remove_abandoned, replacing, require_folder

Array = NDArray[Any]

FORMAT = "fusedstep.checkpoint"
VERSION = 1
"""Raised whenever an older library could no longer read a file as it was meant."""
BEST = "best.safetensors"
LOG = "losses.f64"
LOCK = "lock"

_PATTERN = "step-*.safetensors"
_NAMES = {"float32": "F32", "float64": "F64", "uint16": "U16", "uint8": "U8", "int64": "I64", "int32": "I32", "uint32": "U32"}
_SPECIAL = "$"
"""Key of an object that stands for a value that JSON does not have."""

_WRITTEN_AT_ONCE = 1 << 23
"""Bytes after which the writer waits for the disk."""

_logger = logging.getLogger("fusedstep.checkpoint")


WRONG = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
"""What is raised where a part of a state is missing or of another kind than expected."""


class Damaged(Exception):
    """A file that is not a whole checkpoint; the message states why."""


class Contents(NamedTuple):
    """A checkpoint that was read: its path, its plain values with arrays, and all step losses up to it."""

    path: Path
    state: dict[str, Any]
    losses: array[float]


# Values


def packed(value: Any, arrays: dict[str, Array]) -> Any:
    """Plain values for strict JSON; arrays are moved to `arrays`."""
    if isinstance(value, np.ndarray):
        name = f"array {len(arrays)}"
        dtype = str(value.dtype)
        arrays[name] = value if dtype in _NAMES else value.view(f"u{value.dtype.itemsize}")  # bfloat16
        return {_SPECIAL: name, "dtype": dtype}
    if isinstance(value, Mapping):
        return {str(key): packed(item, arrays) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [packed(item, arrays) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {_SPECIAL: repr(value)}
    return value


def unpacked(value: Any, arrays: Mapping[str, Array]) -> Any:
    """The way back."""
    if isinstance(value, list):
        return [unpacked(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if _SPECIAL not in value:
        return {key: unpacked(item, arrays) for key, item in value.items()}
    if "dtype" not in value:
        return float(value[_SPECIAL])
    found, dtype = arrays[value[_SPECIAL]], value["dtype"]
    if dtype not in _NAMES:
        import ml_dtypes

        return found.view(getattr(ml_dtypes, dtype))
    return found


# One checkpoint


def _checksum(texts: Sequence[str], arrays: Mapping[str, Array]) -> str:
    """A CRC over everything in a file. It is there to find damage; SHA-256 would take longer than writing the file."""
    total = 0
    for text in texts:
        total = zlib.crc32(f"{len(text)} {text}".encode(), total)
    for name in sorted(arrays):
        values = arrays[name]
        total = zlib.crc32(f"{name} {values.dtype} {values.shape}".encode(), total)
        total = zlib.crc32(values.reshape(-1).view(np.uint8).data, total)
    return f"{total:08x}"


def write(path: Path, state: Mapping[str, Any]) -> None:
    """Writes plain values with arrays to one file: complete and on the disk, or not at all."""
    from ... import __version__

    arrays: dict[str, Array] = {}
    text = json.dumps(packed(state, arrays), allow_nan=False)
    arrays = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    about = {"format": FORMAT, "version": str(VERSION), "library": __version__, "state": text}
    about["checksum"] = _checksum(list(about.values()), arrays)
    header: dict[str, Any] = {"__metadata__": about}
    position = 0
    for name, values in arrays.items():
        stop = position + values.nbytes
        header[name] = {"dtype": _NAMES[str(values.dtype)], "shape": list(values.shape), "data_offsets": [position, stop]}
        position = stop
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with replacing(path, "a checkpoint") as part, part.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        for values in arrays.values():
            data = values.reshape(-1).view(np.uint8).data
            for start in range(0, len(data), _WRITTEN_AT_ONCE):
                file.write(data[start : start + _WRITTEN_AT_ONCE])
                _to_disk(file)


def _to_disk(file: BinaryIO) -> None:
    """Waits for the disk, and gives back the memory of the cached pages, which the next part then gets: training has better
    uses for memory than a file that is not read, and pages that were never used before cost several times the copy into them.
    """
    file.flush()
    os.fsync(file.fileno())
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read(path: Path) -> dict[str, Any]:
    """The values of a checkpoint.

    Raises: Damaged; CheckpointError for a file of a newer library.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as stream:
            about: dict[str, str] = stream.metadata() or {}
            _require_version(path, about)
            arrays = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        texts = [about[name] for name in ("format", "version", "library", "state")]
        if _checksum(texts, arrays) != about["checksum"]:
            raise Damaged("its checksum is that of other contents")
        state: dict[str, Any] = unpacked(json.loads(about["state"]), arrays)
    except Damaged:
        raise
    except CheckpointError:
        raise
    except (SafetensorError, OSError, MemoryError, *WRONG) as error:
        raise Damaged(f"{type(error).__name__}: {error}") from error
    return state


def _require_version(path: Path, about: Mapping[str, str]) -> None:
    from ... import __version__

    if about["format"] != FORMAT:
        raise Damaged(f"its format is {about['format']!r}")
    if int(about["version"]) > VERSION:
        raise CheckpointError(
            f"{path}: expected a checkpoint of version {VERSION}, which fusedstep {__version__} reads; found version "
            f"{about['version']}, written by fusedstep {about.get('library', 'of unknown version')}; update fusedstep"
        )


# The folder


def path_of(folder: Path, steps: int) -> Path:
    """The file of the checkpoint after that many steps."""
    return folder / f"step-{steps:012d}.safetensors"


def checkpoints(folder: Path) -> list[Path]:
    """All files that have the name of a checkpoint, the newest first; none for a path that no folder can have."""
    return sorted(folder.glob(_PATTERN), reverse=True) if os.path.isdir(folder) else []


def newest(folder: Path) -> Contents | None:
    """The newest whole checkpoint; damaged ones are skipped with a warning; None if there is no checkpoint.

    Raises: CheckpointError if all are damaged, and for a file of a newer library.
    """
    damaged = []
    for path in checkpoints(folder):
        try:
            state = read(path)
            return Contents(path, state, Log.read(folder / LOG, state["losses"]))
        except CheckpointError:
            raise
        except (Damaged, *WRONG) as error:
            damaged.append(f"{path.name} ({error})")
            _logger.warning("checkpoint %s is damaged and was skipped: %s", path, error)
    if damaged:
        raise CheckpointError(
            f"expected a whole checkpoint in {str(folder)!r}; found only damaged ones: {', '.join(damaged)}; restore the "
            "folder from a copy, or start again in another folder"
        )
    return None


def sweep(folder: Path, written: Path, keep: int) -> None:
    """Deletes all checkpoints except the one just written and the ones before it, `keep` in total."""
    older = [path for path in checkpoints(folder) if path.name < written.name]
    for path in checkpoints(folder):
        if path != written and path not in older[: keep - 1]:
            path.unlink(missing_ok=True)


class Lock:
    """The exclusive use of a folder, released by `close` and by the end of the process.

    Raises: StateError if another training holds it; OutputPathError for a folder that cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        require_folder(folder, "checkpoints")
        try:
            self._file = (folder / LOCK).open("a+")
        except OSError as error:
            raise folder_error(folder, "checkpoints", error) from error
        try:
            _lock(self._file.fileno())
        except OSError as error:
            self._file.seek(0)
            holder = self._file.read(200).strip() or "unknown process"
            self._file.close()
            raise StateError(
                f"expected one training at a time to write checkpoints to {str(folder)!r}; another one does ({holder}); wait "
                "for it, or choose another folder"
            ) from error
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {socket.gethostname()}")
        self._file.flush()
        remove_abandoned(folder)

    def close(self) -> None:
        """Releases the folder."""
        self._file.truncate(0)
        self._file.close()


def _lock(descriptor: int) -> None:
    """Raises OSError if another process, or another lock of this one, holds the file."""
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Log:
    """The step losses of a run: float64 in a file to which they are appended, with a checksum of all.

    Args: path; losses – those that the file shall begin with.
    """

    def __init__(self, path: Path, losses: array[float]) -> None:
        self._path = path
        self._checksum = hashlib.sha256(_bytes(losses))
        self._count = len(losses)
        if not path.exists() or path.read_bytes()[: 8 * len(losses)] != _bytes(losses):
            path.write_bytes(_bytes(losses))

    def append(self, losses: array[float]) -> dict[str, Any]:
        """Adds losses and waits for the disk; returns what `read` needs to find all losses up to here."""
        data = _bytes(losses)
        with self._path.open("r+b") as file:
            file.truncate(8 * self._count)  # what a killed run wrote after its last checkpoint
            file.seek(0, os.SEEK_END)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self._checksum.update(data)
        self._count += len(losses)
        return {"count": self._count, "checksum": self._checksum.hexdigest()}

    @staticmethod
    def read(path: Path, about: Mapping[str, Any]) -> array[float]:
        """The losses that belong to a checkpoint; raises Damaged if they are not there any more."""
        size = 8 * int(about["count"])
        try:
            if not 0 <= size <= path.stat().st_size:
                raise Damaged(f"the step losses in {path.name} have {path.stat().st_size} bytes and not {size}")
            with path.open("rb") as file:
                data = file.read(size)
        except OSError as error:
            raise Damaged(f"the step losses in {path.name}: {error}") from error
        if hashlib.sha256(data).hexdigest() != about["checksum"]:
            raise Damaged(f"the step losses in {path.name} are not those of this checkpoint")
        return array("d", np.frombuffer(data, "<f8").tolist())


def _bytes(losses: array[float]) -> bytes:
    return np.asarray(losses, "<f8").tobytes()


def differences(before: Any, now: Any, name: str = "") -> Iterator[str]:
    """Where two plain values differ, in words: "optimizer.lr (0.001 in the checkpoint, 0.01 here)"."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in sorted({*before, *now}):
            yield from differences(before.get(key), now.get(key), f"{name}.{key}" if name else key)
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for k, (one, other) in enumerate(zip(before, now, strict=True)):
            yield from differences(one, other, f"{name}[{k}]")
    elif before != now:
        yield f"{name} ({_shown(before)} in the checkpoint, {_shown(now)} here)"


def _shown(value: Any) -> str:
    text = json.dumps(value) if not isinstance(value, str) else value
    return text if len(text) <= 80 else f"{text[:77]}..."
