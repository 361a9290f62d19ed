"""The folder of checkpoints: damaged files, leftovers, locks, and checkpoints of other trainings."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from trainings import Stop, StopAfter, data, fit, result, trainer_of

import fusedstep as fs
from fusedstep.framework.training import checkpoint_files as files
from fusedstep.framework.training import checkpoint_run


@pytest.fixture
def at_once(monkeypatch):
    """Checkpoints are written in the thread of the training, so each one that is due is written."""
    monkeypatch.setattr(checkpoint_run.Writer, "start", lambda writer, job: checkpoint_run.in_thread(job))


@pytest.fixture
def folder(tmp_path, at_once):
    """With the checkpoints of a training that was stopped within its third epoch."""
    with pytest.raises(Stop):
        fit(trainer_of(extra=[StopAfter(27)]), tmp_path, every_steps=4)
    assert [path.stem for path in files.checkpoints(tmp_path)] == ["step-000000000024", "step-000000000020"]
    return tmp_path


@pytest.fixture(scope="module")
def expected():
    return result(trainer := trainer_of(), fit(trainer))


def resumed(folder):
    trainer = trainer_of()
    return result(trainer, fit(trainer, folder))


def damages(data):
    yield "cut", data[: len(data) // 2]
    yield "empty", b""
    yield "zeros at the end", data[:-4096] + bytes(4096)
    for place in (0, 9, 200, len(data) // 2, len(data) - 1):
        yield f"one bit at {place}", data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


@pytest.mark.parametrize("number", range(8))
def test_a_damaged_one_is_skipped_and_named(number, folder, expected, caplog):
    newest = files.checkpoints(folder)[0]
    _, damaged = list(damages(newest.read_bytes()))[number]
    newest.write_bytes(damaged)
    with caplog.at_level(logging.WARNING, "fusedstep"):
        assert resumed(folder) == expected
    assert newest.name in caplog.text


def test_a_damaged_log_of_losses(folder, expected, caplog):
    log = folder / files.LOG
    older = files.read(files.checkpoints(folder)[1])["losses"]["count"]
    log.write_bytes(log.read_bytes()[: 8 * older + 3])
    with caplog.at_level(logging.WARNING, "fusedstep"):
        assert resumed(folder) == expected
    assert files.LOG in caplog.text


def test_all_damaged(folder):
    for path in files.checkpoints(folder):
        path.write_bytes(b"nothing")
    with pytest.raises(fs.CheckpointError, match=r"only damaged ones: step-0+24\.safetensors .*; restore"):
        resumed(folder)


def test_a_newer_library(folder):
    from safetensors import safe_open
    from safetensors.numpy import save_file

    path = files.checkpoints(folder)[0]
    with safe_open(path, framework="numpy") as stream:
        about, arrays = stream.metadata(), {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    save_file(arrays, path, {**about, "version": "2", "library": "9.0"})
    with pytest.raises(fs.CheckpointError, match=r"version 1, .* found version 2, written by fusedstep 9\.0; update"):
        resumed(folder)


def test_every_value_is_checked(folder):
    """A changed number in the JSON, with everything else in order."""
    path = files.checkpoints(folder)[0]
    data = path.read_bytes()
    changed = data.replace(b'\\"epochs_done\\": 2', b'\\"epochs_done\\": 1')
    assert changed != data
    path.write_bytes(changed)
    with pytest.raises(files.Damaged, match="checksum"):
        files.read(path)


def test_any_reader_of_safetensors_reads_it(folder):
    from safetensors import safe_open

    with safe_open(files.checkpoints(folder)[0], framework="numpy") as stream:
        state = json.loads(stream.metadata()["state"])
        parameters = stream.get_tensor(state["step"]["parameters"]["$"])
    assert parameters.dtype == np.float32
    assert state["trainer"]["steps_done"] == 24


def test_leftovers_are_swept(folder, expected):
    leftover = folder / ".fusedstep-0123456789abcdef.part"
    leftover.write_bytes(b"half")
    assert resumed(folder) == expected
    assert not leftover.exists()
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["lock", "losses.f64", "step-000000000050.safetensors", "step-000000000060.safetensors"]


@pytest.mark.parametrize("keep", [1, 3])
def test_keep(keep, tmp_path):
    trainer = trainer_of()
    fit(trainer, tmp_path, every_steps=1, checkpoint={"keep": keep})
    fit(trainer_of(), tmp_path, epochs=7, every_steps=1, checkpoint={"keep": keep})
    assert len(files.checkpoints(tmp_path)) == keep


def test_the_log_is_appended_to(tmp_path, monkeypatch):
    counts = []
    append = files.Log.append

    def counting(log, losses):
        counts.append(len(losses))
        return append(log, losses)

    monkeypatch.setattr(files.Log, "append", counting)
    history = fit(trainer_of(), tmp_path)
    assert sum(counts) == 60
    assert max(counts) < 60
    assert np.fromfile(tmp_path / files.LOG).tolist() == list(history.step_losses)


def test_a_folder_with_a_run_is_refused(folder):
    with pytest.raises(fs.CheckpointError, match=r'has 2, the newest step-0+24\.safetensors; pass resume="auto"'):
        fit(trainer_of(), folder, resume=None)
    with pytest.raises(fs.CheckpointError, match="without checkpoints for a new training"):
        fit(trainer_of(), folder, resume=folder.parent)


def test_a_folder_without_checkpoints_is_refused_by_name(tmp_path):
    with pytest.raises(fs.CheckpointError, match='has none; check the path, or pass resume="auto"'):
        fit(trainer_of(), tmp_path, resume=tmp_path)


@pytest.mark.parametrize(
    "name", ["n" * 300, "\u6a21" * 90, "deep/" * 1000 + "m", "loop", "loop/m", "a\0b", "\ud800", "file", "file/x"], ids=range(9)
)
def test_names_that_no_folder_can_have(name, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    for resume in (None, "auto"):
        with pytest.raises(fs.OutputPathError, match="expected a folder that can be written, for checkpoints"):
            fit(trainer_of(), tmp_path / name, resume=resume)
    with pytest.raises(fs.CheckpointError, match="has none; check the path"):
        trainer_of().fit(*data(), resume=tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["file", "loop"]


HOLDER = """
import sys
import threading
from pathlib import Path
from pathlib import Path
from fusedstep.framework.training.checkpoint_files import Lock
lock = Lock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_one_training_a_folder(tmp_path):
    command = [sys.executable, "-P", "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(fs.StateError, match=f"another one does \\(process {holder.pid} on "):
            fit(trainer_of(), tmp_path)
        holder.kill()
    fit(trainer_of(), tmp_path, epochs=1)


def test_within_one_process(tmp_path):
    class Nested(fs.Callback):
        def on_epoch_end(self, trainer, row):
            with pytest.raises(fs.StateError, match="one training at a time"):
                fit(trainer_of(), tmp_path)

    fit(trainer_of(extra=[Nested()]), tmp_path, epochs=1)


def shifted():
    x, y = data()
    return x + 1.0, y


OTHERS = {
    r"optimizer.lr \(0.05 in the checkpoint, 0.1 here\)": ({"optimizer": fs.Momentum(0.1)}, {}),
    r"optimizer.class \(Momentum in the checkpoint, Adam here\)": ({"optimizer": fs.Adam(0.05)}, {}),
    r"step.seed \(3 in": ({"seed": 4}, {}),
    r"shuffle \(each_epoch in the checkpoint, once here\)": ({"shuffle": "once"}, {}),
    r"schedule.class \(OneCycle in": ({"schedule": "cosine"}, {}),
    r"augment": ({"augment": [fs.InputNoise(0.1)]}, {}),
    r"step.deterministic \(false in the checkpoint, true here\)": ({"deterministic": True}, {}),
    r"step.precision": ({"precision": "float64"}, {}),
    r"callbacks with a state": ({"extra": [fs.StopOnStall()]}, {}),
    r"batch_size \(16 in the checkpoint, 17 here\)": ({}, {"batch_size": 17}),
    r"the data of .* training.inputs.hash": ({}, {"rows": shifted()}),
    r"training.targets.hash": ({}, {"rows": (data()[0], 1 - (data()[1] > 0))}),
    r"validation.rows \(53 in the checkpoint, 3 here\)": ({}, {"rows": tuple(a[:153] for a in data())}),
}


@pytest.mark.parametrize("message", OTHERS)
def test_other_settings_or_data(message, folder):
    options, given = OTHERS[message]
    with pytest.raises(fs.CheckpointError, match=message):
        fit(trainer_of(**options), folder, **given)


def test_another_model(folder):
    step = fs.TrainStep(fs.mlp([5, 17, 3], dropout=0.3), fs.SoftmaxCrossEntropy(), fs.Momentum(0.05), seed=3, backend="numpy")
    trainer = fs.Trainer(step, [fs.EarlyStopping(4)], schedule=fs.OneCycle())
    with pytest.raises(fs.CheckpointError, match=r"model.layers\[0\]"):
        fit(trainer, folder)


def test_nothing_is_changed_by_a_refusal(folder):
    trainer = trainer_of(seed=4)
    before = trainer.step.model.arena.values.tobytes()
    names = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}
    with pytest.raises(fs.CheckpointError):
        fit(trainer, folder)
    assert trainer.step.model.arena.values.tobytes() == before
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"} == names


def test_a_full_disk_does_not_end_the_training(tmp_path, at_once, expected, monkeypatch, caplog):
    write, calls = files.write, []

    def failing(path, state):
        calls.append(path)
        if len(calls) <= 3:
            raise fs.OutputPathError("no room")
        write(path, state)

    monkeypatch.setattr(files, "write", failing)
    trainer = trainer_of()
    with caplog.at_level(logging.WARNING, "fusedstep"):
        assert result(trainer, fit(trainer, tmp_path)) == expected
    assert "could not be written" in caplog.text
    assert resumed(tmp_path) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"folder": ""}, "path of a folder"),
        ({"folder": 3}, "path of a folder"),
        ({"every_steps": 0}, "every_steps"),
        ({"every_epochs": 0.5}, "every_epochs"),
        ({"keep": 0}, "keep"),
        ({"best": 1}, "column"),
    ],
)
def test_wrong_arguments(given, message, tmp_path):
    with pytest.raises(fs.HyperparameterError, match=message):
        fs.Checkpoint(**{"folder": tmp_path, **given})


def test_wrong_arguments_of_fit(tmp_path):
    x, y = data()
    trainer = trainer_of()
    with pytest.raises(fs.HyperparameterError, match='expected a checkpoint with resume="auto"'):
        trainer.fit(x, y, resume="auto")
    with pytest.raises(fs.HyperparameterError, match="expected a Checkpoint"):
        trainer.fit(x, y, checkpoint=str(tmp_path))
    with pytest.raises(fs.HyperparameterError, match='expected resume to be "auto"'):
        trainer.fit(x, y, resume=True)
    with pytest.raises(fs.HyperparameterError, match="best of Checkpoint: expected a column"):
        trainer.fit(x, y, (x, y), checkpoint=fs.Checkpoint(tmp_path, best="val_r2"))
    (tmp_path / "file").write_text("")
    with pytest.raises(fs.OutputPathError, match="choose another"):
        trainer.fit(x, y, (x, y), checkpoint=fs.Checkpoint(tmp_path / "file"))


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_best(backend, tmp_path, at_once):
    points = fs.ParameterPath()
    trainer = trainer_of(backend, extra=[points])
    history = fit(trainer, tmp_path, checkpoint={"best": "val_accuracy"})
    best = history.best("val_accuracy")
    model = fs.load(tmp_path / "best.safetensors", backend)
    np.testing.assert_array_equal(model.arena.values, points.points[int(best["epoch"])])


def test_changed_files_are_refused_or_give_what_they_hold():
    """`python tests/unit/checkpoints/mutate.py 10000` is the long run; in a process of its own, as it changes this one."""
    program = "import sys; sys.path.append(sys.argv[1]); import mutate; print(*mutate.run(150), sep='\\n')"
    command = [sys.executable, "-P", "-c", program, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "damaged" in done.stdout
    assert "UNTYPED" not in done.stdout


@pytest.mark.parametrize("at_once", [1, 7, 64, 1 << 20])
def test_a_checkpoint_written_in_parts_reads_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(files, "_WRITTEN_AT_ONCE", at_once)
    rng = np.random.default_rng(0)
    state = {"weights": rng.standard_normal((5, 7)), "mask": rng.integers(0, 2, 13).astype(np.uint8), "empty": np.zeros(0)}
    files.write(tmp_path / "step.safetensors", state)
    found = files.read(tmp_path / "step.safetensors")
    for name, values in state.items():
        np.testing.assert_array_equal(found[name], values, strict=True)


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux has a thread a priority of its own")
@pytest.mark.parametrize(("niceness", "expected_niceness"), [(0, 10), (15, 15)])
def test_the_thread_that_writes_is_never_before_that_of_the_training(niceness, expected_niceness):
    """A process that runs behind all others, as by `nice -n 15`, does so with its checkpoints, too."""
    found = []

    def train():
        own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        if own > niceness:
            return  # the tests themselves run behind others
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
        writer = checkpoint_run.Writer()
        writer.start(lambda: found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id())))
        writer.close()

    training = threading.Thread(target=train)
    training.start()
    training.join()
    if not found:
        pytest.skip(f"the tests run at a higher niceness than {niceness}")
    assert found == [expected_niceness]
