"""What a checkpoint contains: the state of a Trainer and of everything in it, as plain values and NumPy arrays.

Random numbers depend on seed, step and row, so there is no state of a generator. Files are in checkpoint_files.py.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import math
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...backends.threads import num_threads
from ...errors import CheckpointError, FusedstepError
from ...kernels.targets.gemm_choices import blas_choices, set_blas_choices
from ..engine.frozen import OURS
from ..engine.step import TrainStep
from ..layers import Layer
from ..layers.sequence import Sequence as Layers
from .callbacks import Callback
from .checkpoint_files import Contents, differences, packed
from .history import History
from .schedules import Schedule

Trainer = Any
"""A Trainer, which imports this module."""

_MASK_BITS = "mask"

_logger = logging.getLogger("fusedstep.checkpoint")


# Settings: what must be the same when training is resumed


def settings_of(trainer: Trainer, batch_size: int) -> dict[str, Any]:
    """All settings that the numbers of a training depend on, as plain values; not backend, threads and number of epochs."""
    step: TrainStep = trainer.step
    schedules = trainer.schedule_runner
    return {
        "model": {
            "layers": [_plain(layer) for layer in step.model.layers],
            "parameters": {name: list(parameter.shape) for name, parameter in step.model.declared()},
        },
        "loss": _plain(step.loss),
        "optimizer": _plain(step.optimizer),
        "step": {
            "seed": step.seed,
            "precision": step.precision.name,
            "deterministic": step.deterministic,
            "micro_batch": step.micro.setting,
            "on_nonfinite": getattr(step, "on_nonfinite", None),
            **({} if step.average is None else {"average": _plain(step.average)}),
        },
        "batch_size": batch_size,
        "shuffle": trainer.shuffle,
        "schedule": _plain(schedules.schedule),
        "momentum": _plain(schedules.momentum),
        "augment": [_plain(augmentation) for augmentation, _ in trainer.augment.chain],
        "evaluate_training": trainer.evaluate_training,
        **({"metrics": list(trainer.metrics)} if trainer.metrics else {}),
        "callbacks with a state": [type(callback).__name__ for callback in _with_state(trainer.callbacks)],
    }


def _plain(value: Any) -> Any:
    """Settings as values for JSON; an object becomes its class with its attributes."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        try:
            host = np.asarray(value)
        except (TypeError, ValueError):  # an array of a device
            return "array"
        return _plain(host.tolist()) if host.size <= 64 else hashlib.sha256(host.tobytes()).hexdigest()
    name = type(value).__name__
    if isinstance(value, Layers):
        return {"class": name, "layers": [_plain(layer) for layer in value.layers]}
    if isinstance(value, Layer):
        return {"class": name, **_plain(value.settings)}
    if isinstance(value, Schedule):
        return {"class": name, **_plain({k: v for k, v in value.settings.items() if k not in value.remembered})}
    if hasattr(value, "__qualname__"):
        return value.__qualname__
    own = {k: v for k, v in getattr(value, "__dict__", {}).items() if not k.startswith("_")}
    return {"class": name, **_plain(own)}


def require_same(contents: Contents, settings: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Raises CheckpointError, which lists the differences, unless settings and data are those of the checkpoint."""
    for name, now, advice in (
        ("settings", settings, "use those of the checkpoint, or start a training in another folder"),
        ("data", data, "pass the same rows, or start a training in another folder"),
    ):
        arrays: dict[str, Any] = {}
        before = packed(contents.state[name], arrays)
        found = list(differences(before, packed(now, arrays)))
        if found:
            more = f", and {len(found) - 3} more" if len(found) > 3 else ""
            raise CheckpointError(
                f"{contents.path}: expected the {name} of the training that wrote the checkpoint; other: "
                f"{'; '.join(found[:3])}{more}; {advice}"
            )


# Progress


def state_of(
    trainer: Trainer, first: tuple[int, int], epoch: Mapping[str, Any], stopped: str, buffers: dict[str, Any]
) -> dict[str, Any]:
    """The progress of a training between two steps, in copies that later steps do not change.

    Args: first – epochs and steps of the trainer before this fit; epoch – the position within an epoch that has begun;
        stopped – why training has ended, or ""; buffers – arrays of the last call, whose memory is used again.
    """
    return {
        "first": list(first),
        "trainer": copy.deepcopy(trainer.state()),
        "epoch": dict(epoch),
        "stopped": stopped,
        "rows": list(trainer.history.rows),
        "steps_per_epoch": trainer.history.steps_per_epoch,
        "step": _state_of_step(trainer.step, buffers),
        "callbacks": copy.deepcopy([callback.state() for callback in _with_state(trainer.callbacks)]),
        "blas": blas_choices(),
        "backend": trainer.step.backend.name,
        "threads": num_threads(),
    }


def _state_of_step(step: TrainStep, buffers: dict[str, Any]) -> dict[str, Any]:
    state, arena, backend = step.state, step.model.arena, step.backend

    def copied(name: str, values: Any) -> Any:
        if backend.on_host and name in buffers:
            np.copyto(buffers[name], values)
        else:
            buffers[name] = backend.to_numpy(values)
        return buffers[name]

    with arena.trained():
        parameters = copied("parameters", arena.values)
        states = {name: copied(f"optimizer {name}", values) for name, values in state.states.items()}
    return {
        "parameters": parameters,
        "optimizer": states,
        _MASK_BITS: None if arena.mask is None else np.packbits(backend.to_numpy(arena.mask) > 0.0),
        "steps": state.t,
        "lr": state.lr,
        "momentum": state.momentum,
        "loss_scale": None if state.loss_scale is None else list(state.loss_scale.numbers),
        "largest_micro_batch": step.micro.largest,
        "skipped": getattr(step, "skipped", None),
    }


def restore(trainer: Trainer, state: Mapping[str, Any], losses: array[float]) -> list[float]:
    """Puts a trainer, its step and its history where the training was; callbacks follow in `restore_callbacks`.

    Returns: the losses of the epoch that has begun.
    Raises: before anything is changed, KeyError, TypeError or ValueError for a state that nothing here has written.
    """
    _require_whole(state, len(losses))
    for name in ("schedule", "momentum"):
        if type(getattr(trainer.schedule_runner, name)).__module__.startswith(OURS):
            _require_numbers(state["trainer"][name])
    _require_fitting(trainer.step, state["step"])
    _restore_blas(trainer.step, state)
    _restore_step(trainer.step, state["step"])
    trainer.restore(state["trainer"])
    done = len(losses) - int(state["epoch"]["steps"])
    history = trainer.history = History(state["steps_per_epoch"])
    history.rows = list(state["rows"])
    history.step_losses = losses[:done]
    return list(losses[done:])


def _restore_step(step: TrainStep, saved: Mapping[str, Any]) -> None:
    state, arena, backend = step.state, step.model.arena, step.backend
    with arena.between_steps():
        arena.show_trained()
        backend.copy(saved["parameters"], arena.values)
        for name, values in saved["optimizer"].items():
            backend.copy(values, state.states[name])
        bits = saved[_MASK_BITS]
        if bits is not None:
            flat = backend.asarray(np.unpackbits(bits, count=arena.size).astype(arena.dtype))
            arena.prune(arena.views_of(flat))
        elif arena.mask is not None:
            raise CheckpointError(
                "expected the model of the checkpoint, of which no weights were pruned; some of this one were; make a new one"
            )
        state.t, state.lr, state.momentum = saved["steps"], saved["lr"], saved["momentum"]
        if state.loss_scale is not None:
            state.loss_scale.numbers = tuple(saved["loss_scale"])
        step.micro.largest = saved["largest_micro_batch"]
        if saved["skipped"] is not None and "_skipped" in vars(step):
            vars(step)["_skipped"] += saved["skipped"] - getattr(step, "skipped", 0)


def _require_whole(state: Mapping[str, Any], losses: int) -> None:
    """Checks that numbers are of their types and agree with each other."""
    first, trainer, epoch = state["first"], state["trainer"], state["epoch"]
    counts = (*first, trainer["epochs_done"], trainer["steps_done"], epoch["steps"], state["steps_per_epoch"], state["threads"])
    if len(first) != 2 or not all(isinstance(count, int) and count >= 0 for count in counts):
        raise TypeError("counts of epochs and steps")
    epochs, steps = trainer["epochs_done"] - first[0], trainer["steps_done"] - first[1]
    if not (epochs == len(state["rows"]) and steps == losses >= epoch["steps"]) or state["steps_per_epoch"] == 0:
        raise ValueError("counts of epochs and steps that do not agree")
    columns = list(state["rows"][0]) if state["rows"] else []
    for row in state["rows"]:
        if list(row) != columns or not all(isinstance(value, float) for value in row.values()):
            raise TypeError("rows of the history")
    texts, seconds = (state["stopped"], state["backend"], *state["blas"].keys(), *state["blas"].values()), epoch["seconds"]
    if not (all(isinstance(text, str) for text in texts) and isinstance(seconds, float | int)):
        raise TypeError("text or seconds")


def _require_numbers(values: Mapping[str, Any]) -> None:
    """Checks the state of a schedule."""
    for name, value in values.items():
        if isinstance(value, Mapping) and name == "then":
            _require_numbers(value)
        elif not (value is None or isinstance(value, float | int)):
            raise TypeError(f"{name} of a schedule")


def _require_fitting(step: TrainStep, saved: Mapping[str, Any]) -> None:
    """Checks that arrays and numbers are those of such a step."""
    state, backend = step.state, step.backend
    pairs = [("parameters", saved["parameters"], step.model.arena.values)]
    if set(saved["optimizer"]) != set(state.states):
        raise ValueError(f"optimiser states {', '.join(saved['optimizer'])}")
    pairs += [(name, saved["optimizer"][name], own) for name, own in state.states.items()]
    for name, values, own in pairs:
        if (values.shape, str(values.dtype)) != (tuple(own.shape), backend.dtype_name(own)):
            raise ValueError(f"{name} of shape {list(values.shape)} in {values.dtype}")
    bits, scale = saved[_MASK_BITS], saved["loss_scale"]
    if bits is not None and (bits.dtype != np.uint8 or bits.shape != (-(-step.model.arena.size // 8),)):
        raise ValueError("the mask of pruned weights")
    whole = (saved["steps"], *(n for n in (saved["largest_micro_batch"], saved["skipped"]) if n is not None))
    if not all(isinstance(number, int) and number >= 0 for number in whole):
        raise TypeError("number of steps, or of rows of a micro-batch")
    real = (saved["lr"], 0.0 if saved["momentum"] is None else saved["momentum"], *([] if scale is None else scale))
    if not all(isinstance(number, float | int) and 0.0 <= number < math.inf for number in real):
        raise ValueError("learning rate, momentum or loss scale")
    if (scale is None) != (state.loss_scale is None) or (scale is not None and len(scale) != 2):
        raise ValueError("the loss scale")


def _restore_blas(step: TrainStep, state: Mapping[str, Any]) -> None:
    """Products are computed by the same libraries as before; warns where other bits must be expected."""
    if step.backend.name != "numba" or step.deterministic:
        return
    try:
        if state["blas"]:
            set_blas_choices({**blas_choices(), **state["blas"]})
    except FusedstepError as error:
        _logger.warning("resumed with other BLAS libraries than before, so last bits may differ: %s", error)
    if state["backend"] == "numba" and state["threads"] != num_threads():
        _logger.warning(
            "resumed with %d threads after %d, so last bits may differ; deterministic=True makes them the same",
            num_threads(), state["threads"],
        )  # fmt: skip


def restore_callbacks(callbacks: Sequence[Callback], states: Sequence[Any]) -> None:
    """Passes their states to the callbacks that have one."""
    for callback, state in zip(_with_state(callbacks), states, strict=True):
        callback.restore(state)


def _with_state(callbacks: Sequence[Callback]) -> list[Callback]:
    """The callbacks that override `state`."""
    return [callback for callback in callbacks if type(callback).state is not Callback.state]
