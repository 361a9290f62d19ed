"""Steps in other surroundings: other systems, pretended; no room for threads; Python on its way out; threads that get in each
other's way.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.errors import StateError

POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX only")
START = "import os, sys, threading, time\nimport company\nimport fusedstep as fs\n"


def run(program, **environment):
    """The words that a process prints."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("FUSEDSTEP_NUM_THREADS", "FUSEDSTEP_BACKEND")}
    paths = filter(None, [os.path.dirname(__file__), os.environ.get("PYTHONPATH")])
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", program],
        env={**inherited, "PYTHONPATH": os.pathsep.join(paths), **environment}, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.fixture(scope="module")
def alone():
    """The bits of a model trained here on two threads."""
    import company

    return company.trained(0, 2, 5)


# Systems

def test_without_posix_the_bits_are_the_same(alone):
    program = """
import os, types, threadpoolctl, llvmlite.binding
for name in ("sched_getaffinity", "register_at_fork", "fork", "getuid", "sysconf", "getloadavg"):
    if hasattr(os, name):
        delattr(os, name)
from fusedstep.backends.numba import walk
walk.sys = types.SimpleNamespace(platform="win32", modules=walk.sys.modules)
import company
bits = company.trained(0, 2, 5)
from fusedstep.backends.numba import thread_pool
print(bits, thread_pool.thread_pool()._native, company.own_threads())
"""
    assert run(program) == [alone, "False", "['fusedstep", "1']"]


@POSIX
def test_the_clock_is_that_of_the_system(alone):
    """As in macOS, where the clock that never goes back has number 6 and there is none of number 1: threads go to sleep."""
    program = """
import ctypes, os, sys, time
real, kind = ctypes.CDLL(None).clock_gettime, ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
number = time.CLOCK_MONOTONIC
time.CLOCK_MONOTONIC = 6
clock = kind(lambda wanted, place: real(number if wanted == 6 else 99, ctypes.c_void_p(place)))
from fusedstep.backends.numba import thread_pool, walk
known = walk.system_call
address = ctypes.cast(clock, ctypes.c_void_p).value
walk.system_call = lambda name: address if name == "clock_gettime" else known(name)
import company
bits = company.trained(0, 2, 5)
for _ in range(100):
    asleep = int(thread_pool.thread_pool()._box[walk.AT_SLEEPERS])
    if asleep:
        break
    time.sleep(0.05)
print(bits, asleep)
sys.stdout.flush()
os._exit(0)  # the clock is Python here, which threads cannot ask while it ends
"""
    assert run(program) == [alone, "1"]


def test_kernels_for_any_processor_of_the_kind_give_the_same_losses():
    program = START + "step = company.new_step()\nprint(*(float(step(x, y)) for x, y in company.minibatches(5)))"
    any_processor = """
import types
from fusedstep.kernels.targets.llvm import machine
no_features = types.SimpleNamespace(flatten=lambda: "")
machine.llvm.get_host_cpu_name, machine.llvm.get_host_cpu_features = lambda: "generic", lambda: no_features
"""
    here, anywhere = run(program), run(any_processor + program)
    np.testing.assert_allclose([*map(float, anywhere)], [*map(float, here)], rtol=1e-5)


# Threads that cannot be

@POSIX
def test_without_room_for_threads_the_calling_one_does_it_all(alone):
    program = START + """
import resource
company.trained(0, 2, 1)
from fusedstep.backends.numba import thread_pool
thread_pool.thread_pool().close()
thread_pool._after_fork()
used = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) * 1024
threading.stack_size(2**30)
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
print(company.trained(0, 2, 5), threading.active_count())
"""
    if not os.path.exists("/proc/self/status"):
        pytest.skip("needs /proc")
    assert run(program) == [alone, "1"]


@pytest.mark.parametrize("moment", ["generator", "del", "atexit", "daemon"])
def test_steps_while_python_ends(alone, moment):
    program = START + f"""
import atexit
moment = {moment!r}
def train():
    print(company.go_on(step, 4, 1), flush=True)
if moment == "atexit":
    atexit.register(train)
fs.set_num_threads(2)
step = company.new_step(0)
company.go_on(step, 1)
def endless():
    try:
        while True:
            yield
    finally:
        train()
class Last:
    def __del__(self):
        train()
if moment == "generator":
    kept = endless()
    next(kept)
elif moment == "del":
    kept = Last()
elif moment == "daemon":
    threading.Thread(target=lambda: company.go_on(step, 10**6), daemon=True).start()
    time.sleep(0.2)
    print({alone!r})
"""
    assert run(program) == [alone]


# One model, several threads

@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_model_is_trained_by_one_thread_at_a_time(backend):
    """Whoever comes second is told so, and the steps of the first are what they are without it."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((64, 6)).astype("f4"), rng.integers(0, 3, 64)

    def new(model=None):
        return fs.TrainStep(model or fs.mlp([6, 16, 3]), fs.SoftmaxCrossEntropy(), fs.Adam(1e-2), seed=1, backend=backend)

    quiet, step = new(), new()
    other, told, stop = new(step.model), [], threading.Event()

    def intrude(called):
        while not stop.is_set():
            try:
                called()
            except StateError as error:
                told.append(str(error))

    with step.model.arena.training:
        step(x, y)
        quiet(x, y)
        calls = (lambda: step(x, y), lambda: other(x, y), lambda: other.profile(x, y, 1))
        threads = [threading.Thread(target=intrude, args=(called,)) for called in calls]
        for thread in threads:
            thread.start()
        for _ in range(30):
            assert float(step(x, y)) == float(quiet(x, y))
        while len(told) < 3:
            threads[0].join(0.01)
        stop.set()
        for thread in threads:
            thread.join()
    assert other.steps == 0
    assert all("one thread at a time" in said and "\n" not in said for said in told)
    np.testing.assert_array_equal(step.model.arena.values, quiet.model.arena.values)
    other(x, y)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_crowd_on_one_step_leaves_finite_parameters(backend):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((64, 6)).astype("f4"), rng.integers(0, 3, 64)
    step = fs.TrainStep(fs.mlp([6, 16, 3]), fs.SoftmaxCrossEntropy(), fs.Adam(1e-2), backend=backend)
    taken, others = [], []

    def work():
        for _ in range(50):
            try:
                taken.append(float(step(x, y)))
            except StateError:
                continue
            except BaseException as error:
                others.append(error)

    crowd = [threading.Thread(target=work) for _ in range(6)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    assert others == []
    assert step.steps == len(taken) > 0
    assert np.isfinite(taken).all()
    assert np.isfinite(step.model.arena.values).all()
