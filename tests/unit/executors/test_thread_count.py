"""How many threads walk a short program is chosen by the clock, and tried again after a while."""

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends.numba import thread_count
from fusedstep.backends.numba.thread_count import (
    BUSY,
    LONGEST,
    LONGEST_REST,
    REST,
    SLOW,
    TOGETHER,
    TRIAL_SECONDS,
    TRIAL_STEPS,
    TRIALS,
    WARM_UP,
    ThreadCount,
)


def driven(pace, seconds, runs):
    """The numbers of threads of so many runs, each of which takes what `seconds` says for that number."""
    taken = []
    for _ in range(runs):
        taken.append(pace.walkers())
        pace.took(seconds[taken[-1]])
    return taken


@pytest.mark.parametrize(("threads", "candidates"), [(1, [1]), (2, [2, 1]), (6, [6, 3, 1]), (16, [16, 8, 4, 2, 1])])
def test_each_half_is_tried(threads, candidates):
    assert ThreadCount(threads).candidates == candidates


def test_all_threads_warm_up_then_every_number_is_tried_in_turn():
    pace = ThreadCount(4)
    assert driven(pace, {4: 4e-4, 2: 3e-4, 1: 5e-4}, WARM_UP + 6) == [4] * WARM_UP + [4, 2, 1, 4, 2, 1]


@pytest.mark.parametrize(
    ("seconds", "best"),
    [({4: 4e-4, 2: 3e-4, 1: 5e-4}, 2), ({4: 4e-4, 2: 6e-4, 1: 9e-4}, 4), ({4: 4e-4, 2: 3.95e-4, 1: 3.9e-4}, 4)],
    ids=["a half", "all", "hardly faster does not count"],
)
def test_the_fastest_is_kept_until_it_is_tried_again(seconds, best):
    pace = ThreadCount(4)
    driven(pace, seconds, WARM_UP + 3 * TRIALS)
    assert set(driven(pace, seconds, int(0.99 * REST / seconds[best]))) == {best}
    again = driven(pace, dict.fromkeys((4, 2), 9e-4) | {1: 1e-4}, 20 + 3 * TRIALS)
    assert set(again) == {4, 2, 1}
    assert pace.best == 1


def test_one_run_that_was_held_up_does_not_decide():
    pace = ThreadCount(2)
    for run in range(WARM_UP + 2 * TRIALS):
        held_up = run == WARM_UP + 2 and pace.walkers() == 2
        pace.took(1.0 if held_up else {2: 3e-4, 1: 4e-4}[pace.walkers()])
    assert pace.best == 2


@pytest.mark.parametrize("seconds", [{2: BUSY, 1: BUSY / 2}, {2: 2 * LONGEST, 1: 3 * LONGEST}], ids=["very", "as half tell"])
def test_a_long_program_is_left_to_all_threads(seconds):
    pace = ThreadCount(2)
    taken = driven(pace, seconds, WARM_UP + int(0.99 * LONGEST_REST / seconds[2]))
    assert taken.count(1) == (seconds[2] < BUSY)
    assert pace.steps(1_000) == 1_000


def test_a_short_program_on_busy_cpus_is_not_taken_for_a_long_one():
    pace = ThreadCount(2)
    driven(pace, {2: 2 * LONGEST, 1: 1e-4}, WARM_UP + 1 + 2 * TRIALS)
    assert pace.best == 1


def test_a_number_that_is_twice_as_slow_is_tried_less():
    pace, seconds = ThreadCount(4), {4: 9e-4, 2: 3e-4, 1: 2e-4}
    assert driven(pace, seconds, WARM_UP + 10) == [4] * WARM_UP + [4, 2, 1] * 2 + [2, 1] * 2
    assert pace.best == 1


def test_it_goes_on_after_an_interrupt(monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    pace = ThreadCount(2)
    driven(pace, {2: 1e-4, 1: 2e-4}, WARM_UP + 3)
    with monkeypatch.context() as patched:
        patched.setattr(thread_count, "median", interrupted)
        with pytest.raises(KeyboardInterrupt):
            driven(pace, {2: 1e-4, 1: 2e-4}, 2 * TRIALS)
    driven(pace, {2: 2e-4, 1: 1e-4}, 1 + WARM_UP + 2 * TRIALS)
    assert pace.best == 1


def test_bits_do_not_depend_on_how_many_walk(monkeypatch):
    def trained(count):
        monkeypatch.setattr(ThreadCount, "walkers", lambda self: count)
        with_threads = fs.Sequential(fs.Linear(20, 32), fs.ReLU(), fs.Linear(32, 4))
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((64, 20)).astype(np.float32), rng.integers(0, 4, 64)
        step = fs.TrainStep(with_threads, fs.SoftmaxCrossEntropy(), fs.Adam(1e-2), seed=1, backend="numba")
        for _ in range(20):
            step(x, y)
        return with_threads.arena.values.tobytes()

    fs.set_num_threads(2)
    try:
        assert trained(1) == trained(2)
    finally:
        fs.set_num_threads(None)


def test_a_run_of_many_steps_tries_with_a_few_and_then_looks_at_the_clock_again_and_again():
    pace, seconds, taken = ThreadCount(2), {2: 1e-4, 1: 1.5e-4}, []
    for _ in range(WARM_UP + 2 * TRIALS + 3):
        taken.append((pace.walkers(), pace.steps(1_000), pace.limit(pace.steps(1_000))))
        pace.took(taken[-1][1] * seconds[taken[-1][0]], taken[-1][1])
    together = round(TOGETHER / 1e-4)
    warm_up, trials = [(2, 1, np.inf)] * WARM_UP, [(2, TRIAL_STEPS, TRIAL_SECONDS), (1, TRIAL_STEPS, TRIAL_SECONDS)] * TRIALS
    assert taken == [*warm_up, *trials, *[(2, together, pytest.approx(SLOW * TOGETHER))] * 3]
    assert pace.steps(3) == 3


def test_steps_that_are_slow_all_at_once_are_tried_again():
    pace = ThreadCount(2)
    driven(pace, {2: 1e-4, 1: 1.5e-4}, WARM_UP + 2 * TRIALS)
    pace.took(20 * 1e-4, 20)
    assert pace.steps(100) == round(TOGETHER / 1e-4)
    pace.took(2 * SLOW * 1e-4 * 20, 20)
    assert pace.steps(100) == TRIAL_STEPS
    driven(pace, {2: 2e-3, 1: 2e-4}, 2 * TRIALS)
    assert pace.best == 1
    pace.took(20.0 * TOGETHER, 20)
    assert pace.walkers() == 1, "fewer are not faster"


def test_the_same_number_again_is_tried_more_rarely():
    def rest(pace):
        seconds = 0.0
        while pace.steps(10**6) > TRIAL_STEPS:
            steps = pace.steps(10**6)
            pace.took(1e-4 * steps, steps)
            seconds += 1e-4 * steps
        return seconds

    pace, rests = ThreadCount(2), []
    driven(pace, {2: 1.5e-4, 1: 1e-4}, WARM_UP)
    for _ in range(7):
        driven(pace, {2: 1.5e-4, 1: 1e-4}, 2 * TRIALS)
        rests.append(rest(pace))
    assert rests == pytest.approx([REST * 2**k for k in range(5)] + [LONGEST_REST] * 2, rel=0.02)
