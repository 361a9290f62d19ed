"""What processes that train together must have in common, and the errors that name who differs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from ...backends.communicators import Communicator
from ...errors import NonFiniteLossError, ProcessesDiffer
from ...kernels.targets.blas import blas
from ...kernels.targets.gemm_choices import blas_choices, set_blas_choices
from .diagnosis import BACKWARD

Result = TypeVar("Result")
Step = Any
"""A TrainStep, which imports this module."""


def require_agreement(communicator: Communicator, what: str, values: Mapping[str, Any]) -> None:
    """Compares values among all processes, which all call this; texts of up to some hundred characters, or numbers.

    Raises: ProcessesDiffer in every process, which names the first difference, a process that has it, and what rank 0 has.
    """
    everywhere = communicator.gather(dict(values))
    first = everywhere[0]
    for rank, found in enumerate(everywhere):
        for name in {**first, **found}:
            if found.get(name) != first.get(name):
                raise ProcessesDiffer(
                    f"expected the same {what} in all {communicator.size} processes; {name} is {found.get(name)!r} for "
                    f"{communicator.place(rank)}, and {first.get(name)!r} for {communicator.place(0)}; start all of them with "
                    "the same program, version, options and files"
                )


def require_same_step(step: Step) -> None:
    """Raises ProcessesDiffer unless all processes made the same step: version, backend, settings, and initial parameters.

    Products for which rank 0 has chosen a BLAS library take it everywhere; those of a deterministic step have one by a rule.
    """
    from ... import __version__

    chosen = step.communicator.broadcast(blas_choices())
    if chosen != blas_choices():
        set_blas_choices(chosen)
    to_host = step.backend.to_numpy
    require_agreement(step.communicator, "step", {
        "the version of fusedstep": __version__,
        "the backend": step.backend.name,
        "precision": step.precision.name,
        "deterministic": step.deterministic,
        "the BLAS library": blas().name if step.deterministic and step.backend.name == "numba" else "",
        "on_nonfinite": step.on_nonfinite,
        "seed": step.seed,
        "the model": repr(step.model),
        "the loss": repr(step.loss),
        "the optimizer": repr(step.optimizer),
        "the digest of the parameters": digest(to_host(step.model.arena.values)),
    })  # fmt: skip


def digest(array: Any) -> str:
    """A hash of the bytes of an array of the host."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def joint_failure(communicator: Communicator, own: NonFiniteLossError) -> NonFiniteLossError:
    """The error that all processes raise for a step that failed in all: that of the first one whose rows tell the place."""
    found = communicator.gather((own.layer, str(own)))
    ranks = sorted(range(len(found)), key=lambda rank: (found[rank][0] in ("", BACKWARD), found[rank][0] == "", rank))
    layer, text = found[ranks[0]]
    return NonFiniteLossError(f"{text} (found by {communicator.place(ranks[0])})", own.step, layer, own.what)


def of_first(communicator: Communicator, work: Callable[[], Result]) -> Result:
    """What `work()` returned, or raised, in rank 0, which alone calls it, in all processes."""
    result: tuple[Any, BaseException | None] = (None, None)
    if communicator.first:
        try:
            result = work(), None
        except Exception as error:  # which all have to raise, or the others would wait
            result = None, error
    found, failure = communicator.broadcast(result)
    if failure is not None:
        raise failure
    return found  # type: ignore[no-any-return]
