"""Runs of MLflow in an SQLite file and of Weights & Biases in files, read back; their own libraries write them."""

from __future__ import annotations

import json
import pickle
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fusedstep as fs

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The ..noload.. loader strategy")


class Stop(fs.Callback):
    """Ends the fit with an error after an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch_end(self, trainer: Any, row: dict[str, float]) -> None:
        if row["epoch"] == self.epoch:
            raise RuntimeError("stopped")


# MLflow.


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A store in a file, which takes seconds to make."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.chdir(tmp_path_factory.mktemp("mlflow"))
        pytest.importorskip("mlflow", reason="needs mlflow-skinny: the extra mlflow")
        yield f"sqlite:///{Path.cwd()}/mlflow.db"


def mlflow_run(uri: str, identity: str | None) -> tuple[Any, dict[tuple[str, int], float]]:
    """A run, and (name, step) -> value of all its metrics."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    run = client.get_run(identity)
    return run, {(n, m.step): m.value for n in run.data.metrics for m in client.get_metric_history(identity, n)}


@pytest.mark.row("G17")
def test_a_run_of_mlflow_holds_the_history(uri, make_step, data):
    x, y = data
    step = make_step("numpy")
    statistics, tracker = fs.LayerStatistics(every=5), fs.MLflow("digits", run="first", uri=uri)
    trainer = fs.Trainer(step, [tracker, statistics])
    history = trainer.fit(x[:160], y[:160], validation=(x[160:], y[160:]), epochs=2, batch_size=40)
    run, values = mlflow_run(uri, tracker.run_id)
    assert (run.info.run_name, run.info.status) == ("first", "FINISHED")
    assert run.data.params["loss"] == "SoftmaxCrossEntropy()"
    assert run.data.params["backend"] == "numpy"
    for epoch, row in enumerate(history, 1):
        assert {name: values[name, 4 * epoch] for name in row} == row
    assert [values["minibatch_loss", k] for k in range(1, 9)] == list(history.step_losses)
    layer = statistics.layers[0]
    assert [values[f"gradient_std/{layer}", k] for k in statistics.steps] == statistics["gradient_std"][:, 0].tolist()
    # A second fit goes on with the run.
    second = trainer.fit(x[:160], y[:160], epochs=1, batch_size=40)
    run, values = mlflow_run(uri, tracker.run_id)
    assert run.info.status == "FINISHED"
    assert values["loss", 12] == second[-1]["loss"]
    assert values["loss", 4] == history[0]["loss"]


def test_a_run_of_mlflow_goes_on_after_a_resume_and_knows_of_errors(uri, make_step, data, tmp_path):
    whole = fs.Trainer(make_step("numpy"), [fs.MLflow("digits", uri=uri)])
    expected = whole.fit(*data, epochs=3, batch_size=50)
    checkpoint = fs.Checkpoint(tmp_path / "run", every_steps=1)
    broken = fs.MLflow("digits", uri=uri)
    with pytest.raises(RuntimeError, match="stopped"):
        fs.Trainer(make_step("numpy"), [broken, Stop(2)]).fit(*data, epochs=3, batch_size=50, checkpoint=checkpoint)
    assert mlflow_run(uri, broken.run_id)[0].info.status == "FAILED"
    again = fs.MLflow("digits", uri=uri)
    fs.Trainer(make_step("numpy"), [again, Stop(9)]).fit(*data, epochs=3, batch_size=50, checkpoint=checkpoint, resume="auto")
    run, values = mlflow_run(uri, again.run_id)
    assert (again.run_id, run.info.status) == (broken.run_id, "FINISHED")
    per_epoch = expected.steps_per_epoch
    assert [values["loss", per_epoch * epoch] for epoch in (1, 2, 3)] == expected["loss"]


def test_a_fit_within_the_handling_of_an_error_is_no_failure(uri, make_step, data):
    tracker = fs.MLflow("digits", uri=uri)
    try:
        raise KeyError("of the caller")
    except KeyError:
        fs.Trainer(make_step("numpy"), [tracker]).fit(*data, epochs=1)
    assert mlflow_run(uri, tracker.run_id)[0].info.status == "FINISHED"


def test_stores_of_mlflow_that_cannot_be_used_are_refused(uri, make_step, data, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for wrong in (f"sqlite:///{tmp_path}/file/mlflow.db", "nothing://known"):
        step = make_step("numpy")
        with pytest.raises(fs.OutputPathError, match="MLflow") as caught:
            fs.Trainer(step, [fs.MLflow("digits", uri=wrong)]).fit(*data)
        assert wrong in str(caught.value)
        assert step.steps == 0
    for name in ("", 3, None):
        with pytest.raises(fs.HyperparameterError, match=r"name of the experiment for MLflow; got .*'first'$"):
            fs.MLflow(name)
    copied = pickle.loads(pickle.dumps(fs.MLflow("digits", uri=uri)))
    fs.Trainer(make_step("numpy"), [copied]).fit(*data, epochs=1)
    assert mlflow_run(uri, copied.run_id)[0].info.status == "FINISHED"


# Weights & Biases.


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the files."""
    for name, value in (("MODE", "offline"), ("SILENT", "true"), ("ERROR_REPORTING", "false"), ("CONSOLE", "off")):
        monkeypatch.setenv(f"WANDB_{name}", value)
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("wandb", reason="needs wandb: the extra wandb")
    return tmp_path / "tracked"


def records(data: bytes) -> Iterator[Any]:
    """The records of a file: a log of blocks of 32 KiB, with 7 bytes before each part of a record."""
    from wandb.proto.wandb_internal_pb2 import Record

    assert data[:4] == b":W&B"
    position, record = 7, b""
    while position < len(data):
        if 32768 - position % 32768 < 7:
            position += 32768 - position % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        record += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(record)
            record = b""


def wandb_runs(folder: Path) -> list[tuple[Any, dict[tuple[str, int], float], int]]:
    """Of each run in the folder: itself, (name, step) -> value of all that was logged, and its exit code."""
    import wandb

    wandb.teardown()  # waits for the process that writes the files
    found = []
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        run, values, code = None, {}, -1
        for record in records(file.read_bytes()):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                run = record.run
            elif kind == "history":
                row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
                values |= {(name, row["_step"]): value for name, value in row.items() if not name.startswith("_")}
            elif kind == "exit":
                code = record.exit.exit_code
        found.append((run, values, code))
    return found


def test_a_run_of_wandb_holds_the_history(offline, make_step, data):
    x, y = data
    statistics, tracker = fs.LayerStatistics(every=5), fs.WandB("digits", run="first", folder=offline)
    trainer = fs.Trainer(make_step("numpy"), [tracker, statistics])
    history = trainer.fit(x[:160], y[:160], validation=(x[160:], y[160:]), epochs=2, batch_size=40)
    [(run, values, code)] = wandb_runs(offline)
    assert (run.run_id, run.project, run.display_name, code) == (tracker.run_id, "digits", "first", 0)
    assert {item.key: json.loads(item.value_json) for item in run.config.update}["loss"] == "SoftmaxCrossEntropy()"
    for epoch, row in enumerate(history, 1):
        assert {name: values[name, 4 * epoch] for name in row} == pytest.approx(row, rel=1e-12)
    assert [values["minibatch_loss", k] for k in range(1, 9)] == pytest.approx(list(history.step_losses), rel=1e-12)
    name = f"gradient_std/{statistics.layers[0]}"
    assert [values[name, k] for k in statistics.steps] == pytest.approx(statistics["gradient_std"][:, 0].tolist(), rel=1e-12)
    with pytest.raises(RuntimeError, match="stopped"):
        fs.Trainer(trainer.step, [tracker, Stop(1)]).fit(x, y, epochs=2)
    both = wandb_runs(offline)
    assert [(run.run_id, code) for run, _, code in both] == [(tracker.run_id, 0), (tracker.run_id, 1)]


def test_folders_and_modes_of_wandb_that_cannot_be_used_are_refused(offline, make_step, data, tmp_path):
    (tmp_path / "file").write_text("")
    step = make_step("numpy")
    with pytest.raises(fs.OutputPathError, match="Weights & Biases"):
        fs.Trainer(step, [fs.WandB("digits", folder=tmp_path / "file" / "runs")]).fit(*data)
    assert step.steps == 0
    with pytest.raises(fs.HyperparameterError, match="'online', 'offline', 'disabled'; got 'of'"):
        fs.WandB("digits", mode="of")
    with pytest.raises(fs.HyperparameterError, match="name of the project for WandB"):
        fs.WandB("")
    silent = pickle.loads(pickle.dumps(fs.WandB("digits", mode="disabled")))
    fs.Trainer(step, [silent]).fit(*data, epochs=1)
    assert wandb_runs(offline) == wandb_runs(tmp_path) == []


@pytest.mark.parametrize(("make", "library", "line"), [
    (lambda: fs.MLflow("a"), "mlflow", 'pip install "mlflow-skinny>='),
    (lambda: fs.WandB("a"), "wandb", 'pip install "wandb>='),
])
def test_without_the_library_its_install_line_is_given(make, library, line, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(fs.MissingDependency, match=line):
        make()
