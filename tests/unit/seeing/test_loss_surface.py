"""D4: the loss on a slice through the parameters, and the optimiser's path over it."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends.conformance.tolerances import tolerance

BACKENDS = ["numpy", "numba"]


@pytest.fixture
def trained(make_step, data):
    def train(run="numpy", epochs=3, model=None, every=2, callbacks=(), **options):
        step = make_step(run, model, **options)
        path = fs.ParameterPath(every)
        fs.Trainer(step, [path, *callbacks]).fit(*data, epochs=epochs, batch_size=50)
        return step, path

    return train


def _host(step):
    return {name: step.backend.to_numpy(values) for name, values in step.model.parameters().items()}


def _flat(step, point):
    views = step.model.arena.views_of(point)
    return np.concatenate([np.ravel(step.backend.to_numpy(views[p])) for p in step.model.arena.parameters]).astype(np.float64)


def _ravel(values):
    return np.concatenate([np.ravel(v) for v in values.values()]).astype(np.float64)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("with_path", [False, True])
@pytest.mark.parametrize("run", BACKENDS)
def test_d4_the_surface_is_the_loss_at_its_points(run, with_path, dtype, trained, data):
    x, y = data
    step, path = trained(run, precision=dtype)
    before = _host(step)
    surface = fs.loss_surface(step, None, x, y, path=path if with_path else None, points=5, batch_rows=64)
    assert surface.values.shape == (5, 5)
    for name, values in _host(step).items():
        np.testing.assert_array_equal(values, before[name])
    # By hand: the parameters of a point, loaded into the model, and evaluated.
    centre = step.evaluate(x, y)["loss"]
    assert surface.origin_loss == pytest.approx(centre, rel=1e-6)
    for row, column in ((0, 0), (1, 3), (4, 2), (2, 2)):
        step.model.load_parameters(surface.point(surface.a[column], surface.b[row]))
        found = step.evaluate(x, y)["loss"]
        assert tolerance(dtype, "loss").allows(surface.values[row, column], found)
    step.model.load_parameters(before)
    for name, values in surface.point(0.0, 0.0).items():
        np.testing.assert_array_equal(values, before[name])
    if not with_path:
        np.testing.assert_allclose(surface.a, [-1.0, -0.5, 0.0, 0.5, 1.0])
        assert surface.values[2, 2] == surface.origin_loss


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("run", BACKENDS)
def test_d4_weights_of_rows_and_classes_count(run, members, data):
    x = data[0]
    weights = np.random.default_rng(0).integers(0, 3, len(x)) / 2.0
    width, labels = x.shape[1], (x[:, 0] > 0.7).astype(int)
    loss = fs.SoftmaxCrossEntropy(class_weights="balanced")
    step = fs.TrainStep(fs.mlp([width, 6, 2], n_ensemble=members), loss, fs.Adam(0.01), backend=run, precision="float64")
    fs.Trainer(step).fit(x, labels, epochs=2, sample_weight=weights)
    for given in (None, weights):
        surface = fs.loss_surface(step, None, x, labels, points=3, batch_rows=70, sample_weight=given)
        assert surface.origin_loss == pytest.approx(members_loss(step, x, labels, given), rel=1e-12)
        step.model.load_parameters(surface.point(1.0, -1.0))
        assert surface.values[0, 2] == pytest.approx(members_loss(step, x, labels, given), rel=1e-9)
        step.model.load_parameters(surface.point(0.0, 0.0))
    # Without a fit, the labels at hand say what is balanced.
    alone = fs.loss_surface(step.model, loss, x, labels, points=3).origin_loss
    counts = np.bincount(labels)
    numbers = fs.SoftmaxCrossEntropy(class_weights=(len(labels) / (2 * counts)).tolist())
    assert alone == fs.loss_surface(step.model, numbers, x, labels, points=3).origin_loss
    with pytest.raises(fs.ShapeError, match="one weight for each"):
        fs.loss_surface(step, None, x, labels, points=3, sample_weight=weights[:5])


def members_loss(step, x, labels, weights):
    """The weighted mean of the losses of all members, by hand."""
    factors = np.array(step.class_weights)[labels] * (1.0 if weights is None else weights)
    total = len(labels) if weights is None else weights.sum()
    chain = fs.Sequential(*step.model.layers[:-1]) if step.model.layers[-1].__class__ is fs.EnsembleMean else step.model
    outputs = np.asarray(outputs_of(step, x, chain)).reshape(len(x), -1, 2)
    shifted = outputs - outputs.max(axis=2, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=2)) - np.take_along_axis(shifted, labels[:, None, None], axis=2)[:, :, 0]
    return float((losses.mean(axis=1) * factors).sum() / total)


def outputs_of(step, x, chain):
    if chain is step.model:
        return chain(x)
    copied = chain.initialize(backend=step.backend.name, dtype="float64")
    values = step.model.parameters()
    copied.load_parameters({name: np.asarray(values[name]) for name in copied.parameters()})
    return copied(x)


@pytest.mark.parametrize("run", BACKENDS)
def test_d4_random_directions_are_filter_normalised(run, make_step, data):
    x, y = data
    model = fs.Sequential(fs.Linear(6, 16), fs.PReLU(16), fs.Maxout(16, 8, pieces=2), fs.LayerNorm(8), fs.Linear(8, 3))
    step = make_step(run, model)
    surface = fs.loss_surface(step, None, x, y, points=3, seed=5)
    here = _host(step)
    directions = []
    for a, b in ((1.0, 0.0), (0.0, 1.0)):
        direction = {name: values - here[name] for name, values in surface.point(a, b).items()}
        directions.append(direction)
        for name, values in direction.items():
            if name.endswith("weight"):
                lengths = [np.sqrt((v.astype(np.float64) ** 2).sum(axis=0)) for v in (values, here[name])]
                np.testing.assert_allclose(*lengths, rtol=1e-5)
            else:
                assert not values.any()
    first, second = map(_ravel, directions)
    assert abs(first @ second) < 0.3 * np.linalg.norm(first) * np.linalg.norm(second)
    again = fs.loss_surface(step, None, x, y, points=3, seed=5)
    np.testing.assert_array_equal(surface.values, again.values)
    other = fs.loss_surface(step, None, x, y, points=3, seed=6)
    assert not np.allclose(surface.values[0], other.values[0], rtol=1e-3)


def test_d4_the_same_surface_on_both_backends(make_step, data):
    x, y = data
    surfaces = [fs.loss_surface(make_step(run), None, x, y, points=5) for run in BACKENDS]
    assert tolerance("float32", "loss").allows(surfaces[1].values, surfaces[0].values).all()


def test_d4_the_scale_of_a_relu_layer_does_not_show(make_step, data):
    x, y = data
    model = fs.Sequential(fs.Linear(6, 16, bias=False), fs.ReLU(), fs.Linear(16, 3, bias=False))
    step = make_step(model=model, precision="float64")
    first = fs.loss_surface(step, None, x, y, points=5)
    weights = step.model.parameters()
    weights["0.Linear.weight"] *= 100.0
    weights["2.Linear.weight"] /= 100.0
    np.testing.assert_allclose(fs.loss_surface(step, None, x, y, points=5).values, first.values, rtol=1e-9)


@pytest.mark.parametrize("run", BACKENDS)
def test_d4_the_path_begins_and_ends_where_training_did(run, trained, data, make_step):
    x, y = data
    start = _host(make_step(run))
    step, path = trained(run)
    assert path.steps == [0, 2, 4, 6, 8, 10, 12]
    np.testing.assert_array_equal(_flat(step, path.points[0]), _ravel(start))
    np.testing.assert_array_equal(_flat(step, path.points[-1]), _ravel(_host(step)))
    surface = fs.loss_surface(step, None, x, y, path=path, points=3)
    assert surface.steps == path.steps
    np.testing.assert_allclose(surface.path[-1], [0.0, 0.0], atol=1e-7)
    # Each point is projected at right angles: the rest is perpendicular to both directions.
    origin = _ravel(surface.point(0.0, 0.0))
    directions = [_ravel(surface.point(*unit)) - origin for unit in ((1.0, 0.0), (0.0, 1.0))]
    for point, (a, b) in zip(path.points, surface.path, strict=True):
        rest = _flat(step, point) - origin - a * directions[0] - b * directions[1]
        assert np.abs([rest @ d for d in directions]).max() < 1e-5
    assert (surface.a[0] < surface.path[:, 0]).all()
    assert (surface.path[:, 1] < surface.b[-1]).all()


@pytest.mark.parametrize("run", BACKENDS)
def test_d4_pca_directions_are_those_of_a_singular_value_decomposition(run, trained, data):
    step, path = trained(run, precision="float64")
    surface = fs.loss_surface(step, None, *data, path=path, points=2)
    points = np.stack([_flat(step, point) for point in path.points])
    _, singular, vectors = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    origin = _ravel(surface.point(0.0, 0.0))
    for k, unit in enumerate(((1.0, 0.0), (0.0, 1.0))):
        direction = _ravel(surface.point(*unit)) - origin
        assert abs(direction @ vectors[k]) == pytest.approx(1.0, abs=1e-9)
        assert np.linalg.norm(direction) == pytest.approx(1.0, abs=1e-9)
        share = singular[k] ** 2 / (singular**2).sum()
        assert surface.labels[k] == f"PCA direction {k + 1} ({share:.1%} of the path's variance)"
    assert surface.path[0, 0] < 0.0


def test_d4_the_path_goes_on_where_early_stopping_went_back(trained, data):
    x, y = data
    step, path = trained(epochs=6, callbacks=[fs.EarlyStopping(1, monitor="loss", smallest_change=100.0)])
    assert step.steps == path.steps[-1] == 8
    np.testing.assert_array_equal(_flat(step, path.points[2]), _ravel(_host(step)))  # step 4: the first epoch was the best
    surface = fs.loss_surface(step, None, x, y, path=path, points=2)
    np.testing.assert_allclose(surface.path[2], [0.0, 0.0], atol=1e-7)
    assert np.linalg.norm(surface.path[-1]) > 1e-3


def test_d4_a_straight_path_is_shown_on_random_directions(make_step, data):
    x, y = data
    step = make_step()
    path = fs.ParameterPath()
    fs.Trainer(step, [path]).fit(x, y, epochs=1)
    surface = fs.loss_surface(step, None, x, y, path=path, points=3)
    assert surface.labels[0].startswith("random")
    np.testing.assert_allclose(surface.path[-1], [0.0, 0.0], atol=1e-7)
    with pytest.raises(fs.HyperparameterError, match="2 points on a straight line"):
        fs.loss_surface(step, None, x, y, path=path, directions="pca")


def test_d4_losses_of_every_kind_and_overflow(data):
    x, y = data
    for loss, widths, targets in (
        (fs.MSE(), [6, 8, 1], y.astype(np.float32)),
        (fs.MSE("sum"), [6, 8, 1], y.astype(np.float32)),
        (fs.BinaryCrossEntropy(), [6, 8, 1], (y > 0).astype(np.float32)),
        (fs.SoftmaxCrossEntropy(label_smoothing=0.1), [6, 8, 3], y),
    ):
        step = fs.TrainStep(fs.mlp(widths), loss, fs.SGD(0.01), backend="numpy")
        surface = fs.loss_surface(step.model, loss, x, targets, points=3)
        assert surface.origin_loss == pytest.approx(step.evaluate(x, targets)["loss"], rel=1e-6)
    step = fs.TrainStep(fs.mlp([6, 8, 1]), fs.MSE(), fs.SGD(0.01), backend="numpy")
    far = fs.loss_surface(step, None, x, y.astype(np.float32), points=5, span=1e19)
    assert np.isinf(far.values).any()
    assert np.isfinite(far.values[2, 2])


@pytest.mark.usefixtures("untouched")
def test_d4_the_figure_shows_surface_path_and_model(trained, data, tmp_path):
    pytest.importorskip("matplotlib")
    x, y = data
    step, path = trained()
    surface = fs.loss_surface(step, None, x, y, path=path, points=9)
    figure = surface.plot(tmp_path / "surface.png")
    assert (tmp_path / "surface.png").read_bytes().startswith(b"\x89PNG")
    axes, bar = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == surface.labels
    assert bar.get_ylabel() == "loss"
    lines = {line.get_label(): line for line in axes.get_lines()}
    np.testing.assert_array_equal(lines["path of training"].get_xydata(), surface.path)
    np.testing.assert_array_equal(lines["its start"].get_xydata(), surface.path[:1])
    np.testing.assert_array_equal(lines["the model"].get_xydata(), [[0.0, 0.0]])
    assert axes.get_xlim() == (surface.a[0], surface.a[-1])
    plain = fs.loss_surface(step, None, x, y, points=5)
    both = fs.plot_surfaces({"one": surface, "other": plain})
    assert len(both.axes) == 3
    assert both.axes[0].collections[0].norm.vmax == both.axes[1].collections[0].norm.vmax
    step = fs.TrainStep(fs.mlp([6, 8, 1]), fs.MSE(), fs.SGD(0.01), backend="numpy")
    fs.loss_surface(step, None, x, y.astype(np.float32), points=5, span=1e19).plot(tmp_path / "overflow.png")
    with pytest.raises(fs.HyperparameterError, match="titles and loss surfaces"):
        fs.plot_surfaces({})


def test_d4_bad_input_is_refused(trained, data, make_step):
    x, y = data
    step, path = trained()
    surface = fs.loss_surface
    for error, match, call in (
        (fs.HyperparameterError, "points", lambda: surface(step, None, x, y, points=1)),
        (fs.HyperparameterError, "span", lambda: surface(step, None, x, y, span=0.0)),
        (fs.HyperparameterError, "'random', 'pca'", lambda: surface(step, None, x, y, directions="hessian")),
        (fs.HyperparameterError, "ParameterPath", lambda: surface(step, None, x, y, directions="pca")),
        (fs.HyperparameterError, "ParameterPath", lambda: surface(step, None, x, y, path=[1.0])),
        (fs.HyperparameterError, "expected a Loss", lambda: surface(step.model, None, x, y)),
        (fs.HyperparameterError, "forget", lambda: surface(step.model, fs.MSE, x, y)),
        (fs.HyperparameterError, "a model or a TrainStep", lambda: surface(fs.ReLU(), fs.MSE(), x, y)),
        (fs.HyperparameterError, "seed", lambda: surface(step, None, x, y, seed=-1)),
        (fs.StateError, "empty", lambda: surface(step, None, x, y, path=fs.ParameterPath())),
        (fs.StateError, "other parameters", lambda: surface(make_step(), None, x, y, path=path)),
        (fs.StateError, "initialised", lambda: surface(fs.mlp([6, 3]), fs.SoftmaxCrossEntropy(), x, y)),
        (fs.ShapeError, "200 rows of x; got 199", lambda: surface(step, None, x, y[1:])),
        (fs.ShapeError, "0 rows", lambda: surface(step, None, x[:0], y[:0])),
        (fs.ShapeError, "matrix", lambda: surface(step, None, x[:, :5], y)),
        (fs.LabelError, "0 to 2", lambda: surface(step, None, x, y + 2)),
        (fs.NonFiniteDataError, "nan", lambda: surface(step, None, np.full_like(x, np.nan), y)),
        (fs.HyperparameterError, "every of ParameterPath", lambda: fs.ParameterPath(0)),
    ):
        with pytest.raises(error, match=match):
            call()
