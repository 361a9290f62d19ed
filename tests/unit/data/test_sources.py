"""`load` and `load_features` as such: bundled sets, the choice by name, targets, and what is reported when it fails."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from fusedstep.errors import DataFileError, EmptyDataError, MissingDependency, UnknownColumn
from fusedstep.framework.tables import bundled
from fusedstep.framework.tables.bundled import BUNDLED
from fusedstep.framework.tables.columns import is_text
from fusedstep.framework.tables.reading import load, load_features
from fusedstep.framework.tables.source_files import find_format
from fusedstep.framework.tables.table import Matrix, Table
from fusedstep.framework.tables.task import find_task


@pytest.fixture
def people(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("age,town,zip,buys\n31,Ulm,89073,1\n45,Bonn,53111,0\n52,Ulm,89075,1\n")
    return path


@pytest.mark.parametrize("name", BUNDLED)
@pytest.mark.parametrize("files", ["there", "elsewhere"])
def test_bundled_sets_are_those_of_scikit_learn(name, files, monkeypatch, tmp_path):
    datasets = pytest.importorskip("sklearn.datasets", reason="the bundled sets come with scikit-learn")
    if files == "elsewhere":  # as a later version of scikit-learn may have it
        monkeypatch.setattr(bundled, "folder_of", lambda *_: tmp_path)
    data = load(name)
    given = getattr(datasets, f"load_{name}")()
    assert isinstance(data.features, Matrix)
    np.testing.assert_array_equal(data.features.values, given.data)
    assert data.feature_names == tuple(map(str, given.feature_names))
    np.testing.assert_array_equal(data.target, given.target)
    assert data.target.dtype == given.target.dtype
    assert (data.name, data.target_name, data.task) == (name, "target", BUNDLED[name])
    assert find_task(data.target) == data.task
    np.testing.assert_array_equal(load_features(name).values, given.data)


def test_target_is_taken_out_and_narrowed(people):
    data = load(people, target="buys")
    assert isinstance(data.features, Table)
    assert data.feature_names == ("age", "town", "zip")
    assert (data.target.dtype, data.target.tolist()) == (np.int64, [1, 0, 1])
    assert (data.name, data.target_name, data.task) == ("people", "buys", None)
    assert load(people, target="town").target.tolist() == ["Ulm", "Bonn", "Ulm"]


def test_text_can_be_asked_for(people):
    assert load(people, "buys", text=["zip"]).features.column("zip").tolist() == ["89073", "53111", "89075"]
    assert load(people, "zip", text=["zip"]).target.tolist() == ["89073", "53111", "89075"]
    assert is_text(load_features(people, ["zip"], text=["zip"]).column("zip"))


def test_numbers_that_begin_with_0_are_numbers_unless_they_are_asked_for_as_text(tmp_path):
    path = tmp_path / "codes.csv"
    path.write_text("plz,y\n" + "12345,1\n" * 300 + "01234,0\n,0\n")
    dataset = load(path, "y")
    assert np.nanmin(dataset.features.column("plz")) == 1234
    assert "numbers of 'plz' such as '01234' begin with 0" in dataset.kinds[0].note
    assert load_features(path, ["plz"]).column("plz")[300] == 1234
    for features in (load(path, "y", text=["plz"]).features, load_features(path, ["plz"], text=["plz"])):
        assert features.column("plz").tolist()[299:] == ["12345", "01234", None]


@pytest.mark.parametrize(("header", "dropped"), [("a,c1,y", []), ("a,,y", ["c1"]), (",c1,y", []), ("c0,c1,y", [])])
def test_only_columns_without_a_name_are_taken_for_row_numbers(tmp_path, header, dropped):
    path = tmp_path / "d.csv"
    rows = "".join(f"{i % 7 + 0.5},{(i * 37) % 101},{i % 2}\n" for i in range(60))
    path.write_text(f"{header}\n{rows}")
    assert [one.name for one in load(path, "y").kinds if one.kind == "dropped"] == dropped


def test_a_dropped_column_may_be_of_any_type(tmp_path):
    arrow, parquet, feather = (pytest.importorskip(f"pyarrow{part}") for part in ("", ".parquet", ".feather"))
    table = arrow.table({"l": [[1], [2, 3]], "a": [1, 2], "s": [{"x": 1}, None], "y": ["u", "v"]})
    parquet.write_table(table, tmp_path / "d.parquet")
    feather.write_feather(table, tmp_path / "d.feather")
    for name in ("d.parquet", "d.feather"):
        dataset = load(tmp_path / name, "y", drop=["l", "s"])
        assert dataset.feature_names == ("a",)
        assert [(one.name, one.kind) for one in dataset.kinds] == [("l", "dropped"), ("a", "number"), ("s", "dropped")]
        with pytest.raises(DataFileError, match="column 's': expected numbers, booleans, dates or text, found struct"):
            load(tmp_path / name, "y", drop=["l"])


def test_features_without_target_or_in_spite_of_it(people, tmp_path):
    without = tmp_path / "new.csv"
    without.write_text("town,age\nUlm,3\n")
    assert load_features(without, ["age", "town"]).names == ("age", "town")
    assert load_features(people, ["age", "town"]).names == ("age", "town")
    assert load_features(people).names == ("age", "town", "zip", "buys")
    with pytest.raises(UnknownColumn, match=r"columns 'zip', 'agee' in new\.csv, found only: town, age"):
        load_features(without, ["zip", "agee"])


def test_target_missing_or_not_given(people):
    with pytest.raises(UnknownColumn, match=r"give --target .* one of: age, town, zip, buys"):
        load(people)
    with pytest.raises(UnknownColumn, match=r"target column 'buy' .*: age, town, zip, buys; did you mean 'buys'\?"):
        load(people, target="buy")


def test_target_alone_is_no_data(tmp_path):
    path = tmp_path / "y.csv"
    path.write_text("y\n1\n")
    with pytest.raises(EmptyDataError, match="feature columns"):
        load(path, "y")


def test_source_with_one_target_refuses_another():
    with pytest.raises(UnknownColumn, match="'species' in iris, found only: target"):
        load("iris", target="species")
    assert load("iris", target="target").name == "iris"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.csv", "csv"),
        ("a.CSV", "csv"),
        ("a.tsv", "csv"),
        ("a.b.txt.gz", "csv"),
        ("a.parquet", "parquet"),
        ("a.pq", "parquet"),
        ("a.npz", "npz"),
        ("train-images-idx3-ubyte", "idx"),
        ("train-images-idx3-ubyte.gz", "idx"),
        ("train-images.idx3-ubyte", "idx"),
        ("a.idx3", "idx"),
        ("a.idx", "idx"),
        ("a.ubyte", "idx"),
        ("a.gz", "idx"),
        ("a.svm", "svmlight"),
        ("a.svmlight", "svmlight"),
        ("a.libsvm", "svmlight"),
        ("digits", "bundled"),
    ],
)
def test_format_by_name(tmp_path, monkeypatch, name, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).touch()
    assert find_format(name)[0] == expected


def test_unknown_source_lists_what_there_is_and_the_nearest():
    with pytest.raises(DataFileError, match=r"digits, iris, wine.*\.csv, .*got 'irs'; did you mean 'iris'\?"):
        load("irs")
    with pytest.raises(DataFileError, match=r"got 'data\.xlsx'; rename or convert"):
        load_features("data.xlsx")


def test_missing_file_folder_and_wrong_compression(tmp_path, people):
    with pytest.raises(DataFileError, match=r"does not exist; did you mean 'people\.csv'\?"):
        load(tmp_path / "peple.csv", "y")
    with pytest.raises(DataFileError, match="current folder"):
        load("no/such/folder/a.csv", "y")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataFileError, match="is a folder"):
        load(tmp_path / "folder.csv", "y")
    with pytest.raises(DataFileError, match="unpack it first"):
        load(tmp_path / "a.npz.gz")


def test_labels_go_with_idx_only(people):
    with pytest.raises(DataFileError, match="labels= with an IDX"):
        load(people, "buys", labels=people)


@pytest.mark.parametrize(
    ("source", "module", "requirement"),
    [("iris", "sklearn", "scikit-learn>="), ("a.svm", "sklearn", "scikit-learn>="),
     ("a.pq", "pyarrow", "pyarrow>="), ("a.csv", "pyarrow", "pyarrow>="), ("a.feather", "pyarrow", "pyarrow>=")],
)  # fmt: skip
def test_missing_library_says_how_to_install_it(tmp_path, monkeypatch, source, module, requirement):
    monkeypatch.chdir(tmp_path)
    if "." in source:
        (tmp_path / source).touch()
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependency, match=f'pip install "{requirement}') as caught:
        load(source, "y" if module == "pyarrow" else None)
    assert isinstance(caught.value.__cause__, ImportError)


def test_arrays_need_no_library_of_tables(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.arange(80.0).reshape(40, 2), y=np.arange(40) % 2)
    np.save(tmp_path / "x.npy", np.arange(80.0).reshape(40, 2))
    np.save(tmp_path / "y.npy", np.arange(40) % 2)
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['pyarrow', 'narwhals', 'pandas', 'sklearn']))\n"
        "from fusedstep.framework.cli.training import prepare\n"
        "from fusedstep.framework.tables.reading import load\n"
        "for one in (load('d.npz'), load('x.npy', labels='y.npy')): print(prepare(one, None, (0.2, 0.1), 0).task)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.split() == ["classification", "classification"]


def test_import_brings_no_optional_library():
    code = (
        "import sys, fusedstep.framework.tables;"
        "print([name for name in ('sklearn', 'pyarrow', 'pandas', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
