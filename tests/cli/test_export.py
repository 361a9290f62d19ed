"""`fusedstep export`: what onnxruntime answers for the cells of a file is what `fusedstep predict` answers, row by row."""

from __future__ import annotations

import csv
import json
from datetime import datetime

import numpy as np
import pytest

import fusedstep as fs

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

MISSING = ("", "NA", "?")
BLANK = ("", "  ")
KIND = {"tensor(double)": "number", "tensor(string)": "text", "tensor(int64)": "date"}


def rows_of_people(count, seed, unseen=False):
    """Rows with numbers, whole numbers, booleans, few and many texts, and dates, of which some are missing."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        city = str(rng.choice(["Riga", "São Paulo", "Oslo", "x,y"]))
        age, member, height = int(rng.integers(18, 80)), bool(rng.random() < 0.5), 1.5 + 0.1 * rng.standard_normal()
        joined = datetime(1965, 2, 27, 13) + (datetime(2031, 3, 2) - datetime(1965, 2, 27)) * rng.random()
        street = f"street {int(rng.integers(0, 90))}"
        score = age / 20 + 2 * (city == "Oslo") + member + 10 * (height - 1.5) + joined.month / 6
        row = {
            "age": age, "height": f"{height:.7f}", "big": int(1e9) + age, "member": ["False", "True"][member],
            "agrees": ["TRUE", "false"][int(rng.integers(2))], "city": city, "street": street,
            "joined": joined.strftime("%Y-%m-%d %H:%M:%S.%f"), "label": ["low", "=mid", "high"][min(2, int(score / 3))],
            "pass": int(score > 5), "flag": str(score > 5), "price": f"{1e4 * score + 250.0 * rng.standard_normal():.3f}",
            "second": f"{-score:.4f}", "grade": ["01", "02"][int(score > 4)],
        }  # fmt: skip
        for name, gaps in (("height", MISSING), ("joined", MISSING), ("agrees", MISSING), ("city", BLANK), ("street", BLANK)):
            if rng.random() < 0.1:
                row[name] = str(rng.choice(gaps))
        if unseen:
            row |= {"city": str(rng.choice(["Turku", "oslo", row["city"]])), "street": str(rng.choice(["none", row["street"]]))}
            row |= {"age": str(rng.choice(["", "-1e300", "41.5"])), "member": str(rng.choice(["", "true"]))}
        yield {name: str(cell) for name, cell in row.items()}


TARGETS = ("label", "pass", "flag", "price", "second", "grade")


def write(path, rows, *targets):
    rows = [{name: cell for name, cell in row.items() if name not in TARGETS or name in targets} for row in rows]
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def as_input(kind, cells):
    """What a caller of the ONNX file makes of cells."""
    if kind == "text":
        return np.array([cell.strip() and cell for cell in cells], dtype=object)
    if kind == "number":
        words = {"true": 1.0, "false": 0.0, **dict.fromkeys(map(str.lower, MISSING), np.nan)}
        return np.array([words[cell.lower()] if cell.lower() in words else float(cell) for cell in cells])
    return np.array(["NaT" if cell in MISSING else cell for cell in cells], "datetime64[us]").astype("int64")


def answers(path, rows):
    """Output -> values."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = {
        one.name: as_input(KIND[one.type], [row[one.name] for row in rows]) for one in session.get_inputs()
    }
    return dict(zip([one.name for one in session.get_outputs()], session.run(None, inputs), strict=True))


def of_cli(call, model, data):
    """Column of the predictions -> cells; labels as they are."""
    answer = call("predict", model, data, "--raw-labels", "-o", "answers.csv")
    assert answer.code == 0, answer
    with open("answers.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {name: [row[name] for row in rows] for name in rows[0]}


@pytest.fixture
def trained(call, tmp_path):
    def train(*targets, rows=240, more=()):
        data = write(tmp_path / "people.csv", list(rows_of_people(rows, 0)), *targets)
        named = [word for target in targets for word in ("--target", target)]
        answer = call("train", data, *named, "--backend", "numpy", "--epochs", "3", *more)
        assert answer.code == 0, answer
        answer = call("export", "people.safetensors", "people.onnx")
        assert answer.code == 0, answer
        return answer.out

    return train


def new_rows():
    return [*rows_of_people(40, 1), *rows_of_people(60, 2, unseen=True)]


def agree(found, expected):
    np.testing.assert_allclose(found, np.array(expected, dtype=float), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("target", "kind"), [("label", "string"), ("pass", "int64"), ("flag", "bool"), ("grade", "string")])
def test_labels_and_probabilities_are_those_of_predict(call, trained, tmp_path, target, kind):
    printed = trained(target)
    assert printed == "people.onnx: age, height, big, member, agrees, city, street, joined -> prediction, probabilities\n"
    rows = new_rows()
    expected = of_cli(call, "people.safetensors", write(tmp_path / "new.csv", rows))
    found = answers("people.onnx", rows)
    assert [str(label) for label in found["prediction"].tolist()] == expected["prediction"]
    assert onnxruntime.InferenceSession("people.onnx").get_outputs()[0].type == f"tensor({kind})"
    classes = [name.removeprefix("probability_") for name in expected if name.startswith("probability_")]
    agree(found["probabilities"], np.transpose([np.array(expected[f"probability_{label}"], float) for label in classes]))
    stored = {one.key: one.value for one in onnx.load("people.onnx").metadata_props}
    assert [str(label) for label in json.loads(stored["classes"])["target"]] == classes
    assert stored["task"] == "classification"


def test_numbers_are_in_their_own_unit(call, trained, tmp_path):
    trained("price")
    rows = new_rows()
    rows = [row for row in rows if row["age"] != "-1e300"]  # standardised for a regression, without a limit
    expected = of_cli(call, "people.safetensors", write(tmp_path / "new.csv", rows))
    np.testing.assert_allclose(answers("people.onnx", rows)["prediction"], np.array(expected["prediction"], float), rtol=1e-5)


@pytest.mark.parametrize("targets", [("price", "second"), ("pass", "grade")])
def test_several_targets(call, trained, tmp_path, targets):
    trained(*targets)
    rows = [row for row in new_rows() if row["age"] != "-1e300"]
    expected = of_cli(call, "people.safetensors", write(tmp_path / "new.csv", rows))
    found = answers("people.onnx", rows)
    for target in targets:
        if target in ("price", "second"):
            numbers = np.array(expected[f"prediction_{target}"], float)
            np.testing.assert_allclose(found[f"prediction_{target}"], numbers, rtol=1e-5)
        else:
            assert [str(one) for one in found[f"prediction_{target}"]] == expected[f"prediction_{target}"]
            second = {"pass": "1", "grade": "02"}[target]
            agree(found[f"probabilities_{target}"][:, 1], expected[f"probability_{target}={second}"])
            agree(found[f"probabilities_{target}"].sum(axis=1), np.ones(len(rows)))


def test_each_missing_cell_alone_and_single_rows(call, trained, tmp_path):
    trained("label")
    first = next(rows_of_people(1, 5))
    rows = [first, *({**first, name: ""} for name in first if name not in TARGETS)]
    expected = of_cli(call, "people.safetensors", write(tmp_path / "new.csv", rows))
    found = answers("people.onnx", rows)
    agree(found["probabilities"][:, 0], expected["probability_=mid"])
    assert len({round(value, 6) for value in found["probabilities"][:, 0].tolist()}) > 5
    for number, row in enumerate(rows):
        agree(answers("people.onnx", [row])["probabilities"], found["probabilities"][number : number + 1])


def test_a_network_without_its_table_has_the_input_x(call, tmp_path):
    model = fs.mlp([3, 4, 2]).initialize(seed=0, backend="numpy")
    fs.save(model, tmp_path / "net.safetensors")
    answer = call("export", "net.safetensors", "net.onnx", "--opset", "18")
    assert answer.code == 0, answer
    assert answer.out == "net.onnx: x [rows, 3] -> outputs [rows, 2]\n"
    x = np.ones((2, 3), "f4")
    found = onnxruntime.InferenceSession("net.onnx").run(None, {"x": x})[0]
    np.testing.assert_allclose(found, np.asarray(model(x)), rtol=1e-5, atol=1e-6)


def test_mistakes_are_one_line_and_write_nothing(call, refused, trained, tmp_path):
    trained("label")
    (tmp_path / "people.onnx").unlink()
    assert "does not exist" in refused("export", "none.safetensors", "m.onnx")
    assert "other than the model" in refused("export", "people.safetensors", "people.safetensors")
    assert "column 'city': expected opset 20 or newer" in refused("export", "people.safetensors", "m.onnx", "--opset", "19")
    assert "opset of export_onnx" in refused("export", "people.safetensors", "m.onnx", "--opset", "5")
