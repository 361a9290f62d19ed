"""The run on a GPU with the real clock, on a backend that computes with NumPy and says it is a device."""

from __future__ import annotations

import io
import json
import math
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from fusedstep.backends.numpy.backend import NumpyBackend
from fusedstep.benchmarks.cases import failed
from fusedstep.benchmarks.clocks import HOST
from fusedstep.benchmarks.commands.watching import watch
from fusedstep.benchmarks.contenders import Contender, Where
from fusedstep.benchmarks.device import floor, kernels
from fusedstep.benchmarks.device import place as places
from fusedstep.benchmarks.device import session as sessions
from fusedstep.benchmarks.device.allowance import ENDED, Allowance, OutOfTime, deadline
from fusedstep.benchmarks.device.peaks import peak
from fusedstep.benchmarks.device.place import Place
from fusedstep.benchmarks.device.plan import PRECISIONS, SECONDS, STEPS, TOTAL, DevicePlan, learning_rate
from fusedstep.benchmarks.device.report import markdown
from fusedstep.benchmarks.device.session import Session, slug
from fusedstep.benchmarks.device.steps import steps_beside_peers
from fusedstep.benchmarks.device.tables import best_rate
from fusedstep.benchmarks.device.targets import gaps, outcomes, targets
from fusedstep.benchmarks.networks import Network
from fusedstep.benchmarks.problem import Problem
from fusedstep.benchmarks.result_files import load
from fusedstep.benchmarks.results import BenchReport, Case, KernelCase, LeftOut, Profile, ReportPart, Timing
from fusedstep.benchmarks.timing import Sampling
from fusedstep.errors import DataFileError, HyperparameterError


class Paper(NumpyBackend):
    """NumPy that is taken for a device."""

    name = "paper"
    device = "cuda"
    precisions = ("float32", "float64")


@dataclass(frozen=True)
class Tiny(DevicePlan):
    """Sizes and paces of a dry run, and yet no dry run."""

    @property
    def sizes(self):
        return DevicePlan(dry=True).sizes

    @property
    def sampling(self):
        return Sampling(2, 1e-3, 0.0)

    processor_sampling = sampling

    def network(self, network):
        return Network(tuple(min(width, 6) for width in network.widths), min(network.batch, 8))


@pytest.fixture
def place():
    left = [LeftOut("torch", "is not asked for", "ask for it")]
    return Place(Paper(), False, Where("cuda", HOST), [], left, {"name": "Paper H200", "memory_bytes": 2**30})


@pytest.fixture
def start(place, tmp_path):
    def make(parts="", resume=False, **options):
        done = []
        session = Session(Tiny(parts, **options), place, tmp_path, resume, lambda what: None, done.append)
        session.run()
        return session, [(part.name, part.state) for part in done]

    return make


def test_every_part_is_written_and_a_run_that_is_complete_has_nothing_left_to_do(start):
    session, done = start()
    assert done == [(name, "done") for name in SECONDS]
    report = load(session.path)
    assert [part.name for part in report.parts] == list(SECONDS)
    assert session.path.name.startswith("paper-h200-")
    by_part = {case.part: case for case in [*report.cases, *report.kernels]}
    assert set(by_part) == set(SECONDS) - {"profile"}
    assert all(t.seconds and min(t.seconds) > 0.0 for case in by_part.values() for t in case.timings)
    assert [t.name for t in by_part["cpu"].timings] == ["numba", "paper, float32"]
    assert [t.device for t in by_part["cpu"].timings] == ["cpu", "cuda"]
    # This backend has neither TF32 nor bfloat16: it says so, and takes part in float32 beside them.
    tf32 = by_part["784-tf32"]
    assert [t.name for t in tf32.timings] == ["paper, float32"]
    assert tf32.left_out[0].reason == "backend 'paper' has no tf32 here; it has float32, float64"
    text = session.path.with_suffix(".md").read_text()
    assert "DRY RUN" not in text
    assert "\nVersions: numpy " in text
    assert "| 4096 wide @ 8192: the processor's step over the GPU's | stated | " in text
    again, nothing = start(resume=True)
    assert nothing == []
    assert again.path == session.path


def test_a_part_that_fails_keeps_its_reason_and_stops_no_other(start, monkeypatch):
    real = sessions.Bench.adam
    monkeypatch.setattr(sessions.Bench, "adam", lambda *_: (_ for _ in ()).throw(MemoryError("out of device\nmemory")))
    session, done = start("copy,adam,softmax")
    assert done == [("adam", "failed"), ("copy", "done"), ("softmax", "done")]
    assert "- adam: failed, " in markdown(session.report)
    assert load(session.path).parts[0].reason == "MemoryError: out of device memory"
    states = {o.target.what: o for o in outcomes(session.report)}
    assert states["fused Adam over the arena: launches per step"].note == "MemoryError: out of device memory"

    monkeypatch.setattr(sessions.Bench, "adam", real)
    session, done = start("copy,adam", resume=True)
    assert done == [("adam", "done")]
    assert {case.part for case in session.report.kernels} == {"copy", "adam", "softmax"}


def test_our_own_step_that_fails_is_a_failed_part_with_the_others_measured(start, monkeypatch):
    from fusedstep.benchmarks.contenders.ours import Ours

    real = Ours.prepare

    def fails(self, problem):
        if self.device == "cuda":
            raise RuntimeError("device lost")
        return real(self, problem)

    monkeypatch.setattr(Ours, "prepare", fails)
    session, done = start("cpu")
    assert done == [("cpu", "failed")]
    assert session.report.parts[0].reason == "paper, float32: failed with RuntimeError: device lost"
    assert [t.name for t in session.report.cases[0].timings] == ["numba"]


def test_what_there_was_no_time_for_says_so_and_is_taken_up_again(start, monkeypatch):
    monkeypatch.setattr(sessions.Allowance, "left", property(lambda self: 0.0))
    monkeypatch.setattr(Tiny, "sampling", Sampling(5, 1e-3, 0.0))
    session, done = start("copy")
    assert done == [("copy", "cut")]
    assert session.report.parts[0].reason == "2 of 5 rounds"
    monkeypatch.undo()
    monkeypatch.setattr(sessions.Bench, "copy", lambda *_: (_ for _ in ()).throw(OSError("gone")))
    session, done = start("copy", resume=True)
    assert done == [("copy", "failed")]
    assert session.report.parts[0].state == "cut", "an attempt that is worth less takes nothing away"
    assert len(session.report.kernels) == 1


def test_parts_for_which_the_whole_time_does_not_suffice_are_not_begun_and_named(start, monkeypatch):
    real = sessions.Bench.products
    monkeypatch.setattr(sessions.Bench, "products", lambda *given: (time.sleep(1.0), real(*given))[1])
    session, done = start("adam,products,copy,softmax", budget=1.0)
    states = dict(done)
    assert (states["adam"], states["copy"], states["softmax"]) == ("done", "cut", "cut")
    reasons = {part.name: part.reason for part in load(session.path).parts}
    assert reasons["copy"] == reasons["softmax"] == "no time was left; run the command again with --resume"
    monkeypatch.setattr(sessions.Bench, "products", real)
    _, done = start("copy,softmax", resume=True)
    assert done == [("copy", "done"), ("softmax", "done")]


def test_a_report_that_is_continued_says_when_and_from_which_sources(start, monkeypatch):
    start("copy")
    monkeypatch.setattr(sessions.machine, "commit", lambda: {"commit": "0123456789abcdef", "changed": True})
    session, _ = start("adam", resume=True)
    settings = load(session.path).settings
    assert settings["parts"] == ["adam", "copy"]
    (then,) = settings["continued"]
    assert re.search(r"\nContinued \S+, commit 0123456789 with changes\n", markdown(session.report)), then


def test_a_second_run_of_a_day_overwrites_nothing(start, tmp_path):
    session, _ = start("copy")
    first = session.path.read_text()
    again, done = start("adam")
    assert (done, again.path) == ([("adam", "done")], session.path)
    (aside,) = tmp_path.glob("*-until-*.json")
    assert aside.read_text() == first
    assert aside.with_suffix(".md").exists()
    assert start("copy,adam", resume=True)[1] == [("copy", "done")], "the newest is the one that is taken up"


def test_a_part_in_which_the_process_ended_is_known_and_comes_last_the_next_time(start, monkeypatch):
    real = sessions.Bench.products
    monkeypatch.setattr(sessions.Bench, "products", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        start("adam,products,copy")
    monkeypatch.setattr(sessions.Bench, "products", real)
    _, done = start("adam,products,copy", resume=True)
    assert done == [("copy", "done"), ("products", "done")]


def test_what_a_process_left_behind_says_where_it_ended(start, tmp_path, monkeypatch):
    monkeypatch.setattr(sessions.Bench, "copy", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        start("adam,copy,rows")
    (path,) = tmp_path.glob("*.json")
    assert [(part.name, part.state) for part in load(path).parts] == [("adam", "done"), ("copy", "failed")]
    text = path.with_suffix(".md").read_text()
    assert "- copy: failed, 0 s: started but not finished" in text
    assert "- rows: not started\n" in text
    assert "- not requested: products, softmax, 784-tf32, " in text


def test_after_the_device_was_lost_no_part_is_begun_and_the_next_process_begins_with_the_others(start, monkeypatch):
    real, lost = sessions.Bench.products, []
    monkeypatch.setattr(Place, "lost", lambda self: lost[0] if lost else "")
    monkeypatch.setattr(sessions.Bench, "products", lambda *given: (lost.append("illegal address"), real(*given))[1])
    session, done = start("adam,products,copy,softmax")
    assert done == [("adam", "done"), ("products", "failed")]
    assert session.lost == "illegal address"
    assert session.report.parts[1].reason == "the device was lost: illegal address"
    assert [part.name for part in load(session.path).parts] == ["adam", "products"]
    lost.clear()
    session, done = start("adam,products,copy,softmax", resume=True)
    assert (done, session.lost) == ([("copy", "done"), ("softmax", "done"), ("products", "failed")], "illegal address")


def test_a_device_that_answers_is_not_lost_and_one_that_does_not_says_why(place, monkeypatch):
    assert place.lost() == ""
    monkeypatch.setattr(Paper, "synchronize", lambda self: (_ for _ in ()).throw(RuntimeError("cudaErrorIllegalAddress")))
    assert place.lost() == "RuntimeError: cudaErrorIllegalAddress"


def test_parts_never_begun_come_first_then_those_cut_short_then_those_that_failed(start):
    session, _ = start("copy")
    session.plan = Tiny("copy,products,adam,softmax")
    session.report.parts = [ReportPart("copy", "failed"), ReportPart("products", "cut"), ReportPart("adam", "done")]
    assert session._due() == ["softmax", "products", "copy"]


def test_a_process_that_hangs_is_ended_and_says_where():
    code = (
        "import time\nfrom fusedstep.benchmarks.device.allowance import watchdog\n"
        "with watchdog(30.0):\n    pass\n"
        "with watchdog(0.2):\n    time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == ENDED == 3
    assert "no response within 0 s; run it again with --resume" in done.stderr
    assert 'File "<string>", line 6 in <module>' in done.stderr


def test_a_library_that_goes_on_after_every_exception_is_stopped_all_the_same(place):
    class Stubborn(Contender):
        name = "stubborn"

        def prepare(self, problem):
            while True:
                try:
                    time.sleep(10.0)
                except Exception:
                    continue

    place.peers[:] = [Stubborn()]
    began = time.monotonic()
    # Enough for ours to get ready, on a machine that is busy with other tests too.
    case = steps_beside_peers(STEPS["784-tf32"], place, Tiny(), lambda what: None, Allowance(8.0))
    assert time.monotonic() - began < 30.0
    reasons = {left.name: left.reason for left in case.left_out}
    assert reasons["stubborn"].startswith("failed with OutOfTime: not ready within")
    assert [t.name for t in case.timings] == ["paper, float32"]


def test_a_kernel_that_cannot_be_made_ready_takes_the_others_of_its_part_not_away(start, monkeypatch):
    monkeypatch.setattr(kernels.kernels, "bias_relu", lambda *_: (_ for _ in ()).throw(RuntimeError("does not compile")))
    real = sessions.Bench._launches

    def launched(self, prepared):
        if len(self.tried) == 1:
            raise RuntimeError("launch failed")
        self.tried.append(1)
        return real(self, prepared)

    monkeypatch.setattr(sessions.Bench, "tried", [], raising=False)
    monkeypatch.setattr(sessions.Bench, "_launches", launched)
    session, done = start("rows")
    assert done == [("rows", "failed")]
    assert session.report.parts[0].reason == (
        "paper: failed with RuntimeError: does not compile; paper: failed with RuntimeError: launch failed"
    )
    assert [[t.kind for t in case.timings] for case in session.report.kernels] == [["copy"], ["ours", "copy"], ["copy"]]


def test_what_cannot_be_written_is_a_failed_part_and_the_others_are_kept(start, monkeypatch):
    real = sessions.Bench.adam

    def broken(self, allowance):
        found = real(self, allowance)
        found[0].timings[0].seconds = [float("nan")]
        return found

    monkeypatch.setattr(sessions.Bench, "adam", broken)
    session, done = start("copy,adam,softmax")
    assert done == [("adam", "failed"), ("copy", "done"), ("softmax", "done")]
    assert load(session.path).parts[0].reason.startswith("cannot be written: ValueError: ")


def test_a_device_that_cannot_be_tidied_up_takes_no_figures_away(start, monkeypatch):
    monkeypatch.setattr(Place, "tidy", lambda self: (_ for _ in ()).throw(RuntimeError("device lost")))
    session, done = start("copy")
    assert done == [("copy", "done")]
    assert session.report.parts[0].reason == "cleanup failed: RuntimeError: device lost"
    assert len(load(session.path).kernels) == 1


def test_ours_that_fails_while_it_is_timed_is_a_failed_part_with_the_copy_measured(start, monkeypatch):
    real = sessions.Bench._launches

    def breaks(self, prepared):
        prepared.step = lambda: (_ for _ in ()).throw(RuntimeError("launch failed"))

    monkeypatch.setattr(sessions.Bench, "_launches", breaks)
    session, done = start("adam")
    assert done == [("adam", "failed")]
    assert session.report.parts[0].reason == "paper: failed with RuntimeError: launch failed"
    assert [t.kind for t in session.report.kernels[0].timings] == ["copy"]
    monkeypatch.setattr(sessions.Bench, "_launches", real)
    assert start("adam", resume=True)[1] == [("adam", "done")]


def test_an_attempt_that_measured_less_takes_nothing_away():
    cases = [KernelCase("copy", "", 1, timings=[Timing("a", "ours", 1, [1.0] * n)]) for n in (2, 6)]
    part = ReportPart("copy", "cut")
    assert sessions._worth(part, cases[:1]) < sessions._worth(part, cases[1:])
    assert sessions._worth(part, cases[1:]) < sessions._worth(ReportPart("copy", "done"), cases[:1])


def test_a_missed_target_without_a_profile_makes_the_profiles_due_again(start, place, tmp_path):
    session, _ = start("copy")
    report = made_report()
    report.machine["device"] = place.facts
    report.parts.append(ReportPart("profile", "done"))
    session.report = report
    session.plan = DevicePlan("adam,profile")
    assert session._due() == []
    report.profiles.clear()
    assert session._due() == ["profile"]


def test_somebody_who_takes_too_long_to_get_ready_is_stopped():
    def endless():
        with deadline(0.05):
            while True:
                pass

    began = time.monotonic()
    with pytest.raises(OutOfTime, match="not ready within 0 s; run it again with --resume"):
        endless()
    assert time.monotonic() - began < 5.0
    with deadline(0.05):
        pass
    time.sleep(0.1)  # no alarm is left behind
    assert Allowance(math.inf).until(0.35) == math.inf
    assert Allowance(100.0).until(0.35) == pytest.approx(65.0, abs=1.0)


def test_one_who_was_stopped_makes_the_part_one_that_was_cut(start):
    session, _ = start("copy")
    case = Case("6-6@8", "plain", "tf32", 1, 1, 1, device="cuda")
    case.left_out.append(LeftOut("torch-max-autotune", failed(OutOfTime("not ready within 9 s"))))
    found = session._judged(case, 0)
    assert (found.cut, found.broken) == ("no time for torch-max-autotune", "")


def test_very_large_arrays_of_a_chain_are_made_once(monkeypatch):
    monkeypatch.setattr(floor, "LARGE", 20)
    problem = Problem(Network((4, 4, 4, 2), 6))
    made, multiplied = [], []
    floor.chain(
        problem, lambda *shape: made.append(np.ones(shape)) or made[-1], np.empty_like, lambda *given: multiplied.append(given)
    )()
    assert [a.shape for a in made] == [(6, 4), (6, 4), (6, 2), (4, 4), (4, 4), (4, 2)], "inputs, slopes, weights"
    assert len(multiplied) == 8
    assert all(out is not a and out is not b for a, b, out, *_ in multiplied)


def test_a_floor_that_fails_is_left_out(place, monkeypatch):
    monkeypatch.setattr(floor, "own_floor", lambda *_: (_ for _ in ()).throw(MemoryError("none left")))
    case = Case("4-4@6", "plain", "float32", 1, 1, 1)
    assert floor.floors(Problem(Network((4, 4), 6)), place, case) == {}
    assert case.left_out[0].reason == "failed with MemoryError: none left"


def test_a_log_tells_where_time_goes_and_leaves_the_rounds_out():
    def work(progress):
        progress("adam: round 1 of 10: cuda")
        progress("784-tf32: jax: getting ready")

    for log, wanted in ((True, r" +\d+\.\d s  784-tf32: jax: getting ready\n"), (False, "")):
        file = io.StringIO()
        watch(Console(file=file, width=200), work, log)
        assert re.fullmatch(wanted, file.getvalue())


def test_a_dry_run_is_no_measurement(start, tmp_path):
    session, _ = start("copy")
    document = json.loads(session.path.read_text())
    document["settings"]["dry_run"] = True
    session.path.write_text(json.dumps(document))
    with pytest.raises(DataFileError, match="expected results of a measurement; got a dry run"):
        start("copy", resume=True)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"parts": "adem"}, "did you mean 'adam'"), ({"budget": 0.0}, "between 1 and"), ({"budget": float("nan")}, "got nan")],
)
def test_impossible_plans_are_refused(options, words):
    with pytest.raises(HyperparameterError, match=words):
        DevicePlan(**options)


def test_the_plan():
    assert TOTAL == 450.0, "as the help of the command says"
    assert set(STEPS) < set(SECONDS)
    assert DevicePlan("cpu, adam").names == ["adam", "cpu"]
    assert sum(DevicePlan(budget=46.0).fractions().values()) == pytest.approx(46.0)
    assert DevicePlan("profile", budget=100.0).fractions() == {"profile": pytest.approx(100.0)}
    assert DevicePlan("adam,cpu").fractions() == {name: SECONDS[name] for name in ("adam", "cpu")}
    assert DevicePlan("adam,cpu", budget=100.0).fractions(["cpu"]) == {"cpu": pytest.approx(100.0)}, "the rest is done"
    assert DevicePlan(budget=100.0).fractions([]) == {}
    assert DevicePlan(dry=True).fractions()["copy"] == math.inf
    assert DevicePlan().total == TOTAL
    assert DevicePlan().sizes.adam >= 50_000_000
    assert (DevicePlan().sizes.rows, DevicePlan().sizes.classes) == (65_536, 1000)
    sampling = DevicePlan().sampling
    assert sampling.rounds * sampling.least_calls >= 50
    assert {steps.precision for steps in STEPS.values()} <= set(PRECISIONS)
    assert learning_rate(Network((512, 256, 10), 1)) == 1e-3
    assert learning_rate(Network((8192, 8192), 1)) == pytest.approx(1e-3 / 16)


@pytest.mark.parametrize(
    ("name", "bfloat16"),
    [
        ("NVIDIA H200", 989.5), ("NVIDIA H200 NVL", 835.5), ("NVIDIA H100 80GB HBM3", 989.5), ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA H100 NVL", 835.5), ("NVIDIA A100-SXM4-80GB", 312.0),
    ],
)  # fmt: skip
def test_stated_peaks(name, bfloat16):
    stated = peak(name)
    assert stated.rate("bfloat16") == bfloat16 * 1e12
    assert stated.rate("tf32") == pytest.approx(stated.rate("bfloat16") / 2, rel=1e-3)
    assert stated.rate("float64") is None
    assert stated.source.startswith("NVIDIA ")


def test_a_device_that_is_not_in_the_table_has_no_stated_peak():
    assert peak("NVIDIA GeForce RTX 4090") is None


def made_report():
    """Adam at half of the copy rate, twice as fast as torch, one launch; one step that is good and one that is bad."""
    adam = KernelCase("Adam update", "60 M parameters", 28 * 60_000_000, part="adam")
    adam.timings = [
        Timing("cuda", "ours", 5, [2e-3] * 3, "cuda", launches=1),
        Timing("torch", "peer", 5, [4e-3] * 3, "cuda"),
        Timing("copy, cuda", "copy", 5, [1e-3] * 3, "cuda", memory=28 * 60_000_000),
    ]
    good, bad = STEPS["4096x3-tf32"], STEPS["8192x4-bfloat16"]
    cases = []
    for part, steps, ours in (("4096x3-tf32", good, 1.05), ("8192x4-bfloat16", bad, 1.5)):
        case = Case(str(steps.network), "plain", steps.precision, 16, 10**12, 1, device="cuda", part=part)
        case.timings = [
            Timing("cuda", "ours", 5, [ours] * 3, "cuda"), Timing("torch", "peer", 5, [1.3] * 3, "cuda"),
            Timing("jax", "peer", 5, [1.2] * 3, "cuda"), Timing("GEMMs (torch)", "floor", 5, [1.0] * 3, "cuda"),
        ]  # fmt: skip
        cases.append(case)
    row = {"place": "0", "stage": "forward", "operation": "matmul", "seconds": 3e-3, "flop": 10**9, "bytes": 10**6}
    update = {**row, "operation": "adam", "seconds": 1e-3}
    profile = Profile(str(bad.network), "cuda", [row, update], "bfloat16", "profile")
    return BenchReport(
        {"device": {"name": "NVIDIA H200"}, "date": "2026-01-01"}, {"device": "cuda"}, cases, [adam], [profile],
        parts=[
            ReportPart("adam", "done", 9.0), ReportPart("4096x3-tf32", "done", 9.0),
            ReportPart("8192x4-bfloat16", "cut", 9.0, "late"),
        ],
    )  # fmt: skip


def test_each_target_stands_beside_its_figure():
    found = {o.target.what: (o.figure, o.state) for o in outcomes(made_report())}
    assert len(found) == len(targets())
    assert found["fused Adam over the arena: fraction of the copy rate"] == (pytest.approx(0.5), "missed")
    assert found["fused Adam over the arena: time of torch's fused Adam over ours"] == (pytest.approx(2.0), "held")
    assert found["fused Adam over the arena: launches per step"] == (1, "held")
    good, bad = "4096-4096-4096-4096@65536, tf32: step over ", "8192-8192-8192-8192-8192@32768, bfloat16: step over "
    assert found[good + "its GEMM floor"] == (pytest.approx(1.05), "held")
    assert found[good + "that of the best peer"] == (pytest.approx(1.05 / 1.2), "held")
    assert found[bad + "its GEMM floor"] == (pytest.approx(1.5), "missed")
    assert found[bad + "that of the best peer"] == (pytest.approx(1.25), "missed")
    assert found["784-512-512-10@256, tf32: torch eager over ours"] == (None, "not measured")
    assert gaps(made_report()) == ["8192x4-bfloat16"]


def test_a_missed_target_stands_beside_its_profile():
    notes = {o.target.what: o.note for o in outcomes(made_report())}
    name = "8192-8192-8192-8192-8192@32768, bfloat16: step over its GEMM floor"
    assert notes[name] == "most time is spent in matmul (0, forward) 75 %, adam (0, forward) 25 %"
    report = made_report()
    report.profiles.clear()
    assert "no profile yet" in {o.target.what: o.note for o in outcomes(report)}[name]


def test_another_precision_of_ours_is_not_taken_for_the_one_that_is_asked_for():
    report = made_report()
    report.cases[0].timings[0].name = "cuda, float32"
    report.cases[0].left_out.append(LeftOut("cuda", "backend 'cuda' has no tf32 here"))
    found = next(o for o in outcomes(report) if o.target.what.startswith("4096-4096-4096-4096@65536, tf32"))
    assert (found.figure, found.state, found.note) == (None, "not measured", "cuda: backend 'cuda' has no tf32 here")


def test_the_markdown_has_targets_parts_and_utilization():
    text = markdown(made_report())
    assert "| **≤ 1.050x** | **1.500x** | **missed** |" in text
    assert "- 8192x4-bfloat16: cut short, 9 s: late" in text
    assert "Every step gathers its rows, and its time includes this" in text
    assert "steps a call" not in text
    report = made_report()
    report.cases[0].timings[0].steps = 16
    assert "| steps a call |" in markdown(report)
    assert " **16** |\n" in markdown(report)
    # 1e12 operations in 1.05 s, against 494.5 TFLOP/s as stated and 1 TFLOP/s as measured.
    assert "| 4096-4096-4096-4096@65536, tf32: cuda | 0.952 | 0 % | 95 % |" in text
    assert best_rate(made_report(), "float32") is None


@pytest.mark.parametrize("older", [False, True])
def test_all_libraries_have_room_on_the_device_and_jax_keeps_what_it_compiled(older, monkeypatch):
    monkeypatch.setattr(places.os, "environ", {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.5"} if older else {})
    monkeypatch.setattr(places.cache, "folder", lambda: Path("kept"))
    places.prepare_process(False)
    found = places.os.environ
    assert found["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    # JAX refuses both names together.
    assert ("XLA_CLIENT_MEM_FRACTION" in found) != older
    assert found["JAX_COMPILATION_CACHE_DIR"] == str(Path("kept") / "jax")


def test_names_of_files():
    assert slug("NVIDIA A100-SXM4-80GB") == "nvidia-a100-sxm4-80gb"
