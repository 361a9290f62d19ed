"""Checkpoints of a training in the simulator: the bits of one that was not interrupted, also between launches of many steps."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

numba_config = pytest.importorskip("numba.core.config")
if not numba_config.ENABLE_CUDASIM:
    pytest.skip("needs NUMBA_ENABLE_CUDASIM=1 before Numba is imported: run this folder alone", allow_module_level=True)

import fusedstep as fs  # noqa: E402
from fusedstep.framework.training import checkpoint_files as files  # noqa: E402

SIZE, ROWS = 2, 11
rng = np.random.default_rng(6)
X, Y = rng.standard_normal((ROWS, 4)).astype("f4"), rng.integers(0, 3, ROWS)


class Kill(fs.Callback):
    """Ends the process with SIGKILL after the launch that goes beyond a step."""

    def __init__(self, step):
        self.step = step

    def on_launch_end(self, trainer, done, total):
        if trainer.steps_done > self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def training(folder=None, kill=None, per_launch=None):
    step = fs.TrainStep(
        fs.Sequential(fs.Linear(4, 4), fs.ReLU(), fs.Dropout(0.4), fs.Linear(4, 3)), fs.SoftmaxCrossEntropy(), fs.AdamW(1e-2),
        seed=3, backend="cuda",
    )  # fmt: skip
    callbacks = [fs.EarlyStopping(3), *([] if kill is None else [Kill(kill)])]
    trainer = fs.Trainer(step, callbacks, schedule=fs.OneCycle(), steps_per_launch=per_launch)
    given = {} if folder is None else {"checkpoint": fs.Checkpoint(folder, every_steps=1), "resume": "auto"}
    history = trainer.fit(X, Y, (X[:5], Y[:5]), epochs=3, batch_size=SIZE, **given)
    to_host = step.backend.to_numpy
    rows = [{k: v for k, v in row.items() if k not in ("seconds", "samples_per_second")} for row in history.rows]
    arrays = [to_host(a).tobytes() for a in (step.model.arena.values, *step.state.states.values())]
    return arrays, list(history.step_losses), rows, step.steps


@pytest.mark.skipif(os.name != "posix", reason="sends SIGKILL")
@pytest.mark.parametrize("per_launch", [1, 2])
def test_killed_and_resumed(per_launch, tmp_path):
    expected = training(per_launch=per_launch)
    for kill in (4, 9, 14):
        command = [sys.executable, "-P", __file__, str(tmp_path), str(kill), str(per_launch)]
        environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert files.newest(tmp_path) is not None
    assert training(tmp_path, per_launch=per_launch) == expected


if __name__ == "__main__":
    from fusedstep.tests.fakes import simulate_cuda

    simulate_cuda()
    sys.setswitchinterval(1e-4)
    training(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
