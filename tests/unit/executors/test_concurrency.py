"""Training beside other users of threads and processes: nobody hangs, and the bits are those of training alone.

Everything runs in a process of its own with a limit on its time.
"""

import os
import sys

import company
import pytest
from networks import in_a_process

PROC = pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="this system does not list threads")
FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
START = """
import sys
sys.path.insert(0, "")
import company
import numpy as np
import fusedstep as fs
import scipy.linalg.cython_blas  # its BLAS is one of those that are counted
from threadpoolctl import threadpool_info
from fusedstep.kernels.targets.blas import mkl
mkl()  # and so is oneMKL's, which otherwise comes with the first step

def blas():
    return [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"]
"""


@pytest.fixture(scope="module")
def alone():
    """Bits by seed of models that were trained with 2 threads and nobody else around."""
    program = START + "\nprint(*(company.trained(seed) for seed in (0, 1)))"
    return in_a_process(program, seconds=120).split()


def run(program, seconds=120, **environment):
    return in_a_process(START + program, seconds=seconds, **environment).split()


def test_alone_in_this_process(alone):
    assert [company.trained(seed) for seed in (0, 1)] == alone


# Threads

def test_beside_a_pool_that_multiplies_matrices(alone):
    program = """
from concurrent.futures import ThreadPoolExecutor
import threading
before = blas()
a = np.random.default_rng(0).standard_normal((300, 300))
wanted, stop, right = a @ a, threading.Event(), []
def multiply():
    done = 0
    while not stop.is_set() or done < 3:
        right.append(np.allclose(a @ a, wanted, rtol=1e-10, atol=1e-10))
        done += 1
    return done
with ThreadPoolExecutor(3) as pool:
    waiting = [pool.submit(multiply) for _ in range(3)]
    bits = company.trained(0)
    stop.set()
    done = [w.result() for w in waiting]
assert all(right) and min(done) >= 3
assert blas() == before, (blas(), before)
print(bits)
"""
    assert run(program) == alone[:1]


def test_steps_in_a_pool_of_threads(alone):
    """More than one caller, none of them the main thread."""
    program = """
from concurrent.futures import ThreadPoolExecutor
before = blas()
fs.set_num_threads(2)
with ThreadPoolExecutor(2) as pool:
    print(*pool.map(lambda seed: company.go_on(company.new_step(seed)), (0, 1)))
assert blas() == before, (blas(), before)
"""
    assert run(program) == alone


def test_deterministic_steps_in_three_threads_at_the_same_time():
    """Whoever comes second finds the threads taken and BLAS limited already, which oneMKL does for each caller apart."""
    program = """
from concurrent.futures import ThreadPoolExecutor
fs.set_num_threads(2)
rng = np.random.default_rng(0)
x, y = rng.standard_normal((800, 40)).astype("f4"), rng.integers(0, 5, 800)
def trained(_):
    model = fs.mlp([40, 96, 64, 5])
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.Adam(1e-2), seed=1, backend="numba", deterministic=True)
    for _ in range(40):
        step(x, y)
    return model.arena.values.tobytes()
alone = trained(0)
with ThreadPoolExecutor(3) as pool:
    print(*(bits == alone for bits in pool.map(trained, range(9))))
"""
    assert run(program) == ["True"] * 9


@pytest.mark.parametrize("first", ["main", "other"])
def test_blas_is_limited_whichever_thread_takes_the_step(first, alone):
    """Within a step BLAS has one thread, before and after it what the user set, in every thread."""
    program = f"""
import threading
inside = []
class Looking(fs.SoftmaxCrossEntropy):
    def evaluate(self, y, targets, tape):
        inside.append(blas())
        return super().evaluate(y, targets, tape)
before = blas()
def look():
    step = company.new_step(loss=Looking())
    company.go_on(step, 2)
    assert blas() == before, (blas(), before)
def elsewhere():
    errors = []
    def guarded():
        try:
            look()
        except BaseException as error:
            errors.append(error)
    thread = threading.Thread(target=guarded)
    thread.start()
    thread.join()
    assert not errors, errors
turns = [look, elsewhere, look, elsewhere]
for turn in turns if {first!r} == "main" else turns[::-1]:
    turn()
assert inside and all(count == 1 for counts in inside for count in counts), inside
print("done")
"""
    assert run(program) == ["done"]


def test_the_last_one_out_gives_blas_its_threads_back():
    """Two steps overlap in two threads; the one that began first ends first."""
    program = """
import threading
from fusedstep.backends.threads import single_threaded_blas
before = blas()
assert max(before) > 1
def shared():  # oneMKL counts for each thread
    return [lib["num_threads"] for lib in threadpool_info() if lib["internal_api"] == "openblas"]
entered, leave = threading.Event(), threading.Event()
def other():
    with single_threaded_blas:
        of_the_other.append(blas())
        entered.set()
        leave.wait()
    of_the_other.append(blas())
of_the_other = []
for main_first in (True, False):
    entered.clear(), leave.clear()
    thread = threading.Thread(target=other)
    if main_first:
        with single_threaded_blas:
            thread.start()
            entered.wait()
        assert max(shared()) == 1
        leave.set()
        thread.join()
    else:
        thread.start()
        entered.wait()
        with single_threaded_blas:
            leave.set()
            thread.join()
            assert max(blas()) == 1
    assert blas() == before, (main_first, blas(), before)
    if main_first:
        assert max(of_the_other[0]) == 1 and of_the_other[1] == before, (of_the_other, before)
print("done")
"""
    assert run(program, OPENBLAS_NUM_THREADS=2) == ["done"]


def test_the_users_own_limits_go_on_working():
    """threadpool_limits of the user in another thread, after a step in the main thread."""
    program = """
import threading
from threadpoolctl import threadpool_limits
company.trained(0, count=2)
found = []
def user():
    with threadpool_limits(1):
        found.append(blas())
    found.append(blas())
before = blas()
thread = threading.Thread(target=user)
thread.start()
thread.join()
assert max(before) > 1
assert [max(found[0]), found[1]] == [1, before], (found, before)
print("done")
"""
    assert run(program, OPENBLAS_NUM_THREADS=2) == ["done"]


# Processes

@pytest.mark.parametrize("kind", ["loky", "threading"])
def test_joblib(kind, alone):
    program = f"""
from joblib import Parallel, delayed
if __name__ == "__main__":
    fs.set_num_threads(2)
    company.go_on(company.new_step(), 2)
    if {kind!r} == "loky":
        results = Parallel(n_jobs=2, backend="loky")(delayed(company.trained)(seed) for seed in (0, 1))
    else:
        work = lambda seed: company.go_on(company.new_step(seed))
        results = Parallel(n_jobs=2, backend="threading")(delayed(work)(seed) for seed in (0, 1))
    print(*results)
"""
    assert run(program, PYTHONPATH=_path()) == alone


def _path():
    """For processes that are started by others: where `company` is, beside what is there already."""
    return os.pathsep.join([os.path.dirname(__file__), *filter(None, [os.environ.get("PYTHONPATH")])])


@FORK
def test_a_forked_child_trains_and_so_does_its_parent(alone):
    program = """
import multiprocessing, warnings
warnings.simplefilter("ignore", DeprecationWarning)
fork = multiprocessing.get_context("fork")
def child(queue, seed, step):
    queue.put((company.trained(seed), company.go_on(step, 10, 10)))
fs.set_num_threads(2)
step = company.new_step(0)
company.go_on(step, 10)
assert company.own_threads()
queue = fork.SimpleQueue()
results = []
for seed in (0, 1):
    process = fork.Process(target=child, args=(queue, seed, step))
    process.start()
    results.append(queue.get())
    process.join()
    assert process.exitcode == 0
ended = company.go_on(step, 10, 10)
assert all(continued == ended for _, continued in results)
print(*(bits for bits, _ in results), ended)
"""
    assert run(program) == [*alone, alone[0]]


@FORK
def test_forked_while_a_step_runs(alone):
    """A fork at any moment of a step in another thread: the child has a thread pool of its own."""
    program = """
import os, signal, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)
company.trained(0, count=1)  # a fork while Numba compiles is not what this is about
before = blas()
started, stop = threading.Event(), threading.Event()
def busy():
    step = company.new_step(5)
    company.go_on(step, 1)
    started.set()
    while not stop.is_set():
        company.go_on(step, 5)
thread = threading.Thread(target=busy, daemon=True)
thread.start()
started.wait()
for k in range(6):
    time.sleep(0.005 * k)
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # faulthandler's watch does not survive the fork
        ok = company.trained(0) == sys.argv[1] and blas() == before
        os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
stop.set()
thread.join()
print("done")
"""
    assert in_a_process(START + program, alone[0], seconds=120, OPENBLAS_NUM_THREADS=2).split() == ["done"]


def test_a_spawned_child(alone):
    program = """
import multiprocessing
if __name__ == "__main__":
    company.trained(0, count=2)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        print(*pool.map(company.trained, (0, 1)))
"""
    assert run(program, PYTHONPATH=_path()) == alone


# Numbers of threads

@PROC
def test_one_thread_starts_no_further_one():
    program = """
import threading
step = company.new_step()
before, names = company.native_threads(), threading.active_count()
company.go_on(step, 10)
deterministic = company.new_step(deterministic=True)
company.go_on(deterministic, 10)
print(company.native_threads() - before, threading.active_count() - names, len(company.own_threads()))
"""
    assert run(program, FUSEDSTEP_NUM_THREADS=1) == ["0", "0", "0"]


@PROC
@pytest.mark.parametrize("threads", [2, 3])
def test_no_more_threads_than_were_asked_for(threads):
    program = """
step = company.new_step()
before = company.native_threads()
company.go_on(step, 10)
print(company.native_threads() - before, len(company.own_threads()))
"""
    assert run(program, FUSEDSTEP_NUM_THREADS=threads) == [str(threads - 1)] * 2


@pytest.mark.parametrize(("value", "limit"), [("1", 1), ("1,4", 1), ("100000", None), ("0", None), ("many", None), ("", None)])
def test_the_default_is_limited_by_the_number_for_openmp(value, limit):
    program = "from fusedstep.backends.threads import available_threads\nprint(fs.num_threads(), available_threads())"
    used, available = run(program, OMP_NUM_THREADS=value)
    assert int(used) == (limit or int(available))
    assert run("print(fs.num_threads())", OMP_NUM_THREADS=value, FUSEDSTEP_NUM_THREADS=3) == ["3"]


@pytest.mark.parametrize("kind", ["loky", pytest.param("threading", marks=pytest.mark.exhaustive)])
def test_workers_of_joblib_keep_to_what_was_asked(kind):
    program = f"""
from joblib import Parallel, delayed
if __name__ == "__main__":
    results = Parallel(n_jobs=2, backend={kind!r})(delayed(company.trained_and_counted)(0, 2) for _ in range(4))
    assert len({{bits for bits, _ in results}}) == 1
    print(max(count for _, count in results))
"""
    assert int(run(program, PYTHONPATH=_path())[0]) <= 1


def test_a_process_ends_at_once_after_training():
    """Threads that still spin, or sleep, do not keep it; and nothing is said on the way out."""
    program = """
import time
company.trained(0, count=3)
if sys.argv[1] == "late":
    time.sleep(0.1)
print("done")
"""
    for when in ("early", "late"):
        assert in_a_process(START + program, when, seconds=120).split() == ["done"]


def test_the_path_of_the_workers_has_this_folder():
    assert os.path.dirname(__file__) in sys.path
