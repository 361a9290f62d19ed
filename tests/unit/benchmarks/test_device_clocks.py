"""Clocks of devices, cold calls, and paces that end in time; events are made by hand, so every figure is known."""

from __future__ import annotations

import itertools

import pytest

from fusedstep.benchmarks import clocks, timing
from fusedstep.benchmarks.clocks import HOST, Events, StandIn
from fusedstep.benchmarks.timing import Prepared, Sampling, burst, interleave


class Device:
    """Counts milliseconds of its own: `work` lets them pass, `mark` reads them."""

    def __init__(self):
        self.now, self.lines = 0.0, []

    def mark(self):
        self.lines.append("mark")
        return self.now

    def work(self, milliseconds=3.0):
        self.lines.append("work")
        self.now += milliseconds

    def finish(self, *_):
        self.lines.append("finish")

    @property
    def clock(self):
        return Events(self.mark, lambda first, last: last - first)


@pytest.fixture
def host(monkeypatch):
    """The host's clock in seconds, which only a test moves on."""

    class Host:
        now = 100.0

    monkeypatch.setattr(clocks.time, "perf_counter", lambda: Host.now)
    return Host


def test_events_tell_the_time_of_the_device_not_of_the_host(host):
    device = Device()
    started = device.clock.start()
    device.work(4.0)
    host.now += 0.0045
    assert device.clock.stop(started, device.finish) == pytest.approx(0.004)
    assert device.lines == ["mark", "work", "mark", "finish"]


def test_where_the_host_waited_for_more_than_the_events_saw_its_time_counts(host):
    """Work on a stream of its own is not between the events of another one."""
    device = Device()
    started = device.clock.start()
    device.work(4.0)
    host.now += 0.020
    assert device.clock.stop(started, device.finish) == pytest.approx(0.020)
    started = device.clock.start()
    device.work(4.0)
    host.now += 0.020
    assert device.clock.stop(started, device.finish, checked=False) == pytest.approx(0.004)


def test_a_burst_by_events_is_marked_once_before_and_once_after():
    device = Device()
    took = burst(Prepared(device.work, device.finish, clock=device.clock), 4)
    assert took == pytest.approx(0.003)
    assert device.lines == ["work", "finish", "mark", *["work"] * 4, "mark", "finish"]


def test_cold_calls_are_timed_one_by_one_and_what_empties_the_cache_is_not_timed():
    device = Device()
    spent = itertools.cycle([1.0, 50.0, 2.0])
    prepared = Prepared(lambda: device.work(next(spent)), device.finish, clock=device.clock)
    prepared.before = lambda: device.work(1000.0)
    next(spent)
    assert burst(prepared, 3) == pytest.approx(0.002), "the median of 2, 1 and 50 ms"
    assert device.lines.count("mark") == 6


def test_the_clock_of_a_dry_run_waits_for_the_work_and_measures_nothing():
    device = Device()
    prepared = Prepared(device.work, device.finish, clock=StandIn())
    turns = interleave({"a": prepared}, Sampling(rounds=3, seconds=0.001, pause=0.0))
    assert turns["a"] == timing.Interleaved(1, [1.0, 1.0, 1.0])
    assert device.lines.count("work") == device.lines.count("finish")
    assert Prepared(device.work).clock is HOST


def test_no_round_is_begun_when_the_time_is_over(monkeypatch):
    seconds = itertools.count()
    monkeypatch.setattr(timing.time, "monotonic", lambda: float(next(seconds)))
    prepared = Prepared(lambda: None, clock=StandIn())
    assert len(interleave({"a": prepared}, Sampling(9, 0.001, 0.0, most=4.5))["a"].seconds) == 3, "a fourth ends after 5.3"
    assert len(interleave({"a": prepared}, Sampling(9, 0.001, 0.0, most=0.0))["a"].seconds) == timing.LEAST_ROUNDS
    assert len(interleave({"a": prepared}, Sampling(9, 0.001, 0.0))["a"].seconds) == 9


def test_a_burst_has_at_least_so_many_calls():
    assert interleave({"a": Prepared(lambda: None, clock=StandIn())}, Sampling(1, 0.001, 0.0, least_calls=5))["a"].calls == 5
