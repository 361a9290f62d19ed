"""Predictions and metrics that are replayed give what the layers' own code gives, for any number of rows, parts and threads."""

import copy
import gc
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from networks import COLUMNS, ZOO, batch_for, step_for

import fusedstep as fs
from fusedstep.backends import conformance
from fusedstep.backends.defaults.evaluator import Evaluator
from fusedstep.backends.executors.base import NotCapturable
from fusedstep.backends.numba import evaluation_plan
from fusedstep.backends.numba.evaluation_plan import EvaluationPlan
from fusedstep.backends.numba.row_calls import CAPTURED_ROWS, Extent
from fusedstep.kernels.formula import Each, Scalar, formula

ROWS = (1, 2, 3, 4, 7, 33, 130)


@formula
def own_multiple(a: Each, factor: Scalar) -> Each:
    return a * factor


class Times(fs.Layer, public=False):
    """y = factor x, in one call of the backend; its factor may be set."""

    recordable = True

    def __init__(self, factor):
        self.factor = factor

    def forward(self, x, tape):
        y = tape.empty(x.shape)
        tape.backend.map(own_multiple, y, x, self.factor)
        return y


class Plus(fs.Layer, public=False):
    """y = x + 1 in plain NumPy."""

    def forward(self, x, tape):
        return x + 1.0


def plans(holder):
    """The captured passes of a model, or of a step's metrics."""
    evaluators = holder.arena.evaluators.values() if isinstance(holder, fs.Sequential) else [holder.evaluator()]
    return [plan for evaluator in evaluators for plan in evaluator._plans.values()]


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of at most 8 rows, so that few rows have many of them."""
    monkeypatch.setattr(evaluation_plan, "PART_ROWS", (8, 8))


def model_of(*layers, dtype="float32", backend="numba", head="classes", seed=3):
    return fs.Sequential(*layers, head=head).initialize(seed, backend, dtype)


def small(**options):
    return model_of(fs.Linear(COLUMNS, 16), fs.Tanh(), fs.Linear(16, 3), **options)


def rows_of(count, dtype="float32", number=0):
    return np.random.default_rng([count, number]).standard_normal((count, COLUMNS)).astype(dtype)


@pytest.mark.parametrize("name", ZOO)
def test_predictions_and_metrics_equal_those_of_numpy(name, dtype):
    fs.set_num_threads(2)
    own, reference = step_for(name, dtype), step_for(name, dtype, "numpy")
    for rows in ROWS:
        x, y = batch_for(name, rows, dtype)
        for method in ("__call__", "predict", *(["predict_proba"] if own.model.head in ("classes", "binary") else [])):
            got, wanted = (getattr(step.model, method)(x) for step in (own, reference))
            assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
            conformance.close(got, wanted, dtype, "sum", f"{method}, {rows} rows")
        metrics, expected = own.evaluate(x, y), reference.evaluate(x, y)
        assert list(metrics) == list(expected)
        for key, value in metrics.items():
            np.testing.assert_allclose(value, expected[key], rtol=1e-4 if dtype == "float32" else 1e-9, atol=1e-6)
    for holder in (own, own.model):
        assert all(isinstance(plan, EvaluationPlan) for plan in plans(holder))
        assert plans(holder)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parts_give_what_one_part_gives(dtype, monkeypatch):
    model, rows = small(dtype=dtype), (7, 8, 9, 15, 16, 17, 128, 129, 1000)
    whole = [model(rows_of(count, dtype)) for count in rows]
    monkeypatch.setattr(evaluation_plan, "PART_ROWS", (8, 8))
    cut = copy.deepcopy(model)
    for count, wanted in zip(rows, whole, strict=True):
        conformance.close(cut(rows_of(count, dtype)), wanted, dtype, "sum", f"{count} rows")
        assert plans(cut)[0].parts(count) >= count / 8


@pytest.mark.usefixtures("small_parts")
def test_the_bits_do_not_depend_on_threads_or_launches(monkeypatch):
    bits = set()
    for threads, launch in ((1, 4e9), (2, 4e9), (3, 4e9), (2, 1.0), (1, 1.0)):
        fs.set_num_threads(threads)
        monkeypatch.setattr(evaluation_plan, "LAUNCH", launch)
        model = small()
        step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD())
        x = rows_of(1000)
        loss = step.evaluate(x, np.arange(1000) % 3)["loss"]
        bits.add((model(x).tobytes(), model.predict_proba(x).tobytes(), model.predict(x).tobytes(), loss))
    assert len(bits) == 1


def test_few_rows_of_a_large_model_use_all_threads(monkeypatch):
    monkeypatch.setattr(evaluation_plan, "SHORT", 0)
    monkeypatch.setattr(evaluation_plan, "SHORT_OF_FEW", 0)
    x, bits = rows_of(3), set()
    reference = model_of(fs.Linear(COLUMNS, 300), fs.ReLU(), fs.Linear(300, 200), fs.ReLU(), fs.Linear(200, 3), backend="numpy")
    for threads in (1, 2, 3, 5):
        fs.set_num_threads(threads)
        model = model_of(fs.Linear(COLUMNS, 300), fs.ReLU(), fs.Linear(300, 200), fs.ReLU(), fs.Linear(200, 3))
        for rows in (1, 2, 3, 1):
            conformance.close(model(x[:rows]), reference(x[:rows]), "float32", "sum")
        bits.add((model(x).tobytes(), model(x[:1]).tobytes()))
        lanes = [lane for owned in plans(model)[0]._lanes.values() for lane in owned]
        assert sum(len(lane._replays) for lane in lanes) == (3 if threads > 1 else 0)
        assert all(replay.width == min(threads, 4) for lane in lanes for replay in lane._replays.values())
    assert len(bits) == 1


@pytest.mark.usefixtures("small_parts")
def test_threads_may_predict_at_the_same_time():
    fs.set_num_threads(2)
    model = small()
    batches = [rows_of(count, number=number) for number in range(8) for count in (1, 3, 100, 500)]
    alone = [model.predict_proba(x) for x in batches]
    with ThreadPoolExecutor(6) as threads:
        for _ in range(10):
            for got, wanted in zip(threads.map(model.predict_proba, batches), alone, strict=True):
                np.testing.assert_array_equal(got, wanted)


def test_parameters_are_read_where_they_are():
    model, x = small(), rows_of(20)
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD(0.5))
    reference = fs.Sequential(fs.Linear(COLUMNS, 16), fs.Tanh(), fs.Linear(16, 3), head="classes").initialize(0, "numpy")

    def check():
        reference.load_parameters({name: np.array(a, "f4") for name, a in model.parameters().items()})
        for rows in (20, 1):
            conformance.close(np.asarray(model(x[:rows]), "f4"), reference(x[:rows]), "float32", "sum")

    check()
    before, captured = model(x), plans(model)
    for _ in range(3):
        step(x, np.arange(20) % 3)
    check()
    assert not np.allclose(model(x), before)
    fs.prune(step, 0.5)
    check()
    model.load_parameters({name: np.array(a) * 2.0 for name, a in model.parameters().items()})
    check()
    assert plans(model) == captured
    model.initialize(9, "numba")
    check()
    model.to("numba", "float64")
    check()
    assert model(x).dtype == np.float64
    assert not set(map(id, plans(model))) & set(map(id, captured))


def test_copies_and_pickles_have_their_own_parameters():
    model, x = small(), rows_of(5)
    wanted = model(x)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other(x), wanted)
        other.load_parameters({name: np.zeros_like(a) for name, a in other.parameters().items()})
        assert not other(x).any()
    np.testing.assert_array_equal(model(x), wanted)
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD())
    metrics = step.evaluate(x, np.zeros(5, int))
    assert pickle.loads(pickle.dumps(step)).evaluate(x, np.zeros(5, int)) == metrics


def test_a_change_of_an_own_layer_is_noticed():
    layer = Times(2.0)
    model, x = model_of(layer, fs.Linear(COLUMNS, 3)), rows_of(9)
    before = model(x)
    layer.factor = 4.0
    for rows in (9, 1):
        wanted = model_of(Times(4.0), fs.Linear(COLUMNS, 3))(x[:rows])
        np.testing.assert_array_equal(model(x[:rows]), wanted)
    assert not np.allclose(model(x), before)


def test_plans_are_made_anew_when_libraries_are_set():
    model, x = small(), rows_of(9)
    wanted = model(x)
    before = plans(model)
    fs.set_blas_choices({})
    np.testing.assert_array_equal(model(x), wanted)
    assert plans(model) != before


@pytest.mark.parametrize("layer", [Plus(), fs.Dropout(0.5)], ids=["plain NumPy", "nothing to do"])
def test_what_cannot_be_captured_runs_on_the_layers_own_code(layer):
    model, x = model_of(layer, head="values"), rows_of(9)
    given = x.copy()
    y = model(x)
    np.testing.assert_array_equal(y, x + (1.0 if isinstance(layer, Plus) else 0.0))
    y[:] = 7.0
    np.testing.assert_array_equal(x, given)
    assert plans(model) == [False]


def test_a_backend_of_a_user_runs_the_layers_own_code():
    class Own(type(fs.backend("numba"))):
        name = "own"

    backend = Own()
    model = fs.Sequential(fs.Linear(COLUMNS, 3)).initialize(0, backend)
    x = rows_of(4)
    np.testing.assert_allclose(model(x), fs.Sequential(fs.Linear(COLUMNS, 3)).initialize(0, "numba")(x), rtol=1e-5)
    assert {type(e) for e in model.arena.evaluators.values()} == {Evaluator}


@pytest.mark.parametrize("rows", [1, 40])
@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_errors_are_those_of_numpy(rows, method):
    messages = []
    for backend in ("numba", "numpy"):
        model, x = model_of(fs.Linear(COLUMNS, 3), backend=backend), rows_of(rows)
        for bad in (np.nan, np.inf, -np.inf):
            wrong = x.copy()
            wrong[-1, 2] = bad
            with pytest.raises(fs.NonFiniteDataError) as caught:
                getattr(model, method)(wrong)
            messages.append((backend, str(caught.value)))
        model.parameters()["0.Linear.bias"][1] = np.inf
        with pytest.raises(fs.NonFiniteDataError, match=r"model\.parameters\(\)") as caught:
            getattr(model, method)(x)
        messages.append((backend, str(caught.value)))
        with pytest.raises(fs.EmptyDataError):
            getattr(model, method)(x[:0])
        assert not np.isfinite(model(x)).all()
    own = [text for name, text in messages if name == "numba"]
    assert own == [text for name, text in messages if name == "numpy"]


def test_rows_of_a_source_and_rows_with_gaps(tmp_path):
    model, x = small(), rows_of(10_000)
    np.save(tmp_path / "x.npy", x)
    wanted = model.predict_proba(x)
    np.testing.assert_allclose(model.predict_proba(fs.memory_map(tmp_path / "x.npy")), wanted, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(model.predict_proba(x[::2]), wanted[::2], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(model.predict_proba(np.asfortranarray(x)), wanted, rtol=1e-5, atol=1e-7)
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD())
    inputs, targets = step.prepare(x, np.zeros(10_000, int))
    strided = step.evaluator().run((np.asfortranarray(inputs), targets))
    np.testing.assert_allclose(strided[1], step.evaluator().run((inputs, targets))[1])


def test_results_belong_to_the_caller():
    model = small()
    for rows in (1, 5, 1000):
        first, second = model(rows_of(rows)), model(rows_of(rows, number=1))
        assert not np.shares_memory(first, second)
        np.testing.assert_array_equal(first, model(rows_of(rows)))


def test_buffers_are_bounded():
    fs.set_num_threads(2)
    model = small()
    for rows in (*range(1, 300, 7), 5000, 20_000):
        model(rows_of(rows))
    (plan,) = plans(model)
    teams = [team for free in plan._teams.values() for team in free]
    assert sorted(len(team._lanes) for team in teams) == [1, 2]
    fixed = [lane for owned in plan._lanes.values() for lane in owned]
    assert len(fixed) == 2
    lanes = [*(lane for team in teams for lane in team._lanes), *(one._lane for one in fixed)]
    per_row = sum(extent.per_row for extent in plan.calls.extents)
    assert sum(b.nbytes for lane in lanes for b in lane._buffers) <= 5 * plan.part_rows * per_row


def test_a_model_is_freed_without_the_garbage_collector():
    gc.disable()
    try:
        model = small()
        model.predict_proba(rows_of(1000))
        model(rows_of(1))
        arena, memory = weakref.ref(model.arena), weakref.ref(model.arena.values.base)
        del model
        assert arena() is None
        assert memory() is None
    finally:
        gc.enable()


def test_the_parts_of_rows():
    plan = object.__new__(EvaluationPlan)
    plan.part_rows = 256

    class calls:
        flop = 10**6

    plan.calls = calls
    assert [plan.parts(rows) for rows in (2, 31, 32, 256, 1000, 4096, 10_000)] == [1, 1, 2, 2, 8, 16, 48]
    calls.flop = 1
    assert [plan.parts(rows) for rows in (2, 256, 257, 1000, 10_000)] == [1, 1, 2, 4, 48]
    for rows in range(1, 5000, 13):
        assert -(-rows // plan.parts(rows)) <= plan.part_rows


def test_numbers_on_no_line_are_not_captured():
    most, fewer, least = CAPTURED_ROWS
    assert Extent.of([3 + 5 * rows for rows in CAPTURED_ROWS]) == (3, 5)
    for wrong in ([most, fewer, least + 1], [most * most, fewer * fewer, least * least], [most // 3, fewer // 3, least // 3]):
        with pytest.raises(NotCapturable):
            Extent.of(wrong)


def test_a_pass_that_depends_on_the_number_of_rows_is_not_captured():
    class ByRows(fs.Layer, public=False):
        recordable = True

        def forward(self, x, tape):
            y = tape.empty(x.shape)
            tape.backend.map(own_multiple, y, x, float(x.shape[0]))
            return y

    model, x = model_of(ByRows(), head="values"), rows_of(9)
    np.testing.assert_allclose(model(x), 9.0 * x, rtol=1e-6)
    assert plans(model) == [False]
