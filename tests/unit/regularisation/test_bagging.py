"""Bagging: samples, joint answers, out-of-bag figures, files; and that an ensemble is worth more than its members."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine

import fusedstep as fs
from fusedstep.errors import DtypeError, HyperparameterError, ModelFileError, ShapeError, StateError
from fusedstep.framework.export.tensor_file import checksum
from fusedstep.framework.tables.bootstrap import bootstrap, feature_subset, left_out
from fusedstep.framework.tables.splits import split

BACKENDS = ["numpy", "numba"]


def small(inputs):
    return fs.mlp([inputs, 6, 3])


def wine():
    """Standardised samples [178, 13] and their three classes."""
    data = load_wine()
    return ((data.data - data.data.mean(0)) / data.data.std(0)).astype("f4"), data.target


def fitted(backend="numpy", epochs=5, data=None, **settings):
    x, y = data or wine()
    usual = {"models": small, "loss": fs.SoftmaxCrossEntropy(), "members": 3, "optimizer": fs.Adam(0.02), "n_jobs": 1}
    settings = usual | settings
    return fs.Bagging(backend=backend, **settings).fit(x, y, epochs=epochs, batch_size=32)


def values(bagging):
    return [{n: np.array(v) for n, v in m.model.parameters().items()} for m in bagging.members]


def same(first, second):
    return all(np.array_equal(a[n], b[n]) for a, b in zip(values(first), values(second), strict=True) for n in a)


def test_b12_samples_are_drawn_with_replacement_and_columns_without():
    drawn = [bootstrap(2000, 2000, seed, k) for seed in (0, 1) for k in (0, 1)]
    for one in drawn:
        counts = np.bincount(one, minlength=2000)
        assert counts.sum() == 2000
        share = np.mean(counts == 0)  # expected (1 - 1/N)^N; its variance is that of an occupancy problem
        assert abs(share - np.exp(-1)) < 5 * np.sqrt((np.exp(-1) - 2 * np.exp(-2)) / 2000)
        np.testing.assert_array_equal(left_out(2000, one)[:, 0] == 1.0, counts == 0)
    assert all(np.mean(a == b) < 0.01 for k, a in enumerate(drawn) for b in drawn[:k])
    np.testing.assert_array_equal(drawn[0], bootstrap(2000, 2000, 0, 0))
    columns = feature_subset(30, 10, 0, 0)
    assert len(set(columns.tolist())) == 10
    assert np.all(np.diff(columns) > 0)
    assert columns.tolist() != feature_subset(30, 10, 0, 1).tolist()


@pytest.mark.parametrize("backend", BACKENDS)
def test_b12_a_member_is_what_training_on_its_sample_gives(backend):
    x, y = wine()
    bagging = fitted(backend, seed=3)
    member = bagging.members[1]
    with_one_thread = fs.num_threads()
    fs.set_num_threads(1)
    try:
        model = small(13)
        step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.Adam(0.02), seed=3 * 1_000_003 + 1, backend=backend)
        fs.Trainer(step).fit(x[member.rows], y[member.rows], epochs=5, batch_size=32)
    finally:
        fs.set_num_threads(None)
    assert fs.num_threads() == with_one_thread
    for name, wanted in model.parameters().items():
        np.testing.assert_array_equal(np.array(member.model.parameters()[name]), np.array(wanted))
    assert not np.array_equal(member.rows, bagging.members[0].rows)


@pytest.mark.parametrize("backend", BACKENDS)
def test_b12_answers_are_averaged_or_voted(backend):
    x, y = wine()
    bagging = fitted(backend, epochs=1, members=4)
    proba = [np.array(m.model.predict_proba(x)) for m in bagging.members]
    np.testing.assert_allclose(np.array(bagging.predict_proba(x)), np.mean(proba, 0), rtol=1e-5)
    np.testing.assert_array_equal(np.array(bagging.predict(x)), np.mean(proba, 0).argmax(1))
    voted = fitted(backend, epochs=1, members=4, combine="vote")
    assert same(bagging, voted)
    votes = np.mean([np.eye(3)[np.array(m.model.predict(x))] for m in voted.members], 0)
    np.testing.assert_allclose(np.array(voted.predict_proba(x)), votes, atol=1e-7)
    np.testing.assert_array_equal(np.array(voted.predict(x)), votes.argmax(1))
    assert np.any(np.array(voted.predict(x)) != np.array(bagging.predict(x)))
    figures = bagging.evaluate(x, y)
    assert figures["accuracy"] == pytest.approx(np.mean(np.array(bagging.predict(x)) == y))
    assert figures["member_accuracy"] == pytest.approx(np.mean([p.argmax(1) == y for p in proba]))
    assert figures["error"] == pytest.approx(1 - figures["accuracy"])


@pytest.mark.parametrize("combine", ["average", "vote"])
def test_b12_out_of_bag_figures_are_those_of_the_members_that_did_not_see_a_row(combine):
    x, y = wine()
    bagging = fitted(epochs=2, members=3, combine=combine)
    total, count = np.zeros((178, 3)), np.zeros(178)
    for member in bagging.members:
        out = ~np.isin(np.arange(178), member.rows)
        score = np.array(member.model.predict_proba(x))
        total[out] += (np.eye(3)[score.argmax(1)] if combine == "vote" else score)[out]
        count += out
    seen = count > 0
    assert 100 < seen.sum() < 178
    error = np.mean(total[seen].argmax(1) != y[seen])
    assert bagging.out_of_bag["rows"] == seen.sum()
    assert bagging.out_of_bag["error"] == pytest.approx(error)
    assert bagging.out_of_bag["standard_error"] == pytest.approx(np.sqrt(error * (1 - error) / seen.sum()))


@pytest.mark.parametrize("backend", BACKENDS)
def test_g2_weights_count_in_the_training_of_members_and_in_all_figures(backend):
    x, y = wine()
    weights = np.random.default_rng(0).integers(0, 4, 178) / 2.0
    settings = {"models": small, "loss": fs.SoftmaxCrossEntropy(), "members": 2, "optimizer": fs.Adam(0.02), "n_jobs": 1}
    bagging = fs.Bagging(backend=backend, **settings).fit(x, y, 3, 32, sample_weight=weights)
    member = bagging.members[1]
    fs.set_num_threads(1)
    try:
        step = fs.TrainStep(small(13), fs.SoftmaxCrossEntropy(), fs.Adam(0.02), seed=1, backend=backend)
        fs.Trainer(step).fit(x[member.rows], y[member.rows], epochs=3, batch_size=32, sample_weight=weights[member.rows])
    finally:
        fs.set_num_threads(None)
    for name, wanted in step.model.parameters().items():
        np.testing.assert_array_equal(np.array(member.model.parameters()[name]), np.array(wanted))

    right = np.array(bagging.predict(x)) == y
    assert bagging.evaluate(x, y, weights)["accuracy"] == pytest.approx(np.average(right, weights=weights), rel=1e-12)
    scores, count = np.zeros((178, 3)), np.zeros(178)
    for one in bagging.members:
        out = ~np.isin(np.arange(178), one.rows)
        scores[out] += np.array(one.model.predict_proba(x))[out]
        count += out
    seen, used = count > 0, weights * (count > 0)
    error = 1.0 - np.average(scores[seen].argmax(1) == y[seen], weights=weights[seen])
    assert bagging.out_of_bag["error"] == pytest.approx(error, rel=1e-12)
    assert bagging.out_of_bag["rows"] == np.count_nonzero(used)
    effective = used.sum() ** 2 / (used**2).sum()
    assert bagging.out_of_bag["standard_error"] == pytest.approx(np.sqrt(error * (1 - error) / effective), rel=1e-9)


def test_g2_weights_of_numbers_and_wrong_ones():
    data = load_diabetes()
    x, y = data.data.astype("f4") * 20, (data.target.astype("f4") - 150.0) / 80.0
    weights = np.linspace(0.0, 2.0, len(y))
    given = {"models": lambda d: fs.mlp([d, 1]), "loss": fs.MSE(), "members": 2, "optimizer": fs.Adam(0.05), "n_jobs": 1}
    bagging = fs.Bagging(backend="numpy", **given).fit(x, y, sample_weight=weights)
    squares = (np.array(bagging.predict(x), "f8") - y) ** 2
    found = bagging.evaluate(x, y, sample_weight=weights)
    assert found["mse"] == pytest.approx(np.average(squares, weights=weights), rel=1e-5)
    spread = np.average((y - np.average(y, weights=weights)) ** 2, weights=weights)
    assert found["r2"] == pytest.approx(1.0 - found["mse"] / spread, rel=1e-4)
    with pytest.raises(fs.SampleWeightError, match=r"got -1 in row 3"):
        bagging.fit(x, y, sample_weight=np.where(np.arange(len(y)) == 2, -1.0, 1.0))
    with pytest.raises(fs.SampleWeightError, match="above 0 for at least one row"):
        bagging.evaluate(x, y, sample_weight=np.zeros(len(y)))
    with pytest.raises(ShapeError, match="one weight for each"):
        bagging.evaluate(x, y, sample_weight=np.ones(3))


@pytest.mark.parametrize("jobs", [1, 2])
def test_g2_weights_reach_other_processes(jobs):
    x, y = wine()
    settings = {"models": small, "loss": fs.SoftmaxCrossEntropy(), "members": 2, "backend": "numpy"}
    weighted = fs.Bagging(n_jobs=jobs, **settings).fit(x, y, 1, 32, np.linspace(0.5, 2.0, 178))
    assert not same(weighted, fs.Bagging(n_jobs=jobs, **settings).fit(x, y, 1, 32))
    assert same(weighted, fs.Bagging(n_jobs=1, **settings).fit(x, y, 1, 32, np.linspace(0.5, 2.0, 178)))


def test_b12_numbers_and_yes_or_no_questions():
    data = load_diabetes()
    x, y = data.data.astype("f4") / 0.0476, ((data.target - data.target.mean()) / data.target.std()).astype("f4")
    settings = {"models": lambda d: fs.mlp([d, 6, 1]), "members": 5, "epochs": 8}
    bagging = fitted(data=(x, y), **settings | {"loss": fs.MSE()})
    outputs = [np.array(m.model(x)) for m in bagging.members]
    assert np.array(bagging.predict(x)).shape == y.shape
    np.testing.assert_allclose(np.array(bagging.predict(x)), np.mean(outputs, 0)[:, 0], rtol=1e-5, atol=1e-6)
    figures = bagging.evaluate(x, y)
    mse = np.mean((np.mean(outputs, 0)[:, 0] - y) ** 2)
    assert figures["mse"] == pytest.approx(mse, rel=1e-5)
    assert figures["r2"] == pytest.approx(1 - mse / y.var(), rel=1e-4)
    assert figures["mse"] < figures["member_mse"]
    assert 0.3 < bagging.out_of_bag["r2"] < 0.6
    with pytest.raises(StateError, match="predict"):
        bagging.predict_proba(x)
    with pytest.raises(HyperparameterError, match="average"):
        fitted(data=(x, y), combine="vote", **settings | {"loss": fs.MSE()})
    answers = (y > 0).astype(int)
    for loss in (fs.BinaryCrossEntropy(), fs.Hinge()):
        for combine in ("average", "vote"):
            bagging = fitted(data=(x, answers), combine=combine, **settings | {"loss": loss})
            predicted = np.array(bagging.predict(x))
            assert predicted.shape == (442,)
            assert np.mean(predicted == answers) > 0.7
            assert bagging.evaluate(x, answers)["accuracy"] == pytest.approx(np.mean(predicted == answers))
            assert 0.2 < bagging.out_of_bag["error"] < 0.35
            votes = np.mean([np.array(m.model.predict(x)) for m in bagging.members], 0)
            if combine == "vote":
                np.testing.assert_array_equal(predicted, votes > 0.5)
    binary = fitted(data=(x, answers), **settings | {"loss": fs.BinaryCrossEntropy()})
    assert np.array(binary.predict_proba(x)).shape == (442, 2)


def test_b12_members_may_differ_in_model_optimiser_and_features(tmp_path):
    x, y = wine()
    models = [small, lambda d: fs.Sequential(fs.Linear(d, 3)), lambda d: fs.mlp([d, 5, 5, 3], activation="tanh")]
    bagging = fitted(models=models, optimizer=[fs.Adam(0.02), fs.Momentum(0.05)], members=6, features=0.5, epochs=15)
    assert [len(m.model.layers) for m in bagging.members] == [3, 1, 5] * 2
    assert all(m.model.inputs == 6 == len(m.features) for m in bagging.members)
    assert len({tuple(m.features) for m in bagging.members}) > 1
    joint = np.mean([np.array(m.model.predict_proba(x[:, m.features])) for m in bagging.members], 0)
    np.testing.assert_allclose(np.array(bagging.predict_proba(x)), joint, rtol=1e-5)
    assert bagging.evaluate(x, y)["accuracy"] > 0.9
    bagging.save(tmp_path / "mixed.safetensors")
    loaded = fs.Bagging.load(tmp_path / "mixed.safetensors", "numpy")
    np.testing.assert_array_equal(np.array(loaded.predict_proba(x)), np.array(bagging.predict_proba(x)))
    template = fs.mlp([13, 4, 3])
    bagging = fitted(models=template)
    assert not template.initialized
    assert not np.array_equal(values(bagging)[0]["0.Linear.weight"], values(bagging)[1]["0.Linear.weight"])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("combine", ["average", "vote"])
def test_b12_files_keep_every_member(backend, combine, tmp_path):
    x, y = wine()
    bagging = fitted(backend, combine=combine, features=0.7)
    bagging.save(tmp_path / "ensemble.safetensors", notes={"by": "test"})
    loaded = fs.Bagging.load(tmp_path / "ensemble.safetensors", backend)
    assert same(bagging, loaded)
    np.testing.assert_array_equal(np.array(loaded.predict(x)), np.array(bagging.predict(x)))
    assert loaded.evaluate(x, y) == bagging.evaluate(x, y)
    assert loaded.out_of_bag == {}
    other = fs.Bagging.load(tmp_path / "ensemble.safetensors", "numba" if backend == "numpy" else "numpy")
    np.testing.assert_allclose(np.array(other.predict_proba(x)), np.array(bagging.predict_proba(x)), rtol=1e-4, atol=1e-5)


LOSSES_BY_HEAD = [
    fs.MSE(), fs.Poisson(), fs.BinaryCrossEntropy(), fs.Hinge(), fs.SoftmaxCrossEntropy(), fs.Focal(1.0, [1.0, 2.0]),
    fs.Focal(class_weights={1: 2.0}), fs.BinaryFocal(),
]  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES_BY_HEAD, ids=repr)
@pytest.mark.parametrize("combine", ["average", "vote"])
def test_predictions_have_the_shape_of_y(loss, combine, tmp_path):
    x, y = wine()
    combine, outputs = "average" if loss.predicts_numbers else combine, 2 if loss.head == "classes" else 1
    for targets in ((y > 0).astype("f4"), (y > 0).astype("f4").reshape(-1, 1)):
        bagging = fitted(data=(x, targets), models=lambda d: fs.mlp([d, 4, outputs]), loss=loss, combine=combine, epochs=1)
        assert np.array(bagging.predict(x)).shape == targets.shape
        assert np.isfinite(bagging.evaluate(x, targets)["mse" if loss.predicts_numbers else "error"])
        bagging.save(tmp_path / "shape.safetensors")
        loaded = fs.Bagging.load(tmp_path / "shape.safetensors", "numpy")
        assert repr(loaded.loss) == repr(loss)
        assert np.array(loaded.predict(x)).shape == targets.shape


def test_quantiles_and_their_levels_in_a_file(tmp_path):
    x, y = wine()
    bagging = fitted(data=(x, y.astype("f4")), models=lambda d: fs.mlp([d, 4, 2]), loss=fs.Quantile([0.1, 0.9]), epochs=1)
    bagging.save(tmp_path / "quantiles.safetensors")
    loaded = fs.Bagging.load(tmp_path / "quantiles.safetensors", "numpy")
    assert loaded.loss.levels == (0.1, 0.9)
    assert np.array(loaded.predict(x)).shape == (len(y), 2)
    assert loaded.evaluate(x, y.astype("f4")) == pytest.approx(bagging.evaluate(x, y.astype("f4")), rel=1e-4)


def test_b12_wrong_files_are_refused(tmp_path):
    bagging = fitted(epochs=1)
    path, single = tmp_path / "e.safetensors", tmp_path / "m.safetensors"
    with pytest.raises(StateError, match="fit"):
        fs.Bagging(small, fs.SoftmaxCrossEntropy()).save(path)
    bagging.save(path)
    fs.save(bagging.members[0].model, single)
    with pytest.raises(ModelFileError, match=r"Bagging\.save"):
        fs.Bagging.load(single)
    with pytest.raises(ModelFileError, match="format"):
        fs.load(path)
    with pytest.raises(ModelFileError, match="exist"):
        fs.Bagging.load(tmp_path / "none")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match="truncated"):
        fs.Bagging.load(path)


def changed_file(path, change):
    """Changes the contents of an ensemble file, and its checksum with them."""
    with safe_open(str(path), framework="numpy") as stream:
        metadata, tensors = stream.metadata(), {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    description = json.loads(metadata["description"])
    change(description, tensors)
    metadata["description"] = json.dumps(description)
    metadata["checksum"] = checksum(metadata, tensors)
    save_file(tensors, path, metadata)


def columns(*numbers, dtype=np.int64):
    return lambda description, tensors: tensors.update({"0/columns": np.array(numbers, dtype)})


@pytest.mark.parametrize(
    "change",
    [
        lambda description, tensors: tensors.pop("0/columns"),
        lambda description, tensors: tensors.update({"9/columns": tensors.pop("0/columns")}),
        lambda description, tensors: tensors.update({"columns": np.arange(9)}),
        lambda description, tensors: tensors.update({"0/0.Linear.bias": np.zeros(7, np.float32)}),
        lambda description, tensors: tensors.update({"0/0.Linear.bias": tensors["0/0.Linear.bias"].astype(np.float64)}),
        columns(0, 1),
        columns(*range(9), dtype=np.int32),
        columns(*range(9), dtype=np.float32),
        columns(*range(-1, 8)),
        columns(8, *range(8)),
        columns(0, *range(8)),
        lambda description, tensors: description.update(layers=[]),
        lambda description, tensors: description.update(layers=7),
        lambda description, tensors: description["layers"].pop(),
        lambda description, tensors: description["layers"].append(description["layers"][0]),
        lambda description, tensors: description["layers"][0].append({"again": [0]}),
        lambda description, tensors: description["layers"][0].append({"class": "PReLU", "settings": {"width": 4}}),
        lambda description, tensors: description.update(loss="mean"),
        lambda description, tensors: description.update(loss=["Unheard", "mean"]),
        lambda description, tensors: description.update(loss=[[], "mean"]),
        lambda description, tensors: description.update(loss=["SoftmaxCrossEntropy", 3]),
        lambda description, tensors: description.update(loss=["SoftmaxCrossEntropy", "mean", {"delta": 1.0}]),
        lambda description, tensors: description.update(loss=["SoftmaxCrossEntropy", "mean", {"label_smoothing": "0"}]),
        lambda description, tensors: description.update(loss=["SoftmaxCrossEntropy", "mean", [0.1]]),
        lambda description, tensors: description.update(combine=["average"]),
        lambda description, tensors: description.update(precision="float8"),
        lambda description, tensors: description.update(precision=None),
        lambda description, tensors: description.update(precision="float64"),
        lambda description, tensors: description.pop("combine"),
    ],
)  # fmt: skip
def test_b12_every_field_of_a_file_is_checked(change, tmp_path):
    path = tmp_path / "e.safetensors"
    fitted(epochs=1, members=2, features=0.7).save(path)
    changed_file(path, change)
    with pytest.raises(ModelFileError, match="expected"):
        fs.Bagging.load(path)


def test_b12_a_flipped_bit_is_noticed_and_old_files_load(tmp_path):
    path = tmp_path / "e.safetensors"
    fitted(epochs=1, members=2).save(path)
    before = path.read_bytes()
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    with pytest.raises(ModelFileError, match="checksum"):
        fs.Bagging.load(path)
    path.write_bytes(before)
    with safe_open(str(path), framework="numpy") as stream:
        metadata, tensors = stream.metadata(), {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    old = {key: metadata[key] for key in ("format", "version", "description", "notes")}  # what version 0.1.0 wrote
    save_file(tensors, path, old)
    assert len(fs.Bagging.load(path).members) == 2


def test_b12_too_few_columns_to_predict(tmp_path):
    x, _ = wine()
    bagging = fitted(epochs=1, members=2, features=0.7)
    for ensemble in (bagging, saved_and_loaded(bagging, tmp_path)):
        with pytest.raises(ShapeError, match="expected at least 13 columns"):
            ensemble.predict(x[:, :5])


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize(("features", "combine"), [(1.0, "average"), (0.7, "vote")])
def test_b12_members_in_16_bits(precision, features, combine, tmp_path):
    pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    x, y = wine()
    options = {"features": features, "combine": combine}
    bagging = fitted(precision=precision, **options)
    assert not same(bagging, fitted(**options))  # their steps were computed in 16 bits
    assert bagging.out_of_bag["accuracy"] > 0.5
    bagging.save(tmp_path / "e.safetensors")
    for backend, kept in (("numpy", precision), ("numba", "float32")):
        loaded = fs.Bagging.load(tmp_path / "e.safetensors", backend)
        assert loaded.precision == kept
        assert same(loaded, bagging)
        np.testing.assert_array_equal(loaded.predict(x), bagging.predict(x))
        assert loaded.evaluate(x, y) == pytest.approx(bagging.evaluate(x, y))


def test_b12_a_precision_that_the_backend_does_not_have_is_refused():
    with pytest.raises(DtypeError, match="tf32"):
        fs.Bagging(small, fs.SoftmaxCrossEntropy(), backend="numpy", precision="tf32")


def saved_and_loaded(bagging, folder):
    bagging.save(folder / "e.safetensors")
    return fs.Bagging.load(folder / "e.safetensors")


def test_b12_processes_give_the_same_bits():
    one, two = (fitted("numba", members=3, n_jobs=jobs, epochs=2) for jobs in (1, 2))
    assert same(one, two)
    assert one.out_of_bag == two.out_of_bag
    assert [m.loss for m in one.members] == [m.loss for m in two.members]


def test_b12_the_old_name_of_n_jobs_is_deprecated():
    with pytest.warns(DeprecationWarning, match=r"jobs of Bagging is deprecated since 0\.3\.0; write n_jobs") as seen:
        bagging = fs.Bagging(small, fs.SoftmaxCrossEntropy(), backend="numpy", jobs=2)
    assert bagging.n_jobs == 2
    assert seen[0].filename == __file__


def test_b12_wrong_settings_are_refused():
    loss = fs.SoftmaxCrossEntropy()
    for wrong in (
        {"members": 0}, {"samples": 0.0}, {"samples": 1.1}, {"features": 0}, {"combine": "median"}, {"seed": -1},
        {"n_jobs": 0}, {"n_jobs": 1.5}, {"optimizer": "adam"}, {"optimizer": []}, {"loss": fs.MSE}, {"models": "mlp"},
        {"models": []}, {"models": [small, 3]},
    ):  # fmt: skip
        with pytest.raises(HyperparameterError):
            fs.Bagging(**{"models": small, "loss": loss} | wrong)
    x, y = wine()
    bagging = fs.Bagging(small, loss, members=2, n_jobs=1, backend="numpy")
    with pytest.raises(StateError, match="fit"):
        bagging.predict(x)
    with pytest.raises(ShapeError, match="178 rows"):
        bagging.fit(x, y[:-1])
    with pytest.raises(ShapeError, match="matrix"):
        bagging.fit(x[0], y)
    with pytest.raises(ShapeError, match="6 columns"):
        fs.Bagging(fs.mlp([13, 3]), loss, features=0.5, n_jobs=1, backend="numpy").fit(x, y)
    with pytest.raises(HyperparameterError, match="returns a model"):
        fs.Bagging(lambda d: d, loss, n_jobs=1, backend="numpy").fit(x, y)


SETS = {"digits": (load_digits, 24, 12), "wine": (load_wine, 8, 30), "breast_cancer": (load_breast_cancer, 8, 20)}


@pytest.mark.parametrize("name", SETS)
def test_b12_an_ensemble_beats_its_members_and_its_out_of_bag_error_is_that_of_the_test(name):
    """Over five seeds of split, samples and weights; the errors agree within the standard error of their difference."""
    load, hidden, epochs = SETS[name]
    data = load()
    gains, differences, variances = [], [], []
    for seed in range(5):
        train, _, test = split(data.target, (0.3, 0.0), seed)
        centre, spread = data.data[train].mean(0), data.data[train].std(0) + 1e-6
        x, y = ((data.data - centre) / spread).astype("f4"), data.target
        bagging = fs.Bagging(
            lambda d: fs.mlp([d, hidden, len(data.target_names)]), fs.SoftmaxCrossEntropy(), members=10,
            optimizer=fs.Adam(5e-3), seed=seed, backend="numba", n_jobs=1,
        )  # fmt: skip
        bagging.fit(x[train], y[train], epochs=epochs, batch_size=32)
        figures, out_of_bag = bagging.evaluate(x[test], y[test]), bagging.out_of_bag
        gains.append(figures["accuracy"] - figures["member_accuracy"])
        differences.append(out_of_bag["error"] - figures["error"])
        variances.append(out_of_bag["standard_error"] ** 2 + figures["error"] * figures["accuracy"] / len(test))
    error = np.sqrt(np.mean(variances))
    print(f"{name}: gain {100 * np.mean(gains):.2f} +- {100 * np.std(gains, ddof=1):.2f} points of accuracy")
    print(f"out-of-bag minus test error {100 * np.mean(differences):.2f}, standard error {100 * error:.2f} points")
    assert np.mean(gains) > 0.0
    assert abs(np.mean(differences)) < error
