"""How one safetensors file holds an ensemble: "<member>/<parameter>" for the weights, "<member>/columns" for what it sees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...backends import Backend
from ...errors import ModelFileError
from ..engine.model import Sequential
from ..engine.precision import PRECISIONS
from ..export.description import built, described
from ..export.output_paths import PathLike
from ..export.persistence import feature_names_of, target_ndim_of
from ..export.tensor_file import as_json, as_written, read_tensors, require_unchanged, write_tensors
from ..losses import LOSSES
from .member import Member

FORMAT = "fusedstep.bagging"
VERSION = "1"
COLUMNS = "columns"


def save_bagging(bagging: Any, members: list[Member], path: PathLike, notes: dict[str, Any]) -> None:
    """See Bagging.save."""
    kind = type(bagging.loss).__name__
    if LOSSES.get(kind) is not type(bagging.loss):
        raise ModelFileError(f"expected one of the losses {', '.join(LOSSES)} in an ensemble file; got {bagging.loss!r}")
    tensors = {}
    for k, member in enumerate(members):
        tensors.update({f"{k}/{name}": values for name, values in member.model.host_copies()[0].items()})
        if member.features is not None:
            tensors[f"{k}/{COLUMNS}"] = np.asarray(member.features, np.int64)
    others = {name: value for name, value in bagging.loss.settings.items() if name != "reduction"}
    description = {
        "layers": [described(member.model) for member in members],
        "loss": [kind, bagging.loss.reduction, *([others] if others else [])],
        "combine": bagging.combine,
        "precision": bagging.precision,
        "feature_names": bagging.feature_names,
        "target_ndim": members[0].model.target_ndim,
    }
    metadata = {
        "format": FORMAT, "version": VERSION, "description": as_json(description, "description"),
        "notes": as_json(notes, "notes"),
    }  # fmt: skip
    write_tensors(path, "an ensemble file", tensors, metadata)


def load_bagging(cls: Any, path: PathLike, backend: Backend) -> Any:
    """See Bagging.load."""
    where = Path(path)
    header, tensors = read_tensors(where)
    if (header.get("format"), header.get("version")) != (FORMAT, VERSION):
        raise ModelFileError(
            f"{where}: expected a file of format {FORMAT!r}, version {VERSION}; found {header.get('format')!r}, version "
            f"{header.get('version')!r}; give a file that Bagging.save wrote (fs.load reads single models)"
        )
    require_unchanged(where, header, tensors, ("format", "version", "description", "notes"))
    with as_written(where, "an ensemble as this version writes it", "save it again"):
        description = json.loads(header["description"])
        kind, reduction, *others = description["loss"]
        ndim = target_ndim_of(description.get("target_ndim"))
        models = [built(layers, None) for layers in description["layers"]]
        settings = others[0] if others else {}
        if isinstance(settings.get("class_weights"), dict):  # JSON has no numbers as keys
            settings["class_weights"] = {int(label): weight for label, weight in settings["class_weights"].items()}
        loss = LOSSES[kind](reduction=reduction, **settings)
        precision = PRECISIONS[description["precision"]]
        own = precision.name if precision.name in backend.precisions else precision.master
        bagging = cls(models, loss, len(models), combine=description["combine"], backend=backend, precision=own)
        bagging.feature_names = feature_names_of(description.get("feature_names"))
        dtype = np.dtype(precision.master)
        parts = _by_member(tensors, len(models))
        columns = [part.pop(COLUMNS, None) for part in parts]
        _require_same_rows(models, columns)
        for model, part, chosen in zip(models, parts, columns, strict=True):
            if any(values.dtype != dtype for values in part.values()):
                raise TypeError(f"expected weights of type {dtype}")
            _require_shapes(model, part)
            model.head, model.target_ndim = loss.head, ndim
            model.place(backend, precision.master)
            model.load_parameters(part)
            bagging.members.append(Member(model, chosen))
    return bagging


def _by_member(tensors: dict[str, NDArray[Any]], members: int) -> list[dict[str, NDArray[Any]]]:
    """The tensors of each member by their own names; KeyError for those of no member."""
    parts: dict[str, dict[str, NDArray[Any]]] = {str(k): {} for k in range(members)}
    for name, values in tensors.items():
        member, _, own = name.partition("/")
        parts[member][own] = values
    return list(parts.values())


def _require_shapes(model: Sequential, part: dict[str, NDArray[Any]]) -> None:
    """Raises ValueError unless these are the parameters of a model; to be called before it is given memory."""
    declared = {name: parameter.shape for name, parameter in model.declared()}
    if declared != {name: values.shape for name, values in part.items()}:
        raise ValueError("expected the parameters of the layers in their shapes")


def _require_same_rows(models: list[Sequential], columns: list[NDArray[Any] | None]) -> None:
    """Raises ValueError unless all members can be asked about the rows of one matrix, and give as many outputs."""
    if len({model.outputs for model in models}) != 1 or None in {model.inputs for model in models}:
        raise ValueError("expected members with the same number of outputs, and a known number of inputs")
    whole = {int(model.inputs or 0) for model, chosen in zip(models, columns, strict=True) if chosen is None}
    if len(whole) > 1:
        raise ValueError("expected members that see all columns to take equally many")
    for model, chosen in zip(models, columns, strict=True):
        if chosen is None:
            continue
        if chosen.dtype != np.int64 or chosen.shape != (model.inputs,):
            raise ValueError(f"expected {model.inputs} column numbers; found {chosen.dtype} {chosen.shape}")
        if chosen[0] < 0 or bool((np.diff(chosen) <= 0).any()) or (whole and chosen[-1] >= min(whole)):
            raise ValueError("expected ascending numbers of columns that exist")
