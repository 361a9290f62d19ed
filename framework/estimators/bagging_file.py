"""How one safetensors file holds an ensemble: "<member>/<parameter>" for the weights, "<member>/columns" for what it sees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ...backends import Backend
from ...errors import ModelFileError
from ..export.persistence import PathLike, as_json, as_written, built, described, read_tensors, write_tensors
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
        model = member.model
        tensors.update({f"{k}/{name}": model.backend.to_numpy(values) for name, values in model.parameters().items()})
        if member.features is not None:
            tensors[f"{k}/{COLUMNS}"] = np.asarray(member.features, np.int64)
    description = {
        "layers": [described(member.model) for member in members],
        "loss": [kind, bagging.loss.reduction],
        "combine": bagging.combine,
        "precision": bagging.precision,
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
    with as_written(where, "an ensemble as this version writes it", "save it again"):
        description = json.loads(header["description"])
        kind, reduction = description["loss"]
        models = [built(layers, None) for layers in description["layers"]]
        loss = LOSSES[kind](reduction=reduction)
        bagging = cls(models, loss, len(models), combine=description["combine"], backend=backend,
                      precision=description["precision"])  # fmt: skip
        for k, model in enumerate(models):
            mine = {name.split("/", 1)[1]: values for name, values in tensors.items() if name.split("/", 1)[0] == str(k)}
            columns = mine.pop(COLUMNS, None)
            model.head = loss.head
            model.place(backend, bagging.precision)
            model.load_parameters(mine)
            bagging.members.append(Member(model, columns))
    return bagging
