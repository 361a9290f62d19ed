"""Data as others publish them: parts by the names of arrays and files, shards, labels beside features, own test parts."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

from fusedstep.errors import DataFileError, FusedstepError, UnknownColumn
from fusedstep.framework.sources.row_source import RowSource
from fusedstep.framework.tables.layouts import find_arrays, find_part_files, name_of
from fusedstep.framework.tables.own_parts import joined_columns
from fusedstep.framework.tables.reading import load, load_features
from fusedstep.framework.tables.streaming import open_features
from fusedstep.framework.tables.table import StreamedTable
from fusedstep.framework.tables.text_column import TextColumn

RNG = np.random.default_rng(5)
X = RNG.integers(0, 256, (30, 2, 3)).astype("u1")
Y = RNG.integers(0, 3, 30)


def values(features):
    if isinstance(features, RowSource):
        return features.whole()
    if isinstance(features, StreamedTable):
        return np.concatenate([np.stack([*block.columns.values()], 1) for block in features.blocks()])
    return features.values


def parts(dataset):
    """part -> (start, stop), in the joined rows."""
    return {part: (one.start, one.stop) for part, one in dataset.own.items()}


# Names


@pytest.mark.parametrize(
    ("text", "part", "rest"),
    [
        ("x_train", "training", "x"), ("X", "", "x"), ("train_images", "training", "images"),
        ("val-labels", "validation", "labels"),
        ("t10k-images-idx3-ubyte", "test", "images_idx3_ubyte"), ("train-images.idx3-ubyte", "training", "images_idx3_ubyte"),
        ("test", "test", ""), ("contest", "", "contest"), ("dev.csv", "validation", "csv"), ("TRAIN_X", "training", "x"),
        ("Xtrain", "training", "x"), ("yTest", "test", "y"), ("valX", "validation", "x"), ("eval.parquet", "test", "parquet"),
    ],
)  # fmt: skip
def test_names_state_a_part_as_a_whole_word(text, part, rest):
    assert name_of(text) == (part, rest)


@pytest.mark.parametrize(
    ("stored", "target", "found"),
    [
        ("x y", None, {"training": ("x", "y")}),
        ("X y", None, {"training": ("X", "y")}),
        ("data target", None, {"training": ("data", "target")}),
        ("features labels names", None, {"training": ("features", "labels")}),
        ("arr_0 arr_1", None, {"training": ("arr_0", "arr_1")}),
        ("x_train y_train x_test y_test", None, {"training": ("x_train", "y_train"), "test": ("x_test", "y_test")}),
        ("X_test X_train Y_test Y_train", None, {"training": ("X_train", "Y_train"), "test": ("X_test", "Y_test")}),
        (
            "train_images val_images test_images train_labels val_labels test_labels",
            None,
            {
                "training": ("train_images", "train_labels"),
                "validation": ("val_images", "val_labels"),
                "test": ("test_images", "test_labels"),
            },
        ),
        ("x data y", None, {"training": ("x", "y")}),
        ("x y price", "price", {"training": ("x", "price")}),
        (
            "x_train x_test age_train age_test y_train",
            "age",
            {"training": ("x_train", "age_train"), "test": ("x_test", "age_test")},
        ),
        ("x_train x_test y_train y_test", "y_train", {"training": ("x_train", "y_train"), "test": ("x_test", "y_test")}),
        ("x x_test y y_test", None, {"training": ("x", "y")}),
    ],
)
def test_arrays_are_found_by_their_names(stored, target, found):
    assert find_arrays(stored.split(), target, "a.npz") == found


@pytest.mark.parametrize(
    ("stored", "target", "error", "words"),
    [
        ("a b", None, UnknownColumn, "expected the array 'x' in a.npz, found only: a, b"),
        ("x a", None, UnknownColumn, "expected the array 'y'"),
        ("x y", "label", UnknownColumn, "expected the array 'label'"),
        ("x_test y_test", None, UnknownColumn, "expected the array 'x_train'"),
        ("x_train y_train x_test", None, UnknownColumn, "'y of the test part'"),
        ("data images y", None, DataFileError, "expected one array of features, found data, images; rename one of them x"),
        ("x target label", None, DataFileError, "expected one array of targets, found target, label; rename one of them y"),
        ("arr_0 arr_1 arr_2", None, UnknownColumn, "expected the array 'x'"),
    ],
)
def test_arrays_that_are_missing_or_not_clear_are_named(stored, target, error, words):
    with pytest.raises(error, match=words):
        find_arrays(stored.split(), target, "a.npz")


# NPZ


@pytest.mark.parametrize("stream", [False, True])
def test_the_archive_of_keras_is_read_with_its_own_test_part(tmp_path, stream):
    path = tmp_path / "mnist.npz"
    save = np.savez if stream else np.savez_compressed
    save(path, x_test=X[20:], y_test=Y[20:], x_train=X[:20], y_train=Y[:20])
    data = load(path, stream=stream)
    assert np.array_equal(values(data.features), X.reshape(30, 6))
    assert np.array_equal(data.target, Y)
    assert parts(data) == {"test": (20, 30)}
    assert data.own["test"].origin == "x_test of mnist.npz"


@pytest.mark.parametrize("stream", [False, True])
def test_an_archive_of_three_parts_with_labels_in_a_column(tmp_path, stream):
    cut = {"train": slice(0, 15), "val": slice(15, 20), "test": slice(20, 30)}
    arrays = {f"{part}_images": X[rows] for part, rows in cut.items()}
    arrays.update({f"{part}_labels": Y[rows, None] for part, rows in cut.items()})
    np.savez(tmp_path / "m.npz", **arrays)
    data = load(tmp_path / "m.npz", stream=stream)
    assert np.array_equal(values(data.features), X.reshape(30, 6))
    assert np.array_equal(data.target, Y)
    assert parts(data) == {"validation": (15, 20), "test": (20, 30)}


def test_predictions_need_to_know_which_part(tmp_path):
    np.savez(tmp_path / "m.npz", x_train=X[:20], y_train=Y[:20], x_test=X[20:])
    for read in (load_features, open_features):
        assert np.array_equal(values(read(tmp_path / "m.npz", part="test")), X[20:].reshape(10, 6))
        with pytest.raises(DataFileError, match=r"expected the name of one part, found: training, test; .*--part test"):
            read(tmp_path / "m.npz")
        with pytest.raises(DataFileError, match="expected the validation part, found: training, test"):
            read(tmp_path / "m.npz", part="validation")
        with pytest.raises(DataFileError, match="--part: expected one of training, validation, test, got 'all'"):
            read(tmp_path / "m.npz", part="all")


def test_objects_are_never_read_and_the_safe_way_is_named(tmp_path):
    path = tmp_path / "o.npz"
    np.savez(path, X=X, y=np.array(["a", "b", "c"] * 10, dtype=object))
    with pytest.raises(DataFileError, match=r"y holds objects, as pandas makes of text .*; save y\.astype\(str\)") as caught:
        load(path)
    assert "allow_pickle" not in str(caught.value)
    assert "unsafe" not in str(caught.value)
    np.savez(path, X=X, y=np.array(["a", "b", "c"] * 10, dtype=object).astype(str))
    assert load(path).target.tolist() == ["a", "b", "c"] * 10
    np.save(tmp_path / "y.npy", np.array([None, 1] * 15))
    np.save(tmp_path / "x.npy", X)
    with pytest.raises(DataFileError, match=r"pickled objects.*array\.astype\(float\) for numbers"):
        load(tmp_path / "x.npy")


def test_the_arrays_of_an_archive_count_together_against_its_limit(tmp_path):
    path = tmp_path / "zeros.npz"
    x, y = np.zeros((100, 10)), np.zeros(100)
    np.savez_compressed(path, x_train=x, y_train=y, x_test=x, y_test=y)
    assert len(load(path, max_unpacked=17_600).target) == 200
    with pytest.raises(DataFileError, match=r"found 17\.6 kB"):
        load(path, max_unpacked=17_599)


@pytest.mark.parametrize("other", [{"x_test": X[20:, :1]}, {"y_test": Y[20:].astype(str)}])
def test_parts_of_other_shape_or_kind_are_refused(tmp_path, other):
    arrays = {"x_train": X[:20], "y_train": Y[:20], "x_test": X[20:], "y_test": Y[20:], **other}
    np.savez(tmp_path / "m.npz", **arrays)
    with pytest.raises(DataFileError, match=f"in {next(iter(other))}|in {next(iter(other))} of m.npz"):
        load(tmp_path / "m.npz")


def test_a_file_given_for_a_part_takes_the_place_of_the_own_one(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=X[:10], y_train=Y[:10], x_test=X[10:20], y_test=Y[10:20])
    np.savez(tmp_path / "b.npz", x=X[20:], y=Y[20:])
    data = load(tmp_path / "a.npz", test=tmp_path / "b.npz")
    assert np.array_equal(data.target, np.concatenate([Y[:10], Y[20:]]))
    assert parts(data) == {"test": (10, 20)}
    assert data.own["test"].origin == "x of b.npz"


# NPY


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("features", "labels"), [("x", "y"), ("X_train", "y_train"), ("train_images", "train_labels"), ("data", "target")]
)
def test_labels_lie_beside_features(tmp_path, stream, features, labels):
    np.save(tmp_path / f"{features}.npy", X.reshape(30, 6))
    with pytest.raises(DataFileError, match=r"such as y\.npy beside x\.npy; give --labels"):
        load(tmp_path / f"{features}.npy", stream=stream)
    np.save(tmp_path / f"{labels}.npy", Y)
    assert np.array_equal(load(tmp_path / f"{features}.npy", stream=stream).target, Y)
    np.save(tmp_path / "other.npy", Y + 1)
    assert np.array_equal(load(tmp_path / f"{features}.npy", labels=tmp_path / "other.npy", stream=stream).target, Y + 1)


@pytest.mark.parametrize("stream", [False, True])
def test_a_test_file_brings_its_own_labels(tmp_path, stream):
    for part, rows in (("train", slice(0, 20)), ("test", slice(20, 30))):
        np.save(tmp_path / f"x_{part}.npy", X[rows].reshape(-1, 6))
        np.save(tmp_path / f"y_{part}.npy", Y[rows])
    data = load(tmp_path / "x_train.npy", test=tmp_path / "x_test.npy", stream=stream)
    assert np.array_equal(values(data.features), X.reshape(30, 6))
    assert np.array_equal(data.target, Y)
    assert parts(data) == {"test": (20, 30)}


# IDX


def write_idx(path, array):
    data = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype("u1").tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.mark.parametrize("names", ["{}-images-idx3-ubyte", "{}-images.idx3-ubyte", "{}-images-idx3-ubyte.gz"])
def test_images_of_mnist_bring_their_test_part(tmp_path, names):
    labels = names.replace("images", "labels").replace("idx3", "idx1")
    for part, rows in (("train", slice(0, 20)), ("t10k", slice(20, 30))):
        write_idx(tmp_path / names.format(part), X[rows])
        write_idx(tmp_path / labels.format(part), Y[rows])
    data = load(tmp_path / names.format("train"))
    np.testing.assert_allclose(data.features.values, X.reshape(30, 6) / 255.0)
    assert np.array_equal(data.target, Y)
    assert parts(data) == {"test": (20, 30)}
    assert data.own["test"].origin == names.format("t10k")
    alone = load(tmp_path / names.format("t10k"))
    assert len(alone) == 10
    assert parts(alone) == {}


def test_images_without_labels_are_no_part(tmp_path):
    write_idx(tmp_path / "train-images-idx3-ubyte", X)
    write_idx(tmp_path / "train-labels-idx1-ubyte", Y)
    write_idx(tmp_path / "t10k-images-idx3-ubyte", X)
    assert parts(load(tmp_path / "train-images-idx3-ubyte")) == {}


def test_of_images_both_gzipped_and_not_the_same_kind_is_taken(tmp_path):
    for suffix, shift in (("", 0), (".gz", 1)):
        for part, rows in (("train", slice(0, 20)), ("t10k", slice(20, 30))):
            write_idx(tmp_path / f"{part}-images-idx3-ubyte{suffix}", X[rows])
            write_idx(tmp_path / f"{part}-labels-idx1-ubyte{suffix}", Y[rows] + shift)
    assert np.array_equal(load(tmp_path / "train-images-idx3-ubyte").target, Y)
    assert np.array_equal(load(tmp_path / "train-images-idx3-ubyte.gz").target, Y + 1)


# svmlight

LINES = "1 {0}:0.5 {1}:1.5\n0 {1}:2.5\n1 {0}:3.5 {2}:4\n"


@pytest.fixture
def svmlight(tmp_path):
    pytest.importorskip("sklearn", reason="svmlight files are read through scikit-learn")

    def write(name, text):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


@pytest.mark.parametrize("first", [0, 1])
def test_the_first_index_and_the_number_of_columns_belong_to_the_training(svmlight, first):
    train = load(svmlight("t.svm", LINES.format(first, first + 1, first + 2)))
    assert train.first_index == first
    assert train.features.names == ("x0", "x1", "x2")
    later = svmlight("p.svm", f"0 {first + 1}:7\n")
    assert load_features(later, train.features.names, first_index=first).values.tolist() == [[0.0, 7.0, 0.0]]
    wide = svmlight("w.svm", f"0 {first}:1\n1 {first + 1}:7 {first + 3}:1\n")
    words = rf"expected indices {first} to {first + 2}, .*found {first + 3} in row 2; leave out"
    with pytest.raises(DataFileError, match=words):
        load_features(wide, train.features.names, first_index=first)


def test_an_index_0_contradicts_a_training_that_counted_from_1(svmlight):
    with pytest.raises(DataFileError, match=r"expected indices 1 to 3, .*found 0 in row 2; count them from 1"):
        load_features(svmlight("p.svm", "0 1:1\n1 0:7\n"), ("x0", "x1", "x2"), first_index=1)


def test_without_a_model_the_first_index_is_guessed_and_more_columns_are_left_out(svmlight):
    wide = svmlight("w.svm", "0 1:1 5:2\n")
    assert load_features(wide, ("x0", "x1")).values.tolist() == [[1.0, 0.0]]
    assert load_features(svmlight("n.svm", "0 0:1\n"), ("x0", "x1")).values.tolist() == [[1.0, 0.0]]


def test_files_of_two_parts_count_alike_and_have_as_many_columns(svmlight):
    train, test = svmlight("t.svm", "1 1:5\n0 2:6\n"), svmlight("e.svm", "1 0:7\n0 3:8\n")
    data = load(train, test=test)
    assert data.first_index == 0
    assert parts(data) == {"test": (2, 4)}
    assert data.features.values.tolist() == [[0, 5, 0, 0], [0, 0, 6, 0], [7, 0, 0, 0], [0, 0, 0, 8]]
    assert data.target.tolist() == [1, 0, 1, 0]


# Folders


@pytest.fixture
def write_parquet(tmp_path):
    arrow = pytest.importorskip("pyarrow", reason="Parquet is read through pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet is read through pyarrow")

    def write(name, columns):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(arrow.table(columns), path)
        return tmp_path / "data"

    return write


LAYOUTS = {
    "shards of Hugging Face": ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet",
                               "data/validation-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
    "shards with a fingerprint": ("train-00000-of-00002-a09b74b3ef9c3b56.parquet",
                                  "train-00001-of-00002-b09b74b3ef9c3b56.parquet",
                                  "validation-00000-of-00001-c09b74b3ef9c3b56.parquet", "test.parquet"),
    "folders": ("default/train/0000.parquet", "default/train/0001.parquet", "default/validation/0000.parquet",
                "default/test/0000.parquet"),
    "without numbers": ("train_a.parquet", "train_b.parquet", "dev.parquet", "test.parquet"),
}  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_of_parts_and_shards_is_one_data_set(write_parquet, layout, stream):
    cuts = (slice(0, 8), slice(8, 15), slice(15, 20), slice(20, 30))
    x = X.reshape(30, 6).astype(float)
    for name, rows in reversed(list(zip(LAYOUTS[layout], cuts, strict=True))):
        folder = write_parquet(name, {"a": x[rows, 0], "label": Y[rows], "b": x[rows, 1]})
    (folder / "README.md").write_text("of this data set")
    (folder / "LICENSE.txt").write_text("of this data set")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "train.parquet").write_bytes(b"none of ours")
    data = load(folder, "label", stream=stream)
    assert data.name == "data"
    assert data.own["test"].origin == ("test/0000.parquet" if layout == "folders" else LAYOUTS[layout][3].rpartition("/")[2])
    assert parts(data) == {"validation": (15, 20), "test": (20, 30)}
    assert np.array_equal(data.target, Y)
    read = values(data.features) if stream else np.stack([data.features.column(name) for name in ("a", "b")], 1)
    assert np.array_equal(read, x[:, :2])
    if stream:
        rows = np.array([0, 3, 9, 16, 29])
        assert np.array_equal(values(data.features.take(rows)), x[rows, :2])
        assert data.features.edges.tolist() == [0, 8, 15, 20, 30]
        opened = open_features(folder, ["b"], part="training")
        assert np.array_equal(np.concatenate([block.column("b") for block in opened]), x[:15, 1])
    else:
        assert np.array_equal(load_features(folder, ["b"], part="training").column("b"), x[:15, 1])


def test_numbered_files_without_a_part_are_shards(write_parquet):
    for number in (2, 10, 1):
        folder = write_parquet(f"part-{number:05}-0a1b2c3d-0a1b-4c5d-8e9f-0a1b2c3d4e5f-c000.snappy.parquet", {"y": [number, 0]})
    (folder / "_SUCCESS").write_text("")
    (folder / "_metadata.parquet").write_bytes(b"none of ours")
    assert [int(one.path.name[5:10]) for one in find_part_files(folder, [".parquet"])] == [1, 2, 10]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["readme.md"], "is a folder without files that end in .csv, .parquet; give the path"),
        (["train.csv", "test.parquet"], "expected files of one format, found .csv, .parquet"),
        (["people.csv", "cities.csv"], "whose names state their part.*found cities.csv, people.csv"),
        (["train.csv", "more.csv"], "whose names state their part.*found more.csv"),
        (["test.csv"], "expected a training part, found only: test.csv"),
        (["train-00000-of-00003.csv", "train-00002-of-00003.csv"], "expected 3 shards of 'train', found 2 without number 1"),
    ],
)
def test_folders_that_are_not_clear_are_refused(tmp_path, names, words):
    for name in names:
        (tmp_path / name).write_text("a,y\n1,2\n")
    with pytest.raises(DataFileError, match=words):
        find_part_files(tmp_path, [".csv", ".parquet"])


def test_a_csv_column_that_looks_like_numbers_in_one_file_is_text_in_all(tmp_path):
    (tmp_path / "train.csv").write_text("a,y\n" + "01,0\n02,1\n" * 10)
    (tmp_path / "test.csv").write_text("a,y\n04,1\nx,0\n")
    with pytest.raises(DataFileError, match=r"'x'; 21 of 22 cells are numbers.*; row 22 is row 2 of test\.csv"):
        load(tmp_path / "train.csv", "y", test=tmp_path / "test.csv")
    (tmp_path / "test.csv").write_text("a,y\n" + "x,0\nz,1\n" * 15)
    for text in ((), ("a",)):
        column = load(tmp_path / "train.csv", "y", text=text, test=tmp_path / "test.csv").features.column("a")
        assert isinstance(column, TextColumn)
        assert column.tolist()[18:22] == ["01", "02", "x", "z"]


def test_a_test_file_lacks_no_column_and_may_have_more(tmp_path):
    (tmp_path / "train.csv").write_text("a,b,y\n" + "1,2,0\n3,4,1\n" * 10)
    (tmp_path / "test.csv").write_text("y,id,b,a\n0,7,2,1\n")
    data = load(tmp_path / "train.csv", "y", test=tmp_path / "test.csv")
    assert data.feature_names == ("a", "b")
    assert parts(data) == {"test": (20, 21)}
    assert data.features.column("a")[-1] == 1
    assert data.features.column("b")[-1] == 2
    (tmp_path / "test.csv").write_text("a,b\n1,2\n")
    words = r"test\.csv: expected the columns of train\.csv, found a table without 'y'.*fusedstep predict"
    with pytest.raises(DataFileError, match=words):
        load(tmp_path / "train.csv", "y", test=tmp_path / "test.csv")


def test_a_test_file_of_another_format_is_refused(tmp_path):
    (tmp_path / "train.csv").write_text("a,y\n1,2\n")
    np.savez(tmp_path / "test.npz", x=X, y=Y)
    for source, test in ((tmp_path / "train.csv", tmp_path / "test.npz"), ("iris", "iris")):
        with pytest.raises(DataFileError, match="--test: expected a file of the format of"):
            load(source, "y", test=test)


def test_a_part_is_another_file_than_the_source(tmp_path):
    (tmp_path / "a.csv").write_text("a,y\n1,2\n")
    with pytest.raises(DataFileError, match="--test: expected another file than"):
        load(tmp_path / "a.csv", "y", test=tmp_path / "a.csv")


# Joined columns


def joined(*columns):
    names = [f"{number}.parquet" for number in range(len(columns))]
    return joined_columns([{"c": column} for column in columns], names, [True] * len(columns))["c"]


def test_columns_of_the_same_type_are_joined():
    assert joined(np.array([1, 2]), np.array([3.5])).tolist() == [1.0, 2.0, 3.5]
    assert joined(np.array([1, 2**60]), np.array([3])).tolist() == [1, 2**60, 3]
    text = joined(TextColumn.of(["b", None]), TextColumn.of(["a", "b", "a"]))
    assert text.tolist() == ["b", None, "a", "b", "a"]
    assert sorted(text.values) == ["a", "b"]
    assert joined(np.array(["2020-01-01"], "M8[us]"), np.array([np.nan])).astype(str).tolist()[1] == "NaT"
    assert joined(np.array([np.nan]), TextColumn.of(["a"])).tolist() == [None, "a"]
    assert joined(np.array([True, False]), TextColumn.of(["true", None])).tolist() == ["true", "false", "true", None]
    assert joined(np.array([True, False]), np.array([np.nan])).tolist() == ["true", "false", None]
    assert joined(np.array([True]), np.array([False])).dtype == bool


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ((np.array([1.0]), TextColumn.of(["a"])), r"found numbers in 0\.parquet and text in 1\.parquet"),
        ((np.array([np.nan]), np.array([1.0]), np.array([0], "M8[us]")), r"numbers in 1\.parquet and dates in 2\.parquet"),
        ((np.array([True]), np.array([1.0])), "booleans in .* and numbers in"),
        ((np.array([2**60]), np.array([0.5])), r"none above 2\^53"),
    ],
)
def test_columns_of_different_types_are_named_with_their_files(columns, words):
    with pytest.raises(FusedstepError, match=words):
        joined(*columns)
