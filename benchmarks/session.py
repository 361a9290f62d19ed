"""A complete run: determines backends and peers, and times one case after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from ..backends.threads import num_threads
from ..errors import DtypeError, HyperparameterError
from ..kernels.targets.gemm_choices import blas_choices
from .contenders import PEERS, make_ours, make_peer, peer_names
from .contenders.base import Contender
from .contenders.ranks import contenders_by_ranks
from .networks import GRIDS, nearest, parse, require_grid
from .problem import VARIANTS, Problem
from .process_group import require_mpi
from .results import BenchReport, LeftOut
from .timing import Sampling, require_sampling
from .workloads import WORKLOADS
from .workloads import problem as problem_of

PRECISIONS = ("float32", "float64")


@dataclass
class BenchPlan:
    """The settings of a run; checked on creation.

    Args: networks – as in networks.parse, or "" for the grid; grid – name; backends – names, or "" for all that work; peers –
        as in contenders.peer_names; precisions; variant; sampling; kernels – whether memory-bound kernels are timed; profiles –
        whether to profile steps; workloads – out of workloads.WORKLOADS, each on all networks; ranks – numbers
        of processes, for the workloads that have them.
    Raises: HyperparameterError, DtypeError, UnknownBackend, BackendUnavailable.
    """

    networks: str = ""
    grid: str = "quick"
    backends: str = ""
    peers: str = ""
    precisions: str = "float32"
    variant: str = "plain"
    sampling: Sampling = field(default_factory=Sampling)
    kernels: bool = False
    profiles: bool = False
    workloads: Sequence[str] = ("step",)
    ranks: str = ""

    def __post_init__(self) -> None:
        self.rank_list = _ranks(self.ranks)
        for workload in self.workloads:
            require_grid(self.grid, workload)
        if self.variant not in VARIANTS:
            raise HyperparameterError(
                f"expected a variant out of {', '.join(VARIANTS)}; got {self.variant!r}; {nearest(self.variant, VARIANTS)}"
            )
        require_sampling(self.sampling)
        self.precision_list = _names(self.precisions)
        for name in self.precision_list or [""]:
            if name not in PRECISIONS:
                raise DtypeError(
                    f"expected precisions out of {', '.join(PRECISIONS)}; got {name!r}; {nearest(name, PRECISIONS)}"
                )
        self.peer_list = peer_names(self.peers or ("all" if self.rank_list else ""), self.workloads)
        self.problems = self._problems()
        self.usable, self.left_out = _backends(self.backends)

    def _problems(self) -> list[tuple[str, Problem]]:
        from .scaling import sweeps

        threads = num_threads()
        found: list[tuple[str, Problem]] = []
        for workload, precision in product(self.workloads, self.precision_list):
            networks = self.networks.strip() or GRIDS[workload][self.grid]
            if not self.networks.strip() and self.grid == "scaling":
                found += sweeps(self.variant, precision, threads)
            elif networks:
                found += [("", problem_of(workload, each, self.variant, precision, threads)) for each in parse(networks)]
        return found


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _ranks(text: str) -> list[int]:
    """Numbers of processes; raises HyperparameterError for others, and without the MPI that starts several."""
    found = []
    for name in _names(text):
        if not name.isdecimal() or int(name) < 1:
            raise HyperparameterError(f"expected --ranks as numbers of processes >= 1; got {name!r}; write --ranks 1,2")
        found.append(int(name))
    if max(found, default=1) > 1:
        require_mpi()
    return found


def _backends(text: str) -> tuple[list[Any], list[LeftOut]]:
    """The backends to measure, and those that cannot run; a backend that was requested by name must be able to run."""
    from ..backends import backend, backends

    if _names(text):
        return [backend(name) for name in _names(text)], []
    known = backends()
    left = [LeftOut(name, why.reason, why.remedy) for name, why in known.items() if why is not None]
    # The fastest first, as `auto` would choose.
    return [backend(name) for name in reversed(known) if known[name] is None], left


def run(plan: BenchPlan, progress: Callable[[str], None], done: Callable[[Any, BenchReport], None]) -> BenchReport:
    """Runs a plan.

    Args: plan; progress – receives status messages; done – called with each complete case and the report so far.
    Returns: the report.
    """
    from . import machine
    from .cases import time_case

    report = BenchReport(machine.describe(), _settings(plan), left_out=list(plan.left_out))
    contenders = {workload: _contenders(plan, workload, report) for workload in plan.workloads}
    for number, (sweep, problem) in enumerate(plan.problems, 1):
        where = f"{number} of {len(plan.problems)}: {problem.workload} {problem.network}, "
        taking_part = contenders[problem.workload]
        case = time_case(problem, taking_part, plan.sampling, lambda what, where=where: progress(where + what), sweep)  # type: ignore[misc]
        report.cases.append(case)
        done(case, report)
    if plan.kernels:
        from .kernels import kernel_cases

        torch = any(contender.name == "torch" for found in contenders.values() for contender in found)
        for kernel in kernel_cases(plan.usable, plan.sampling, num_threads(), torch, progress):
            report.kernels.append(kernel)
            done(kernel, report)
    if plan.profiles:
        from .profiles import profiles

        steps = [(sweep, problem) for sweep, problem in plan.problems if problem.workload == "step"]
        report.profiles = profiles(steps, plan.usable, progress)
    # Again, because libraries that were loaded meanwhile may have their own.
    report.machine["blas"] = machine.blas()
    report.machine["blas_choices"] = blas_choices()
    report.machine["devices"] = {b.name: machine.device(b) for b in plan.usable if not b.on_host}
    return report


def _contenders(plan: BenchPlan, workload: str, report: BenchReport) -> list[Contender]:
    """fusedstep's own, and the installed peers; the report states why others are missing.

    The start of a process is timed on the first backend only, and so are steps and trainings by ranks.
    """
    ranked = WORKLOADS[workload].ranked
    backends = plan.usable[:1] if workload == "start" or ranked else plan.usable
    found = [] if ranked else [contender for backend in backends for contender in make_ours(backend, workload)]
    usable: list[str] = []
    for name in plan.peer_list:
        if name not in PEERS[workload]:
            continue
        peer = make_peer(name, workload)
        absent = peer.missing()
        left = absent and LeftOut(name, absent.reason, absent.remedy)
        if left is None:
            found += [] if ranked else [peer]
            usable.append(name)
        elif left not in report.left_out:
            report.left_out.append(left)
    return contenders_by_ranks(backends, usable, plan.rank_list, workload) if ranked else found


def _settings(plan: BenchPlan) -> dict[str, Any]:
    return {
        "workloads": list(plan.workloads),
        "grid": plan.grid if not plan.networks.strip() else None,
        "networks": plan.networks or None,
        "backends": [b.name for b in plan.usable],
        "peers": plan.peer_list,
        "precisions": plan.precision_list,
        "variant": plan.variant,
        "rounds": plan.sampling.rounds,
        "seconds": plan.sampling.seconds,
        "pause": plan.sampling.pause,
        "threads": num_threads(),
        "ranks": plan.rank_list,
    }
