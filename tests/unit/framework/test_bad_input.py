"""Every bad input that the Python API can meet: the right error, a message that helps, and nothing has changed."""

import array

import numpy as np
import pytest

import fusedstep as fs


def everything(step):
    """A copy of all state of a step: parameters, optimiser states, step count, learning rate."""
    copies = {"values": np.array(step.model.arena.values)}
    copies |= {f"state {name}": np.array(values) for name, values in step.state.states.items()}
    return copies, step.steps, step.lr


def unchanged(step, before):
    after = everything(step)
    assert after[1:] == before[1:]
    assert after[0].keys() == before[0].keys()
    return all(after[0][key].tobytes() == before[0][key].tobytes() for key in before[0])


@pytest.fixture(params=("adam", "look_ahead"))
def step(request, name, data):
    model = fs.mlp([6, 8, 3], activation="gelu", dropout=0.25, layer_norm=True)
    optimizer = fs.Adam(0.01) if request.param == "adam" else fs.Nesterov(0.01, form="look_ahead")
    made = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), optimizer, seed=3, backend=name)
    for _ in range(3):
        made(*data)
    return made


def nan_at(x, row, column, value=np.nan):
    broken = x.copy()
    broken[row, column] = value
    return broken


BAD = {
    "too narrow": (lambda x, y: (x[:, :5], y), fs.ShapeError, r"Linear.*layer 0.*\[rows, 6\]; got shape \(24, 5\); .*columns"),
    "a vector": (lambda x, y: (x[0], y[:1]), fs.ShapeError, r"layer 0.*got shape \(6,\); .*reshape it to \[1, columns\]"),
    "three axes": (lambda x, y: (x[None], y[:1]), fs.ShapeError, r"got shape \(1, 24, 6\); .*x\.reshape\(len\(x\), -1\)"),
    "no rows": (lambda x, y: (x[:0], y[:0]), fs.EmptyDataError, "expected a minibatch of at least one row; got none"),
    "nothing": (lambda x, y: (np.empty((0, 6), "f4"), []), fs.EmptyDataError, "at least one row"),
    "text in x": (lambda x, y: (x.astype(str), y), fs.DtypeError, "expected real numbers; got a numpy.ndarray.*dtype <U"),
    "complex x": (lambda x, y: (x + 1j, y), fs.DtypeError, "expected real numbers"),
    "ragged x": (lambda x, y: ([[1.0] * 6, [1.0]], y[:2]), fs.DtypeError, "make all rows equally long"),
    "no array": (lambda x, y: (None, y), fs.DtypeError, "expected real numbers"),
    "fewer labels": (lambda x, y: (x, y[:-1]), fs.ShapeError, "expected one target for each of the 24 rows of x; got 23"),
    "one label": (lambda x, y: (x, 1), fs.ShapeError, "expected one target for each of the 24 rows"),
    "labels in two columns": (lambda x, y: (x, np.stack([y, y], 1)), fs.ShapeError, r"expected targets \[rows, 3\]"),
    "too large": (lambda x, y: (x, np.where(np.arange(24) == 7, 3, y)), fs.LabelError, "labels 0 to 2, .* got 3 in row 8 "),
    "negative": (lambda x, y: (x, np.where(np.arange(24) == 5, -1, y)), fs.LabelError, "got -1 in row 6.*start at 0"),
    "from 1 on": (lambda x, y: (x, y + 1), fs.LabelError, "labels start at 0, and these at 1: take y - 1"),
    "large unsigned": (lambda x, y: (x, y.astype("u8") + np.uint64(2**63)), fs.LabelError, "expected labels 0 to 2"),
    "fractions": (lambda x, y: (x, y + 0.5), fs.LabelError, "expected whole numbers 0 to 2 as labels; got fractions"),
    "NaN labels": (lambda x, y: (x, np.where(np.arange(24) == 2, np.nan, y)), fs.LabelError, "expected whole numbers"),
    "infinite labels": (lambda x, y: (x, np.where(np.arange(24) == 2, np.inf, y)), fs.LabelError, "fractions, NaN or infinity"),
    "text labels": (lambda x, y: (x, np.array(["cat", "dog"] * 12)), fs.DtypeError, r"^y: .*'cat' in row 1 .*np\.unique\(y"),
    "not a distribution": (lambda x, y: (x, np.full((24, 3), 0.5)), fs.LabelError, "expected rows of probabilities"),
    "negative shares": (lambda x, y: (x, np.tile([1.5, -0.5, 0.0], (24, 1))), fs.LabelError, "expected rows of probabilities"),
    "wide distributions": (lambda x, y: (x, np.full((24, 4), 0.25)), fs.ShapeError, r"expected targets \[rows, 3\]"),
    "NaN in x": (lambda x, y: (nan_at(x, 4, 1), y), fs.NonFiniteLossError, "step 4, first in the input data"),
    "infinity in x": (lambda x, y: (nan_at(x, 4, 1, np.inf), y), fs.NonFiniteLossError, "step 4, first in the input data"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_minibatches(step, data, case):
    make, error, message = BAD[case]
    x, y = make(*data)
    before = everything(step)
    with pytest.raises(error, match=message) as caught:
        step(x, y)
    assert isinstance(caught.value, fs.FusedstepError)
    assert unchanged(step, before)
    # And the step goes on as if nothing had happened.
    twin = fs.TrainStep(
        fs.mlp([6, 8, 3], activation="gelu", dropout=0.25, layer_norm=True), fs.SoftmaxCrossEntropy(), step.optimizer,
        seed=3, backend=step.backend,
    )  # fmt: skip
    for _ in range(3):
        twin(*data)
    assert float(step(*data)) == float(twin(*data))
    assert np.array_equal(step.model.arena.values, twin.model.arena.values)


def test_the_error_of_a_broken_loss_carries_step_and_layer(step, data):
    x, y = data
    with pytest.raises(fs.NonFiniteLossError) as caught:
        step(nan_at(x, 0, 0), y)
    assert caught.value.step == 4
    assert caught.value.layer == "the input data"
    assert isinstance(caught.value, ArithmeticError)


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("make", [lambda: fs.SGD(1e10), lambda: fs.SGD(1e30), lambda: fs.Momentum(1e10)])
def test_divergence_keeps_the_last_good_parameters(name, data, make, steps):
    x, y = data[0], data[0] @ np.ones((6, 1), "f4")
    step = fs.TrainStep(fs.mlp([6, 8, 1], activation="relu"), fs.MSE(), make(), seed=0, backend=name)
    before = []

    def train():
        for _ in range(200):
            before[:] = [everything(step)]
            step(x, y)

    with pytest.raises(fs.NonFiniteLossError, match="lower the learning rate") as caught:
        train()
    assert caught.value.step == step.steps + 1
    assert caught.value.layer
    assert f"the parameters of step {step.steps} are kept" in str(caught.value)
    (before,) = before
    assert unchanged(step, before)
    assert np.isfinite(step.model.arena.values).all()
    for _ in range(steps):
        with pytest.raises(fs.NonFiniteLossError):
            step(x, y)
    assert unchanged(step, before)


def test_the_layer_where_numbers_overflow_is_named(name, data):
    model = fs.Sequential(fs.Linear(6, 4, weight_init=1.0), fs.ReLU(), fs.Linear(4, 3, weight_init=1.0))
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD(), backend=name)
    with pytest.raises(fs.NonFiniteLossError, match=r"step 1, first in the output of layer 2 \(Linear\(inputs=4, outputs=3"):
        step(np.full((24, 6), 2e37, "f4"), data[1])
    assert step.steps == 0


def test_a_broken_parameter_is_named(name, data):
    model = fs.mlp([6, 4, 3]).initialize(0, name)
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD())
    model.parameters()["2.Linear.weight"][1, 1] = np.nan
    with pytest.raises(fs.NonFiniteLossError, match=r"first in parameter 2\.Linear\.weight"):
        step(*data)


def test_broken_targets_are_named(name, data):
    step = fs.TrainStep(fs.mlp([6, 4, 2]), fs.MSE(), fs.SGD(), backend=name)
    y = np.ones((24, 2))
    y[3, 0] = np.inf
    with pytest.raises(fs.NonFiniteLossError, match="first in the targets"):
        step(data[0], y)
    assert step.steps == 0


@pytest.mark.parametrize(
    ("loss", "width", "y", "error", "message"),
    [
        (fs.BinaryCrossEntropy(), 1, np.full(24, 2.0), fs.LabelError, "expected targets between 0 and 1; got values from 2"),
        (fs.BinaryCrossEntropy(), 1, np.full(24, -1), fs.LabelError, "expected targets between 0 and 1"),
        (fs.BinaryCrossEntropy(), 1, np.full(24, np.nan), fs.LabelError, "expected targets between 0 and 1"),
        (fs.BinaryCrossEntropy(), 2, np.ones(24), fs.ShapeError, r"expected targets \[rows, 2\]"),
        (fs.Hinge(), 1, np.full(24, 2.0), fs.LabelError, "expected targets -1 and 1"),
        (fs.Hinge(), 1, np.arange(24) % 3 - 1, fs.LabelError, "got all three of -1, 0 and 1"),
        (fs.Hinge(), 1, np.full(24, np.nan), fs.LabelError, "expected targets -1 and 1"),
        (fs.MultiClassHinge(), 3, np.full(24, 3), fs.LabelError, "expected labels 0 to 2"),
        (fs.MultiClassHinge(), 1, np.zeros(24, int), fs.ShapeError, "at least two outputs"),
        (fs.MSE(), 2, np.ones(24), fs.ShapeError, r"expected targets \[rows, 2\], as wide as the last layer; got \(24,\)"),
        (fs.MSE(), 2, np.ones((24, 3)), fs.ShapeError, r"got \(24, 3\)"),
        (fs.MSE(), 1, ["a"] * 24, fs.DtypeError, "expected real numbers"),
        (fs.SoftmaxCrossEntropy(class_weights=[1.0, 2.0]), 3, np.zeros(24, int), fs.ShapeError, "expected 3 class weights"),
        (
            fs.SoftmaxCrossEntropy(0.1),
            3,
            np.full((24, 3), 1 / 3),
            fs.HyperparameterError,
            "expected labels with label_smoothing",
        ),
    ],
    ids=lambda value: repr(value)[:40] if isinstance(value, fs.Loss) else "",
)
def test_bad_targets_of_other_losses(name, data, loss, width, y, error, message):
    step = fs.TrainStep(fs.mlp([6, 4, width]), loss, fs.Adam(), backend=name)
    before = everything(step)
    with pytest.raises(error, match=message):
        step(data[0], y)
    assert unchanged(step, before)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (lambda: (fs.Linear(4, 8), fs.ReLU(), fs.Linear(9, 2)), r"layer 2: Linear\(inputs=9, outputs=2\) expected 9 .*got 8"),
        (lambda: (fs.Linear(4, 8), fs.LayerNorm(7)), r"layer 1: LayerNorm\(features=7.* expected 7 input columns; got 8"),
        (lambda: (fs.Linear(4, 8), fs.PReLU(4)), r"layer 1: PReLU"),
        (lambda: (fs.Linear(4, 8), fs.Residual(fs.Linear(8, 7))), r"layer 1: Residual.*to have 8 output columns, .*; got 7"),
        (lambda: (fs.Linear(4, 8), fs.Residual(fs.Linear(8, 7), fs.Linear(8, 8))), r"layer 1: Linear\(inputs=8.*; got 7"),
        (lambda: (fs.Linear(4, 8), fs.Maxout(9, 3)), r"layer 1: Maxout"),
    ],
)  # fmt: skip
def test_widths_that_do_not_fit_are_refused_at_construction(layers, message):
    with pytest.raises(fs.ShapeError, match=message):
        fs.Sequential(*layers())


def test_tied_weights_that_do_not_fit():
    encoder = fs.Linear(6, 4)
    with pytest.raises(fs.ShapeError, match="layer 2: TiedLinear"):
        fs.Sequential(encoder, fs.Linear(4, 5), fs.TiedLinear(encoder))
    with pytest.raises(fs.HyperparameterError, match="expected a Linear layer"):
        fs.TiedLinear(fs.ReLU())


IMPOSSIBLE = [
    (lambda: fs.SGD(0.0), "lr"), (lambda: fs.SGD(-1.0), "lr"), (lambda: fs.SGD(float("nan")), "lr"),
    (lambda: fs.SGD(float("inf")), "lr"), (lambda: fs.SGD("fast"), "lr"), (lambda: fs.SGD(True), "lr"),
    (lambda: fs.Adam(beta1=1.0), "beta1"), (lambda: fs.Adam(beta2=-0.1), "beta2"), (lambda: fs.Adam(epsilon=0.0), "epsilon"),
    (lambda: fs.Adam(epsilon_placement="left"), "epsilon_placement"), (lambda: fs.Momentum(momentum=1.0), "momentum"),
    (lambda: fs.Momentum(form="heavy"), "form"), (lambda: fs.SGD(l2=-1.0), "l2"), (lambda: fs.SGD(l1=float("inf")), "l1"),
    (lambda: fs.SGD(weight_decay=-0.1), "weight_decay"), (lambda: fs.SGD(clip_norm=0.0), "clip_norm"),
    (lambda: fs.SGD(clip_value=-1.0), "clip_value"), (lambda: fs.SGD(l1_form="other"), "l1_form"),
    (lambda: fs.RMSProp(beta=1.0), "beta"), (lambda: fs.AdaDelta(rho=1.5), "rho"), (lambda: fs.Lion(beta2=1.0), "beta2"),
    (lambda: fs.SGD(groups=[fs.ParameterGroup("*", lr_scale=0.0)]), "lr_scale"),
    (lambda: fs.Dropout(1.0), "Dropout"), (lambda: fs.Dropout(-0.1), "Dropout"), (lambda: fs.Dropout(float("nan")), "Dropout"),
    (lambda: fs.GaussianNoise(-1.0), "sigma"), (lambda: fs.GaussianNoise(float("nan")), "sigma"),
    (lambda: fs.LeakyReLU(0.0), "slope"), (lambda: fs.LeakyReLU(1.0), "slope"), (lambda: fs.ELU(0.0), "a > 0"),
    (lambda: fs.GELU("sigmoid"), "approximate"), (lambda: fs.LayerNorm(3, 0.0), "epsilon"),
    (lambda: fs.LayerNorm(0), "features"),
    (lambda: fs.Linear(0, 3), "inputs"), (lambda: fs.Linear(3, -1), "outputs"), (lambda: fs.Linear(2.5, 3), "inputs"),
    (lambda: fs.Linear(True, 3), "inputs"), (lambda: fs.Linear("3", 3), "inputs"),
    (lambda: fs.Maxout(3, 3, pieces=1), "pieces"),
    (lambda: fs.Maxout(3, 3, pieces=256), "pieces"), (lambda: fs.Linear(3, 3, weight_init="magic"), "initializer"),
    (lambda: fs.Normal(-1.0), "standard deviation"), (lambda: fs.Sequential(), "at least one layer"),
    (lambda: fs.Sequential(fs.ReLU), "did you forget"),
    (lambda: fs.Sequential([fs.Linear(2, 2), fs.ReLU()]), "write Sequential(*layers)"),
    (lambda: fs.Sequential(fs.ReLU(), head="tail"), "head"), (lambda: fs.mlp(3, 3), "fs.mlp([8, 32, 2])"),
    (lambda: fs.mlp([3]), "widths"), (lambda: fs.mlp([3, 3, 3], activation="step"), "activation"),
    (lambda: fs.mlp([3, 3, 3], dropout=1.0), "Dropout"), (lambda: fs.mlp([3, 0, 3]), "outputs"),
    (lambda: fs.MSE("average"), "reduction"), (lambda: fs.SoftmaxCrossEntropy(1.0), "label_smoothing"),
    (lambda: fs.SoftmaxCrossEntropy(smoothing="rough"), "smoothing"),
    (lambda: fs.SoftmaxCrossEntropy(class_weights=[1.0, -1.0]), "class weights"),
    (lambda: fs.SoftmaxCrossEntropy(class_weights=[1.0, float("nan")]), "class weights"),
    (lambda: fs.mlp([2, 2]).initialize(-1), "seed"), (lambda: fs.mlp([2, 2]).initialize(2**64), "seed"),
    (lambda: fs.mlp([2, 2]).initialize(0.5), "seed"),
    (lambda: fs.TrainStep(fs.mlp([2, 2]), fs.MSE, fs.SGD()), "did you forget"),
    (lambda: fs.TrainStep(fs.mlp([2, 2]), fs.MSE(), fs.SGD), "did you forget"),
    (lambda: fs.TrainStep(fs.Linear(2, 2), fs.MSE(), fs.SGD()), "Sequential"),
    (lambda: fs.TrainStep(fs.mlp([2, 2]), "mse", fs.SGD()), "such as fs.MSE(); got 'mse'"),
    (lambda: fs.TrainStep(fs.mlp([2, 2]), fs.MSE(), fs.SGD(groups=[fs.ParameterGroup("9.*")])), "matches a parameter"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "word"), IMPOSSIBLE)
def test_impossible_hyperparameters(make, word):
    with pytest.raises(fs.HyperparameterError, match=r"expected .*got ") as caught:
        make()
    assert word in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("lr", [0.0, -1.0, float("nan"), float("inf")])
def test_a_learning_rate_that_is_set_later(name, lr):
    step = fs.TrainStep(fs.mlp([2, 2]), fs.MSE(), fs.SGD(0.5), backend=name)
    with pytest.raises(fs.HyperparameterError, match="expected lr"):
        step.lr = lr
    assert step.lr == 0.5
    step.lr = 0.25
    assert step.lr == 0.25


def test_precisions(name):
    with pytest.raises(fs.DtypeError, match=r"float32, float64.*; got 'tf32', which cuda can do"):
        fs.TrainStep(fs.mlp([2, 2]), fs.MSE(), fs.SGD(), backend=name, precision="tf32")
    model = fs.mlp([2, 2]).initialize(0, name)
    with pytest.raises(fs.DtypeError, match="expected a model in float64; got one in float32"):
        fs.TrainStep(model, fs.MSE(), fs.SGD(), precision="float64")
    with pytest.raises(fs.DtypeError, match="expected dtype"):
        fs.mlp([2, 2]).initialize(0, name, "float16")
    assert model.dtype == "float32"


@pytest.mark.parametrize(
    "change", [lambda m: m.initialize(1, "numpy"), lambda m: m.to("numba"), lambda m: m.to("numpy", "float64")]
)
def test_a_model_that_changed_under_its_step(data, change):
    step = fs.TrainStep(fs.mlp([6, 3]), fs.SoftmaxCrossEntropy(), fs.SGD(), backend="numpy")
    step(*data)
    change(step.model)
    before = np.array(step.model.arena.values)
    with pytest.raises(fs.StateError, match="create a new TrainStep"):
        step(*data)
    assert np.array_equal(step.model.arena.values, before)
    assert step.steps == 1


def test_a_model_without_parameters():
    model = fs.mlp([2, 2])
    for call in (
        lambda: model([[1.0, 2.0]]),
        lambda: model.parameters(),
        lambda: model.arena,
        lambda: model.predict([[1.0, 2.0]]),
    ):
        with pytest.raises(fs.StateError, match=r"train it first .*or call model\.initialize\(\)"):
            call()


@pytest.mark.parametrize("loss", [fs.BinaryCrossEntropy(), fs.Hinge()])
@pytest.mark.parametrize("last", [fs.Sigmoid(), fs.ReLU(), fs.Softmax()])
def test_a_last_layer_that_is_never_negative_cannot_answer_no(loss, last):
    model = fs.Sequential(fs.Linear(6, 1), last)
    refusal = r"predicts by the sign of the output.*; got (Sigmoid|ReLU|Softmax)\(\); leave out that layer"
    with pytest.raises(fs.HyperparameterError, match=refusal):
        fs.TrainStep(model, loss, fs.SGD())
    assert not model.initialized
    fs.TrainStep(fs.Sequential(fs.Linear(6, 1), fs.Tanh()), loss, fs.SGD(), backend="numpy")


def test_a_column_of_single_numbers_is_told_how_to_become_a_matrix(name):
    model = fs.mlp([1, 2]).initialize(0, name)
    with pytest.raises(fs.ShapeError, match=r"got shape \(4,\); .*x\.reshape\(-1, 1\)"):
        model(np.ones(4))


@pytest.mark.parametrize(
    ("validation", "error", "message"),
    [
        (lambda x, y: x, fs.HyperparameterError, r"validation=\(x, y\).*got a numpy.ndarray of shape \(24, 6\)"),
        (lambda x, y: (x, y, None, x), fs.HyperparameterError, r"got a builtins.tuple of 4; split them off"),
        (lambda x, y: (x, y, x), fs.ShapeError, r"^validation: sample_weight: .*got shape \(24, 6\)"),
        (lambda x, y: 0.2, fs.HyperparameterError, r"got a builtins.float"),
        (lambda x, y: (x[:, :5], y), fs.ShapeError, r"^validation: Linear.*got shape \(24, 5\)"),
        (lambda x, y: (x, y + 3), fs.LabelError, r"^validation: expected labels 0 to 2"),
        (lambda x, y: (x, y.astype(str)), fs.DtypeError, r"^validation: y: expected real numbers"),
    ],
)
def test_what_is_wrong_with_validation_data_is_said_of_it(name, data, validation, error, message):
    step = fs.TrainStep(fs.mlp([6, 3]), fs.SoftmaxCrossEntropy(), fs.SGD(), backend=name)
    with pytest.raises(error, match=message):
        fs.Trainer(step).fit(*data, validation=validation(*data), epochs=1)
    assert step.steps == 0


def test_bad_rows_to_predict(name, data):
    model = fs.mlp([6, 3]).initialize(0, name)
    for wrong, error in ((data[0][:, :3], fs.ShapeError), (data[0][0], fs.ShapeError), (data[0][:0], fs.EmptyDataError)):
        for call in (model, model.predict, model.predict_proba):
            with pytest.raises(error):
                call(wrong)
    with pytest.raises(fs.ShapeError):
        model(array.array("f", [1.0] * 6))


def test_parameters_of_another_model(name):
    model = fs.mlp([3, 2]).initialize(0, name)
    before = {key: np.array(values) for key, values in model.parameters().items()}
    for wrong, message in (
        ({}, "missing: .*0.Linear.bias"),
        ({**before, "1.Linear.weight": before["0.Linear.weight"]}, "unknown: .*1.Linear.weight"),
        ({**before, "0.Linear.bias": np.ones(3)}, r"parameter 0.Linear.bias: expected shape \(2,\); got \(3,\)"),
    ):
        with pytest.raises(fs.ShapeError, match=message):
            model.load_parameters(wrong)
        assert all(np.array_equal(values, before[key]) for key, values in model.parameters().items())
    model.load_parameters({key: np.full(values.shape, 0.5).tolist() for key, values in before.items()})
    assert all((values == 0.5).all() for values in model.parameters().values())


@pytest.mark.parametrize("run", ["numpy", "numba"])
def test_numbers_too_large_to_square_are_refused_without_a_warning(run):
    step = fs.TrainStep(fs.mlp([3, 2]), fs.SoftmaxCrossEntropy(), fs.SGD(), backend=run, precision="float64")
    with pytest.raises(fs.NonFiniteDataError, match=r"that float64 can square; got larger ones; scale them"):
        step.prepare(np.full((4, 3), 1e300), [0, 1, 0, 1])


@pytest.mark.parametrize(
    "call",
    [
        lambda step, x, y: fs.save(step, "model.safetensors"),
        lambda step, x, y: fs.sparsity(step),
        lambda step, x, y: fs.unit_report(step, x),
        lambda step, x, y: fs.plot_decision_regions(step, x, y),
    ],
)
def test_a_step_where_its_model_is_meant(data, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    step = fs.TrainStep(fs.mlp([6, 3]), fs.SoftmaxCrossEntropy(), fs.SGD(), backend="numpy")
    with pytest.raises(fs.HyperparameterError, match=r"expected a model; got .*; pass step\.model"):
        call(step, *data)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("call", [fs.find_learning_rate, fs.sweep_learning_rate, lambda step, x, y: fs.Trainer(step).fit(x, y)])
def test_a_model_where_a_step_is_meant(data, call):
    with pytest.raises(fs.HyperparameterError, match=r"expected a TrainStep; got .*; create one with fs\.TrainStep\(model, "):
        call(fs.mlp([6, 3]), *data)


def test_a_search_of_the_rate_refuses_bad_validation_data_before_it_trains(name, data):
    step = fs.TrainStep(fs.mlp([6, 3]), fs.SoftmaxCrossEntropy(), fs.SGD(), backend=name)
    with pytest.raises(fs.HyperparameterError, match=r"validation=\(x, y\)"):
        fs.find_learning_rate(step, *data, validation=data[0])
    assert step.steps == 0


class Frame:
    """A table whose brackets take names of columns, and rows only through `iloc`, as those of pandas do."""

    def __init__(self, values):
        self.values, self.shape, self.iloc = values, values.shape, self.Rows(values)

    class Rows:
        def __init__(self, values):
            self.values = values

        def __getitem__(self, rows):
            return Frame(self.values[rows])

    def __getitem__(self, name):
        raise KeyError(name)

    def __len__(self):
        return len(self.values)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values, dtype)


@pytest.mark.parametrize("kind", [Frame, np.ndarray.tolist, np.asarray])
def test_micro_batches_of_lists_arrays_and_tables(name, data, kind):
    def losses(make):
        step = fs.TrainStep(fs.mlp([6, 3]), fs.SoftmaxCrossEntropy(), fs.SGD(0.1), backend=name, micro_batch=10)
        return [float(step(make(data[0]), make(data[1]))) for _ in range(2)]

    assert losses(kind) == losses(np.asarray)
