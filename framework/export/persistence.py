"""Model files: weights, architecture and preprocessing in one safetensors file, readable on every backend.

Optimiser states and training loops are not stored here.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...backends import Backend
from ...errors import DtypeError, FusedstepError, ModelFileError, OutputPathError
from ..engine.model import Sequential, require_model
from ..layers import LAYERS, Layer
from ..layers.sequence import Sequence

FORMAT = "fusedstep.model"
VERSION = 1
"""Raised whenever a file of the version before could no longer be read as it was meant."""

MASK = "mask of "
"""Before the name of a pruned parameter: the entry that holds its mask, one bit a weight, row by row."""

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class ModelMetadata:
    """The contents of a model file other than the network.

    Args: preprocessing – result of `Preprocessor.to_json`, or None; notes – for example results of training; library – version
        of fusedstep that wrote the file; dtype – of the weights in the file.
    """

    preprocessing: dict[str, Any] | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    library: str = ""
    dtype: str = "float32"


def save(
    model: Sequential,
    path: PathLike,
    preprocessing: Mapping[str, Any] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Writes a model to one safetensors file; replaces an existing file only after the new one is complete.

    Args: model – initialised; path – of the file; preprocessing – `Preprocessor.to_json()`, for `fusedstep predict`; notes –
        any values that JSON can represent.
    Raises: StateError for a model without parameters; OutputPathError for a path that cannot be written; DtypeError for notes
        that JSON cannot represent; ModelFileError for a TiedLinear whose Linear is not in the model, and for layers that share
        a Parameter in another way than TiedLinear or using a layer twice.
    """
    from ... import __version__

    require_model(model)
    backend = model.backend
    layers = described(model)
    _require_same_parameters(layers, model)
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "library": __version__,
        "dtype": model.dtype,
        "head": json.dumps(model.head),
        "layers": json.dumps(layers),
        "preprocessing": as_json(preprocessing, "preprocessing"),
        "notes": as_json(dict(notes or {}), "notes"),
    }
    tensors = {name: backend.to_numpy(array) for name, array in model.parameters().items()}
    for name, mask in model.masks().items():
        tensors[MASK + name] = np.packbits(backend.to_numpy(mask) > 0.0)
    write_tensors(path, "a model file", tensors, metadata)


def load(path: PathLike, backend: str | Backend | None = None, dtype: str | None = None) -> Sequential:
    """Reads a model that `save` wrote, on any backend.

    Args: path – of the file; backend – name, or None for the one in use; dtype – "float32" or "float64", or None for that of
        the file.
    Returns: the model, ready for `predict` and for a TrainStep; bit-identical to the saved one if dtype is that of the file.
    Raises: ModelFileError for a file that is missing, truncated, of another version, or not a model file.
    """
    return load_with_metadata(path, backend, dtype)[0]


def load_with_metadata(
    path: PathLike, backend: str | Backend | None = None, dtype: str | None = None
) -> tuple[Sequential, ModelMetadata]:
    """As `load`, together with the preprocessing and the notes."""
    from ...backends import backend as find_backend

    if dtype not in (None, "float32", "float64"):
        raise DtypeError(f"expected dtype 'float32', 'float64' or None; got {dtype!r}")
    chosen = find_backend(backend)
    where = Path(path)
    header, tensors = read_tensors(where)
    _require_version(where, header)
    with as_written(where, "a description of the network as this version writes it", "save the model again"):
        stored_dtype = header["dtype"]
        model = built(json.loads(header["layers"]), json.loads(header["head"]))
        model.head_is_given = False  # a loss that it is trained on next sets its own
        preprocessing = json.loads(header["preprocessing"])
        notes = json.loads(header["notes"])
        if stored_dtype not in ("float32", "float64") or not isinstance(notes, dict):
            raise ValueError(f"dtype {stored_dtype!r}")
        if preprocessing is not None and not isinstance(preprocessing, dict):
            raise TypeError("preprocessing is not an object")
    packed = {name.removeprefix(MASK): tensors.pop(name) for name in list(tensors) if name.startswith(MASK)}
    _require_tensors(where, model, tensors, stored_dtype)
    masks = _masks(where, model, packed)
    model.place(chosen, dtype or stored_dtype)
    model.load_parameters(tensors)
    model.load_masks(masks)
    return model, ModelMetadata(preprocessing, notes, header.get("library", ""), stored_dtype)


@contextmanager
def replacing(path: PathLike, what: str, failures: tuple[type[Exception], ...] = (OSError,)) -> Iterator[Path]:
    """Gives an unfinished file to write, which gets its name at the end: complete and on the disk, or not at all.

    A file that is replaced keeps its permissions; a new one gets the default permissions.

    Args: path – of the file, replaced if it exists; what – for the message; failures – what writing raises.
    Raises: OutputPathError for a path that cannot be written and for writing that fails; nothing is left behind then.
    """
    target = require_writable(path)
    part = _part_of(target)
    try:
        part.touch()
        mode = stat.S_IMODE((target if target.exists() else part).stat().st_mode)
        yield part
        if stat.S_IMODE(part.stat().st_mode) != mode:
            part.chmod(mode)
        with part.open("rb+") as file:
            os.fsync(file)  # some file systems say only now that there is no room
        os.replace(part, target)
    except failures as error:
        raise OutputPathError(
            f"{target}: expected to write {what}; writing failed ({error}); check that the disk has room"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def require_writable(path: PathLike) -> Path:
    """Makes sure that a file can be written there, by trying; to be called before anything slow.

    Returns: the path with links followed, so that the file a link points to is replaced and not the link.
    Raises: OutputPathError with the reason; no file is left behind, and none that exists is touched.
    """
    target = Path(os.path.realpath(path))
    shown = os.fspath(path)
    if not str(shown):
        raise OutputPathError("expected the path of a file to write; got an empty one; give a name such as out.file")
    if target.is_dir():
        raise OutputPathError(f"expected the path of a file to write; {shown!r} is a folder; add a file name to it")
    if target.exists() and not target.is_file():
        raise OutputPathError(f"expected the path of a plain file; {shown!r} is a device or pipe; choose another path")
    if not target.parent.exists():
        raise OutputPathError(
            f"expected a path in a folder that exists; {str(target.parent)!r} does not; create it (mkdir -p) or choose another"
        )
    part = _part_of(target)
    try:
        if target.exists() and not os.access(target, os.W_OK):
            raise PermissionError("the file is write-protected")
        part.touch()
        part.unlink()
    except OSError as error:
        raise OutputPathError(
            f"expected a writable path; {shown!r} is not ({error.strerror or error}); choose another or "
            "change its permissions"
        ) from error
    return target


def _part_of(target: Path) -> Path:
    """A temporary file in the folder of the target: on the same disk, so that renaming it is atomic; the name is unique."""
    return target.with_name(f".fusedstep-{secrets.token_hex(8)}.part")


def as_json(value: Any, name: str) -> str:
    """`value` as text, or a DtypeError that calls it by `name`."""
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise DtypeError(
            f"{name}: expected plain values that JSON can hold (finite numbers, text, lists, dicts); {error}; convert them"
        ) from error


# Architecture


def described(model: Sequential) -> list[dict[str, Any]]:
    """The layers of a model as plain values."""
    paths: dict[int, list[int]] = {}
    for path, layer in _placed(model, []):
        paths.setdefault(id(layer), path)
    return _described(model, [], paths)


def built(layers: list[dict[str, Any]], head: str | None) -> Sequential:
    """The model without parameters, from what `described` gave."""
    return Sequential(*_Builder(layers).layers, head=head)


def _require_same_parameters(layers: list[dict[str, Any]], model: Sequential) -> None:
    """Raises ModelFileError where a model that is built from the description would have other parameters."""
    own = {name: parameter.shape for name, parameter in model.declared()}
    other = {name: parameter.shape for name, parameter in built(layers, model.head).declared()}
    if own != other:
        name = min(set(own.items()) ^ set(other.items()))[0]
        raise ModelFileError(
            f"expected layers whose settings tell all about their parameters; {name!r} would come back otherwise than it is; "
            "share weights by TiedLinear or by using one layer twice, not by putting a Parameter into another layer"
        )


def _placed(chain: Sequence, path: list[int]) -> Iterator[tuple[list[int], Layer]]:
    """(path, layer) of every layer, those inside others after them; a path is the indices that lead to the layer."""
    for index, layer in enumerate(chain.layers):
        yield [*path, index], layer
        if isinstance(layer, Sequence):
            yield from _placed(layer, [*path, index])


def _described(chain: Sequence, path: list[int], paths: Mapping[int, list[int]]) -> list[dict[str, Any]]:
    """The layers of a chain as plain values; `paths` – the first one of each layer, by which it is known."""
    return [_description(layer, [*path, index], paths) for index, layer in enumerate(chain.layers)]


def _description(layer: Layer, path: list[int], paths: Mapping[int, list[int]]) -> dict[str, Any]:
    if paths[id(layer)] != path:
        return {"again": paths[id(layer)]}
    name = type(layer).__name__
    if name in LAYERS and LAYERS[name] is not type(layer):
        raise ModelFileError(
            f"expected {name!r} to be the layer that is known by that name; got another class of the same name from "
            f"{type(layer).__module__}; rename it, or it would be loaded as the other class"
        )
    if isinstance(layer, Sequence):
        return {"class": name, "layers": _described(layer, path, paths)}
    settings = {key: _setting(layer, value, paths) for key, value in layer.settings.items()}
    return {"class": name, "settings": settings}


def _setting(layer: Layer, value: Any, paths: Mapping[int, list[int]]) -> Any:
    if not isinstance(value, Layer):
        return value
    if id(value) not in paths:
        raise ModelFileError(
            f"expected the layer that {type(layer).__name__} shares weights with to be in the model; {value!r} is not; "
            "put it in the model, or use a separate Linear"
        )
    return {"layer": paths[id(value)]}


class _Builder:
    """The way back; layers that others refer to are built when they are first needed."""

    def __init__(self, described: list[dict[str, Any]]) -> None:
        self._described = described
        self._built: dict[tuple[int, ...], Layer] = {}
        self.layers = self._chain(described, ())

    def _chain(self, described: list[dict[str, Any]], path: tuple[int, ...]) -> list[Layer]:
        return [self._layer(entry, (*path, index)) for index, entry in enumerate(described)]

    def _layer(self, entry: dict[str, Any], path: tuple[int, ...]) -> Layer:
        if path not in self._built:
            self._built[path] = self._at(entry["again"]) if "again" in entry else self._make(entry, path)
        return self._built[path]

    def _at(self, path: list[int]) -> Layer:
        entry: dict[str, Any] = {"layers": self._described}
        for index in path:
            entry = entry["layers"][index]
        return self._layer(entry, tuple(path))

    def _make(self, entry: dict[str, Any], path: tuple[int, ...]) -> Layer:
        name = entry["class"]
        kind = Sequence if name == "Sequence" else LAYERS.get(name)
        if kind is None:
            raise ModelFileError(
                f"expected layers that are known here ({', '.join(sorted(LAYERS))}); found {name!r}; import the module "
                "that defines it first, or update fusedstep"
            )
        if "layers" in entry:
            return kind(*self._chain(entry["layers"], path))
        return kind(**{key: self._value(value) for key, value in entry["settings"].items()})

    def _value(self, value: Any) -> Any:
        return self._at(value["layer"]) if isinstance(value, dict) and "layer" in value else value


# Reading and writing


def write_tensors(path: PathLike, what: str, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """A safetensors file, complete or not at all; see `replacing`."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    with replacing(path, what, (OSError, SafetensorError)) as part:
        save_file(dict(tensors), part, dict(metadata))


@contextmanager
def as_written(path: Path, what: str, advice: str) -> Iterator[None]:
    """Around whatever makes sense of a file: a ModelFileError where a part is missing or wrong, whoever finds that out."""
    try:
        yield
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error
    except (FusedstepError, KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ModelFileError(
            f"{path}: expected {what}; found a part missing or wrong ({type(error).__name__}: {error}); {advice}"
        ) from error


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    """Metadata and tensors of a safetensors file; raises ModelFileError with the reason where it cannot be read."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        state = "is a folder" if path.is_dir() else "is a device or pipe" if path.exists() else "does not exist"
        raise ModelFileError(f"expected a model file; {str(path)!r} {state}; give the path that was saved to")
    try:
        with safe_open(str(path), framework="numpy") as stream:
            header: dict[str, str] = stream.metadata() or {}
            return header, {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise ModelFileError(
            f"{path}: expected a safetensors file of a fusedstep model; reading failed ({error}): it is truncated, damaged "
            "or of another format; copy it again or save the model again"
        ) from error


def _require_version(path: Path, header: Mapping[str, str]) -> None:
    if header.get("format") != FORMAT:
        found = repr(header["format"]) if "format" in header else "a safetensors file of another program"
        raise ModelFileError(
            f"{path}: expected format {FORMAT!r}; found {found}; give a file that fs.save or fusedstep train wrote"
        )
    if header.get("version") != str(VERSION):
        from ... import __version__

        raise ModelFileError(
            f"{path}: expected a model file of version {VERSION}, which fusedstep {__version__} reads; found version "
            f"{header.get('version')!r}, written by fusedstep {header.get('library', 'of unknown version')}; "
            "load it with that fusedstep, or train again"
        )


def _masks(path: Path, model: Sequential, packed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The masks of pruned parameters, unpacked."""
    declared, masks = dict(model.declared()), {}
    for name, bits in packed.items():
        size = declared[name].size if name in declared else -1
        if bits.dtype != np.uint8 or bits.shape != (-(-size // 8),):
            raise ModelFileError(
                f"{path}: expected the mask of a parameter of the network, one bit a weight; found {bits.dtype} "
                f"{bits.shape} for {name!r}; save the model again"
            )
        masks[name] = np.unpackbits(bits, count=size).reshape(declared[name].shape)
    return masks


def _require_tensors(path: Path, model: Sequential, tensors: Mapping[str, NDArray[Any]], dtype: str) -> None:
    declared = {name: parameter.shape for name, parameter in model.declared()}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    wrong = [name for name, tensor in tensors.items() if tensor.dtype != np.dtype(dtype)]
    if declared != found or wrong:
        names = sorted(n for n in {*declared, *found} if declared.get(n) != found.get(n)) or wrong
        first = names[0]
        raise ModelFileError(
            f"{path}: expected {dtype} weights that fit the network it describes; {len(names)} of them do not, the first "
            f"{first!r} (expected {declared.get(first, 'none')}, found {found.get(first, 'none')}); save the model again"
        )
