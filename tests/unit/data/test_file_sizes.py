"""Sizes that files state are checked before memory is allocated, and compressed files have a limit on what they become."""

from __future__ import annotations

import gzip
import importlib.util
import io
import shutil
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fusedstep.errors import DataFileError, EmptyDataError, FusedstepError, HyperparameterError
from fusedstep.framework.sources.memory_map import memory_map
from fusedstep.framework.sources.parquet_rows import ParquetRows
from fusedstep.framework.sources.unpacked import SMALL, TIMES, allowed_bytes, shown
from fusedstep.framework.tables.idx_source import read_idx_array
from fusedstep.framework.tables.npy_source import read_npy
from fusedstep.framework.tables.reading import load, load_features
from fusedstep.framework.tables.streaming import open_features

MEMORY = 100 * 2**20
"""Bytes that refusing a file may take, several times less than what any of these files states or becomes."""


@pytest.fixture(autouse=True)
def bounded():
    """No test here may allocate much, other than what imports take."""
    for library in ("sklearn.datasets", "pyarrow.parquet"):
        if importlib.util.find_spec(library.partition(".")[0]):
            importlib.import_module(library)
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MEMORY


def npy(shape, dtype="<f8", values=b"", fortran=False):
    """An NPY file with a header and bytes that need not belong together."""
    header = repr({"descr": dtype, "fortran_order": fortran, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + values


LIES = {
    "2^64 rows": npy((2**64, 1), values=bytes(80)),
    "50 TB": npy((10**12, 6), values=bytes(80)),
    "two rows more": npy((7, 2), values=bytes(80)),
    "one row less": npy((4, 2), values=bytes(80)),
    "negative": npy((-5, -2), values=bytes(80)),
    "entries of no bytes": npy((10**15, 2), "|S0"),
    "text of no characters": npy((10**15, 2), "<U0"),
    "arrays as entries": npy((5,), ("<f8", (2,)), values=bytes(80)),
    "rows of nothing": npy((10**15, 0)),
    "nothing of rows": npy((0, 10**15)),
    "huge and empty": npy((2**62, 2**62, 0)),
    "not a shape": npy("rows", values=bytes(80)),
    "not a type": npy((5, 2), "<f3", values=bytes(80)),
    "fields": npy((5,), [("a", "<f8"), ("b", "<f8")], values=bytes(80)),
    "an expression": npy((5, 2), values=bytes(80)).replace(b"(5, 2)", b"[].x()"),
    "brackets": b"\x93NUMPY\x01\x00" + struct.pack("<H", 2000) + b"(" * 1999 + b"\n",
    "no header": b"\x93NUMPY\x01\x00\xff\xff",
    "version 9": b"\x93NUMPY\x09\x00" + npy((5, 2), values=bytes(80))[8:],
}


@pytest.mark.parametrize("name", LIES)
def test_headers_that_do_not_fit_the_file(name, tmp_path):
    path, archive = tmp_path / "x.npy", tmp_path / "d.npz"
    np.save(tmp_path / "y.npy", np.arange(5))
    path.write_bytes(LIES[name])
    calls = [lambda: load(path, labels=tmp_path / "y.npy"), lambda: load_features(path)]
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        target = archive.with_stem(f"d{method}")
        with zipfile.ZipFile(target, "w", method) as file:
            file.writestr("x.npy", LIES[name])
            file.writestr("y.npy", (tmp_path / "y.npy").read_bytes())
        calls += [lambda target=target: load(target), lambda target=target: load(target, stream=True)]
    if "empty" not in name and "nothing" not in name and name != "fields":
        calls.append(lambda: memory_map(path))
    for call in calls:
        with pytest.raises(FusedstepError, match="expected"):
            call()


@pytest.mark.parametrize("case", ["lie_2^64.npy", "lie_50TB.npz"])
def test_the_header_is_compared_with_the_size_of_the_file(case, tmp_path):
    path = tmp_path / case
    if case.endswith("npy"):
        path.write_bytes(LIES["2^64 rows"])
    else:
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("x.npy", LIES["50 TB"])
    with pytest.raises(DataFileError, match=r"bytes after the header for float64 of shape .*; found 80: truncated"):
        load_features(path)


def test_a_directory_of_an_archive_that_states_more_than_there_is(tmp_path):
    path = tmp_path / "d.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.npy", npy((10**9, 8), values=bytes(80)))
    raw = bytearray(path.read_bytes())
    size = len(npy((10**9, 8))) + 80
    wrong = struct.pack("<I", 2**32 - 2)
    for place in range(len(raw) - 4):
        if raw[place : place + 4] == struct.pack("<I", size):
            raw[place : place + 4] = wrong
    path.write_bytes(raw)
    for call in (load_features, open_features, lambda one: memory_map(one, "x")):
        with pytest.raises(DataFileError, match="expected"):
            call(path)


def test_arrays_in_another_order_and_text_come_back(tmp_path):
    x = np.asfortranarray(np.arange(12.0).reshape(4, 3))
    np.savez(tmp_path / "d.npz", x=x, y=np.array(["ä", "b", "c", "d"]), names=np.array(["p", "q", "r"], ">U3"))
    data = load(tmp_path / "d.npz")
    np.testing.assert_array_equal(data.features.values, x)
    assert data.target.tolist() == ["ä", "b", "c", "d"]
    assert data.feature_names == ("p", "q", "r")
    np.save(tmp_path / "x.npy", x.astype(">i2"))
    np.testing.assert_array_equal(read_npy(tmp_path / "x.npy"), x)


@pytest.mark.parametrize("code", [0x110000, 0xD800, 2**32 - 1])
def test_text_of_numbers_that_are_no_characters(code, tmp_path):
    path = tmp_path / "y.npy"
    path.write_bytes(npy((2, 1), "<U1", struct.pack("<II", 65, code)))
    with pytest.raises(DataFileError, match="no characters"):
        read_npy(path)


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize(
    "raw",
    [
        struct.pack(">BBBBI", 0, 0, 8, 1, 2**32 - 1) + b"abc",
        struct.pack(">BBBB3I", 0, 0, 14, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1) + b"abc",
        struct.pack(">BBBB3I", 0, 0, 8, 3, 0, 2**32 - 1, 2**32 - 1),
        struct.pack(">BBBB", 0, 0, 8, 255) + struct.pack(">I", 1) * 255 + b"a",
        struct.pack(">BBBBI", 0, 0, 8, 1, 3) + b"ab",
        struct.pack(">BBBBI", 0, 0, 8, 1, 3) + b"abcd",
        struct.pack(">BBBB", 0, 0, 8, 2) + b"abc",
        b"",
    ],
)
def test_idx_headers_that_do_not_fit_the_file(raw, gzipped, tmp_path):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(gzip.compress(raw) if gzipped else raw)
    with pytest.raises((DataFileError, EmptyDataError), match="expected"):
        read_idx_array(path)


# What compressed files become


def zeros_npz(path):
    np.savez_compressed(path, x=np.zeros((20_000, 50), np.uint8), y=np.arange(20_000) % 2)


def zeros_csv(path):
    path.write_bytes(gzip.compress(b"a,b,y\n1,1,1\n" + b"0,0,1\n0,0,0\n" * 10_000))


def zeros_idx(path):
    path.write_bytes(gzip.compress(struct.pack(">BBBB3I", 0, 0, 8, 3, 1000, 30, 30) + bytes(900_000)))
    labels = path.with_name(path.name.replace("images-idx3", "labels-idx1"))
    labels.write_bytes(gzip.compress(struct.pack(">BBBBI", 0, 0, 8, 1, 1000) + bytes(1000)))


def zeros_svmlight(path):
    path.write_text("1 1:1 2000:1\n0 2:1\n" * 50)


def zeros_svmlight_gz(path):
    path.write_bytes(gzip.compress(b"1 1:1 3:1\n0 2:1\n" * 10_000))


def zeros_parquet(path):
    arrow = pytest.importorskip("pyarrow", reason="Parquet is read through pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet is read through pyarrow")
    parquet.write_table(arrow.table({"x": np.arange(100_000) // 99_999.0, "y": np.zeros(100_000)}), path)


def zeros_csv_zip(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("d.csv", b"a,b,y\n" + b"0,0,1\n1,0,0\n" * 10_000)


def zeros_feather(path):
    arrow = pytest.importorskip("pyarrow", reason="Feather is read through pyarrow")
    feather = pytest.importorskip("pyarrow.feather", reason="Feather is read through pyarrow")
    feather.write_feather(arrow.table({"x": np.arange(100_000) % 2.0, "y": np.zeros(100_000)}), path, compression="zstd")


COMPRESSED = {
    "d.npz": (zeros_npz, 8_000_000),
    "d.csv.gz": (zeros_csv, 120_000),
    "d.csv": (zeros_csv, 120_000),
    "d.csv.zip": (zeros_csv_zip, 120_000),
    "d.zip": (zeros_csv_zip, 120_000),
    "d.feather": (zeros_feather, 1_600_000),
    "images-idx3-ubyte.gz": (zeros_idx, 7_200_000),
    "d.svm": (zeros_svmlight, 1_600_000),
    "d.svm.gz": (zeros_svmlight_gz, 160_000),
    "d.parquet": (zeros_parquet, 1_600_000),
}


@pytest.mark.parametrize("name", COMPRESSED)
def test_a_file_becomes_no_more_than_is_allowed(name, tmp_path, monkeypatch):
    write, size = COMPRESSED[name]
    path = tmp_path / name
    write(path)
    target = "y" if name.startswith(("d.csv", "d.zip", "d.parquet", "d.feather")) else None
    assert len(load(path, target)) > 0
    with pytest.raises(DataFileError, match=r"expected contents of at most .* in memory.*--max-unpacked 1GB \(in Python"):
        load(path, target, max_unpacked=size // 2)
    with pytest.raises(DataFileError, match="expected contents of at most"):
        load_features(path, None, (), f"{size / 2000}kB")
    assert len(load(path, target, max_unpacked=3 * size)) > 0
    monkeypatch.setattr("fusedstep.framework.sources.unpacked.SMALL", 1000)
    if path.stat().st_size * TIMES < size:
        with pytest.raises(DataFileError, match="expected contents of at most"):
            load(path, target)


def test_row_groups_of_a_streamed_file_are_limited(tmp_path):
    zeros_parquet(tmp_path / "d.parquet")
    for call in (lambda: ParquetRows(tmp_path / "d.parquet", max_unpacked="1MB"),
                 lambda: load(tmp_path / "d.parquet", "y", stream=True, max_unpacked="500kB"),
                 lambda: open_features(tmp_path / "d.parquet", ["x"], max_unpacked=1000)):  # fmt: skip
        with pytest.raises(DataFileError, match="expected contents of at most"):
            call()
    assert ParquetRows(tmp_path / "d.parquet", max_unpacked="2MB").shape == (100_000, 2)


def test_a_long_text_that_occurs_often_is_in_memory_once(tmp_path):
    arrow = pytest.importorskip("pyarrow", reason="Parquet is read through pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet is read through pyarrow")
    words = arrow.DictionaryArray.from_arrays(arrow.array(np.arange(1000, dtype=np.int32) % 2), ["a" * 10**5, "b"])
    for name, column in (("coded", words), ("plain", words.cast(arrow.string()))):
        path = tmp_path / f"{name}.parquet"
        parquet.write_table(arrow.table({"t": column, "y": np.arange(1000) % 2}), path, compression="zstd")
        assert path.stat().st_size < 50_000
        column = load_features(path, ["t"]).column("t").tolist()
        assert {len(text) for text in column} == {1, 10**5}
        assert len({id(text) for text in column}) == 2


def test_an_archive_without_compression_has_no_limit(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.zeros((1000, 10)), y=np.zeros(1000))
    assert len(load(tmp_path / "d.npz", max_unpacked=10)) == 1000


@pytest.mark.parametrize(
    ("given", "bytes_"),
    [(5, 5), ("5", 5), ("8GB", 8 * 10**9), ("1.5 kB", 1500), ("2MiB", 2**21), ("3g", 3 * 10**9), (" 1TB ", 10**12)],
)
def test_sizes_in_words(given, bytes_, tmp_path):
    assert allowed_bytes(tmp_path, given) == bytes_


@pytest.mark.parametrize("given", ["", "much", "-3", "1e9", -1, True, [1], "8 GB more", 1.5j])
def test_other_sizes_are_refused(given, tmp_path):
    with pytest.raises(HyperparameterError, match="expected max_unpacked to be a number of bytes"):
        allowed_bytes(tmp_path, given)


def test_the_usual_limit_depends_on_the_size_of_the_file(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(bytes(10))
    assert allowed_bytes(path, None) == SMALL
    path.write_bytes(bytes(10**7))
    assert allowed_bytes(path, None) == TIMES * 10**7
    assert [shown(size) for size in (5, 1500, 2**28, 5 * 10**13, 10**40)] == ["5 B", "1.5 kB", "268 MB", "50 TB", "1.0e+40 B"]


def test_a_header_of_many_equal_names_is_refused_at_once(tmp_path):
    (tmp_path / "d.csv").write_text(",".join(["a"] * 50_000) + "\n")
    with pytest.raises(DataFileError, match="expected different column names"):
        load_features(tmp_path / "d.csv")


def test_names_as_long_as_no_file_can_have_are_missing(tmp_path):
    for name in ("n" * 300 + ".csv", "a\0.csv", "deep/" * 1000 + "x.npy"):
        with pytest.raises(DataFileError, match="expected a data file"):
            load_features(tmp_path / name)
    assert not any(Path(tmp_path).iterdir())


def test_nothing_is_kept_open(tmp_path):
    """A reader that fails closes its file; on some systems it could not be removed otherwise."""
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "x.npy").write_bytes(LIES["50 TB"])
    (folder / "d.npz").write_bytes(io.BytesIO(b"PK\x03\x04" + bytes(100)).getvalue())
    for path in list(folder.iterdir()):
        with pytest.raises(DataFileError):
            load_features(path)
    shutil.rmtree(folder)


def test_metadata_of_a_column_for_which_pyarrow_ends_the_process():
    """A histogram of another size than the column has; in another process, since this one would end as well."""
    pytest.importorskip("pyarrow", reason="Parquet is read through pyarrow")
    code = """
import sys
import fusedstep as fs
from fusedstep.framework.tables.reading import load
for stream in (True, False):
    try:
        load(sys.argv[1], "y", stream=stream)
    except fs.DataFileError:
        pass
"""
    path = Path(__file__).parents[2] / "files" / "damaged" / "histogram.parquet"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr  # a later version of PyArrow may read it
