"""Model files: weights, architecture and preprocessing in one safetensors file, readable on every backend.

The file with its checksum is tensor_file.py, the architecture description.py. Optimiser states and training loops are not
stored here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...backends import Backend
from ...errors import DtypeError, HyperparameterError, ModelFileError
from ..engine.model import Sequential, require_model
from ..suggestions import suggests_arguments
from .coded_network import Exportable
from .description import built, described, require_same_parameters
from .output_paths import PathLike
from .tensor_file import as_json, as_written, read_tensors, require_unchanged, write_tensors

FORMAT = "fusedstep.model"
VERSION = 1
"""Raised whenever a file of the version before could no longer be read as it was meant."""

MASK = "mask of "
"""Before the name of a pruned parameter: the entry that holds its mask, one bit a weight, row by row."""

_METADATA = ("format", "version", "library", "dtype", "head", "layers", "preprocessing", "notes")
"""The names in files without a checksum, see `require_unchanged`; files with one may have `target_ndim` and `feature_names`."""

_KINDS: dict[str, tuple[type, ...]] = {"layers": (list,), "head": (str, type(None)), "preprocessing": (dict, type(None)),
                                       "notes": (dict,)}  # fmt: skip
"""The parts that are JSON, and what they hold."""


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


@suggests_arguments
def save(
    model: Sequential,
    path: PathLike,
    preprocessing: Mapping[str, Any] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Writes a model to one safetensors file; replaces an existing file only after the new one is complete.

    While another thread trains the model, the file has the parameters after one of its steps: the step at hand is waited for,
    and the next one waits until the parameters are copied, not until they are written.

    Args: model – initialised; path – of the file; preprocessing – `Preprocessor.to_json()`, for `fusedstep predict`; notes –
        any values that JSON can represent.
    Raises: HyperparameterError for an estimator, and how to write it; StateError for a model without parameters, and for a call
        from inside a step; OutputPathError for a path that cannot be written; DtypeError for notes that JSON cannot represent;
        ModelFileError for a TiedLinear whose Linear is not in the model, and for layers that share a Parameter in another way
        than TiedLinear or using a layer twice.
    """
    if isinstance(model, Exportable) and hasattr(model, "get_params"):
        raise HyperparameterError(
            f"expected a network; got the estimator {model!r}; write joblib.dump(estimator, path) or pickle.dump to keep it "
            "for Python, fs.export_onnx(estimator, path) for other runtimes, or fs.save(estimator.model_, path) for its network"
        )
    require_model(model)
    layers = described(model)
    require_same_parameters(layers, model)
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "dtype": model.dtype,
        "head": json.dumps(model.head),
        "feature_names": json.dumps(model.feature_names),
        "target_ndim": json.dumps(model.target_ndim),
        "layers": json.dumps(layers),
        "preprocessing": as_json(preprocessing, "preprocessing"),
        "notes": as_json(dict(notes or {}), "notes"),
    }
    tensors, masks = model.host_copies()
    for name, mask in masks.items():
        tensors[MASK + name] = np.packbits(mask > 0.0)
    write_tensors(path, "a model file", tensors, metadata)


@suggests_arguments
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
    require_unchanged(where, header, tensors, _METADATA)
    with as_written(where, "a description of the network as this version writes it", "save the model again"):
        stored_dtype = header["dtype"]
        if stored_dtype not in ("float32", "float64"):
            raise ValueError(f"dtype {stored_dtype!r}")
        parts = {name: json.loads(header[name]) for name in ("layers", "head", "preprocessing", "notes")}
        for name, kinds in _KINDS.items():
            if not isinstance(parts[name], kinds):
                raise TypeError(f"{name} is of type {type(parts[name]).__name__}")
        model = built(parts["layers"], parts["head"])
        model.head_is_given = False  # a loss that it is trained on next sets its own
        model.feature_names = feature_names_of(json.loads(header.get("feature_names", "null")))
        model.target_ndim = target_ndim_of(json.loads(header.get("target_ndim", "null")))
    packed = {name.removeprefix(MASK): tensors.pop(name) for name in list(tensors) if name.startswith(MASK)}
    _require_tensors(where, model, tensors, stored_dtype)
    masks = _masks(where, model, packed)
    model.place(chosen, dtype or stored_dtype)
    model.load_parameters(tensors)
    model.load_masks(masks)
    return model, ModelMetadata(parts["preprocessing"], parts["notes"], header.get("library", ""), stored_dtype)


def feature_names_of(stored: Any) -> tuple[str, ...] | None:
    """`Sequential.feature_names` as they were stored, None in files of versions without them; ValueError for anything else."""
    if stored is None:
        return None
    if not isinstance(stored, list) or not stored or not all(isinstance(name, str) for name in stored):
        raise ValueError(f"feature_names {stored!r:.60}")
    return tuple(stored)


def target_ndim_of(stored: Any) -> int | None:
    """`Sequential.target_ndim` as it was stored, None in files of versions without it; ValueError for anything else."""
    if stored is not None and (type(stored) is not int or stored not in (1, 2)):
        raise ValueError(f"target_ndim {stored!r}")
    ndim: int | None = stored
    return ndim


def _require_version(path: Path, header: Mapping[str, str]) -> None:
    if header.get("format") != FORMAT:
        found = repr(header["format"]) if "format" in header else "a safetensors file of another program"
        raise ModelFileError(
            f"{path}: expected format {FORMAT!r}; found {found}; give a file that fs.save or fusedstep train wrote, or "
            "read the weights of a network of PyTorch by fs.load_state_dict(model, path)"
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
        size = declared[name].size if name in declared else 0
        if name not in declared or bits.dtype != np.uint8 or bits.shape != (-(-size // 8),):
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
