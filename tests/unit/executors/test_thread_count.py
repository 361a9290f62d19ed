"""How many threads walk a short program is chosen by the clock, and tried again after a while."""

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends.numba.thread_count import (
    LONGEST,
    LONGEST_REST,
    REST,
    SLOW,
    TOGETHER,
    TRIAL_STEPS,
    TRIALS,
    WARM_UP,
    ThreadCount,
)  # fmt: skip


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
    assert set(driven(pace, seconds, REST)) == {best}
    again = driven(pace, dict.fromkeys((4, 2), 9e-4) | {1: 1e-4}, 1 + 3 * TRIALS)
    assert set(again) == {4, 2, 1}
    assert pace.best == 1


def test_one_run_that_was_held_up_does_not_decide():
    pace = ThreadCount(2)
    for run in range(WARM_UP + 2 * TRIALS):
        held_up = run == WARM_UP + 2 and pace.walkers() == 2
        pace.took(1.0 if held_up else {2: 3e-4, 1: 4e-4}[pace.walkers()])
    assert pace.best == 2


def test_a_long_program_is_left_to_all_threads():
    pace = ThreadCount(2)
    assert set(driven(pace, {2: 2 * LONGEST, 1: LONGEST}, WARM_UP + 2 * TRIALS + REST)) == {2}


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
    pace, seconds, taken = ThreadCount(2), {2: 1e-4, 1: 2e-4}, []
    for _ in range(WARM_UP + 2 * TRIALS + 3):
        taken.append((pace.walkers(), pace.steps(1_000)))
        pace.took(taken[-1][1] * seconds[taken[-1][0]], taken[-1][1])
    together = round(TOGETHER / 1e-4)
    assert taken == [(2, 1)] * WARM_UP + [(2, TRIAL_STEPS), (1, TRIAL_STEPS)] * TRIALS + [(2, together)] * 3
    assert pace.limit(together) == pytest.approx(SLOW * TOGETHER)
    assert pace.steps(3) == 3


def test_steps_that_are_slow_all_at_once_are_tried_again():
    pace = ThreadCount(2)
    driven(pace, {2: 1e-4, 1: 2e-4}, WARM_UP + 2 * TRIALS)
    pace.took(20 * 1e-4, 20)
    assert pace.walkers() == 2
    pace.took(2 * SLOW * 1e-4 * 20, 20)
    driven(pace, {2: 2e-3, 1: 2e-4}, 1 + 2 * TRIALS)
    assert pace.best == 1


def test_the_same_number_again_is_tried_more_rarely():
    def rest(pace):
        runs = 0
        while pace._runs >= pace._trials:
            pace.took(3e-4 if pace.walkers() == 2 else 1e-4)
            runs += 1
        return runs

    pace, rests = ThreadCount(2), []
    for _ in range(6):
        driven(pace, {2: 3e-4, 1: 1e-4}, 2 * TRIALS - pace._runs)
        rests.append(rest(pace))
    assert rests == [REST, 2 * REST, 4 * REST, LONGEST_REST, LONGEST_REST, LONGEST_REST]
