"""Whole steps on a GPU beside other libraries and beside the products alone; and the processor beside the GPU."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ...backends import backend as find_backend
from ...backends.threads import num_threads
from .. import gemms
from ..agreement import reference
from ..contenders.base import Contender
from ..contenders.ours import Ours
from ..networks import Network
from ..problem import Problem
from ..results import Case, LeftOut, Timing
from ..steps import memory, prepare_checked
from ..timing import Pace, Prepared, interleave
from .allowance import Allowance
from .floor import floors
from .place import Place
from .plan import CPU, PRECISIONS, Plan, Steps, learning_rate

Tell = Callable[[str], None]

SLOWLY = 1e12
"""Operations of a step from which on ours is not timed in float32 in place of a precision that the backend does not have."""

KEPT = 0.35
"""The share of a part's time that is kept for measuring: nobody is got ready any more when less is left."""


def steps_beside_peers(wanted: Steps, place: Place, plan: Plan, tell: Tell, allowance: Allowance) -> Case:
    """One network in one precision: ours, all peers, and the floor."""
    problem = problem_of(wanted.network, wanted.precision, plan)
    takes_part: list[tuple[Contender, Problem]] = [(Ours(place.backend, place.ours), problem)]
    if precision_here(wanted.precision, place) != wanted.precision and gemms.flop(problem.network) < SLOWLY:
        takes_part.append((Ours(place.backend, place.ours, ", float32"), replace(problem, precision="float32")))
    takes_part += [(peer, problem) for peer in place.peers]
    return _case(problem, takes_part, place, plan.pace, tell, allowance, with_floor=True)


def processor_beside_device(place: Place, plan: Plan, tell: Tell, allowance: Allowance) -> Case:
    """The same network by the `numba` backend on all cores in float32, and on the device in each precision that it has."""
    problem = problem_of(CPU, "float32", plan)
    takes_part: list[tuple[Contender, Problem]] = [(Ours(find_backend("numba")), problem)]
    for precision in PRECISIONS:
        contender = Ours(place.backend, place.ours, f", {precision}")
        takes_part.append((contender, replace(problem, precision=precision)))
    return _case(problem, takes_part, place, plan.processor_pace, tell, allowance, with_floor=False)


def precision_here(wanted: str, place: Place) -> str:
    """The precision itself where our backend has it, else float32."""
    return wanted if wanted in place.backend.precisions else "float32"


def problem_of(network: Network, precision: str, plan: Plan) -> Problem:
    """What is trained: the plain variant, at a learning rate that suits the width."""
    small = plan.network(network)
    return Problem(small, "plain", precision, num_threads(), learning_rate=learning_rate(small))


def _case(
    problem: Problem, takes_part: list[tuple[Contender, Problem]], place: Place, pace: Pace, tell: Tell,
    allowance: Allowance, with_floor: bool,
) -> Case:  # fmt: skip
    network = problem.network
    case = Case(
        str(network), problem.variant, problem.precision, problem.threads, gemms.flop(network), network.parameters,
        device="cuda",
    )  # fmt: skip
    with warnings.catch_warnings():
        # What other libraries warn of while they load and compile is not about this measurement.
        warnings.simplefilter("ignore")
        tell("the losses that all should have")
        wanted = _common(problem, place)
        beside = floors(problem, place) if with_floor else {}
        ready: dict[str, Prepared] = {}
        for contender, own in takes_part:
            if contender.kind == "peer" and allowance.below(KEPT):
                case.left_out.append(
                    LeftOut(contender.name, "cut: the time of this part was over", "run it again with --resume", case.network)
                )
                continue
            tell(f"{contender.name}: getting ready")
            own.__dict__.update(start=problem.start, minibatches=problem.minibatches)
            prepared = prepare_checked(contender, own, wanted, case, forgiving=True)
            if prepared is not None:
                ready[contender.name] = prepared
        turns = interleave({**ready, **beside}, pace._replace(most=0.9 * allowance.left), tell)
    for timing in case.timings:
        timing.calls, timing.seconds = turns[timing.name]
        timing.memory = memory(ready[timing.name], network.batch)
    case.timings += [Timing(name, "floor", *turns[name], device=place.device) for name in beside]
    return case


def _common(problem: Problem, place: Place) -> list[float]:
    """The losses that all should have; the numbers of the last network are kept, so that a second precision finds them."""
    numbers, losses = place.drawn.pop(problem.network, ({}, []))
    place.drawn.clear()
    problem.__dict__.update(numbers)
    if not losses:
        # In float64, which takes a large network too long anywhere but on the device.
        losses = reference(problem, np if place.dry else place.backend.xp)
        place.tidy()
    place.drawn[problem.network] = ({"start": problem.start, "minibatches": problem.minibatches}, losses)
    return losses
