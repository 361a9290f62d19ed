"""SIGTERM and SIGUSR1: a checkpoint after the step at hand, then exit status 143."""

from __future__ import annotations

import os
import signal

import pytest
from trainings import StopAfter, fit, result, trainer_of

import fusedstep as fs
from fusedstep.framework.training import checkpoint_files as files

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


class Send(StopAfter):
    def __init__(self, step, number):
        super().__init__(step)
        self.number = number

    def on_launch_end(self, trainer, done, total):
        if trainer.steps_done >= self.step:
            self.step = 10**9
            os.kill(os.getpid(), self.number)


class SendAtTheEnd(fs.Callback):
    def on_epoch_end(self, trainer, row):
        if row["epoch"] == 2:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("number", ["SIGTERM", "SIGUSR1"])
@pytest.mark.parametrize("after", [13, 20])
def test_checkpoint_and_exit(backend, number, after, tmp_path):
    expected = result(whole := trainer_of(backend), fit(whole))
    trainer = trainer_of(backend, extra=[Send(after, getattr(signal, number))], steps_per_launch=1)
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR1)
    with pytest.raises(SystemExit) as ended:
        fit(trainer, tmp_path)
    assert ended.value.code == 143
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR1)) == before
    assert files.checkpoints(tmp_path)[0] == files.path_of(tmp_path, after)
    resumed = trainer_of(backend, steps_per_launch=1)
    assert result(resumed, fit(resumed, tmp_path)) == expected


def test_between_epochs(tmp_path):
    expected = result(whole := trainer_of(), fit(whole))
    with pytest.raises(SystemExit):
        fit(trainer_of(extra=[SendAtTheEnd()]), tmp_path)
    resumed = trainer_of()
    assert result(resumed, fit(resumed, tmp_path)) == expected


def test_a_handler_that_was_there_is_called(tmp_path):
    heard = []
    before = signal.signal(signal.SIGUSR1, lambda *given: heard.append(given[0]))
    try:
        with pytest.raises(SystemExit):
            fit(trainer_of(extra=[Send(13, signal.SIGUSR1)]), tmp_path)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert heard == [signal.SIGUSR1]


def test_without_checkpoints_nothing_is_installed():
    seen = []

    class Look(fs.Callback):
        def on_epoch_end(self, trainer, row):
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    fit(trainer_of(extra=[Look()]), epochs=1)
    assert seen == [before]
