"""Parquet, NumPy archives, IDX and svmlight: round trips and damaged files."""

from __future__ import annotations

import gzip
import struct
from datetime import date
from decimal import Decimal

import numpy as np
import pytest

from fusedstep.errors import DataFileError, EmptyDataError, LabelError, UnknownColumn
from fusedstep.framework.tables.idx_source import read_idx_array
from fusedstep.framework.tables.reading import load, load_features
from fusedstep.framework.tables.table import Matrix, Table

IDX_CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array):
    code = IDX_CODES[f"{array.dtype.kind}{array.dtype.itemsize}"]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture
def rng():
    return np.random.default_rng(3)


# Parquet


@pytest.fixture
def write_parquet(tmp_path):
    arrow = pytest.importorskip("pyarrow", reason="Parquet is read through pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet is read through pyarrow")

    def write(columns, name="t.parquet"):
        parquet.write_table(arrow.table(columns), tmp_path / name)
        return tmp_path / name

    return write


def test_parquet_types(write_parquet):
    arrow = pytest.importorskip("pyarrow")
    path = write_parquet(
        {
            "f": arrow.array([1.5, None]),
            "f4": arrow.array([1.5, 2.5], arrow.float32()),
            "i": arrow.array([1, 2**62 + 1]),
            "u": arrow.array([1, 2], arrow.uint8()),
            "b": arrow.array([True, None]),
            "d": arrow.array([Decimal("1.25"), Decimal("2.00")]),
            "s": arrow.array(["a", None]),
            "c": arrow.array(["a", "b"]).dictionary_encode(),
            "n": arrow.nulls(2),
            "__index_level_0__": arrow.array([0, 1]),
            "y": arrow.array([True, False]),
        }
    )
    data = load(path, target="y")
    assert isinstance(data.features, Table)
    found = data.features.columns
    assert list(found) == ["f", "f4", "i", "u", "b", "d", "s", "c"]
    np.testing.assert_array_equal(found["f"], [1.5, np.nan])
    assert [(one.name, one.detail) for one in data.kinds if one.kind == "dropped"] == [("n", "no values")]
    assert [found[name].tolist() for name in ("f4", "i", "u", "b", "d", "s", "c")] == [
        [1.5, 2.5], [1, 2**62 + 1], [1, 2], ["true", None], [1.25, 2.0], ["a", None], ["a", "b"],
    ]  # fmt: skip
    assert data.target.tolist() == [True, False]
    assert data.target.dtype == np.bool_
    assert load(path, target="i").target.tolist() == [1, 2**62 + 1]
    assert load(path, target="f4").target.tolist() == [1.5, 2.5]
    assert load_features(path, ["i", "s"], text=["i"]).column("i").tolist() == ["1", str(2**62 + 1)]


def test_parquet_reports(write_parquet, tmp_path):
    path = write_parquet({"a": [1, 2], "b": ["x", "y"], "when": [[date(2020, 1, 1)]] * 2}, "t.pq")
    with pytest.raises(UnknownColumn, match=r"--target .* one of: a, b"):
        load(write_parquet({"a": [1], "b": [2]}))
    with pytest.raises(DataFileError, match="column 'when': expected numbers, booleans, dates or text, found list"):
        load(path, "a")
    with pytest.raises(UnknownColumn, match=r"'c' in t\.pq, found only: a, b, when"):
        load_features(path, ["c"])
    assert load_features(path, ["b", "a"]).names == ("b", "a")
    with pytest.raises(EmptyDataError):
        load(write_parquet({"a": [], "b": []}), "a")
    (tmp_path / "cut.parquet").write_bytes(path.read_bytes()[:-20])
    (tmp_path / "none.parquet").write_bytes(b"")
    for name in ("cut", "none"):
        with pytest.raises(DataFileError, match="expected a Parquet file"):
            load(tmp_path / f"{name}.parquet", "a")


# NumPy archives


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_round_trip(tmp_path, rng, save):
    x, y = rng.normal(size=(6, 2)).astype(np.float32), np.array(["a", "b"] * 3)
    save(tmp_path / "d.npz", x=x, y=y, other=np.arange(6), names=["p", "q"])
    data = load(tmp_path / "d.npz")
    assert isinstance(data.features, Matrix)
    np.testing.assert_array_equal(data.features.values, x)
    assert (data.feature_names, data.target.tolist(), data.target_name) == (("p", "q"), y.tolist(), "y")
    assert load(tmp_path / "d.npz", target="other").target.tolist() == list(range(6))
    assert load_features(tmp_path / "d.npz", ["q"]).values[:, 0].tolist() == x[:, 1].tolist()


def test_npz_without_target_serves_prediction_and_images_are_flattened(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.arange(24).reshape(2, 3, 4))
    assert load_features(tmp_path / "d.npz").names == tuple(f"x{j}" for j in range(12))
    with pytest.raises(UnknownColumn, match=r"array 'y' in d\.npz, found only: x"):
        load(tmp_path / "d.npz")


@pytest.mark.parametrize("token", ["NA", "None", "nan", "?", ""])
def test_missing_labels_of_arrays_are_those_of_tables(tmp_path, token):
    y, x = np.array(["a", token, "b", "a"]), np.ones((4, 2))
    np.savez(tmp_path / "d.npz", x=x, y=y)
    np.savez(tmp_path / "parts.npz", x_train=x, y_train=y[[0, 2, 3, 3]], x_test=x, y_test=y)
    np.save(tmp_path / "a.npy", x)
    np.save(tmp_path / "b.npy", y)
    for name in ("d.npz", "a.npy"):
        with pytest.raises(LabelError, match=r"found 1 .*, the first in row 2; drop"):
            load(tmp_path / name, labels=tmp_path / "b.npy" if name == "a.npy" else None, stream=True)
    with pytest.raises(LabelError, match=r"target .y.: expected a label in every row, found 1 .*, the first in row 2; drop"):
        load(tmp_path / "d.npz")
    with pytest.raises(LabelError, match=r"row 6 is row 2 of x_test of parts\.npz"):
        load(tmp_path / "parts.npz")
    with pytest.raises(LabelError, match="the first in row 2; drop"):
        load(tmp_path / "a.npy", labels=tmp_path / "b.npy")
    if token:
        assert load(tmp_path / "d.npz", text=["y"]).target.tolist() == y.tolist()
        assert load(tmp_path / "d.npz", missing=[]).target.tolist() == y.tolist()


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        ({"y": np.zeros(2)}, UnknownColumn, "array 'x'"),
        ({"x": np.zeros(2), "y": np.zeros(2)}, DataFileError, "shape"),
        ({"x": np.array([["a"]]), "y": np.zeros(1)}, DataFileError, "expected numbers"),
        ({"x": np.zeros((2, 2)), "y": np.zeros(3)}, DataFileError, r"y of shape \[2\].*found \[3\]"),
        ({"x": np.zeros((2, 2)), "y": np.zeros((2, 3))}, DataFileError, "not one-hot"),
        ({"x": np.zeros((0, 2)), "y": np.zeros(0)}, EmptyDataError, "found none"),
        ({"x": np.zeros((1, 2)), "y": np.zeros(1), "names": ["a"]}, DataFileError, "expected 2 different"),
        ({"x": np.zeros((1, 2)), "y": np.array([None])}, DataFileError, "without pickled objects"),
    ],
)
def test_npz_contents_that_do_not_fit(tmp_path, arrays, error, message):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(error, match=message):
        load(tmp_path / "d.npz")


def test_npz_truncated_at_any_place_or_foreign(tmp_path, rng):
    path = tmp_path / "d.npz"
    np.savez_compressed(path, x=rng.normal(size=(20, 2)), y=np.arange(20))
    whole = path.read_bytes()
    for length in [*range(60), *range(60, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(DataFileError, match="expected a NumPy archive"):
            load(path)
    middle = bytearray(whole)
    middle[100:140] = bytes(40)
    path.write_bytes(middle)
    with pytest.raises(DataFileError):
        load(path)
    with path.open("wb") as stream:
        np.save(stream, np.zeros(3))
    with pytest.raises(DataFileError, match="found a single array"):
        load(path)


# IDX


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (7, 4, 3), dtype=np.uint8)


CLASSES = np.array([3, 1, 4, 1, 5, 9, 2], dtype=np.uint8)


@pytest.mark.parametrize(
    ("images_name", "labels_name"),
    [
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
        ("train-images.idx3-ubyte", "train-labels.idx1-ubyte"),
        ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte"),
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz"),
    ],
)
def test_idx_round_trip_finds_the_labels(tmp_path, images, images_name, labels_name):
    for name, array in ((images_name, images), (labels_name, CLASSES)):
        pack = gzip.compress if name.endswith(".gz") else bytes
        (tmp_path / name).write_bytes(pack(idx_bytes(array)))
    data = load(tmp_path / images_name)
    assert isinstance(data.features, Matrix)
    np.testing.assert_array_equal(data.features.values, images.reshape(7, 12) / 255.0)
    assert (data.target.dtype, data.target.tolist(), data.task) == (np.int64, CLASSES.tolist(), "classification")
    assert data.feature_names[:2] == ("pixel0", "pixel1")
    (tmp_path / labels_name).unlink()
    assert len(load_features(tmp_path / images_name)) == 7
    with pytest.raises(DataFileError, match=r"expected a labels file beside.*labels.idx1.*labels=PATH"):
        load(tmp_path / images_name)


def test_idx_labels_by_path(tmp_path, images):
    (tmp_path / "a.idx").write_bytes(idx_bytes(images))
    (tmp_path / "b.idx").write_bytes(idx_bytes(CLASSES))
    assert load(tmp_path / "a.idx", labels=tmp_path / "b.idx").target.tolist() == CLASSES.tolist()
    with pytest.raises(DataFileError, match="neither images-idx3"):
        load(tmp_path / "a.idx")
    with pytest.raises(DataFileError, match="does not exist"):
        load(tmp_path / "a.idx", labels=tmp_path / "c.idx")
    with pytest.raises(DataFileError, match="give the images file"):
        load(tmp_path / "b.idx")
    (tmp_path / "b.idx").write_bytes(idx_bytes(CLASSES[1:]))
    with pytest.raises(DataFileError, match=r"expected 7 labels.*\[6\]"):
        load(tmp_path / "a.idx", labels=tmp_path / "b.idx")


@pytest.mark.parametrize("dtype", IDX_CODES)
def test_idx_types_are_native_afterwards(tmp_path, dtype):
    array = np.array([[1, 2], [3, -4 if dtype[0] != "u" else 4]], dtype=dtype)
    path = tmp_path / "a.idx"
    path.write_bytes(idx_bytes(array))
    found = read_idx_array(path)
    assert found.dtype == array.dtype
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_truncated_at_any_place(tmp_path, images, pack):
    path, whole = tmp_path / "a.idx", pack(idx_bytes(images))
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataFileError, match="expected"):
            read_idx_array(path)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"\x89PNG\r\n", "magic number.*found 89 50 4e 47"),
        (b"", "found no bytes"),
        (b"\0\0\x08\0", "magic"),
        (b"\0\0\x07\x01\0\0\0\0", "magic"),
        (idx_bytes(CLASSES) + b"x", "overlong"),
        (idx_bytes(CLASSES)[:-1], r"expected 7 bytes after the header for shape \[7\], found 6: truncated"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "truncated"),
        (b"\0\0\x08\x03\0", "header of 16 bytes, found 5"),
    ],
)
def test_idx_foreign_or_damaged(tmp_path, raw, message):
    (tmp_path / "a.idx").write_bytes(raw)
    with pytest.raises(DataFileError, match=message):
        load_features(tmp_path / "a.idx")


def test_idx_without_images(tmp_path):
    (tmp_path / "a.idx").write_bytes(idx_bytes(np.zeros((0, 2, 2), dtype=np.uint8)))
    with pytest.raises(EmptyDataError):
        load_features(tmp_path / "a.idx")


# svmlight


@pytest.fixture
def dump():
    return pytest.importorskip("sklearn.datasets", reason="svmlight is read through scikit-learn").dump_svmlight_file


@pytest.mark.parametrize("zero_based", [True, False])
@pytest.mark.parametrize("suffix", [".svm", ".svmlight", ".libsvm"])
def test_svmlight_round_trip(tmp_path, rng, dump, zero_based, suffix):
    x = rng.normal(size=(8, 5)) * (rng.random((8, 5)) < 0.6)
    x[0] = [1.0, 0, 0, 0, 2.0]
    y = np.array([-1, 1] * 4)
    dump(x, y, str(tmp_path / f"d{suffix}"), zero_based=zero_based)
    data = load(tmp_path / f"d{suffix}")
    assert isinstance(data.features, Matrix)
    np.testing.assert_allclose(data.features.values, x, rtol=1e-12)
    assert (data.target.dtype, data.target.tolist(), data.target_name) == (np.int64, y.tolist(), "label")


def test_svmlight_real_targets_stay_real(tmp_path, dump):
    dump(np.ones((2, 1)), np.array([0.5, 2.0]), str(tmp_path / "d.svm"))
    assert load(tmp_path / "d.svm").target.tolist() == [0.5, 2.0]


def test_svmlight_is_widened_to_the_columns_of_training(tmp_path):
    (tmp_path / "d.svm").write_text("1 1:5\n2 2:6\n")
    features = load_features(tmp_path / "d.svm", ["x0", "x1", "x2", "x3"])
    np.testing.assert_array_equal(features.values, [[5, 0, 0, 0], [0, 6, 0, 0]])
    np.testing.assert_array_equal(load_features(tmp_path / "d.svm", ["x1"]).values, [[0], [6]])
    with pytest.raises(UnknownColumn):
        load_features(tmp_path / "d.svm", ["age"])


@pytest.mark.parametrize("text", ["1 1:x\n", "a,b\n1,2\n", "1 2:1 1:1\n", "x 1:1\n", "1 -1:1\n"])
def test_svmlight_of_another_form_is_reported(tmp_path, text):
    (tmp_path / "d.svm").write_text(text)
    with pytest.raises(DataFileError, match="expected lines 'label index:value"):
        load(tmp_path / "d.svm")


def test_svmlight_empty(tmp_path):
    (tmp_path / "d.svm").write_text("")
    with pytest.raises(EmptyDataError):
        load(tmp_path / "d.svm")
