"""Bursts and turns, with contenders that write down when they are called; and the limits themselves."""

from __future__ import annotations

import gc
import math
import threading
from contextlib import contextmanager

import numpy as np
import pytest

from fusedstep.backends import backend
from fusedstep.benchmarks import floor
from fusedstep.benchmarks.clocks import StandIn
from fusedstep.benchmarks.copying import copies, device_copy
from fusedstep.benchmarks.networks import parse
from fusedstep.benchmarks.problem import Problem
from fusedstep.benchmarks.team import Team, cuts
from fusedstep.benchmarks.timing import Prepared, Sampling, burst, interleave, require_sampling
from fusedstep.errors import HyperparameterError


class Diary:
    """A contender that notes what is done with it."""

    def __init__(self, name, lines):
        self.name, self.lines = name, lines

    def note(self, what):
        return lambda *_: self.lines.append((self.name, what))

    @contextmanager
    def around(self):
        self.lines.append((self.name, "enter"))
        yield
        self.lines.append((self.name, "leave"))

    def prepared(self):
        return Prepared(self.note("step"), self.note("finish"), self.note("reset"), self.around)


def test_a_burst_begins_at_the_start_with_a_call_that_is_not_timed():
    lines = []
    took = burst(Diary("a", lines).prepared(), 3)
    assert took > 0.0
    assert [what for _, what in lines] == ["enter", "reset", "step", "finish", "step", "step", "step", "finish", "leave"]
    assert gc.isenabled()


def test_contenders_take_turns_and_another_one_is_first_each_time(monkeypatch):
    from fusedstep.benchmarks import timing

    monkeypatch.setattr(timing, "_calls", lambda contender, seconds: 1)
    lines = []
    turns = interleave({name: Diary(name, lines).prepared() for name in "abc"}, Sampling(3, 0.01, 0.0))
    assert [name for name, what in lines if what == "enter"] == list("abcbcacab")
    assert {name: len(t.seconds) for name, t in turns.items()} == dict.fromkeys("abc", 3)
    assert all(t.calls > 10 for t in turns.values()), "bursts that are too short grow"


def test_a_burst_is_filled_with_calls():
    turns = interleave({"nothing": Prepared(lambda: None)}, Sampling(1, 0.002, 0.0))
    assert turns["nothing"].calls > 100


def test_a_call_that_takes_several_steps_is_told_by_the_step():
    seconds = iter([0.0, 12.0])

    class Clock:
        def start(self):
            return next(seconds)

        def stop(self, started, finish, checked=True):
            finish()
            return next(seconds) - started

    prepared = Prepared(lambda: None, clock=Clock(), covers=4)
    assert burst(prepared, 3) == 1.0
    found = interleave({"several": Prepared(lambda: None, clock=StandIn(), covers=4)}, Sampling(1, 0.01, 0.0, least_calls=6))
    assert found["several"] == (2, [1.0 / 8]), "8 steps are 6 at least"
    quick = interleave({"nothing": Prepared(lambda: None, covers=300)}, Sampling(1, 0.5, 0.0))
    assert quick["nothing"].calls == 3, "no longer a training than with single steps"


def test_whoever_fails_is_lost_and_the_others_go_on():
    def fails(after):
        calls = iter(range(after))
        return lambda: next(calls)

    def contenders():
        return {"good": Prepared(lambda: None), "at once": Prepared(fails(0)), "late": Prepared(fails(60), clock=StandIn())}

    lost = {}
    turns = interleave(contenders(), Sampling(4, 1e-4, 0.0, least_calls=20), lost=lost)
    assert set(turns) == {"good"}
    assert len(turns["good"].seconds) == 4
    assert {name: type(error) for name, error in lost.items()} == {"at once": StopIteration, "late": StopIteration}
    with pytest.raises(StopIteration):
        interleave(contenders(), Sampling(4, 1e-4, 0.0))


@pytest.mark.parametrize(
    "sampling", [Sampling(0), Sampling(seconds=0.0), Sampling(seconds=math.nan), Sampling(pause=-1.0), Sampling(pause=99.0)]
)
def test_an_impossible_sampling_is_refused(sampling):
    with pytest.raises(HyperparameterError, match="expected"):
        require_sampling(sampling)


def test_a_team_runs_at_the_same_time_and_passes_errors_on():
    team = Team(3)
    together = threading.Barrier(3)
    done = []
    team.run(lambda number: (together.wait(10), done.append(number)))
    assert sorted(done) == [0, 1, 2]

    def fails(number):
        if number == 2:
            raise ArithmeticError("two")

    with pytest.raises(ArithmeticError, match="two"):
        team.run(fails)
    team.run(done.append)
    assert sorted(done) == [0, 0, 1, 1, 2, 2]


def test_cuts():
    assert cuts(10, 3) == [(0, 3), (3, 6), (6, 10)]


@pytest.mark.parametrize("make", [floor.blas_floor, floor.rows_floor], ids=["blas", "rows"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_floors_do_every_product(make, precision, monkeypatch):
    """Counted by their operations: the parts of all threads together are the whole."""
    done = []
    lock = threading.Lock()

    def watched(call, a, b, out):
        def counted():
            out[...] = np.nan
            call()
            with lock:
                done.append(2 * a.shape[0] * a.shape[1] * b.shape[1])
            assert {a.dtype.name, b.dtype.name, out.dtype.name} == {precision}
            np.testing.assert_allclose(out, a @ b, rtol=1e-4, atol=1e-5)

        return counted

    whole, compiled = floor._whole, floor._as_compiled
    monkeypatch.setattr(floor, "_whole", lambda given: [watched(c, *g) for c, g in zip(whole(given), given, strict=True)])
    monkeypatch.setattr(floor, "_as_compiled", lambda *given: watched(compiled(*given), *given))
    problem = Problem(parse("6-5-4-3@11")[0], precision=precision, threads=2)
    burst(make(problem), 1)
    from fusedstep.benchmarks.gemms import flop

    assert sum(done) == 2 * flop(problem.network)


def test_the_floor_of_a_device_uses_its_products(monkeypatch):
    where = backend("numpy")
    calls = []
    real = where.matmul
    monkeypatch.setattr(where, "matmul", lambda *a, **k: (calls.append(a[2].shape), real(*a, **k)))
    burst(floor.device_floor(Problem(parse("6-5-4@7")[0]), where), 1)
    assert calls[: len(calls) // 2] == [(7, 5), (7, 4), (5, 4), (7, 5), (6, 5)]


def test_a_device_copies_too(monkeypatch):
    where = backend("numpy")
    pairs = []
    monkeypatch.setattr(where, "copy", lambda source, out: pairs.append((source.size, out.size)))
    burst(device_copy(where, 99), 1)
    assert pairs == [(99, 99)] * 2


@pytest.mark.parametrize("threads", [1, 2])
def test_copies_copy(threads, monkeypatch):
    from fusedstep.benchmarks import copying

    copied = []
    real = np.copyto
    monkeypatch.setattr(copying.np, "copyto", lambda target, source: (copied.append(target.size), real(target, source)))
    made = copies(threads, 1001)
    assert len(made) == threads
    for prepared in made.values():
        copied.clear()
        prepared.step()
        assert sum(copied) == 1001
