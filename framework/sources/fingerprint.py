"""A fingerprint of the data of a training: enough to notice that a resumed training was given others.

It depends on values only, so it is the same on every backend and whether rows are streamed or not.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from .feeds import Feed
from .row_source import RowSource

MOST = 64
"""Rows that are hashed."""


def fingerprint(feed: Feed) -> dict[str, Any]:
    """Number of rows, shapes and types of inputs and targets, a hash of fixed rows, and name and size of the file, if any.

    Weights, if there are some, are hashed whole. Rows are evenly spaced, or the first and last ones of a source that is read in
    blocks.
    """
    count, source = feed.rows, feed.source
    rows = np.unique(np.linspace(0, count - 1, MOST).astype(np.int64))
    if source is not None and source.edges is not None:
        rows = np.unique(np.concatenate([np.arange(min(count, MOST // 2)), np.arange(max(0, count - MOST // 2), count)]))
    found: dict[str, Any] = {"rows": count}
    for name, values in zip(("inputs", "targets"), feed.sample(rows), strict=True):
        found[name] = {"columns": list(values.shape[1:]), "type": str(values.dtype)}
        found[name]["hash"] = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]
    if feed.weights is not None:
        found["weights"] = {"hash": hashlib.sha256(feed.weights.raw.tobytes()).hexdigest()[:16]}
    file = None if source is None else _file_of(source)
    if file is not None:
        found["file"] = {"name": file.name, "size": file.stat().st_size}
    return found


def _file_of(source: RowSource) -> Path | None:
    """The file that rows are read from."""
    inner: Any = source
    while inner is not None:
        path = getattr(inner, "path", None) or getattr(getattr(inner, "array", None), "filename", None)
        if path is not None and Path(path).is_file():
            return Path(path)
        inner = getattr(inner, "source", None)
    return None
