"""Times one problem: all contenders that can do it, and the floors, in turn."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from .agreement import losses, objection, reference
from .contenders.base import Contender
from .floor import BLAS_FLOOR, ONE_FLOOR, ROWS_FLOOR, blas_floor, device_floor, one_floor, rows_floor, small
from .memory import predicted, taken
from .problem import Problem
from .results import Case, LeftOut, Timing
from .timing import Prepared, Sampling, interleave


def time_case(
    problem: Problem, contenders: Sequence[Contender], sampling: Sampling, progress: Callable[[str], None], sweep: str = ""
) -> Case:
    """Compares losses first, then takes times.

    Args: problem; contenders – that can run here; sampling; progress – receives status messages; sweep – name of the sweep, if
        any.
    Returns: a case with the contenders that agree, and the reasons why others were left out.
    """
    network = problem.network
    case = Case(
        str(network), problem.variant, problem.precision, problem.threads, problem.flop, network.parameters, sweep,
        workload=problem.workload, rows=problem.rows,
    )  # fmt: skip
    with warnings.catch_warnings():
        # Warnings of other libraries while they load and compile do not concern this measurement.
        warnings.simplefilter("ignore")
        progress("the reference losses")
        wanted = reference(problem)
        ready: dict[str, Prepared] = {}
        for contender in contenders:
            progress(f"{contender.name}: getting ready")
            prepared = prepare_checked(contender, problem, wanted, case)
            if prepared is not None:
                ready[contender.name] = prepared
        floors = _floors(problem, contenders)
        turns = interleave({**ready, **{name: prepared for name, _, prepared in floors}}, sampling, progress)
        measured = {c.name: taken(problem, c) for c in contenders if sweep and c.name in ready}
    for timing in case.timings:
        timing.calls, timing.seconds = turns[timing.name]
        timing.memory = predicted(ready[timing.name], network.batch)
        if timing.memory is not None and measured.get(timing.name) is not None:
            timing.memory["taken"] = measured[timing.name]
    case.timings += [Timing(name, "floor", *turns[name], device=device) for name, device, _ in floors]
    return case


def prepare_checked(
    contender: Contender, problem: Problem, wanted: list[float], case: Case, forgiving: bool = False
) -> Prepared | None:
    """The contender, prepared, with its timing added to the case; or None, with the reason added there.

    Args: contender; problem; wanted – the reference losses; case; forgiving – whether errors of fusedstep steps are recorded
        like those of others, so that the rest is still measured if a machine is available only for minutes.
    """
    refusal = contender.refuses(problem)
    if refusal is not None:
        case.left_out.append(LeftOut(contender.name, refusal.reason, refusal.remedy, case.network))
        return None
    try:
        certain = contender.prepare(problem.without_dropout())
        count = min(contender.compared, len(wanted))
        found = losses(certain, len(wanted))
        problems = objection(found[:count], wanted[:count], problem.precision)
        if problems is not None:
            case.left_out.append(LeftOut(contender.name, problems, "check what it computes differently", case.network))
            return None
        prepared = certain if problem.dropped == 0.0 else contender.prepare(problem)
    except Exception as error:
        if contender.kind == "ours" and not forgiving:
            raise
        case.left_out.append(LeftOut(contender.name, failed(error), "", case.network))
        return None
    case.timings.append(
        Timing(
            contender.name, contender.kind, 0, [], contender.device, contender.version(), found, steps=prepared.covers,
            ranks=contender.ranks,
        )
    )  # fmt: skip
    return prepared


def failed(error: BaseException) -> str:
    """The text of a report for a failed contender."""
    return f"failed with {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _floors(problem: Problem, contenders: Sequence[Contender]) -> list[tuple[str, str, Prepared]]:
    """(name, device, ready to be timed) of the products alone: on the processor in several ways, on a device by its backend.

    There are none for the start of a process and by ranks, and none on a device but for steps.
    """
    if not problem.products or problem.ranked:
        return []
    made = [(BLAS_FLOOR, "cpu", blas_floor(problem)), (ROWS_FLOOR, "cpu", rows_floor(problem))]
    if problem.workload != "step":
        return [*made, (ONE_FLOOR, "cpu", one_floor(problem))] if small(problem) else made
    for contender in contenders:
        if contender.device != "cpu" and contender.kind == "ours":
            backend: Any = contender.backend  # type: ignore[attr-defined]
            made.append((f"GEMMs ({contender.name})", contender.device, device_floor(problem, backend)))
    return made
