"""Whole steps on a GPU, compared with other libraries and with the products alone; and the CPU compared with the GPU."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ...backends import backend as find_backend
from ...backends.threads import num_threads
from .. import gemms
from ..agreement import reference
from ..cases import failed, prepare_checked
from ..contenders.base import Contender
from ..contenders.ours import Ours
from ..memory import predicted
from ..networks import Network
from ..problem import Problem
from ..results import Case, LeftOut, Timing
from ..timing import Prepared, Sampling, interleave
from .allowance import Allowance, OutOfTime, deadline
from .floor import floors
from .place import Place
from .plan import CPU, PRECISIONS, DevicePlan, Steps, learning_rate

Progress = Callable[[str], None]

SLOWLY = 1e12
"""Operations of a step from which on ours is not timed in float32 in place of a precision that the backend does not have."""

RESERVED = 0.35
"""The share of a part's time that is kept for measuring: nobody is got ready any more when less is left."""

LATE, AGAIN = "cut short: the time of this part was over", "run it again with --resume"
DRAWN = ("start", "minibatches", "data", "indices")
"""What all problems of a part have in common, drawn once."""


SINGLE = ", single steps"
"""Suffix of the name of fusedstep if each step is a separate launch."""


def steps_beside_peers(wanted: Steps, place: Place, plan: DevicePlan, progress: Progress, allowance: Allowance) -> Case:
    """One network in one precision: ours, all peers, and the floor; of short steps also those that go one by one."""
    problem = problem_of(wanted.network, wanted.precision, plan)
    short = plan.short(wanted.network)
    takes_part: list[tuple[Contender, Problem]] = []
    labels = {"": problem}
    if precision_here(wanted.precision, place) != wanted.precision and gemms.flop(problem.network) < SLOWLY:
        labels[", float32"] = replace(problem, precision="float32")
    for label, own in labels.items():
        takes_part.append((Ours(place.backend, place.ours, label), own))
        if short:
            takes_part.append((Ours(place.backend, place.ours, label + SINGLE), replace(own, launch=1)))
    takes_part += [(peer, problem) for peer in place.peers if short or not peer.several]
    case = _case(problem, takes_part, place, plan.sampling, progress, allowance, with_floor=True)
    case.left_out += [
        LeftOut(peer.name, "a step takes so long that launch overhead is negligible", "", case.network)
        for peer in place.peers if peer.several and not short
    ]  # fmt: skip
    return case


def processor_beside_device(place: Place, plan: DevicePlan, progress: Progress, allowance: Allowance) -> Case:
    """The same network by the `numba` backend on all cores in float32, and on the device in each precision that it has."""
    problem = problem_of(CPU, "float32", plan)
    takes_part: list[tuple[Contender, Problem]] = [(Ours(find_backend("numba")), problem)]
    for precision in PRECISIONS:
        contender = Ours(place.backend, place.ours, f", {precision}")
        takes_part.append((contender, replace(problem, precision=precision)))
    return _case(problem, takes_part, place, plan.processor_sampling, progress, allowance, with_floor=False)


def precision_here(wanted: str, place: Place) -> str:
    """The precision itself where our backend has it, else float32."""
    return wanted if wanted in place.backend.precisions else "float32"


def problem_of(network: Network, precision: str, plan: DevicePlan) -> Problem:
    """What is trained: the plain variant, at a learning rate that suits the width, on data that lie where the steps run."""
    small = plan.network(network)
    return Problem(
        small, "plain", precision, num_threads(), learning_rate=learning_rate(small), launch=plan.launch(network)
    )


def _case(
    problem: Problem, takes_part: list[tuple[Contender, Problem]], place: Place, sampling: Sampling, progress: Progress,
    allowance: Allowance, with_floor: bool,
) -> Case:  # fmt: skip
    network = problem.network
    case = Case(
        str(network), problem.variant, problem.precision, problem.threads, gemms.flop(network), network.parameters,
        device="cuda",
    )  # fmt: skip
    with warnings.catch_warnings():
        # Warnings of other libraries while they load and compile do not concern this measurement.
        warnings.simplefilter("ignore")
        progress("the reference losses")
        wanted = _common(problem, place)
        beside = floors(problem, place, case) if with_floor else {}
        ready: dict[str, Prepared] = {}
        alone: set[str] = set()
        for contender, own in takes_part:
            if contender.kind == "peer" and allowance.below(RESERVED):
                case.left_out.append(LeftOut(contender.name, LATE, AGAIN, case.network))
                continue
            if contender.kind == "ours" and own.launch == 1 and own.precision in alone:
                continue  # they would be the same steps, or be refused for the same reason
            progress(f"{contender.name}: getting ready")
            own.__dict__.update({name: getattr(problem, name) for name in DRAWN})
            prepared = None
            try:
                with deadline(allowance.until(RESERVED) if contender.kind == "peer" else math.inf):
                    prepared = prepare_checked(contender, own, wanted, case, forgiving=True)
            except OutOfTime as error:
                case.left_out.append(LeftOut(contender.name, failed(error), "", case.network))
            # What getting ready took only meanwhile, nobody else could have: each library keeps its own.
            place.release(search=prepared is None)
            if prepared is not None:
                ready[contender.name] = prepared
            reason = one_by_one(contender, own, prepared)
            if reason is not None:
                alone.add(own.precision)
            if reason:
                what = f"{own.launch} steps a launch" if own.launch > 1 else "a step in one launch"
                case.left_out.append(LeftOut(f"{contender.name}, {what}", f"not taken: {reason}", "", case.network))
        lost: dict[str, Exception] = {}
        turns = interleave({**ready, **beside}, sampling._replace(most=0.9 * allowance.left), progress, lost)
    case.left_out += [LeftOut(name, failed(error), "", case.network) for name, error in lost.items()]
    case.timings = [timing for timing in case.timings if timing.name in turns]
    for timing in case.timings:
        timing.calls, timing.seconds = turns[timing.name]
        timing.memory = predicted(ready[timing.name], network.batch)
    case.timings += [Timing(name, "floor", *turns[name], device=place.device) for name in beside if name in turns]
    return case


def one_by_one(contender: Contender, problem: Problem, prepared: Prepared | None) -> str | None:
    """Why steps of ours on a device are not the launches that were asked for; None where they are, and for all others.

    Returns: "" where the contender does not take part, and has said why.
    """
    if contender.kind != "ours" or contender.device == "cpu":
        return None
    if prepared is None:
        return "" if contender.refuses(problem) else None
    return prepared.notes["refusal"] or getattr(prepared.notes["step"].executor, "refusal", "") or None


def _common(problem: Problem, place: Place) -> list[float]:
    """The losses that all should have; the numbers of the last network are kept, so that a second precision finds them."""
    numbers, losses = place.drawn.pop(problem.network, ({}, []))
    place.drawn.clear()
    problem.__dict__.update(numbers)
    if not losses:
        # In float64, which takes a large network too long anywhere but on the device.
        losses = reference(problem, np if place.dry else place.backend.xp)
        place.tidy()
    place.drawn[problem.network] = ({name: getattr(problem, name) for name in DRAWN}, losses)
    return losses
