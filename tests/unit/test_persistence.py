"""Model files: every layer comes back with the same bits, and every damaged file is refused with a clear message."""

from __future__ import annotations

import json
import os
import pickle
import re
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import fusedstep as fs
from fusedstep.errors import DtypeError, ModelFileError, OutputPathError, StateError
from fusedstep.framework.export.output_paths import beside, replacing, require_writable
from fusedstep.framework.export.persistence import VERSION, load_with_metadata
from fusedstep.framework.export.tensor_file import checksum
from fusedstep.framework.layers import LAYERS
from fusedstep.framework.layers.activations import ACTIVATION_LAYERS
from fusedstep.framework.layers.sequence import Sequence


def every_layer():
    """One model per class of LAYERS, with settings that are not the defaults."""
    shared = fs.Linear(6, 4)
    return {
        **{kind.__name__: [fs.Linear(6, 3), kind.of_width(3)] for kind in ACTIVATION_LAYERS.values()},
        "Linear": [fs.Linear(6, 3, bias=False), fs.Linear(3, 2, weight_init="glorot_uniform", bias_init=0.3)],
        "TiedLinear": [shared, fs.Tanh(), fs.TiedLinear(shared)],
        "Maxout": [fs.Maxout(6, 3, pieces=4)],
        "Residual": [fs.Residual(fs.Linear(6, 4), fs.ReLU(), fs.Residual(fs.Linear(4, 4), fs.SiLU()), fs.Linear(4, 6))],
        "LeakyReLU": [fs.Linear(6, 3), fs.LeakyReLU(0.3)],
        "PReLU": [fs.Linear(6, 3), fs.PReLU(3, 0.1)],
        "ELU": [fs.Linear(6, 3), fs.ELU(0.7)],
        "GELU": [fs.Linear(6, 3), fs.GELU("tanh")],
        "Softmax": [fs.Linear(6, 3), fs.Softmax()],
        "Dropout": [fs.Dropout(0.25), fs.Linear(6, 3)],
        "GaussianNoise": [fs.GaussianNoise(0.2), fs.Linear(6, 3)],
        "Conv2d": [fs.Conv2d(2, 3, (1, 2), image=(1, 3), bias=False)],
        "MaxPool2d": [fs.MaxPool2d((1, 2), 1, image=(1, 3, 2))],
        "Flatten": [fs.Conv2d(1, 2, 2, padding=1, stride=(2, 1), image=(2, 3)), fs.ReLU(), fs.Flatten(), fs.Linear(16, 3)],
        "LayerNorm": [fs.LayerNorm(6, epsilon=1e-3), fs.LayerNorm(2, groups=3), fs.Linear(6, 3)],
        "RepeatColumns": [fs.RepeatColumns(6, 2), fs.Linear(12, 3)],
        "EnsembleLinear": [fs.EnsembleLinear(2, 4, 3, scale_init="random_signs")],
        "SeparateLinear": [fs.SeparateLinear(3, 4, 2, weight_init=0.5)],
        "EnsembleMean": [fs.Linear(6, 8), fs.EnsembleMean(2)],
        "PeriodicEmbedding": [fs.PeriodicEmbedding(6, 2, 3, 0.4, columns=(5, 1)), fs.Linear(8, 3)],
        "PiecewiseLinearEmbedding": [fs.PiecewiseLinearEmbedding(6, [[-1, 0.1, 1 / 3], [0, 1]], 2, [4, 0]), fs.Linear(8, 3)],
        "Embedding": [fs.Embedding(5, 2, columns=6, weight_init=0.5), fs.Linear(12, 3)],
        "ColumnEmbeddings": [fs.ColumnEmbeddings(6, {5: 4, 0: 9}, [3, 1]), fs.Linear(8, 3)],
    }


def saved(tmp_path, model, **rest):
    path = tmp_path / "model.safetensors"
    fs.save(model, path, **rest)
    return path


def disturbed(model):
    """Parameters moved away from their initial values, so that a file is needed to know them."""
    rng = np.random.default_rng(5)
    for array in model.parameters().values():
        array[...] += 0.1 * rng.standard_normal(array.shape).astype(array.dtype)
    return model


def same(first, second):
    left, right = first.parameters(), second.parameters()
    assert list(left) == list(right)
    for name in left:
        assert left[name].dtype == right[name].dtype
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def rewrite(path, change):
    """Changes the contents of a file, and its checksum with them."""
    with safe_open(str(path), framework="numpy") as stream:
        metadata = dict(stream.metadata())
        tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    change(metadata, tensors)
    metadata["checksum"] = checksum(metadata, tensors)
    save_file(tensors, path, metadata)


@pytest.fixture
def x():
    return np.random.default_rng(1).standard_normal((9, 6))


@pytest.fixture
def path(tmp_path):
    """A small saved model."""
    return saved(tmp_path, fs.mlp([6, 4, 3]).initialize(backend="numpy"))


def test_every_layer_of_the_table_is_covered():
    built_in = {name for name, kind in LAYERS.items() if kind.__module__.startswith("fusedstep.")}
    assert built_in == set(every_layer())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", every_layer())
def test_round_trip_is_bit_identical(name, dtype, tmp_path, x):
    model = disturbed(fs.Sequential(*every_layer()[name], head="classes").initialize(3, "numpy", dtype))
    back = fs.load(saved(tmp_path, model), backend="numpy")
    assert repr(back) == repr(model)
    assert (back.head, back.dtype, back.inputs, back.outputs) == (model.head, dtype, model.inputs, model.outputs)
    same(model, back)
    for column, codes in model.coded_columns.items():
        x[:, column] = np.arange(len(x)) % codes
    np.testing.assert_array_equal(back(x), model(x))
    np.testing.assert_array_equal(back.predict(x), model.predict(x))


@pytest.mark.parametrize("ndim", [None, 1, 2])
def test_the_shape_of_y_comes_back(ndim, tmp_path, x):
    model = fs.mlp([6, 4, 1]).initialize(3, "numpy")
    model.target_ndim = ndim
    for back in (fs.load(saved(tmp_path, model), backend="numpy"), pickle.loads(pickle.dumps(model))):
        assert back.target_ndim == ndim
        assert back.predict(x).shape == ((len(x),) if ndim == 1 else (len(x), 1))


@pytest.mark.parametrize("stored", ["3", "true", "1.0", '"1"', "[1]", "}"])
def test_a_wrong_shape_of_y_is_refused(stored, path):
    rewrite(path, lambda metadata, _: metadata.update(target_ndim=stored))
    with pytest.raises(ModelFileError, match="save the model again"):
        fs.load(path, backend="numpy")


def test_the_names_of_columns_come_back(tmp_path):
    model = fs.mlp([2, 1]).initialize(3, "numpy")
    for names in (None, ("a", "ü")):
        model.feature_names = names
        for back in (fs.load(saved(tmp_path, model), backend="numpy"), pickle.loads(pickle.dumps(model))):
            assert back.feature_names == names


@pytest.mark.parametrize("stored", ["3", "[]", '["a", 1]', '{"a": 1}', "}"])
def test_wrong_names_of_columns_are_refused(stored, path):
    rewrite(path, lambda metadata, _: metadata.update(feature_names=stored))
    with pytest.raises(ModelFileError, match="save the model again"):
        fs.load(path, backend="numpy")


def test_tied_weights_stay_tied(tmp_path):
    encoder, inner = fs.Linear(6, 4), fs.Linear(4, 4)
    layers = [encoder, fs.Residual(fs.TiedLinear(inner, bias=False), inner), fs.TiedLinear(encoder)]
    model = fs.Sequential(*layers).initialize(0, "numpy")
    back = fs.load(saved(tmp_path, model), backend="numpy")
    assert back.layers[2].of is back.layers[0]
    assert back.layers[1].layers[0].of is back.layers[1].layers[1]
    same(model, back)
    x = np.ones((3, 6), np.float32)
    losses = [float(fs.TrainStep(m, fs.MSE(), fs.SGD(0.1), seed=1)(x, x)) for m in (model, back)]
    assert losses[0] == losses[1]
    same(model, back)


def test_a_layer_that_stands_twice_is_one_layer_again(tmp_path, x):
    twice = fs.Linear(6, 6)
    model = fs.Sequential(twice, fs.Tanh(), twice, fs.Residual(twice)).initialize(0, "numpy")
    back = fs.load(saved(tmp_path, model), backend="numpy")
    assert back.layers[0] is back.layers[2] is back.layers[3].layers[0]
    np.testing.assert_array_equal(back(x), model(x))


def test_a_chain_in_a_chain(tmp_path, x):
    model = fs.Sequential(Sequence(fs.Linear(6, 3), fs.ReLU()), fs.Linear(3, 2)).initialize(0, "numpy")
    back = fs.load(saved(tmp_path, model), backend="numpy")
    same(model, back)
    np.testing.assert_array_equal(back(x), model(x))


def test_trained_on_one_backend_loads_on_another(tmp_path, x):
    model = fs.mlp([6, 16, 3], dropout=0.2)
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.Adam(1e-2), backend="numba")
    labels = np.arange(9) % 3
    for _ in range(3):
        step(x, labels)
    back = fs.load(saved(tmp_path, model), backend="numpy")
    assert back.backend.name == "numpy"
    assert back.head == "classes"
    same(model, back)
    np.testing.assert_allclose(back.predict_proba(x), model.predict_proba(x), rtol=1e-5, atol=1e-6)
    with fs.use_backend("numpy"):
        assert fs.load(tmp_path / "model.safetensors").backend.name == "numpy"


def test_another_dtype_on_request(path):
    model = fs.load(path, backend="numpy", dtype="float64")
    assert model.dtype == "float64"
    assert load_with_metadata(path, "numpy", "float64")[1].dtype == "float32"
    np.testing.assert_array_equal(
        model.parameters()["0.Linear.weight"], fs.load(path, "numpy").parameters()["0.Linear.weight"].astype("float64")
    )
    with pytest.raises(DtypeError, match="float16"):
        fs.load(path, dtype="float16")


def test_preprocessing_and_notes_come_back(tmp_path):
    model = fs.mlp([2, 2]).initialize(backend="numpy")
    notes = {"results": {"test": {"accuracy": 0.1 + 0.2, "nothing": None}}, "name": "größer"}
    path = saved(tmp_path, model, preprocessing={"a": [1, "x"]}, notes=notes)
    _, metadata = load_with_metadata(path)
    assert metadata.preprocessing == {"a": [1, "x"]}
    assert metadata.notes == notes
    assert metadata.library == fs.__version__
    _, bare = load_with_metadata(saved(tmp_path, model))
    assert (bare.preprocessing, bare.notes) == (None, {})


def test_it_is_one_plain_safetensors_file(path):
    with safe_open(str(path), framework="numpy") as stream:
        assert set(stream.keys()) == {"0.Linear.weight", "0.Linear.bias", "2.Linear.weight", "2.Linear.bias"}
        metadata = stream.metadata()
    assert metadata["format"] == "fusedstep.model"
    assert metadata["version"] == str(VERSION)
    layers = json.loads(metadata["layers"])
    assert layers[0] == {"class": "Linear", "settings": {"inputs": 6, "outputs": 4}}
    assert os.listdir(path.parent) == [path.name], "a temporary file was left behind"


def test_a_class_of_ones_own_comes_back(tmp_path, x):
    class Doubling(fs.Identity):
        """Named in LAYERS by being defined."""

    try:
        model = fs.Sequential(fs.Linear(6, 3), Doubling()).initialize(backend="numpy")
        path = saved(tmp_path, model)
        assert type(fs.load(path).layers[1]) is Doubling
    finally:
        del LAYERS["Doubling"]
    with pytest.raises(ModelFileError, match=r"found 'Doubling'; import the module that defines it"):
        fs.load(path)


# What save refuses


def test_a_model_without_parameters_is_not_saved(tmp_path):
    with pytest.raises(StateError, match="initialize"):
        fs.save(fs.mlp([2, 2]), tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_a_shared_layer_outside_the_model_is_refused(tmp_path):
    model = fs.Sequential(fs.TiedLinear(fs.Linear(3, 6))).initialize(backend="numpy")
    with pytest.raises(ModelFileError, match="TiedLinear"):
        saved(tmp_path, model)


@pytest.mark.parametrize("notes", [{"a": object()}, {"a": float("nan")}])
def test_notes_that_json_cannot_hold(tmp_path, notes):
    with pytest.raises(DtypeError, match="notes"):
        saved(tmp_path, fs.mlp([2, 2]).initialize(backend="numpy"), notes=notes)


@pytest.mark.parametrize(
    "name",
    [
        "missing/m.safetensors", "folder", "file/m.safetensors", "", "/dev/null", "n" * 300, "\u6a21" * 90,
        "deep/" * 1000 + "m", "loop", "loop/m", "a\0b", "\ud800", None, 7, b"bytes",
    ],
)  # fmt: skip
def test_paths_that_cannot_be_written(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("kept")
    (tmp_path / "loop").symlink_to("loop")
    path = tmp_path / name if isinstance(name, str) and name not in ("", "/dev/null") else name
    model = fs.mlp([2, 2]).initialize(backend="numpy")
    with pytest.raises(OutputPathError, match="expected"):
        require_writable(path)
    with pytest.raises(OutputPathError, match="expected"):
        fs.save(model, path)
    assert (tmp_path / "file").read_text() == "kept"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder", "loop"]


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that even root cannot write to")
def test_a_folder_that_refuses_new_files():
    with pytest.raises(OutputPathError, match="expected a writable path"):
        require_writable("/proc/self/model.safetensors")


def test_a_write_protected_file(tmp_path, monkeypatch):
    path = tmp_path / "m"
    path.write_text("kept")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anything
    with pytest.raises(OutputPathError, match="write-protected"):
        require_writable(path)


def test_require_writable_touches_nothing(tmp_path):
    path = tmp_path / "m"
    path.write_text("kept")
    link = tmp_path / "link"
    link.symlink_to(path)
    assert require_writable(link) == path.resolve()
    assert path.read_text() == "kept"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["link", "m"]


def test_a_failed_write_keeps_the_old_file(path, monkeypatch):
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", full)
    with pytest.raises(OutputPathError, match="No space left"):
        fs.save(fs.mlp([6, 4, 3]).initialize(1, "numpy"), path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_an_unfinished_file_gets_its_name_at_the_end(tmp_path):
    target = tmp_path / "answers.csv"
    target.write_text("old")

    def fail(error):
        with replacing(target, "answers") as part:
            part.write_text("half")
            raise error

    with pytest.raises(KeyError):
        fail(KeyError("other errors stay what they are"))
    with pytest.raises(OutputPathError, match=r"answers\.csv: expected to write answers; .*No space left"):
        fail(OSError(28, "No space left on device"))
    assert target.read_text() == "old"
    with replacing(target, "answers") as part:
        part.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["answers.csv"]


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files")
def test_a_disk_without_room_keeps_the_old_file(path):
    """The kernel refuses to let any file grow beyond a few bytes."""
    before = path.read_bytes()
    code = """
import resource, sys
import fusedstep as fs
model = fs.mlp([6, 4, 3]).initialize(1, "numpy")
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
try:
    fs.save(model, sys.argv[1])
except OSError as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert re.match("OutputPathError .*writing failed", done.stdout)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_what_killed_writers_left_is_removed_by_the_next_save(path):
    """A process is killed in the middle of writing; a file that is being written meanwhile is not touched."""
    code = """
import os, sys
from fusedstep.framework.export.output_paths import replacing
with replacing(sys.argv[1], "a file") as part:
    part.write_text("half")
    os.kill(os.getpid(), 9)
"""
    folder = path.parent
    (folder / f".fusedstep-{'0' * 16}.part").write_text("as version 0.1.0 left it")
    killed = subprocess.run([sys.executable, "-c", code, str(path)], timeout=60)
    assert killed.returncode == -9
    assert len(os.listdir(folder)) == 3
    fs.load(path)
    with replacing(folder / "other", "another file") as part:
        part.write_text("other")
        fs.save(fs.mlp([6, 2]).initialize(backend="numpy"), path)
        assert part.exists()
        assert len(os.listdir(folder)) == 2, "that of the killed process is gone"
    assert sorted(os.listdir(folder)) == [path.name, "other"]
    assert (folder / "other").read_text() == "other"


@pytest.mark.skipif(os.name != "posix", reason="folders are synchronised on POSIX")
def test_the_folder_is_on_the_disk_after_the_file_has_its_name(tmp_path, monkeypatch):
    synced, fsync, replace = [], os.fsync, os.replace

    def record(descriptor):
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        synced.append("folder" if stat.S_ISDIR(os.fstat(number).st_mode) else "file")
        fsync(number)

    monkeypatch.setattr(os, "fsync", record)
    monkeypatch.setattr(os, "replace", lambda *paths: (synced.append("named"), replace(*paths)))
    saved(tmp_path, fs.mlp([6, 2]).initialize(backend="numpy"))
    assert synced == ["file", "named", "folder"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_permissions_are_those_of_any_new_file_or_of_the_file_that_is_replaced(tmp_path):
    (tmp_path / "any").touch()
    path = saved(tmp_path, fs.mlp([6, 2]).initialize(backend="numpy"))
    assert path.stat().st_mode == (tmp_path / "any").stat().st_mode
    path.chmod(0o640)
    assert saved(tmp_path, fs.mlp([6, 2]).initialize(backend="numpy")).stat().st_mode & 0o777 == 0o640


def test_names_as_long_as_the_system_allows(tmp_path):
    longest = tmp_path / ("\u6a21" * 81 + ".safetensors")  # 255 bytes
    fs.save(fs.mlp([6, 2]).initialize(backend="numpy"), longest)
    assert fs.load(longest).outputs == 2
    assert os.listdir(tmp_path) == [longest.name]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("digits.safetensors", "digits-interrupted.safetensors"), ("digits", "digits-interrupted"), (".m", ".m-interrupted"),
        ("n" * 230 + ".safetensors", "n" * 230 + "-interrupted.safetensors"),
        ("n" * 232 + ".safetensors", "n" * 220 + "-interrupted.safetensors"),
        ("\u6a21" * 81 + ".safetensors", "\u6a21" * 77 + "-interrupted.safetensors"),
        ("n" * 255, "n" * 243 + "-interrupted"), ("m." + "n" * 250, "m." + "n" * 238 + "-interrupted"),
        (os.fsdecode(b"\xff" * 250), os.fsdecode(b"\xff" * 238) + "-interrupted"),
    ],
    ids=range(9),
)  # fmt: skip
def test_a_file_beside_has_a_name_for_which_there_is_room(tmp_path, name, wanted):
    path = tmp_path / name
    path.touch()
    found = beside(path, "-interrupted")
    assert found == tmp_path / wanted
    assert require_writable(found) == found
    link = tmp_path / "link"
    link.mkdir()
    (link / "latest").symlink_to(path)
    assert beside(link / "latest", "-interrupted") == found


def test_threads_that_save_to_one_path_leave_one_whole_file(tmp_path):
    models = [fs.mlp([6, width]).initialize(backend="numpy") for width in (2, 3, 4, 5)]
    path = tmp_path / "model.safetensors"
    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            list(pool.map(lambda model: fs.save(model, path), models))
            assert fs.load(path).outputs in (2, 3, 4, 5)
    assert os.listdir(tmp_path) == [path.name]


def test_a_link_stays_a_link(path, tmp_path):
    link = tmp_path / "latest.safetensors"
    link.symlink_to(path)
    fs.save(fs.mlp([6, 2]).initialize(backend="numpy"), link)
    assert link.is_symlink()
    assert fs.load(path).outputs == 2


# What load refuses


def test_a_missing_file_or_a_folder(tmp_path):
    for name in ("nothing", "n" * 300, "deep/" * 1000, "a\0b"):
        with pytest.raises(ModelFileError, match="does not exist"):
            fs.load(tmp_path / name)
    with pytest.raises(ModelFileError, match="is a folder"):
        fs.load(tmp_path)


@pytest.mark.parametrize("saved", [0, 1, 7, 8, 9, 100, -1, -17])
def test_a_truncated_file(path, saved):
    path.write_bytes(path.read_bytes()[:saved])
    with pytest.raises(ModelFileError, match="truncated"):
        fs.load(path)


def test_a_file_that_is_too_long(path):
    path.write_bytes(path.read_bytes() + b"\0" * 5)
    with pytest.raises(ModelFileError, match="damaged"):
        fs.load(path)


@pytest.mark.parametrize("content", [b"not a model", b"\x80\x04pickle" * 100, b"\xff" * 64])
def test_a_file_of_another_format(path, content):
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="safetensors"):
        fs.load(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_safetensors_file_of_another_program(path, metadata):
    save_file({"w": np.zeros(3)}, path, metadata)
    with pytest.raises(ModelFileError, match=r"fusedstep\.model"):
        fs.load(path)


def test_another_version(path):
    rewrite(path, lambda metadata, _: metadata.update(version="99", library="7.0"))
    with pytest.raises(ModelFileError, match=r"version 1, .*found version '99', written by fusedstep 7\.0; load it with"):
        fs.load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"layers": "[{"},
        {"layers": "{}"},
        {"layers": "3"},
        {"layers": "[]"},
        {"layers": "[" * 5000 + "]" * 5000},
        {"layers": '[{"class": "Linear"}]'},
        {"layers": '[{"class": "Linear", "settings": {"inputs": -1, "outputs": 3}}]'},
        {"layers": '[{"class": "Linear", "settings": {"inputs": 6, "outputs": 3, "more": 1}}]'},
        {"layers": '[{"class": "Linear", "settings": {"inputs": "six", "outputs": 3}}]'},
        {"layers": '[{"class": "os.system", "settings": {}}]'},
        {"layers": '[{"again": [0]}]'},
        {"layers": '[{"class": "TiedLinear", "settings": {"of": {"layer": [7]}}}]'},
        {"head": '"unheard"'},
        {"head": "?"},
        {"dtype": "float8"},
        {"notes": "[]"},
        {"preprocessing": "7"},
    ],
)
def test_a_damaged_description(path, change):
    rewrite(path, lambda metadata, _: metadata.update(change))
    with pytest.raises(ModelFileError, match="expected"):
        fs.load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"head": "[]"},
        {"head": "7"},
        {"layers": "null"},
        {"layers": "[7]"},
        {"layers": '["again"]'},
        {"layers": '[{"class": ["Linear"], "settings": {}}]'},
        {"layers": '[{"class": "Linear", "settings": [6, 3]}]'},
        {"layers": '[{"class": "Linear", "settings": {"inputs": 6, "outputs": 1e999}}]'},
        {"layers": '[{"class": "Linear", "settings": {"inputs": 6, "outputs": 1' + "0" * 400 + "}}]"},
        {"layers": '[{"class": "Residual", "layers": 3}]'},
        {"layers": '[{"class": "Tanh", "layers": [{"class": "Tanh", "settings": {}}]}]'},
        {"layers": '[{"again": [-1]}, {"class": "Tanh", "settings": {}}]'},
        {"layers": '[{"again": []}]'},
        {"layers": '[{"again": "00"}]'},
        {"layers": '[{"again": [1]}, {"again": [0]}]'},
        {"layers": '[{"class": "Residual", "layers": [{"again": [0]}]}]'},
        {"layers": '[{"class": "TiedLinear", "settings": {"of": {"layer": [0]}}}]'},
        {"notes": "null"},
        {"preprocessing": "[]"},
    ],
)
def test_fields_of_another_kind(path, change):
    rewrite(path, lambda metadata, _: metadata.update(change))
    with pytest.raises(ModelFileError, match="expected"):
        fs.load(path)


def test_masks_of_another_kind(path):
    original = path.read_bytes()
    for name, mask in [
        ("x", np.zeros(0, np.uint8)),
        ("0.Linear.weight", np.zeros(0, np.uint8)),
        ("0.Linear.weight", np.zeros(24, np.uint8)),
        ("0.Linear.weight", np.zeros(3, np.int8)),
        ("0.Linear.weight", np.zeros((3, 1), np.uint8)),
    ]:
        path.write_bytes(original)
        rewrite(path, lambda _, tensors, key=f"mask of {name}", value=mask: tensors.update({key: value}))
        with pytest.raises(ModelFileError, match="expected the mask of a parameter"):
            fs.load(path)


@pytest.mark.parametrize("levels", [8, 12, 16, 64, 2000])
@pytest.mark.parametrize("kind", ["Sequence", "Residual"])
def test_references_that_repeat_each_other(path, kind, levels):
    """Each level holds the one before twice; more than 10,000 layers are refused before any is built."""
    layers = [{"class": "Linear", "settings": {"inputs": 6, "outputs": 6}}, {"class": kind, "layers": [{"again": [0]}]}]
    layers += [{"class": kind, "layers": [{"again": [k]}, {"again": [k]}]} for k in range(1, levels)]

    def change(metadata, tensors):
        tensors.clear()
        tensors.update({"0.Linear.weight": np.eye(6, dtype=np.float32), "0.Linear.bias": np.zeros(6, np.float32)})
        metadata["layers"] = json.dumps(layers)

    rewrite(path, change)
    if levels == 8:
        assert fs.load(path).outputs == 6
    else:
        with pytest.raises(ModelFileError, match="at most 10,000 layers out of"):
            fs.load(path)


def test_a_long_model_without_repetitions_comes_back(tmp_path):
    model = fs.Sequential(fs.Linear(2, 2), *(fs.Identity() for _ in range(10_001))).initialize(backend="numpy")
    assert len(fs.load(saved(tmp_path, model)).layers) == 10_002


def test_a_model_of_too_many_repetitions_is_refused_when_it_is_saved(tmp_path):
    chain = fs.Residual(fs.Tanh())
    for _ in range(13):
        chain = fs.Residual(chain, chain)
    with pytest.raises(ModelFileError, match="use fewer repetitions"):
        saved(tmp_path, fs.Sequential(fs.Linear(2, 2), chain).initialize(backend="numpy"))
    assert not list(tmp_path.iterdir())


# The checksum


def test_every_flipped_bit_is_noticed(path):
    """In the header and in the weights; what loads nevertheless, as with another space between entries, is the same model."""
    before, model = path.read_bytes(), fs.load(path)
    start = 8 + int.from_bytes(before[:8], "little")
    for place in [*range(0, start, 7), *range(start, len(before))]:
        after = bytearray(before)
        after[place] ^= 1 << place % 8
        path.write_bytes(after)
        try:
            loaded = fs.load(path)
        except ModelFileError:
            continue
        assert place < start
        same(model, loaded)
        assert repr(model) == repr(loaded)


def test_weights_with_another_bit_are_named_damaged(path):
    before = path.read_bytes()
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 64]))
    with pytest.raises(ModelFileError, match=r"with the checksum 'sha256:.* damaged or was edited; copy it again"):
        fs.load(path)


@pytest.mark.parametrize("key", ["head", "notes", "library"])
def test_edited_metadata_are_noticed(path, key):
    with safe_open(str(path), framework="numpy") as stream:
        metadata, tensors = stream.metadata(), {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    save_file(tensors, path, {**metadata, key: '"values"'})
    with pytest.raises(ModelFileError, match="checksum"):
        fs.load(path)


@pytest.mark.parametrize("library", ["0.1.0", "0.2.0"])
def test_a_file_of_a_version_without_checksums_loads_but_none_whose_checksum_lost_its_name(path, library):
    with safe_open(str(path), framework="numpy") as stream:
        metadata, tensors = stream.metadata(), {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    metadata["library"] = library
    del metadata["target_ndim"], metadata["feature_names"]  # of files with a checksum
    value = metadata.pop("checksum")
    save_file(tensors, path, metadata)
    assert fs.load(path).outputs == 3
    save_file(tensors, path, {**metadata, "ch%cksum": value})
    with pytest.raises(ModelFileError, match=r"expected the checksum .* found none, but 'ch%cksum': it is damaged"):
        fs.load(path)


@pytest.mark.parametrize("key", ["version", "dtype", "head", "layers", "preprocessing", "notes"])
def test_a_missing_part(path, key):
    rewrite(path, lambda metadata, _: metadata.pop(key))
    with pytest.raises(ModelFileError, match="expected"):
        fs.load(path)


def test_weights_that_do_not_fit(path):
    original = path.read_bytes()
    for change in (
        lambda _, tensors: tensors.pop("0.Linear.bias"),
        lambda _, tensors: tensors.update(extra=np.zeros(2, np.float32)),
        lambda _, tensors: tensors.update({"0.Linear.bias": np.zeros(5, np.float32)}),
        lambda _, tensors: tensors.update({"0.Linear.bias": np.zeros(4, np.float64)}),
        lambda _, tensors: tensors.update({"0.Linear.bias": np.zeros(4, np.int32)}),
    ):
        path.write_bytes(original)
        rewrite(path, change)
        with pytest.raises(ModelFileError, match="weights that fit"):
            fs.load(path)


def test_an_unknown_backend_is_told_before_the_file_is_read(tmp_path):
    with pytest.raises(fs.UnknownBackend, match="did you mean 'numpy'"):
        fs.load(tmp_path / "nothing", backend="nunpy")


def test_a_class_that_only_shares_its_name_with_a_layer_is_refused(tmp_path):
    class Linear(fs.Linear):
        pass

    model = fs.Sequential(Linear(3, 2)).initialize(backend="numpy")
    with pytest.raises(fs.ModelFileError, match="rename it, or it would be loaded"):
        fs.save(model, tmp_path / "model.safetensors")
    assert not (tmp_path / "model.safetensors").exists()
