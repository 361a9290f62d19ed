"""A report with known numbers, and a sampling that is over at once."""

from __future__ import annotations

import pytest

from fusedstep.benchmarks.results import BenchReport, Case, KernelCase, LeftOut, Profile, Timing
from fusedstep.benchmarks.timing import Sampling


@pytest.fixture
def quick():
    return Sampling(rounds=2, seconds=0.001, pause=0.0)


def make_case(network="784-512-512-10@256", scale=1.0, sweep="", threads=2, workload="step"):
    """numba 4, 5, 6 ms; numpy twice that; torch 5, 5, 5; floors 2, 2.5, 3 and 3, 3, 3 – all times `scale`."""
    ms = {
        ("numba", "ours"): [4.0, 5.0, 6.0],
        ("numpy", "ours"): [8.0, 10.0, 12.0],
        ("torch", "peer"): [5.0, 5.0, 5.0],
        ("sklearn", "peer"): [50.0, 50.0, 50.0],
        ("GEMMs (BLAS)", "floor"): [2.0, 2.5, 3.0],
        ("GEMMs (rows)", "floor"): [3.0, 3.0, 3.0],
    }
    timings = [Timing(n, kind, 10, [1e-3 * scale * v for v in values]) for (n, kind), values in ms.items()]
    return Case(network, "plain", "float32", threads, 10**9, 669_706, sweep, timings, workload=workload)


@pytest.fixture
def case():
    return make_case()


@pytest.fixture
def workloads():
    """Two trainings, in one of which the products take 60 % of the time of the best peer; two predictions; a start."""
    cases = [make_case("784-512-512-10@256/1024", workload="fit"), make_case("64-10@32/320", 0.1, workload="fit")]
    cases[0].timings[2].seconds = [s * 10.0 for s in cases[0].timings[2].seconds]
    cases[1].timings[2].seconds = [2.5e-4, 4e-4, 5e-4]
    cases += [make_case(f"784-10@{rows}", workload="predict") for rows in (1, 100)]
    start = Case("20-64-3@32", "plain", "float32", 2, 0, 1539, workload="start", rows=32)
    start.timings = [
        Timing("numba, empty cache", "ours", 1, [3.0, 4.0, 5.0]), Timing("import torch", "peer", 1, [2.0, 2.0, 2.0])
    ]  # fmt: skip
    cases[0].rows, cases[1].rows = 1024, 320
    return BenchReport({"cpu": "c", "usable_processors": 2}, {}, [*cases, start])


@pytest.fixture
def report():
    """Two networks, two sweeps, a kernel, a profile, and somebody left out."""
    cases = [make_case(), make_case("64-128-128-10@128", 0.1)]
    cases[1].left_out.append(LeftOut("jax", "computes something else: 1 instead of 2", "look", cases[1].network))
    cases += [make_case(f"784-512-512-10@{rows}", rows / 256, "batch") for rows in (32, 128, 512)]
    cases += [make_case("784-1024-1024-10@1024", 8.0 / n, "threads", n) for n in (1, 2)]
    kernel = KernelCase("Adam update", "1 M parameters", 28_000_000)
    kernel.timings = [
        Timing("numba", "ours", 10, [2e-3, 2e-3]),
        Timing("copy, 1 thread", "copy", 1, [0.1, 0.1], memory=10**9),
        Timing("copy, 2 threads", "copy", 1, [0.05, 0.05], memory=10**9),
    ]
    row = {"place": "1.Linear+ReLU", "stage": "forward", "operation": "matmul", "seconds": 3e-3, "flop": 10**9, "bytes": 10**6}
    update = {**row, "place": "all", "stage": "update", "operation": "adam", "seconds": 1e-3, "flop": 0}
    return BenchReport(
        {"cpu": "a <processor>", "usable_processors": 2, "load_average": 0.1, "date": "2026-01-01T00:00:00+00:00",
         "system": "Linux", "python": "3.12", "memory_bytes": 2**34, "commit": "0123456789abcdef", "changed": True},
        {"rounds": 3},
        cases,
        [kernel],
        [Profile("784-512-512-10@256", "numba", [row, update])],
        [LeftOut("cuda", "no device", "buy one")],
    )  # fmt: skip
