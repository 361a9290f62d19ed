"""Each reader with valid files, the way they are changed, and what is done with a changed file that it takes."""

from __future__ import annotations

import gzip
import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mutations import mutated, mutated_json
from safetensors.numpy import save

import fusedstep as fs
from fusedstep.backends.cuda.cublaslt.choices import ALGORITHM_BYTES, Choice, Choices
from fusedstep.framework.cli.training import prepare
from fusedstep.framework.export.persistence import load_with_metadata
from fusedstep.framework.export.tensor_file import checksum
from fusedstep.framework.sources.memory_map import memory_map
from fusedstep.framework.tables.preprocessing import Preprocessor
from fusedstep.framework.tables.reading import load, load_features
from fusedstep.framework.training.checkpoint_files import newest, packed
from fusedstep.kernels.targets import cache
from fusedstep.kernels.targets.saved_choices import SavedChoices

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 3))
Y = (X[:, 0] > 0).astype(np.int64)


class Reader(NamedTuple):
    """Args: files – name -> content; change – a changed file from a valid one; read – raises typed errors only."""

    files: dict[str, bytes]
    change: Callable[[random.Random, bytes, bytes], bytes]
    read: Callable[[Path, bytes], None]


def attempts(*calls: Callable[[], Any]) -> None:
    """Several ways to use one file; typed errors are raised only if none of them succeeds."""
    refused = None
    succeeded = False
    for call in calls:
        try:
            call()
            succeeded = True
        except fs.FusedstepError as error:
            refused = error
    if not succeeded and refused is not None:
        raise refused


def plain(words: list[bytes]) -> Callable[[random.Random, bytes, bytes], bytes]:
    return lambda rng, data, other: mutated(rng, data, other, words)


def gzipped(words: list[bytes]) -> Callable[[random.Random, bytes, bytes], bytes]:
    """Files of which some are gzipped: changed outside, or inside and zipped again."""

    def change(rng: random.Random, data: bytes, other: bytes) -> bytes:
        if data[:2] != b"\x1f\x8b" or rng.random() < 0.2:
            return mutated(rng, data, other, words)
        inner = [gzip.decompress(one) if one[:2] == b"\x1f\x8b" else one for one in (data, other)]
        return gzip.compress(mutated(rng, *inner, words), mtime=0)

    return change


# Models


def written(folder: Path, save_to: Callable[[Path], None]) -> bytes:
    save_to(folder / "file")
    return (folder / "file").read_bytes()


def models(folder: Path) -> dict[str, bytes]:
    tied = fs.Linear(3, 4)
    pruned = fs.mlp([3, 8, 2], activation="prelu").initialize(1, "numpy")
    fs.prune(fs.TrainStep(pruned, fs.SoftmaxCrossEntropy(), fs.SGD(0.1), backend="numpy"), 0.5)
    preprocessor = Preprocessor().fit({"a": X[:, 0], "b": np.array(["u", "v"] * 20, object), "c": X[:, 1]}, Y)
    labels = Preprocessor().fit(X[:, :2], {"a": Y == 1, "b": np.array(["u", "v"] * 20, object)})
    numbers = Preprocessor().fit(X[:, :2], {"a": X[:, 0], "b": 7.0 + X[:, 1]})
    days = np.datetime64("2020-01-31") + 20 * np.arange(40)
    cells = [f"w{k % 20}" if k % 9 else None for k in range(40)]
    every = fs.TableEncoder(max_one_hot=4).fit({"day": days, "member": X[:, 0] > 0, "word": cells, "few": ["u", None] * 20})
    made: dict[str, tuple[Any, Any]] = {
        "labels": (fs.mlp([2, 3, 2]), labels.to_json()),
        "several": (fs.mlp([2, 3, 2]), numbers.to_json()),
        "mlp": (fs.mlp([4, 6, 2], dropout=0.2), preprocessor.to_json()),
        "every kind": (
            fs.mlp([every.width, 2], categories=every.categories_), {**preprocessor.to_json(), "encoder": every.to_json()},
        ),
        "tied": (fs.Sequential(tied, fs.Tanh(), fs.TiedLinear(tied), fs.Residual(fs.Linear(3, 3), fs.LayerNorm(3))), None),
        "image": (fs.Sequential(fs.Conv2d(1, 2, 2, image=(3, 3)), fs.MaxPool2d(2, 1), fs.Flatten(), fs.Maxout(2, 2)), None),
        "embeddings": (fs.mlp([4, 3, 2], categories={1: 5, 3: 2}), None),
        "embedding": (fs.Sequential(fs.Embedding(6, 2, columns=3), fs.Linear(6, 2)), None),
        "numbers": (fs.Sequential(
            fs.PiecewiseLinearEmbedding(3, [[0, 1, 2], [0, 1]], 2, [0, 2]), fs.PeriodicEmbedding(5, 2, 2, columns=[1])
        ), None),
        "pruned": (pruned, None),
    }  # fmt: skip
    files = {}
    for name, (model, stored) in made.items():
        ready = model if model.initialized else model.initialize(2, "numpy")
        files[name] = written(folder, lambda path, m=ready, p=stored: fs.save(m, path, p, {"by": "test", "n": [1, 2.5]}))
    return files


def bagging(folder: Path) -> dict[str, bytes]:
    files = {}
    for name, settings in (("all", {}), ("some", {"features": 0.7})):
        settings |= {"members": 2, "n_jobs": 1, "backend": "numpy"}
        ensemble = fs.Bagging(lambda d: fs.mlp([d, 4, 2]), fs.SoftmaxCrossEntropy(), **settings)
        ensemble.fit(X, Y, epochs=1)
        files[name] = written(folder, ensemble.save)
    return files


def change_tensors(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Bytes of the file; or a field or a tensor, with the checksum that belongs to the change."""
    if rng.random() < 0.4:
        return mutated(rng, data, other, [b"checksum", b"F32", b"U8", b"shape", b"data_offsets", b"\\\"Linear\\\""])
    metadata, tensors = parts(data)
    if rng.random() < 0.8:
        key = rng.choice(sorted(set(metadata) - {"checksum"}))
        try:
            metadata[key] = mutated_json(rng, metadata[key])
        except ValueError:  # text that is not JSON
            metadata[key] = rng.choice(["float64", "float32", "1", "2", "", "fusedstep.model", "fusedstep.bagging"])
        metadata[key] = metadata[key].encode("utf-8", "replace").decode()
    else:
        name = rng.choice(sorted(tensors))
        change = rng.randrange(5)
        tensor = tensors.pop(name)
        if change == 0:
            tensors[rng.choice(sorted(tensors)) + rng.choice(["", "x", "/columns"])] = tensor
        elif change == 1:
            tensors[name] = tensor.astype(rng.choice(["float64", "float32", "int64", "uint8", "bool"]))
        elif change == 2:
            tensors[name] = tensor.reshape(rng.choice([(-1,), (1, -1), (-1, 1)]))
        elif change == 3:
            tensors[name] = tensor[: rng.randrange(len(tensor))]
        else:
            tensors[name] = np.array(rng.choices([-1, 0, 1, 2, 3, 10**9], k=rng.randrange(4)), rng.choice(["int64", "float32"]))
    metadata["checksum"] = checksum(metadata, tensors)
    return bytes(save(tensors, metadata))


def parts(data: bytes) -> tuple[dict[str, str], dict[str, Any]]:
    """Metadata and tensors of a valid file."""
    from safetensors.numpy import load as tensors_of

    length = int.from_bytes(data[:8], "little")
    return dict(json.loads(data[8 : 8 + length])["__metadata__"]), dict(tensors_of(data))


def same_tensors(path: Path, original: bytes) -> None:
    """With the checksum of the original, everything is as in the original."""
    metadata, tensors = parts(original)
    found, values = parts(path.read_bytes())
    if found.get("checksum") in (None, metadata["checksum"]):
        assert sorted(tensors) == sorted(values), "other tensors were loaded"
        for name, tensor in tensors.items():
            assert tensor.dtype == values[name].dtype
            assert tensor.tobytes() == values[name].tobytes(), f"other values of {name} were loaded"
        assert {k: v for k, v in found.items() if k != "checksum"}.items() <= metadata.items(), "other metadata were loaded"


def read_model(path: Path, original: bytes) -> None:
    model, metadata = load_with_metadata(path, "numpy")
    same_tensors(path, original)
    if metadata.preprocessing is not None:
        preprocessor = Preprocessor.from_json(metadata.preprocessing)
        for other in ([np.nan, 1.0], [np.nan, np.nan], np.array(["NaT", "2020-01-01"], "datetime64[us]")):
            table = {name: np.array(["u", "w"], object) if name in preprocessor.text_columns else other for name in
                     preprocessor.input_names}  # fmt: skip
            with suppress(fs.DtypeError):  # dates where numbers were, or the other way round
                preprocessor.transform(table)
        preprocessor.inverse_target(np.zeros((2, preprocessor.outputs)))
    if (model.inputs or 1) <= 1000:
        model.predict(np.ones((2, model.inputs or 1)))


def weights() -> dict[str, bytes]:
    shapes = {"0.weight": (4, 3), "0.bias": (4,), "2.weight": (2, 4), "2.bias": (2,)}
    return {dtype: bytes(save({name: RNG.normal(size=shape).astype(dtype) for name, shape in shapes.items()}))
            for dtype in ("float16", "float32", "float64")}  # fmt: skip


def read_weights(path: Path, original: bytes) -> None:
    model = fs.mlp([3, 4, 2]).initialize(0, "numpy")
    before = {name: np.array(value) for name, value in model.parameters().items()}
    try:
        fs.load_state_dict(model, path)
    except fs.FusedstepError:
        assert all(np.array_equal(before[name], value) for name, value in model.parameters().items()), "some were overwritten"
        raise


def read_bagging(path: Path, original: bytes) -> None:
    ensemble = fs.Bagging.load(path, "numpy")
    same_tensors(path, original)
    ensemble.predict(X)


def checkpoints(folder: Path) -> dict[str, bytes]:
    """The checkpoint of a small training with dropout and early stopping."""
    step = fs.TrainStep(fs.mlp([3, 4, 2], dropout=0.2), fs.SoftmaxCrossEntropy(), fs.Adam(0.01), 1, "numpy")
    trainer = fs.Trainer(step, [fs.EarlyStopping(3)])
    trainer.fit(X, Y, epochs=1, batch_size=8, validation=(X, Y), checkpoint=fs.Checkpoint(folder / "run"))
    (path,) = (folder / "run").glob("step-*.safetensors")
    return {"step": path.read_bytes()}


def change_checkpoint(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return mutated(rng, data, other, [b"checksum", b"F32", b"U8", b"shape", b"data_offsets", b'\\"steps\\"', b"array 0"])


def everything(contents: Any) -> Any:
    """All values of a checkpoint, in a form that can be compared."""
    arrays: dict[str, Any] = {}
    text = json.dumps(packed(contents.state, arrays))
    return text, list(contents.losses), {name: (values.dtype, values.tobytes()) for name, values in arrays.items()}


def read_checkpoint(path: Path, original: bytes) -> None:
    """A changed one is refused, since there is no older one to resume from; or everything in it is as it was."""
    (place,) = (path.parent / "run").glob("step-*.safetensors")
    place.write_bytes(path.read_bytes())
    found = newest(path.parent / "run")
    assert found is not None
    place.write_bytes(original)
    before = newest(path.parent / "run")
    assert before is not None
    assert everything(before) == everything(found), "other values were loaded"


# Data


def use(dataset: Any) -> None:
    """What `fusedstep train` does before it trains."""
    prepare(dataset, None, (0.2, 0.1), 0)


def npy_bytes(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


LABELS = ["no", "yes", "perhaps"]
ARRAYS = {
    "x": X, "f": np.asfortranarray(X), "i": (X * 20).astype(np.int8), "b": X > 0, "v": X[:, 0],
    "c": np.ones((40, 2, 2), np.float16),
    "u": np.array([LABELS[k % 3] for k in range(40)]), "s": np.array([LABELS[k % 3].encode() for k in range(40)]),
}  # fmt: skip


def read_npy(path: Path, original: bytes) -> None:
    path = path.rename(path.with_name("changed.npy"))
    labels = path.with_name("labels.npy")
    if not labels.exists():
        labels.write_bytes(npy_bytes(Y))
    features = path.with_name("features.npy")
    if not features.exists():
        features.write_bytes(npy_bytes(X))
    attempts(
        lambda: use(load(path, labels=labels)),
        lambda: use(load(features, labels=path)),
        lambda: use(load(path, labels=labels, stream=True)),
        lambda: memory_map(path),
    )


def npz_files(folder: Path) -> dict[str, bytes]:
    names = np.array(["p", "q", "r"])
    return {
        "plain": written(folder, lambda path: np.savez(path.open("wb"), x=X, y=Y, names=names)),
        "compressed": written(folder, lambda path: np.savez_compressed(path.open("wb"), x=ARRAYS["i"], y=ARRAYS["u"])),
        "images": written(folder, lambda path: np.savez(path.open("wb"), x=ARRAYS["c"], y=ARRAYS["s"])),
    }


def change_npz(rng: random.Random, data: bytes, other: bytes) -> bytes:
    if rng.random() < 0.4:
        return mutated(rng, data, other, [b"PK\x01\x02", b"PK\x05\x06", b"x.npy", b"y.npy", b"names.npy"])
    out, method = io.BytesIO(), rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(out, "w", method) as changed:
        names = archive.namelist()
        chosen = rng.choice(names)
        for name in names:
            inner = archive.read(name)
            changed.writestr(name, mutated(rng, inner, archive.read(rng.choice(names)), NPY_WORDS) if name == chosen else inner)
    return out.getvalue()


def read_npz(path: Path, original: bytes) -> None:
    changed = path.rename(path.with_name("d.npz"))
    attempts(lambda: use(load(changed, stream=True)), lambda: use(load(changed)))


def idx_bytes(array: Any, code: int) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape) + array.tobytes()


def idx_files() -> dict[str, bytes]:
    images = idx_bytes((np.arange(40 * 12) % 251).astype(np.uint8).reshape(40, 3, 4), 8)
    labels = idx_bytes((np.arange(40) % 3).astype(np.uint8), 8)
    floats = idx_bytes(X.astype(">f4"), 13)
    plain = {"images": images, "labels": labels, "floats": floats}
    return plain | {f"{name}.gz": gzip.compress(content) for name, content in plain.items()}


def read_idx(path: Path, original: bytes) -> None:
    images, labels = path.with_name("train-images-idx3-ubyte"), path.with_name("train-labels-idx1-ubyte")
    for place, content in ((images, IDX["images"]), (labels, IDX["labels"])):
        if not place.exists():
            place.write_bytes(content)
    changed = path.rename(path.with_name("changed-images-idx3-ubyte"))
    attempts(lambda: use(load(changed, labels=labels)), lambda: use(load(images, labels=changed)))


def csv_files() -> dict[str, bytes]:
    rows = [f"{a:.3f},{LABELS[k % 3]},{k},{b:.2f}" for k, (a, b, _) in enumerate(X)]
    table = ("a,text,number,y\n" + "\n".join(rows) + "\n").encode()
    other = ("x;y\r\n" + "\r\n".join(f"{k};{k % 2}" for k in range(300)) + "\r\n").encode()
    quoted = ('"a ""b""",y\n' + "\n".join(f'"{k % 4}, or ""x""",{"ja" if k % 2 else "nein"}' for k in range(40))).encode()
    blanks = ("# made by hand\n" + "\n".join(f"{k}   {a:.2f}  u{k % 3}" for k, (a, _, _) in enumerate(X))).encode()
    commas = ("sep=|\nx|y|\n" + "\n".join(f"{k},5|ö{k % 2}|" for k in range(40))).encode("utf-16")
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("d.csv", table)
    return {
        "a": table, "b": other, "c": quoted, "d": blanks, "e": commas, "a.gz": gzip.compress(table),
        "b.gz": gzip.compress(other), "a.zip": zipped.getvalue(),
    }  # fmt: skip


def read_csv(path: Path, original: bytes) -> None:
    changed = path.rename(path.with_name("d.csv"))
    attempts(lambda: use(load(changed, "y")), lambda: load_features(changed), lambda: load_features(changed, header=False))


def svmlight_files() -> dict[str, bytes]:
    lines = [f"{k % 2} " + " ".join(f"{j + 1}:{v:.3f}" for j, v in enumerate(row) if v > 0) for k, row in enumerate(X)]
    text = ("# a comment\n" + "\n".join(lines) + "\n").encode()
    ranked = "\n".join(f"{k / 2} qid:{k} 0:1 7:{k} # x" for k in range(40)).encode()
    return {"a": text, "b": ranked, "a.gz": gzip.compress(text)}


def read_svmlight(path: Path, original: bytes) -> None:
    changed = path.rename(path.with_name("d.svm.gz" if original[:2] == b"\x1f\x8b" else "d.svm"))
    attempts(lambda: use(load(changed)), lambda: load_features(changed, ["x0", "x9"]))


def parquet_files(folder: Path) -> dict[str, bytes]:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    words = arrow.array([LABELS[k % 3] for k in range(40)])
    table = {"a": X[:, 0], "b": arrow.array([None, 1, 2, 3] * 10), "t": words, "d": words.dictionary_encode(), "y": Y}
    numbers = {"a": X[:, 0].astype("f4"), "b": X[:, 1] > 0, "y": Y.astype(np.int8)}
    options = {
        "mixed": (table, {"row_group_size": 15}),
        "zstd": (table, {"compression": "zstd", "data_page_version": "2.0"}),
        "numbers": (numbers, {"compression": "none", "row_group_size": 10}),
    }
    return {
        name: written(folder, lambda path, c=columns, o=given: parquet.write_table(arrow.table(c), path, **o))
        for name, (columns, given) in options.items()
    }


def read_parquet(path: Path, original: bytes) -> None:
    changed = path.rename(path.with_name("d.parquet"))
    attempts(
        lambda: use(load(changed, "y", stream=True)), lambda: use(load(changed, "y")), lambda: load(changed, "y", text=("b",))
    )


def feather_files(folder: Path) -> dict[str, bytes]:
    import pyarrow as arrow
    import pyarrow.feather as feather

    words = arrow.array([LABELS[k % 3] for k in range(40)])
    coded = words.dictionary_encode()
    table = arrow.table({"a": X[:, 0], "b": arrow.array([None, 1, 2, 3] * 10), "t": words, "d": coded, "y": Y})
    options = {"plain": {"compression": "uncompressed"}, "lz4": {"chunksize": 15}, "zstd": {"compression": "zstd"}}
    return {
        name: written(folder, lambda path, o=given: feather.write_feather(table, str(path), **o))
        for name, given in options.items()
    }  # fmt: skip


def read_feather(path: Path, original: bytes) -> None:
    changed = path.rename(path.with_name("d.feather"))
    attempts(lambda: use(load(changed, "y")), lambda: load_features(changed, text=("b",)))


# The cache


def cache_files() -> dict[str, bytes]:
    """The choices of libraries and of algorithms, in the folder that the worker sets as the cache."""
    choices = {
        "blas": {"float32 NT 128x512x10": "mkl", "float64 NN 1x1x1": "numpy"},
        "products": {"a": {"algorithm": "", "workspace": 0, "seconds": 1.0, "fused": True},
                     "b": {"algorithm": "00" * ALGORITHM_BYTES, "workspace": 1024, "seconds": 2e-5, "fused": False}},
    }  # fmt: skip
    return {
        kind: json.dumps({"format": f"fusedstep.{kind}", "version": 1, "identity": "i", "choices": found}, indent=1).encode()
        for kind, found in choices.items()
    }


def change_cache(rng: random.Random, data: bytes, other: bytes) -> bytes:
    if rng.random() < 0.5:
        return mutated(rng, data, other, [b"Infinity", b"NaN", b"-1", b'"workspace"'])
    return mutated_json(rng, data.decode()).encode("utf-8", "replace")


def read_cache(path: Path, original: bytes) -> None:
    """Damaged entries cost time only: no error at all is raised."""
    names = ["mkl", "numpy"]
    for kind in ("blas", "products"):
        path.with_name(f"{kind}_{cache.digest('i')}.json").write_bytes(path.read_bytes())
    found = SavedChoices("blas", 1, "i", lambda given: names[names.index(given)], str).read()
    assert all(isinstance(name, str) and choice in names for name, choice in found.items())
    choices = Choices("i")
    for name in ("a", "b"):
        choice = choices.get(name)
        assert choice is None or (choice.workspace >= 0 and choice.seconds >= 0.0)
    choices.put("c", Choice(b"", 0, 0.0))


NPY_WORDS = [b"'descr'", b"'<f8'", b"'fortran_order'", b"False", b"'shape'", b"(40, 3)", b"NUMPY", b"'|S0'", b"'|O'", b"'<U5'"]
CSV_WORDS = [b",", b";", b"\n", b"\t", b'"', b"\r", b"|", b" ", b"#", b"\xef\xbb\xbf", b"1,5", b"\0"]
IDX = idx_files()


def readers(folder: Path) -> dict[str, Callable[[], Reader]]:
    """By name; the files of each are made when it is asked for."""
    return {
        "model": lambda: Reader(models(folder), change_tensors, read_model),
        "weights": lambda: Reader(weights(), plain([b"BF16", b"F16", b"F32", b"0.bias", b"shape"]), read_weights),
        "bagging": lambda: Reader(bagging(folder), change_tensors, read_bagging),
        "checkpoint": lambda: Reader(checkpoints(folder), change_checkpoint, read_checkpoint),
        "npy": lambda: Reader({name: npy_bytes(array) for name, array in ARRAYS.items()}, plain(NPY_WORDS), read_npy),
        "npz": lambda: Reader(npz_files(folder), change_npz, read_npz),
        "idx": lambda: Reader(IDX, gzipped([]), read_idx),
        "csv": lambda: Reader(csv_files(), gzipped(CSV_WORDS), read_csv),
        "parquet": lambda: Reader(parquet_files(folder), plain([b"PAR1", b"ARROW:schema"]), read_parquet),
        "feather": lambda: Reader(feather_files(folder), plain([b"ARROW1", b"\xff\xff\xff\xff"]), read_feather),
        "cache": lambda: Reader(cache_files(), change_cache, read_cache),
        "svmlight": lambda: Reader(svmlight_files(), gzipped([b":", b" ", b"\n", b"qid:"]), read_svmlight),
    }
