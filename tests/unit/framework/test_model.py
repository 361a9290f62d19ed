"""Models: inputs of every layout, predictions of every head, moving, loading, and the shorthand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fusedstep as fs
from fusedstep.backends import conformance

LAYOUTS = ("plain", "transposed", "strided", "reversed", "read only", "columns", "list", "float64", "int", "float16")


def laid_out(x, layout):
    """The same values (rounded for whole numbers) in another layout or dtype."""
    if layout == "transposed":
        return np.ascontiguousarray(x.T).T
    if layout == "strided":
        wide = np.zeros((2 * x.shape[0], 3 * x.shape[1]), x.dtype)
        wide[::2, ::3] = x
        return wide[::2, ::3]
    if layout == "reversed":
        return np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1]
    if layout == "read only":
        frozen = x.copy()
        frozen.flags.writeable = False
        return frozen
    if layout == "columns":
        return np.asfortranarray(x)
    return {"plain": x, "list": x.tolist(), "float64": x.astype("f8"), "int": x.astype(int), "float16": x.astype("f2")}[layout]


MODELS = {
    (name, dtype): fs.mlp([5, 8, 3], activation="silu", layer_norm=True).initialize(2, name, dtype)
    for name in ("numpy", "numba")
    for dtype in ("float32", "float64")
}


@given(
    rows=st.one_of(st.integers(1, 12), st.sampled_from([127, 128, 129, 4096, 4097])),
    layout=st.sampled_from(LAYOUTS),
    key=st.sampled_from(sorted(MODELS)),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=120)
def test_inputs_of_every_layout(rows, layout, key, seed):
    model = MODELS[key]
    # Quarters are exact in every dtype here.
    x = np.random.default_rng(seed).integers(-8, 8, (rows, 5)).astype(key[1]) * (1.0 if layout == "int" else 0.25)
    x = x.astype(key[1])
    given_x = laid_out(x, layout)
    before = np.array(given_x)
    y = model(given_x)
    assert np.array_equal(np.array(given_x), before)
    assert y.shape == (rows, 3)
    assert y.dtype == key[1]
    assert np.array_equal(y, model(x))
    conformance.close(y, MODELS["numpy", "float64"](x), key[1], "sum")


@given(
    rows=st.one_of(st.integers(1, 20), st.sampled_from([127, 128, 129])),
    layout=st.sampled_from(LAYOUTS),
    name=st.sampled_from(["numpy", "numba"]),
    dtype=st.sampled_from(["float32", "float64"]),
)
@settings(deadline=None, max_examples=60)
def test_minibatches_of_every_layout(rows, layout, name, dtype):
    generator = np.random.default_rng(rows)
    x = generator.integers(-8, 8, (rows, 5)).astype(dtype)
    y = generator.integers(0, 3, rows)
    losses = []
    for inputs, labels in ((x, y), (laid_out(x, layout), laid_out(y[None], "read only")[0])):
        model = fs.mlp([5, 6, 3], dropout=0.2).initialize(0, name, dtype)
        step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.Adam(0.01), seed=1)
        losses.append([float(step(inputs, labels)) for _ in range(3)])
    assert losses[0] == losses[1]


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "int32", "int64", "uint64", "float32", "float64"])
def test_labels_of_every_type(name, data, kind):
    losses = [
        float(fs.TrainStep(fs.mlp([6, 3]), fs.SoftmaxCrossEntropy(), fs.SGD(), backend=name)(data[0], labels))
        for labels in (data[1], data[1].astype(kind), data[1].tolist())
    ]
    assert len(set(losses)) == 1


def test_boolean_labels(name, data):
    y = data[1] > 0
    for loss, width in ((fs.SoftmaxCrossEntropy(), 2), (fs.BinaryCrossEntropy(), 1), (fs.Hinge(), 1)):
        losses = [
            float(fs.TrainStep(fs.mlp([6, width]), loss, fs.SGD(), backend=name)(data[0], labels))
            for labels in (y, y.astype(int))
        ]
        assert losses[0] == losses[1]


def test_changing_batch_sizes(name, data):
    x, y = data
    step = fs.TrainStep(fs.mlp([6, 5, 3], dropout=0.1), fs.SoftmaxCrossEntropy(), fs.Adam(), backend=name)
    twin = fs.TrainStep(fs.mlp([6, 5, 3], dropout=0.1), fs.SoftmaxCrossEntropy(), fs.Adam(), backend=name)
    sizes = [24, 1, 7, 24, 3, 9, 2, 24, 11, 5, 24]
    for size in sizes:
        float(step(x[:size], y[:size]))
    # The same steps with fresh buffers each time: nothing of a former batch shows through.
    for size in sizes:
        for cache in (twin.executor.__dict__.get("_tapes"), twin.executor.__dict__.get("_plans")):
            if cache is not None:
                cache.clear()
        float(twin(x[:size], y[:size]))
    assert step.model.arena.values.tobytes() == twin.model.arena.values.tobytes()


def softmax(y):
    raised = np.exp(y - y.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


@pytest.mark.row("A14")
@pytest.mark.parametrize("loss", [fs.SoftmaxCrossEntropy(), fs.MultiClassHinge()], ids=repr)
def test_predictions_of_classes(name, data, loss):
    step = fs.TrainStep(fs.mlp([6, 5, 3]), loss, fs.Adam(), backend=name)
    model, x = step.model, data[0]
    assert model.head == "classes"
    y = np.asarray(model(x))
    assert np.array_equal(model.predict(x), y.argmax(axis=1))
    shares = np.asarray(model.predict_proba(x))
    conformance.close(shares, softmax(y.astype("f8")), "float32", "row")
    conformance.close(shares.sum(axis=1), np.ones(24), "float32", "row")


def test_predictions_of_a_model_that_ends_in_softmax(name, data):
    for loss in (fs.SoftmaxCrossEntropy(), fs.KLDivergence()):
        model = fs.Sequential(fs.Linear(6, 3), fs.Softmax())
        y = np.eye(3)[data[1]]
        step = fs.TrainStep(model, loss, fs.Adam(), backend=name)
        step(data[0], y)
        shares = np.asarray(model.predict_proba(data[0]))
        conformance.close(shares.sum(axis=1), np.ones(24), "float32", "row")
        assert np.array_equal(shares, model(data[0]))
        assert np.array_equal(model.predict(data[0]), shares.argmax(axis=1))


def test_predictions_of_yes_or_no(name, data):
    x = data[0]
    model = fs.TrainStep(fs.mlp([6, 4, 1]), fs.BinaryCrossEntropy(), fs.Adam(), backend=name).model
    y = np.asarray(model(x))[:, 0]
    assert np.array_equal(model.predict(x), (y > 0).astype(int))
    shares = np.asarray(model.predict_proba(x))
    assert shares.shape == (24, 2)
    conformance.close(shares[:, 1], 1.0 / (1.0 + np.exp(-y.astype("f8"))), "float32", "row")
    conformance.close(shares.sum(axis=1), np.ones(24), "float32", "row")

    model = fs.TrainStep(fs.mlp([6, 4, 1]), fs.Hinge(), fs.Adam(), backend=name).model
    assert np.array_equal(model.predict(x), (np.asarray(model(x))[:, 0] > 0).astype(int))
    with pytest.raises(fs.StateError, match="got head 'signs'; use predict instead"):
        model.predict_proba(x)


def test_predictions_of_numbers(name, data):
    model = fs.TrainStep(fs.mlp([6, 4, 2]), fs.MSE(), fs.Adam(), backend=name).model
    assert np.array_equal(model.predict(data[0]), model(data[0]))
    with pytest.raises(fs.StateError, match="got head 'values'"):
        model.predict_proba(data[0])


TARGETS = {"vector": lambda y: y, "column": lambda y: y.reshape(-1, 1)}
TRAININGS = {
    "step": lambda step, x, y: step(x, y),
    "micro-batches": lambda step, x, y: fs.TrainStep(step.model, step.loss, fs.Adam(), micro_batch=10)(x, y),
    "lists": lambda step, x, y: step(x.tolist(), y.tolist()),
    "arrays of the backend": lambda step, x, y: step(step.backend.asarray(x), step.backend.asarray(y)),
    "trainer": lambda step, x, y: fs.Trainer(step).fit(x, y, epochs=1),
    "rows of a source": lambda step, x, y: fs.Trainer(step).fit(x, y, epochs=1, data="stream"),
    "minimize": lambda step, x, y: fs.minimize(step.model, step.loss, x, y, fs.LBFGS(), 2),
}


@pytest.mark.parametrize("loss", [fs.MSE(), fs.BinaryCrossEntropy(), fs.Hinge(), fs.SoftmaxCrossEntropy()], ids=repr)
@pytest.mark.parametrize("form", TARGETS)
@pytest.mark.parametrize("how", TRAININGS)
def test_predictions_of_one_column_have_the_shape_of_y(name, data, loss, form, how):
    x = data[0]
    y = TARGETS[form]((data[1] > 0).astype("f4"))
    outputs = 2 if loss.head == "classes" else 1
    step = fs.TrainStep(fs.mlp([6, 4, outputs]), loss, fs.Adam(), backend=name)
    TRAININGS[how](step, x, y)
    predicted = np.asarray(step.model.predict(x))
    assert (y - predicted).shape == y.shape == predicted.shape
    assert np.asarray(step.model(x)).shape == (24, outputs)


def test_predictions_of_a_model_trained_on_distributions_are_labels(name, data):
    x, y = data[0], np.eye(3)[data[1]]
    for targets in (y, y.tolist()):
        step = fs.TrainStep(fs.mlp([6, 4, 3]), fs.SoftmaxCrossEntropy(), fs.Adam(), backend=name)
        step(x, targets)
        assert np.asarray(step.model.predict(x)).shape == (24,)


def test_several_outputs_keep_their_shape(name, data):
    x = data[0]
    for loss in (fs.MSE(), fs.BinaryCrossEntropy()):
        step = fs.TrainStep(fs.mlp([6, 4, 3]), loss, fs.Adam(), backend=name)
        step(x, np.eye(3)[data[1]])
        assert np.asarray(step.model.predict(x)).shape == (24, 3)


def test_the_shape_of_y_is_that_of_the_last_training_and_may_be_set(name, data):
    x, y = data[0], data[1].astype("f4")
    step = fs.TrainStep(fs.mlp([6, 4, 1]), fs.MSE(), fs.Adam(), backend=name)
    assert step.model.target_ndim is None
    assert np.asarray(step.model.predict(x)).shape == (24, 1)
    step(x, y)
    step.evaluate(x, y.reshape(-1, 1))  # changes nothing
    fs.Trainer(step).fit(x, y, (x, y.reshape(-1, 1)), epochs=1)
    assert np.asarray(step.model.predict(x)).shape == (24,)
    step.model.target_ndim = 2
    assert np.asarray(step.model.predict(x)).shape == (24, 1)
    with pytest.raises(fs.ShapeError):
        step(x, np.zeros((24, 2)))
    assert step.model.target_ndim == 2


def test_a_head_that_was_given_stays(name):
    model = fs.Sequential(fs.Linear(3, 2), head="values")
    fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD(), backend=name)
    assert model.head == "values"


def test_the_softmax_is_left_out_where_the_loss_contains_it(name, data):
    x, y = data
    plain = fs.Sequential(fs.Linear(6, 4), fs.Tanh(), fs.Linear(4, 3))
    ended = fs.Sequential(fs.Linear(6, 4), fs.Tanh(), fs.Linear(4, 3), fs.Softmax())
    steps = [fs.TrainStep(m, fs.SoftmaxCrossEntropy(), fs.Adam(0.01), seed=1, backend=name) for m in (plain, ended)]
    losses = [[float(step(x, y)) for _ in range(5)] for step in steps]
    assert losses[0] == losses[1]
    assert plain.arena.values.tobytes() == ended.arena.values.tobytes()
    assert steps[1].evaluate(x, y) == steps[0].evaluate(x, y)
    conformance.close(np.asarray(ended(x)).sum(axis=1), np.ones(24), "float32", "row")
    # Logits far out do not overflow, as they would with a softmax and a logarithm one after the other.
    ended.parameters()["2.Linear.weight"][...] *= 1e4
    assert np.isfinite(float(steps[1](x, y)))


def test_moving_to_another_backend_and_dtype(data):
    x = data[0]
    model = fs.mlp([6, 5, 3], layer_norm=True).initialize(0, "numpy")
    values = {key: np.array(array) for key, array in model.parameters().items()}
    y = np.array(model(x))
    assert model.to("numba") is model
    assert model.backend.name == "numba"
    assert all(np.array_equal(array, values[key]) for key, array in model.parameters().items())
    conformance.close(model(x), y, "float32", "product")
    model.to("numba", "float64")
    assert model.dtype == "float64"
    assert np.asarray(model(x)).dtype == np.float64
    model.to("numpy", "float32")
    assert all(np.array_equal(array, values[key]) for key, array in model.parameters().items())
    assert np.array_equal(model(x), y)
    with pytest.raises(fs.UnknownBackend):
        model.to("nunpy")
    assert model.backend.name == "numpy"


def test_moving_to_a_dtype_that_does_not_exist():
    model = fs.mlp([2, 2]).initialize(0, "numpy")
    for wrong in ("float16", "int32", "double"):
        with pytest.raises(fs.DtypeError):
            model.to("numpy", wrong)
        assert model.dtype == "float32"
        assert np.asarray(model([[1.0, 2.0]])).dtype == np.float32


def test_loading_parameters(name):
    source, target = (fs.mlp([3, 4, 2]).initialize(seed, name) for seed in (1, 2))
    target.load_parameters(dict(source.parameters()))
    assert np.array_equal(source.arena.values, target.arena.values)
    assert not np.shares_memory(source.arena.values, target.arena.values)


def test_predictions_in_parts_are_predictions_at_once(name, monkeypatch):
    x = np.random.default_rng(0).normal(size=(10, 3)).astype("f4")
    model = fs.mlp([3, 4, 2]).initialize(0, name)
    whole = np.array(model(x))
    monkeypatch.setattr("fusedstep.framework.engine.model.PREDICTION_ROWS", 4)
    conformance.close(model(x), whole, "float32", "product")
    assert np.array_equal(model.predict(x), whole)


def test_results_are_the_callers_own(name, data):
    model = fs.mlp([6, 4, 3]).initialize(0, name)
    first = model(data[0])
    saved = np.array(first)
    model(data[0] * 2.0)
    assert np.array_equal(first, saved)
    one = model(data[0][:1])
    assert one.shape == (1, 3)


def test_identity_does_not_alias_the_input(name, data):
    x = data[0].copy()
    y = fs.Sequential(fs.Dropout(0.5)).initialize(0, name)(x)
    y[...] = 7.0
    assert np.array_equal(x, data[0])


def test_a_model_of_one_softmax_keeps_it(name):
    model = fs.Sequential(fs.Softmax()).initialize(0, name)
    conformance.close(model([[1.0, 2.0, 3.0]]), softmax(np.array([[1.0, 2.0, 3.0]])), "float32", "row")


def test_names_summary_and_repr():
    model = fs.mlp([4, 8, 2], activation="prelu", dropout=0.5, layer_norm=True)
    assert [name for name, _ in model.declared()] == [
        "0.Linear.weight", "0.Linear.bias", "1.LayerNorm.gain", "1.LayerNorm.offset", "2.PReLU.alpha",
        "4.Linear.weight", "4.Linear.bias",
    ]  # fmt: skip
    assert "82" in model.summary()
    assert "Dropout(p=0.5)" in repr(model)
    assert (model.inputs, model.outputs) == (4, 2)


def test_steps_count_and_format(name, data):
    step = fs.TrainStep(fs.mlp([6, 3]), fs.SoftmaxCrossEntropy(), fs.Adam(0.01), backend=name)
    loss = step(*data)
    assert step.steps == 1
    assert f"{loss:.3f}" == f"{float(loss):.3f}"
    assert repr(loss) == f"{float(loss):.6g}"
    scores = step.evaluate(*data)
    assert set(scores) == {"loss", "accuracy", "error"}
    assert step.steps == 1
    assert step.evaluate(*data, batch_rows=5)["loss"] == pytest.approx(scores["loss"], rel=1e-5)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_loss_is_that_of_before_the_update(name, data, reduction):
    x, y = data
    step = fs.TrainStep(fs.mlp([6, 3]), fs.SoftmaxCrossEntropy(reduction=reduction), fs.SGD(0.1), backend=name)
    logits = np.asarray(step.model(x)).astype("f8")
    terms = -np.log(softmax(logits)[np.arange(24), y])
    wanted = terms.mean() if reduction == "mean" else terms.sum()
    assert float(step(x, y)) == pytest.approx(wanted, rel=1e-5)
