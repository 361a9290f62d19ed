"""Sources that are read row by row: memory-mapped files, Parquet row groups, arrays, and the order that they are taken in."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import errors
from fusedstep.backends import Random
from fusedstep.backends.arrays import stable_order
from fusedstep.framework.sources.order import RowOrder, permutation
from fusedstep.framework.sources.row_source import as_source
from fusedstep.framework.streams import SHUFFLE


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((101, 7)).astype(np.float32)


def _rows(source: fs.RowSource, chosen, dtype=np.float64) -> np.ndarray:
    count = chosen.stop - chosen.start if isinstance(chosen, slice) else len(chosen)
    out = np.full((count, *source.row_shape), np.nan, dtype)
    source.read(chosen, out)
    return out


def _parquet(path, columns: dict, group: int) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table(columns), path, row_group_size=group)


@pytest.fixture(params=["array", "npy", "npz", "npz member", "parquet", "chosen"])
def source(request, x, tmp_path) -> fs.RowSource:
    if request.param == "array":
        return fs.ArrayRows(x)
    if request.param == "npy":
        np.save(tmp_path / "x.npy", x)
        return fs.memory_map(tmp_path / "x.npy")
    if request.param == "npz":
        np.savez(tmp_path / "d.npz", x=x, y=np.arange(101))
        return fs.memory_map(tmp_path / "d.npz")
    if request.param == "npz member":
        np.savez(tmp_path / "d.npz", names=np.array(list("abcdefg")), other=x[:5], features=x)
        return fs.memory_map(tmp_path / "d.npz", "features")
    if request.param == "parquet":
        _parquet(tmp_path / "d.parquet", {f"c{k}": x[:, k] for k in range(7)}, 13)
        return fs.ParquetRows(tmp_path / "d.parquet", window=2)
    return fs.ArrayRows(np.repeat(x, 2, axis=0)).take(np.arange(0, 202, 2))


def test_f5_rows_come_in_the_order_asked_for(source: fs.RowSource, x: np.ndarray) -> None:
    assert (source.shape, len(source), source.row_shape, source.dtype) == ((101, 7), 101, (7,), np.float32)
    np.testing.assert_array_equal(_rows(source, slice(3, 60)), x[3:60])
    chosen = np.random.default_rng(1).permutation(101)[:50]
    np.testing.assert_array_equal(_rows(source, chosen), x[chosen])
    np.testing.assert_array_equal(_rows(source, np.array([5, 5, 100, 0]), np.float32), x[[5, 5, 100, 0]])
    np.testing.assert_array_equal(source.whole(), x)
    some = source.take(np.array([2, 40, 41, 99]))
    np.testing.assert_array_equal(_rows(some, np.array([3, 0, 2])), x[[99, 2, 41]])
    np.testing.assert_array_equal(np.concatenate([part.copy() for _, part in source.blocks()]), x)


def test_f5_later_axes_are_flattened_and_vectors_stay(tmp_path) -> None:
    images = np.arange(5 * 3 * 4, dtype=np.uint8).reshape(5, 3, 4)
    np.save(tmp_path / "images.npy", images)
    assert fs.memory_map(tmp_path / "images.npy").shape == (5, 12)
    np.save(tmp_path / "labels.npy", np.arange(5))
    labels = fs.memory_map(tmp_path / "labels.npy")
    assert labels.shape == (5,)
    np.testing.assert_array_equal(_rows(labels, np.array([4, 1])), [4, 1])


def test_f5_arrays_mapped_by_the_user_are_sources(tmp_path, x) -> None:
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert isinstance(as_source(mapped), fs.ArrayRows)
    assert as_source(mapped[np.array([1, 2])]) is None, "a copy in memory"
    assert as_source(x) is None


def test_f5_files_that_cannot_be_mapped_say_what_to_do(tmp_path, x) -> None:
    np.savez_compressed(tmp_path / "c.npz", x=x)
    with pytest.raises(errors.DataFileError, match=r"compressed.*np\.savez instead"):
        fs.memory_map(tmp_path / "c.npz")
    np.savez(tmp_path / "d.npz", x=x)
    with pytest.raises(errors.UnknownColumn, match="y"):
        fs.memory_map(tmp_path / "d.npz", "y")
    np.save(tmp_path / "f.npy", np.asfortranarray(x))
    with pytest.raises(errors.DataFileError, match="ascontiguousarray"):
        fs.memory_map(tmp_path / "f.npy")
    np.save(tmp_path / "o.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
    with pytest.raises(errors.DataFileError, match="pickled"):
        fs.memory_map(tmp_path / "o.npy")
    np.save(tmp_path / "x.npy", x)
    whole = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "short.npy").write_bytes(whole[:-8])
    (tmp_path / "garbage.npy").write_bytes(b"not numpy at all")
    for name in ("short.npy", "garbage.npy", "missing.npy"):
        with pytest.raises(errors.DataFileError, match=name):
            fs.memory_map(tmp_path / name)
    with pytest.raises(errors.DataFileError, match=r"missing\.npy' does not exist; give its path"):
        fs.memory_map(tmp_path / "missing.npy")
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("x.npy", "hello")
    with pytest.raises(errors.DataFileError):
        fs.memory_map(tmp_path / "text.npz")
    np.save(tmp_path / "none.npy", np.empty((0, 3)))
    with pytest.raises(errors.EmptyDataError):
        fs.memory_map(tmp_path / "none.npy")
    np.save(tmp_path / "words.npy", np.array(["a", "b"]))
    with pytest.raises(errors.DtypeError, match="numbers"):
        fs.memory_map(tmp_path / "words.npy")


def test_f5_parquet_columns_keep_their_kind_and_text_is_refused(tmp_path) -> None:
    columns = {"a": np.arange(10), "b": np.linspace(0, 1, 10), "t": [str(k) for k in range(10)], "flag": [True, False] * 5,
               "gaps": [None, 2, *range(8)]}  # fmt: skip
    _parquet(tmp_path / "d.parquet", columns, 4)
    labels = fs.ParquetRows(tmp_path / "d.parquet", "a")
    assert (labels.shape, labels.dtype) == ((10,), np.int64)
    np.testing.assert_array_equal(labels.whole(), np.arange(10))
    both = fs.ParquetRows(tmp_path / "d.parquet", ["b", "flag", "gaps"])
    assert (both.shape, both.dtype, both.names) == ((10, 3), np.float64, ("b", "flag", "gaps"))
    np.testing.assert_array_equal(both.whole()[:, 2], [np.nan, 2, *range(8)])
    np.testing.assert_array_equal(both.edges, [0, 4, 8, 10])
    with pytest.raises(errors.DataFileError, match="'t': expected numbers"):
        fs.ParquetRows(tmp_path / "d.parquet")
    with pytest.raises(errors.UnknownColumn, match="nothing"):
        fs.ParquetRows(tmp_path / "d.parquet", "nothing")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1....")
    with pytest.raises(errors.DataFileError, match="broken"):
        fs.ParquetRows(tmp_path / "broken.parquet")


def test_f5_a_parquet_file_that_is_not_there_is_said_to_be_missing(tmp_path) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(errors.DataFileError, match=r"missing\.parquet' does not exist; give its path"):
        fs.ParquetRows(tmp_path / "missing.parquet")


def test_f5_rows_of_what_is_no_array_are_refused() -> None:
    with pytest.raises(errors.DtypeError, match=r"expected a NumPy array; got list; convert it with np\.asarray"):
        fs.ArrayRows([[1.0, 2.0]])


def test_f5_few_row_groups_are_in_memory_and_each_is_decoded_once_an_epoch(tmp_path, monkeypatch) -> None:
    rows, group = 1000, 50
    _parquet(tmp_path / "d.parquet", {"a": np.arange(rows), "b": np.arange(rows) * 0.5}, group)
    source = fs.ParquetRows(tmp_path / "d.parquet", window=3)
    decoded, most = [], 0
    original = source._file.read_row_group
    monkeypatch.setattr(source, "_file", type("File", (), {
        "read_row_group": staticmethod(lambda k, **options: decoded.append(k) or original(k, **options))})())  # fmt: skip
    order = RowOrder(rows, 7, 0, source.edges, source.window)
    seen = []
    for start in range(0, rows, 64):
        seen.append(_rows(source, order.numbers(start, min(rows, start + 64)))[:, 0])
        most = max(most, len(source._blocks))
    assert sorted(np.concatenate(seen).tolist()) == list(range(rows))
    assert most <= 4
    assert len(decoded) <= 20 + 7, "once each, and again only what a minibatch across two windows pushed out"


@pytest.mark.parametrize("run", ["numpy", "numba"])
def test_f5_the_order_of_all_rows_is_that_of_the_backends(run: str) -> None:
    backend = fs.backend(run)
    for count, epoch in ((1, 0), (1000, 3), (200_000, 1)):
        there = backend.to_numpy(backend.permutation(count, Random(backend.random_state(2**40 + 5, epoch), SHUFFLE)))
        np.testing.assert_array_equal(permutation(count, 2**40 + 5, epoch), there)
        np.testing.assert_array_equal(RowOrder(count, 2**40 + 5, epoch).numbers(0, count), there)


def test_f5_blocks_are_shuffled_by_windows() -> None:
    edges = np.array([0, 5, 9, 20, 21, 40, 44, 60])
    order = RowOrder(60, 3, 2, edges, 2)
    whole = order.numbers(0, 60)
    assert sorted(whole.tolist()) == list(range(60))
    np.testing.assert_array_equal(np.concatenate([order.numbers(a, min(60, a + 7)) for a in range(0, 60, 7)]), whole)
    np.testing.assert_array_equal(RowOrder(60, 3, 2, edges, 2).numbers(30, 41), whole[30:41])
    assert RowOrder(60, 3, 3, edges, 2).numbers(0, 60).tolist() != whole.tolist()
    assert RowOrder(60, 4, 2, edges, 2).numbers(0, 60).tolist() != whole.tolist()
    block_of = np.searchsorted(edges, whole, side="right") - 1
    changes = [sorted(set(part.tolist())) for part in np.split(block_of, np.flatnonzero(np.diff(block_of // 100)) + 1)]
    assert len(changes) == 1
    windows, seen = [], []
    for block in block_of.tolist():
        if block not in seen:
            seen.append(block)
    for k in range(0, 7, 2):
        windows.append(set(seen[k : k + 2]))
    sizes = np.diff(edges)
    ends = np.cumsum([sum(int(sizes[b]) for b in window) for window in windows])
    for window, start, stop in zip(windows, [0, *ends[:-1]], ends, strict=True):
        assert set(block_of[start:stop].tolist()) == window, "a window is finished before the next one begins"
    first = whole[: ends[0]].tolist()
    assert first != sorted(first), "rows of a window are mixed"


def test_f5_a_choice_keeps_the_blocks_of_its_source() -> None:
    source = fs.ArrayRows(np.arange(20.0), block_rows=5)
    np.testing.assert_array_equal(source.edges, [0, 5, 10, 15, 20])
    some = source.take(np.array([0, 1, 7, 15, 19]))
    np.testing.assert_array_equal(some.edges, [0, 2, 3, 5])
    with pytest.raises(errors.ShapeError, match="ascending"):
        source.take(np.array([3, 2]))
    with pytest.raises(errors.ShapeError, match="ascending"):
        source.take(np.array([3, 20]))


def test_equal_keys_are_sorted_by_index():
    keys = np.random.default_rng(0).integers(0, 50, 2_000).astype(np.uint64)
    np.testing.assert_array_equal(stable_order(keys), np.argsort(keys, kind="stable"))
    different = np.random.default_rng(0).permutation(2_000).astype(np.uint64)
    np.testing.assert_array_equal(stable_order(different), np.argsort(different, kind="stable"))
    assert stable_order(keys[:1]).tolist() == [0]
