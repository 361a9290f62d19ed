"""Threads that walk programs together: who is woken, who waits, and what an interrupt leaves behind."""

import threading
import time

import numpy as np
import pytest
from networks import batch_for, in_a_process, step_for, train

import fusedstep as fs
from fusedstep.backends.numba import thread_pool, walk
from fusedstep.backends.numba.replay import STOPPED, Label, Replay
from fusedstep.backends.numba.thread_pool import ThreadPool
from fusedstep.kernels.rows import cpu
from fusedstep.kernels.targets.native import words_of

NOTHING = Label("fill", "", "", 0, 0)


@pytest.fixture
def pool(monkeypatch):
    """A pool of its own, which programs use during the test."""
    made = ThreadPool()
    monkeypatch.setattr(thread_pool, "_pool", made)
    return made


def number_of(pool):
    """Jobs that were handed out so far."""
    return int(pool._box[0]) >> 8


def asleep(pool):
    return int(pool._box[walk.AT_SLEEPERS])


def filling(phases):
    """A program that fills arrays: phases – for each one the numbers, one task each; and the arrays."""
    program, arrays = Replay([]), []
    kernel = cpu.kernel(cpu.fill, np.dtype("f4"))
    for numbers in phases:
        for number in numbers:
            array = np.zeros(100, "f4")
            arrays.append(array)
            program.call(kernel.entry.address, words_of(kernel.parameters, (array, number)), NOTHING, array)
            program.end_task()
        program.end_phase()
    return program.finish(), arrays


def adding(phases, tasks):
    """A program in which every task of a phase adds the sum of all cells of the phase before to its own cell.

    It is right only if no thread starts a phase before all others have ended the one before.
    """
    add = cpu.kernel(cpu.add_to, np.dtype("f8"))
    program, cells = Replay([]), np.zeros((phases + 1, tasks, 64))
    for phase in range(phases):
        for task in range(tasks):
            for other in range(tasks):
                pair = (cells[phase + 1, task], cells[phase, other])
                program.call(add.entry.address, words_of(add.parameters, pair), NOTHING, cells)
            program.end_task()
        program.end_phase()
    return program.finish(), cells


def run_in_time(work, seconds=60):
    """Calls it in a thread; a hang is a failure."""
    errors = []

    def guarded():
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), "it hangs"
    if errors:
        raise errors[0]


def test_one_thread_wakes_nobody(pool):
    program, arrays = filling([[1, 2, 3], [4]])
    before = threading.active_count()
    for _ in range(20):
        program.run((), 1)
    assert [a[99] for a in arrays] == [1, 2, 3, 4]
    assert (len(pool._threads), number_of(pool), threading.active_count()) == (0, 0, before)


def test_threads_are_made_once_and_woken_when_asleep(pool):
    program, arrays = filling([[1, 2, 3], [4]])
    run_in_time(lambda: program.run((), 3))
    assert [a[99] for a in arrays] == [1, 2, 3, 4]
    assert (len(pool._threads), number_of(pool)) == (2, 1)
    deadline = time.monotonic() + 10.0
    while asleep(pool) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert asleep(pool) == 2
    run_in_time(lambda: program.run((), 2))
    assert (len(pool._threads), number_of(pool)) == (2, 2)


def test_a_closed_crew_is_gone_and_comes_back(pool):
    program, arrays = filling([[1, 2, 3], [4]])
    run_in_time(lambda: program.run((), 3))
    threads = list(pool._threads)
    run_in_time(pool.close)
    assert not any(thread.is_alive() for thread in threads)
    arrays[2][...] = 0.0
    run_in_time(lambda: program.run((), 3))
    assert [a[99] for a in arrays] == [1, 2, 3, 4]


@pytest.mark.parametrize("threads", [2, 3, 5, 16])
def test_more_threads_than_tasks(threads, pool):
    program, arrays = filling([[1, 2], [3], [4, 5]])
    run_in_time(lambda: [program.run((), threads) for _ in range(50)])
    assert [a[0] for a in arrays] == [1, 2, 3, 4, 5]
    assert len(pool._threads) == 1  # no more than the widest phase can use


def test_a_program_without_tasks(pool):
    program, _ = filling([])
    run_in_time(lambda: program.run((), 3))
    program, _ = filling([[], []])
    run_in_time(lambda: program.run((), 3))


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_nobody_starts_a_phase_early(threads, pool):
    phases, tasks = 6, 5
    program, cells = adding(phases, tasks)

    def work():
        for _ in range(100):
            cells[...] = 0.0
            cells[0] = 1.0
            program.run((), threads)
            assert cells[-1].tolist() == [[float(tasks**phases)] * 64] * tasks

    run_in_time(work)


def test_numbers_of_threads_in_turn(pool):
    """Jobs for few and for many, so that some who are awake have no part and some who sleep have one."""
    program, cells = adding(3, 7)

    def work():
        for k in range(300):
            cells[...] = 0.0
            cells[0] = 1.0
            program.run((), (2, 7, 3, 1, 5)[k % 5])
            assert cells[-1, :, 0].tolist() == [343.0] * 7
            if k % 50 == 0:
                time.sleep(0.005)

    run_in_time(work)


def test_while_the_crew_is_busy_a_program_is_walked_alone(pool):
    program, arrays = filling([[1, 2, 3], [4]])
    pool._box[walk.AT_BUSY] = 1
    run_in_time(lambda: program.run((), 3))
    assert [a[50] for a in arrays] == [1, 2, 3, 4]
    assert number_of(pool) == 0
    pool._box[walk.AT_BUSY] = 0
    run_in_time(lambda: program.run((), 3))
    assert number_of(pool) == 1
    assert pool._box[walk.AT_BUSY] == 0


def test_many_callers_at_once(pool):
    made = [adding(4, 4) for _ in range(4)]

    def work(k):
        program, cells = made[k]
        for _ in range(200):
            cells[...] = 0.0
            cells[0] = 1.0
            program.run((), 3)
            assert cells[-1, :, 0].tolist() == [256.0] * 4

    def together():
        errors = []

        def guarded(k):
            try:
                work(k)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=guarded, args=(k,), daemon=True) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors

    run_in_time(together)


def test_times_of_calls(pool):
    program, _ = filling([[1, 2, 3], [4]])
    times = np.zeros(4, np.int64)
    for threads in (1, 2):
        run_in_time(lambda threads=threads: program.run((), threads, times))
    assert (times > 0).all()
    before = times.copy()
    program.run((), 1)
    assert times.tolist() == before.tolist()


@pytest.mark.parametrize("threads", [65, 255])
def test_a_crowd(threads, pool):
    program, arrays = filling([list(range(1, 300)), [300]])
    run_in_time(lambda: [program.run((), threads) for _ in range(3)], 30)
    assert [a[7] for a in arrays] == list(range(1, 301))
    run_in_time(pool.close, 30)


@pytest.mark.parametrize("threads", [3, 5])
def test_more_threads_than_cores_finish(threads):
    program = """
import sys
import numpy as np
import fusedstep as fs
fs.set_num_threads(int(sys.argv[1]))
generator = np.random.default_rng(0)
x, y = generator.standard_normal((130, 20)).astype("f4"), generator.integers(0, 4, 130)
step = fs.TrainStep(fs.mlp([20, 64, 64, 4]), fs.SoftmaxCrossEntropy(), fs.Adam(1e-3), seed=0, backend="numba")
first = float(step(x, y))
for _ in range(200):
    last = float(step(x, y))
assert last < first
print("done")
"""
    assert in_a_process(program, threads, seconds=120).strip() == "done"


# Interrupts

def test_an_interrupt_that_comes_while_compiled_code_runs():
    """Signals at any time during steps: each is raised as KeyboardInterrupt, and training goes on afterwards."""
    program = """
import signal, sys
import numpy as np
import fusedstep as fs
fs.set_num_threads(3)
generator = np.random.default_rng(0)
x, y = generator.standard_normal((512, 50)).astype("f4"), generator.integers(0, 4, 512)
step = fs.TrainStep(fs.mlp([50, 200, 200, 4]), fs.SoftmaxCrossEntropy(), fs.SGD(1e-3), seed=0, backend="numba")
for _ in range(5):
    step(x, y)
interrupted = 0
def interrupt(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
for k in range(150):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0005 + 0.00005 * (k % 60))
        for _ in range(100):
            step(x, y)
    except KeyboardInterrupt:
        interrupted += 1
for _ in range(20):
    loss = float(step(x, y))
assert np.isfinite(step.model.arena.values).all() and loss < 2.0, loss
print(interrupted)
"""
    assert int(in_a_process(program, seconds=120)) > 100


def test_an_interrupt_between_any_two_lines_leaves_a_crew_that_works():
    """KeyboardInterrupt before each line of the code that hands a job to the pool, one after the other.

    Afterwards steps end, the pool is not busy, BLAS has its threads, and a new run has the bits of an undisturbed one.
    (What limits BLAS is left out: a line of __enter__ or __exit__ cannot be taken back.)
    """
    program = """
import sys
import numpy as np
import fusedstep as fs
from threadpoolctl import threadpool_info
from fusedstep.backends.numba import replay, thread_pool, walk
from fusedstep.backends import threads as limits

fs.set_num_threads(3)
generator = np.random.default_rng(0)
x, y = generator.standard_normal((130, 20)).astype("f4"), generator.integers(0, 4, 130)

def fresh():
    return fs.TrainStep(fs.mlp([20, 64, 64, 4]), fs.SoftmaxCrossEntropy(), fs.SGD(1e-2), seed=0, backend="numba")

def counts():
    return [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"]

def trained():
    step = fresh()
    for _ in range(3):
        step(x, y)
    return step.model.arena.values.tobytes()

wanted, before = trained(), counts()
where = [thread_pool.ThreadPool.run.__code__, replay.Replay.run.__code__]

def traced(position):
    seen = [0]
    def line(frame, event, _):
        if event == "line":
            seen[0] += 1
            if seen[0] == position:
                sys.settrace(None)
                raise KeyboardInterrupt(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
        return line
    def call(frame, event, _):
        return line if frame.f_code in where else None
    return call

position, problems = 0, []
while True:
    position += 1
    step = fresh()
    step(x, y)
    sys.settrace(traced(position))
    try:
        step(x, y)
        sys.settrace(None)
        break
    except KeyboardInterrupt as error:
        place = str(error)
    finally:
        sys.settrace(None)
    print(position, place, flush=True)
    step(x, y)
    if thread_pool.thread_pool()._box[walk.AT_BUSY]:
        problems.append(f"{place}: the pool stays busy")
        thread_pool.thread_pool()._box[walk.AT_BUSY] = 0
    if limits.single_threaded_blas._inside:
        problems.append(f"{place}: BLAS stays limited")
        limits.single_threaded_blas.__exit__()
    if counts() != before:
        problems.append(f"{place}: BLAS has {counts()} threads")
        limits.single_threaded_blas.reset()
    if trained() != wanted:
        problems.append(f"{place}: other bits")
assert position > 10
assert not problems, problems
"""
    in_a_process(program, seconds=120)


def test_a_step_inside_a_step():
    """A signal handler or a callback that trains another model: the pool is busy, so it walks alone."""
    fs.set_num_threads(2)
    batches = [batch_for("wide", 33, "float32", k) for k in range(3)]
    wanted = train(step_for("wide"), batches)
    inner = []

    class Calling(fs.MSE):
        def evaluate(self, y, targets, tape):
            if not inner:
                inner.append(None)
                inner[0] = train(step_for("wide"), batches)
            return super().evaluate(y, targets, tape)

    outer = fs.TrainStep(step_for("wide").model, Calling(), fs.SGD(0.05), seed=3, backend="numba")
    run_in_time(lambda: outer(*batches[0]))
    assert inner == [wanted]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_nobody_starts_a_step_early(threads, pool):
    """Every step adds the sum of the cells of each half to each cell of the other half, in two phases."""
    tasks, steps = 2, 4
    add = cpu.kernel(cpu.add_to, np.dtype("f8"))
    program, cells = Replay([]), np.zeros((2, tasks, 64))
    for here, there in ((0, 1), (1, 0)):
        for task in range(tasks):
            for other in range(tasks):
                pair = (cells[there, task], cells[here, other])
                program.call(add.entry.address, words_of(add.parameters, pair), NOTHING, cells)
            program.end_task()
        program.end_phase()
    program.finish()
    wanted = np.array([1.0, 0.0])
    for _ in range(steps):
        wanted[1] += tasks * wanted[0]
        wanted[0] += tasks * wanted[1]

    def work():
        for _ in range(200):
            cells[0], cells[1] = 1.0, 0.0
            program.run((), threads, steps=steps)
            assert cells[:, :, 0].tolist() == [[wanted[0]] * tasks, [wanted[1]] * tasks]

    run_in_time(work)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_call_may_stop_the_steps_and_so_may_the_clock(threads, pool):
    cells = np.zeros((3, 5, 64))
    calls = cpu.kernel(cpu.end_step, np.dtype("f4"))
    step, scales, sums, results = np.zeros(1, "i8"), np.ones(1, "f4"), np.zeros(2), np.zeros(20)
    program = Replay([])
    for phase in range(3):
        for task in range(5):
            program.call(*_one_more(cells[phase, task]))
            program.end_task()
        program.end_phase()
    program.call(calls.entry.address, words_of(calls.parameters, (sums, scales, results, step, program.stop)), NOTHING)
    program.end_task()
    program.end_phase()
    for task in range(3):
        program.call(*_one_more(cells[0, task]))
        program.end_task()
    program.end_phase()
    program.finish()
    cells[...] = 0.0
    run_in_time(lambda: program.run((), threads, steps=7))
    assert (int(step[0]), cells[2, 4, 0], cells[0, 0, 0]) == (7, 7.0, 2 * 7.0)
    scales[0], cells[...] = np.nan, 0.0
    run_in_time(lambda: program.run((), threads, steps=7))
    assert (int(step[0]), cells[2, 4, 0], program.stop[0]) == (7, 1.0, STOPPED)
    scales[0] = 1.0
    step[0] = 0
    run_in_time(lambda: [program.run((), threads, steps=1) for _ in range(5)])
    assert int(step[0]) == 5


def _one_more(cell):
    kernel = cpu.kernel(cpu.add_to, np.dtype("f8"))
    one = np.ones(cell.size)
    return kernel.entry.address, words_of(kernel.parameters, (cell, one)), NOTHING, (one, cell)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_no_step_begins_after_the_deadline(threads, pool):
    cell = np.zeros(64)
    program = Replay([])
    for _ in range(3):
        program.call(*_one_more(np.zeros(64)))
        program.end_task()
    program.end_phase()
    program.call(*_one_more(cell))
    program.end_task()
    program.end_phase()
    program.finish()
    run_in_time(lambda: program._walk(threads, 10**9, 1e-3))
    assert 0 < cell[0] == program._marks[2] < 10**9
    cell[...] = 0.0
    run_in_time(lambda: program.run((), threads, steps=10**9, seconds=1e-3))
    assert 0 < cell[0] < 10**9
