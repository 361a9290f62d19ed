"""The copy rate: speed of copying an array that does not fit into any cache, on one thread and on all."""

from __future__ import annotations

from typing import Any

import numpy as np

from .team import cuts, team
from .timing import Prepared

COPY_ELEMENTS = 64 * 2**20
"""float32: 256 MiB read and 256 MiB written, each counted once."""


def copies(threads: int, elements: int = COPY_ELEMENTS) -> dict[str, Prepared]:
    """`numpy.copyto` of one large array to another, by one thread and, where there are more, split over all."""
    source = np.random.default_rng(0).standard_normal(elements, np.float32)
    target = np.zeros_like(source)
    made = {"copy, 1 thread": Prepared(lambda: np.copyto(target, source))}
    if threads > 1:
        parts = [slice(low, high) for low, high in cuts(source.size, threads)]
        pool = team(threads)

        def work(number: int) -> None:
            np.copyto(target[parts[number]], source[parts[number]])

        made[f"copy, {threads} threads"] = Prepared(lambda: pool.run(work))
    return made


def device_copy(backend: Any, elements: int = COPY_ELEMENTS) -> Prepared:
    """A backend's own copy of one large array to another, on its device."""
    source = backend.asarray(np.random.default_rng(0).standard_normal(elements, np.float32))
    target = backend.zeros((elements,))

    def finish(handle: object) -> None:
        del handle
        backend.synchronize()

    return Prepared(lambda: backend.copy(source, target), finish)
