"""A process that dies, hangs, fails or differs ends all of them soon, with one message that names it and the cause."""

import os
import re
import socket
import subprocess
import sys

import pytest
from launching import PROGRAMS, launch

from fusedstep.errors import HyperparameterError

HOST = socket.gethostname()
SECONDS = 15.0
"""Until all have ended, from the fault on, with a limit of 3 seconds; measured it is half of that at most."""
SOON = {"FUSEDSTEP_PARALLEL_TIMEOUT": "3"}


def run(fault, rank=1, processes=3, *more, **variables):
    return launch(processes, PROGRAMS / "faults.py", fault, rank, *more, **variables)


def seconds_after_fault(ended):
    return ended.at - float(re.search(r"fault at ([\d.]+)", ended.out)[1])


def lines_of(ended):
    return sorted(line for line in ended.out.splitlines() if not line.startswith("fault at"))


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("freezes", "has given no sign of life for"),
        ("sleeps", "has done nothing for"),
        ("raises", "failed: RuntimeError: the disk of this host is on fire"),
        ("leaves", "has finished, but others have been waiting for it"),
        ("wanders", "has come to barrier"),
        ("sleeps in launches", "has done nothing for"),
    ],
)
def test_g16_one_process_ends_all_with_one_message(fault, cause):
    ended = run(fault, **SOON)
    assert ended.status not in (0, None)
    assert len(ended.errors) == 1, ended.error
    assert ended.errors[0].startswith(f"error: rank 1 on {HOST} {cause}")
    assert ended.errors[0].endswith("; all processes end")
    assert seconds_after_fault(ended) < SECONDS
    assert ("Traceback" in ended.error) == (fault == "raises")


@pytest.mark.parametrize("fault", ["reads", "writes", "lags"])
def test_a_process_that_others_wait_for_may_be_slow(fault):
    """Five seconds, where three would be too long for one that does nothing."""
    ended = run(fault, **SOON)
    assert ended.status == 0, ended.error
    assert not ended.errors
    assert lines_of(ended) == [f"rank {r}: 20 steps, " for r in range(3)]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_all(rank):
    """Launchers notice it as well, sometimes before a line can be written."""
    ended = run("dies", rank)
    assert ended.status not in (0, None)
    assert seconds_after_fault(ended) < SECONDS
    assert all(line.startswith(f"error: rank {rank} on {HOST} has ended without a word") for line in ended.errors)
    assert ended.errors or f"rank {rank} " in ended.error


DIFFERENT = {
    "version": "the version of fusedstep is '0.0.1' for rank 1",
    "backend": "the backend is 'numpy' for rank 1",
    "model": "outputs=9",
    "optimizer": "the optimizer is 'Adam(lr=0.02)' for rank 1",
    "seed": "seed is 1 for rank 1",
    "data": "training data.bytes[0] is",
    "labels": "training data.",
    "rows": "training data.rows is 399 for rank 1",
    "batch size": "settings.batch_size is 20 for rank 1",
    "epochs": "epochs is 3 for rank 1",
    "schedule": "settings.schedule",
}
WRONG = {
    "small minibatches": "expected minibatches of at least one row for each of the 3 processes; got batch_size=2",
    "mixup": "HyperparameterError: expected",
}


def test_g16_differences_are_found_at_the_start_and_named():
    ended = run("differences")
    assert ended.status == 0, ended.error
    found = {}
    for line in ended.out.splitlines():
        name, same, text = line.split("|", 2)
        assert same == "True", line
        found[name] = text
    assert found.pop("nothing") == ""
    assert found.pop("choices") == ""
    assert found.keys() == {*DIFFERENT, *WRONG}
    for name, text in found.items():
        assert (DIFFERENT.get(name) or WRONG[name]) in text
        if name in DIFFERENT:
            assert text.startswith("ProcessesDiffer: expected the same ")
            assert f"rank 0 on {HOST}" in text


def test_what_all_get_wrong_is_said_once():
    ended = run("epochs", processes=2)
    assert ended.status == 1
    assert len(ended.errors) == 1, ended.error
    assert ended.errors[0].startswith("error: ProcessesDiffer: expected the same training in all 2 processes; epochs is 3 for")
    assert ended.error.count("Traceback") == 1


def test_a_loss_that_is_not_finite_in_one_process_is_the_same_error_in_all_or_skipped_by_all():
    ended = run("not finite", rank=2)
    assert ended.status == 0, ended.error
    lines = lines_of(ended)
    texts = {line.partition(": ")[2] for line in lines if "expected" in line}
    skipped = sorted(f"rank {r}: loss nan, {n} steps, {n} skipped" for r in range(3) for n in (1, 2))
    assert [line for line in lines if "expected" not in line] == skipped
    assert len(lines) == 12
    (text,) = texts
    assert text.startswith("expected a finite loss; got a loss of nan in step 1, first in the input data")
    assert text.endswith(f"(found by rank 2 on {HOST})")


def test_one_process_that_wants_to_stop_stops_all_after_the_same_step():
    """With the step or launch after that in which it wants it, because all learn it with the sums."""
    ended = run("stops")
    assert ended.status == 0, ended.error
    assert lines_of(ended) == [f"rank {r}: {steps} steps, one process wants to end" for r in range(3) for steps in (13, 16)]


@pytest.mark.parametrize(("fault", "steps"), [("terminated", 13), ("terminated in launches", 16)])
def test_a_signal_to_one_process_saves_and_ends_all(tmp_path, fault, steps):
    ended = run(fault, 2, 3, tmp_path / "run")
    assert ended.status == 143
    assert not ended.errors, ended.error
    names = sorted(path.name for path in (tmp_path / "run").iterdir() if path.name.startswith("step"))
    assert any(str(steps) in name for name in names), names


def test_without_a_launcher():
    from fusedstep.backends.communicators import communicator
    from fusedstep.backends.communicators.launcher import SIGNS

    assert not any(sign in os.environ for sign in SIGNS)
    with pytest.raises(HyperparameterError, match=r"expected processes that a launcher has started .* mpiexec -n 4"):
        communicator("mpi")
    with pytest.raises(HyperparameterError, match=r"expected parallel to be one of mpi, nccl, or None; got 'gloo'"):
        communicator("gloo")


def test_nccl_without_a_gpu():
    ended = launch(2, "-c", "from fusedstep.backends.communicators import communicator; communicator('nccl')")
    assert ended.status != 0
    assert 'BackendUnavailable: parallel="nccl" needs' in ended.error


def test_mpi4py_without_an_mpi():
    """A library path that has none, and an mpi4py that is not there at all."""
    hidden = "import sys; sys.modules['mpi4py'] = None\n"
    program = hidden + "from fusedstep.backends.communicators import communicator; communicator('mpi')"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], env={**os.environ, "PMI_SIZE": "2"}, capture_output=True, text=True, check=False
    )
    assert 'MissingDependency: parallel="mpi" needs mpi4py' in done.stderr
    assert 'pip install "mpi4py>=4"' in done.stderr
    program = "import os; os.environ['MPI4PY_LIBMPI'] = '/nonexistent/libmpi.so'\n" + program.removeprefix(hidden)
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], env={**os.environ, "PMI_SIZE": "2"}, capture_output=True, text=True, check=False
    )
    assert 'BackendUnavailable: parallel="mpi" needs an MPI that mpi4py' in done.stderr
