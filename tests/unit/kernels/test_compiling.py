"""While a kernel is compiled: an interrupt, or a fork, that comes in between leaves a process in which kernels work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from fusedstep.kernels.interrupts import uninterrupted


def in_a_process(program, **environment):
    paths = filter(None, [os.path.dirname(__file__), os.environ.get("PYTHONPATH")])
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT to itself")
def test_interrupts_while_a_kernel_is_compiled_wait_for_its_end():
    program = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from fusedstep.kernels.targets.llvm.machine import Machine
from test_cache import kernel, works
compiler, came = Machine.object_of, []
def object_of(self, assembly):
    came.append(1)
    signal.raise_signal(signal.SIGINT)
    return compiler(self, assembly)
Machine.object_of = object_of
interrupts = 0
for _ in range(5):
    try:
        print(works(kernel()))
        break
    except KeyboardInterrupt:
        interrupts += 1
print(interrupts, len(came))
"""
    assert in_a_process(program, FUSEDSTEP_CACHE_DIR="") == ["True", "1", "1"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_child_that_is_forked_while_a_thread_compiles_can_compile():
    program = """
import os, signal, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from fusedstep.kernels.targets.llvm.machine import Machine
from test_cache import kernel, works
begun, compiler = threading.Event(), Machine.object_of
def object_of(self, assembly):
    begun.set()
    return compiler(self, assembly)
Machine.object_of = object_of
thread = threading.Thread(target=lambda: works(kernel()))
thread.start()
begun.wait()
child = os.fork()
if child == 0:
    signal.alarm(60)
    os._exit(0 if works(kernel()) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
thread.join()
print(works(kernel()))
"""
    assert in_a_process(program, FUSEDSTEP_CACHE_DIR="") == ["0", "True"]


def test_threads_that_compile_first_together_use_one_engine():
    program = """
import threading
from test_cache import kernel, works
from fusedstep.kernels.targets.llvm import machine
made, right, init = [], [], machine.Machine.__init__
def counted(self):
    made.append(self)
    init(self)
machine.Machine.__init__ = counted
start = threading.Barrier(8)
def work():
    start.wait()
    right.append(works(kernel()))
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(made), right == [True] * 8)
"""
    assert in_a_process(program, FUSEDSTEP_CACHE_DIR="") == ["1", "True"]


# Interrupts that are held back

@pytest.fixture
def heard():
    """Signals that reached the handler."""
    found = []
    before = signal.signal(signal.SIGINT, lambda *given: found.append(given[0]))
    yield found
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_waits_and_comes_once(heard):
    handler = signal.getsignal(signal.SIGINT)
    with uninterrupted():
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        assert heard == []
    assert heard == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_interrupt_comes_after_an_error_too():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def fails():
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            raise ValueError("first")

    try:
        with pytest.raises(KeyboardInterrupt) as told:
            fails()
        assert isinstance(told.value.__context__, ValueError)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_a_signal_without_a_handler_of_python_is_left_alone(handler):
    before = signal.signal(signal.SIGINT, handler)
    try:
        with uninterrupted():
            assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_nothing_is_changed(heard):
    def work():
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == [signal.SIGINT]
