"""Event files: read back record by record, with their checksums, through the library's own message definitions."""

from __future__ import annotations

import struct
import sys

import numpy as np
import pytest

import fusedstep as fs

pytest.importorskip("tensorboardX")


def _events(folder):
    """(tag, step) -> value of every scalar, and the tags of histograms, of all event files in a folder."""
    from tensorboardX.crc32c import crc32c
    from tensorboardX.proto.event_pb2 import Event

    def checked(data, stored):
        crc = crc32c(data)
        masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
        assert masked == struct.unpack("<I", stored)[0]
        return data

    scalars, histograms = {}, set()
    for file in folder.glob("events.out.tfevents.*"):
        data, position = file.read_bytes(), 0
        while position < len(data):
            (length,) = struct.unpack("<Q", checked(data[position : position + 8], data[position + 8 : position + 12]))
            body = data[position + 12 : position + 12 + length]
            checked(body, data[position + 12 + length : position + 16 + length])
            position += 16 + length
            event = Event.FromString(body)
            for value in event.summary.value:
                if value.HasField("histo"):
                    histograms.add(value.tag)
                else:
                    scalars[value.tag, event.step] = value.simple_value
    return scalars, histograms


@pytest.mark.parametrize("run", ["numpy", "numba"])
def test_d1_event_files_hold_the_history(run, make_step, data, tmp_path):
    x, y = data
    step = make_step(run)
    statistics = fs.LayerStatistics(every=5)
    board = fs.TensorBoard(tmp_path / "runs" / "a", histograms=True)
    trainer = fs.Trainer(step, [board, statistics], evaluate_training=True)
    first = trainer.fit(x[:160], y[:160], validation=(x[160:], y[160:]), epochs=2, batch_size=40)
    scalars, histograms = _events(board.folder)
    for epoch, row in enumerate(first, 1):
        for column, tag in (
            ("loss", "loss/training"), ("val_loss", "loss/validation"), ("accuracy", "accuracy/training"),
            ("val_accuracy", "accuracy/validation"), ("lr", "training/learning_rate"),
            ("samples_per_second", "training/samples_per_second"),
        ):  # fmt: skip
            assert scalars[tag, 4 * epoch] == np.float32(row[column])
    assert [scalars["loss/minibatch", k] for k in range(1, 9)] == [np.float32(v) for v in first.step_losses]
    assert histograms == set(step.model.parameters())
    for look, number in enumerate(statistics.steps):
        for place, layer in enumerate(statistics.layers):
            assert scalars[f"gradient_std/{layer}", number] == np.float32(statistics["gradient_std"][look, place])
    assert not any(np.isnan(value) for value in scalars.values())
    assert {tag for tag, _ in scalars if tag.startswith("dead/")} == {"dead/1.ReLU", "dead/3.ReLU"}
    # A second fit goes on where the first ended.
    second = trainer.fit(x[:160], y[:160], max_steps=6, epochs=None, batch_size=40)
    scalars, _ = _events(board.folder)
    assert scalars["loss/training", 14] == np.float32(second[-1]["loss"])
    assert [scalars["loss/minibatch", k] for k in range(9, 15)] == [np.float32(v) for v in second.step_losses]
    assert scalars["loss/training", 4] == np.float32(first[0]["loss"])


def test_d1_event_files_that_cannot_be_written_are_refused(make_step, data, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file" / "runs", tmp_path / ("n" * 300), tmp_path / "a\0b"):
        with pytest.raises(fs.OutputPathError, match="TensorBoard"):
            fs.Trainer(make_step(), [fs.TensorBoard(folder)]).fit(*data)
    for wrong in ("", 3, None):
        with pytest.raises(fs.HyperparameterError, match="folder"):
            fs.TensorBoard(wrong)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(fs.MissingDependency, match='pip install "tensorboardX>='):
        fs.TensorBoard(tmp_path / "runs")
