"""What the trainings of processes that train together must have in common: settings, and data."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from ...errors import HyperparameterError
from ..engine.agreement import require_agreement
from ..sources.feeds import Feed, ResidentFeed
from ..sources.fingerprint import fingerprint
from .checkpoint_state import settings_of

Trainer = Any
"""A Trainer, which imports this module."""


def require_same_training(
    trainer: Trainer, feed: Feed, held_out: Feed | None, length: Mapping[str, Any], batch_size: int
) -> None:
    """Compares settings and data among all processes; data in memory as a whole, other data by their fingerprint.

    Args: feed, held_out – training and validation data; length – epochs and steps; batch_size – rows of a minibatch.
    Raises: ProcessesDiffer in all of them; HyperparameterError for minibatches with fewer rows than processes.
    """
    together = trainer.step.communicator
    settings = settings_of(trainer, batch_size)
    del settings["callbacks with a state"]  # rank 0 has some that the others do not have
    settings["steps_per_launch"] = trainer.steps_per_launch
    require_agreement(together, "training", _flat({**length, "settings": settings}))
    data = {"training data": _data(feed), **({} if held_out is None else {"validation data": _data(held_out)})}
    require_agreement(together, "data", _flat(data))
    if batch_size < together.size:
        raise HyperparameterError(
            f"expected minibatches of at least one row for each of the {together.size} processes; got batch_size={batch_size}; "
            "start fewer processes, or give a larger batch_size"
        )


def _data(feed: Feed) -> dict[str, Any]:
    found = fingerprint(feed)
    if isinstance(feed, ResidentFeed) and feed.on_host:
        found["bytes"] = [zlib.crc32(memoryview(array).cast("B")) for array in feed.data[:2] if array.flags.c_contiguous]
    return found


def _flat(values: Any, name: str = "") -> dict[str, Any]:
    """Nested plain values by their path, such as "settings.optimizer.lr"."""
    if isinstance(values, Mapping):
        parts = [(f"{name}.{key}" if name else str(key), value) for key, value in values.items()]
    elif isinstance(values, list | tuple):
        parts = [(f"{name}[{k}]", value) for k, value in enumerate(values)]
    else:
        return {name: values}
    return {path: value for part, inner in parts for path, value in _flat(inner, part).items()}
