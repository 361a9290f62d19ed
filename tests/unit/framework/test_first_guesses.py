"""What users of other libraries write first exists, or its error names what does the job here: that advice is run."""

from __future__ import annotations

import ast
import copy
import dataclasses
import inspect
import pickle
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import synonyms
from fusedstep.framework.cli.train_options import TrainOptions
from fusedstep.framework.engine.step import StepSettings
from fusedstep.synonyms import ATTRIBUTES, ELSEWHERE, NAMES, SAME

PACKAGE = """
    MLPClassifier CrossEntropyLoss Huber BatchNorm Embedding Muon MLPRegressor
    NLLLoss BCELoss BCEWithLogitsLoss MSELoss L1Loss SmoothL1Loss HuberLoss KLDivLoss PoissonNLLLoss HingeEmbeddingLoss
    MultiMarginLoss Linear LazyLinear BatchNorm1d LayerNorm GroupNorm RMSNorm Dropout AlphaDropout Conv2d MaxPool2d Flatten ReLU
    ReLU6 SELU CELU GELU SiLU Mish ELU PReLU LeakyReLU Sigmoid Tanh Softmax LogSoftmax Sequential Module ModuleList Identity
    DataLoader TensorDataset no_grad manual_seed tensor from_numpy
    Adam AdamW SparseAdam NAdam RAdam Adamax Adagrad Adadelta RMSprop Rprop SGD ASGD LBFGS StepLR MultiStepLR ExponentialLR
    CosineAnnealingLR ReduceLROnPlateau OneCycleLR LinearLR LambdaLR AveragedModel
    Dense Activation BatchNormalization LayerNormalization Input GaussianNoise Conv2D MaxPooling2D Nadam Lion Lamb
    MeanSquaredError MeanAbsoluteError CategoricalCrossentropy SparseCategoricalCrossentropy BinaryCrossentropy KLDivergence
    Poisson Hinge CategoricalHinge LogCosh BinaryFocalCrossentropy ModelCheckpoint EarlyStopping ReduceLROnPlateau
    LearningRateScheduler TensorBoard TerminateOnNaN BackupAndRestore LambdaCallback Callback ProgbarLogger load_model
    CosineDecay ExponentialDecay InverseTimeDecay StandardScaler OneHotEncoder train_test_split GridSearchCV BaggingClassifier
"""
INSTANCES = {
    "model": "fit score save eval state_dict load_state_dict parameters named_parameters train forward cuda to zero_grad "
             "compile evaluate predict predict_proba partial_fit get_weights set_weights coefs_ summary backward",
    "trainer": "predict fit evaluate score model optimizer history save_checkpoint lr train",
    "step": "fit backward zero_grad predict evaluate lr learning_rate parameters device loss",
    "history": "history loss val_loss best columns rows to_frame keys stopped_epoch last",
    "loss_value": "item backward detach numpy tolist",
    "optimizer": "step zero_grad param_groups learning_rate lr apply_gradients",
    "clf": "evaluate model module_ coefs_ intercepts_ history loss_ save load decision_function transform",
}  # fmt: skip
CALLS: dict[str, tuple[Callable[..., Any], str]] = {
    "fit": (lambda **a: TRAINER.fit(X, Y, **{"epochs": 1, **a}),
            "sample_weight validation_split validation_data n_epochs verbose max_iter batch_size callbacks shuffle epochs "
            "class_weight steps_per_epoch initial_epoch validation_fraction eval_set device num_workers validation"),
    "Trainer": (lambda **a: fs.Trainer(STEP, **a), "verbose device callbacks epochs max_epochs lr criterion scheduler "
                                                   "batch_size gradient_clip_val early_stopping progress"),
    "TrainStep": (lambda **a: fs.TrainStep(fs.mlp([4, 2]), LOSS, OPTIMIZER, **a),
                  "device random_state dtype accumulate_grad_batches learning_rate clipnorm ema seed metrics_"),
    "EarlyStopping": (lambda **a: fs.EarlyStopping(5, **a), "min_delta monitor restore_best_weights mode tol verbose"),
    "Adam": (lambda **a: fs.Adam(**a), "learning_rate betas beta_1 eps epsilon weight_decay amsgrad lr clipnorm alpha fused"),
    "SGD": (lambda **a: fs.SGD(0.1, **a), "momentum nesterov dampening weight_decay learning_rate params"),
    "RMSProp": (lambda **a: fs.RMSProp(**a), "alpha rho eps momentum centered_ decay"),
    "mlp": (lambda **a: fs.mlp([4, 2], **a), "activation dropout dropout_rate batch_norm kernel_initializer solver "
                                             "random_state learning_rate_init device"),
    "mlp of nothing": (lambda **a: fs.mlp(**a), "hidden_layer_sizes units layers"),
    "Linear": (lambda **a: fs.Linear(4, 2, **a), "use_bias kernel_initializer bias_initializer activation device bias"),
    "Linear of nothing": (lambda **a: fs.Linear(**a), "in_features out_features units input_dim"),
    "Dropout": (lambda **a: fs.Dropout(**a), "p rate inplace_"),
    "SoftmaxCrossEntropy": (lambda **a: fs.SoftmaxCrossEntropy(**a),
                            "weight label_smoothing from_logits ignore_index reduction class_weight"),
    "Checkpoint": (lambda **a: fs.Checkpoint("run", **a), "monitor save_best_only save_freq save_top_k keep"),
    "StepDecay": (lambda **a: fs.StepDecay(**a), "step_size gamma factor"),
    "ReduceOnPlateau": (lambda **a: fs.ReduceOnPlateau(**a), "min_lr patience factor cooldown min_delta"),
    "OneCycle": (lambda **a: fs.OneCycle(**a), "max_lr total_steps pct_start div_factor"),
    "search": (lambda **a: fs.search(X, Y, (X, Y), **a), "n_trials param_distributions n_iter cv random_state"),
    "MLPClassifier": (lambda **a: fs.MLPClassifier(**a),
                      "solver learning_rate power_t momentum nesterovs_momentum beta_1 beta_2 epsilon max_fun epochs lr seed "
                      "device n_estimators patience validation_split widths callbacks dropout weight_decay n_jobs"),
    "MLPRegressor": (lambda **a: fs.MLPRegressor(**a), "solver layers"),
    "MLPClassifier.fit": (lambda **a: CLF.fit(X, Y, **a), "epochs batch_size eval_set validation_data callbacks verbose "
                                                          "class_weight sample_weights early_stopping_rounds"),
    "Metric": (lambda **a: fs.Metric(len, **a), "needs_proba greater_is_better response_method sign"),
    "minimize": (lambda **a: fs.minimize(STEP.model, LOSS, X, Y, fs.LBFGS(), **a), "max_iter tol"),
    "export_onnx": (lambda **a: fs.export_onnx(STEP.model, "m.onnx", **a), "opset_version"),
    "ParameterGroup": (lambda **a: fs.ParameterGroup("*", **a), "lr weight_decay"),
    "TrainStep.evaluate": (lambda **a: STEP.evaluate(X, Y, **a), "batch_size sample_weight metrics"),
    "model.to": (lambda **a: fs.mlp([4, 2]).initialize().to("numpy", **a), "dtype device"),
}  # fmt: skip
UNKNOWN = {"metrics_", "inplace_", "centered_"}
"""Not in the table: the message says to leave them out."""

X, Y = np.random.default_rng(0).standard_normal((100, 20)), np.arange(100) % 2
LOSS, OPTIMIZER = fs.SoftmaxCrossEntropy(), fs.Adam(1e-3)
CLF = fs.MLPClassifier(max_iter=1, backend="numpy")
STEP = fs.TrainStep(fs.mlp([20, 8, 2]), LOSS, OPTIMIZER, seed=0, backend="numpy")
TRAINER = fs.Trainer(STEP)


def objects() -> dict[str, Any]:
    """New ones of all that the expressions of the table speak of."""
    model = fs.mlp([20, 8, 2])
    step = fs.TrainStep(model, LOSS, OPTIMIZER, seed=0, backend="numpy")
    trainer = fs.Trainer(step)
    history = trainer.fit(X, Y, validation=(X, Y), epochs=1)
    return {
        "fs": fs, "x": X, "y": Y, "model": model, "step": step, "trainer": trainer, "history": history, "loss": LOSS,
        "optimizer": OPTIMIZER, "clf": CLF.fit(X, Y),
    }  # fmt: skip


ROWS = sorted({
    *NAMES.values(), *(row for rows in ELSEWHERE.values() for row in rows.values()),
    *(row for kind in ATTRIBUTES.values() for row in kind.values()),
})  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_advice_runs(row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = objects()
    given["model"].save("model.safetensors")
    if row == "float(loss)":
        given["loss"] = given["step"](X, Y)
    try:
        # With "cuda" it would need a device; it is the call that is tested.
        exec(row.replace('"cuda"', '"numpy"'), given)
    except fs.MissingDependency:
        assert row.startswith(("fs.search", "fs.MLflow", "fs.WandB", "fs.TensorBoard"))
    finally:
        fs.set_num_threads(None)


def test_no_name_stands_in_two_rows_of_a_part() -> None:
    text = Path(str(synonyms.__file__)).read_text(encoding="utf-8")
    for part in re.findall(r"_by_name\(\{\n(.*?)\n *\}\)", text, re.S):
        rows = ast.literal_eval("{" + re.sub(r"^\s*#.*$", "", part, flags=re.M) + "}")
        names = " ".join(rows.values()).split()
        assert sorted(names) == sorted(set(names))


def test_the_table_names_nothing_that_exists() -> None:
    assert not NAMES.keys() & set(fs.__all__)
    given = {type(thing).__name__: thing for thing in (*objects().values(), STEP(X, Y))}
    given |= {"Optimizer": OPTIMIZER, "MLPEstimator": CLF.fit(X, Y)}
    assert ATTRIBUTES.keys() <= given.keys()
    assert [(kind, name) for kind, rows in ATTRIBUTES.items() for name in rows if hasattr(given[kind], name)] == []


def test_the_arguments_that_the_table_names_exist() -> None:
    known: set[str] = set()
    for thing in (*map(vars(fs).get, fs.__all__), *(getattr(fs, name) for name in fs.__all__), fs.Trainer.fit, STEP.evaluate):
        if callable(thing) and not (isinstance(thing, type) and issubclass(thing, BaseException)):
            known |= set(inspect.signature(thing).parameters)
    known |= set(inspect.signature(fs.Optimizer).parameters) | {option.name for option in dataclasses.fields(TrainOptions)}
    assert {name for row in SAME for name in row.split(" and ")} - known == set()


def require_advice(error: Exception, known: Iterable[str] = ()) -> None:
    """The message names an argument out of `known`, or is a row of the table."""
    written, used = re.search(r"; write (.+)=$", str(error)), re.search(r"; use (.+)$", str(error))
    assert written or used, error
    if written:
        assert set(written[1].split("= and ")) <= set(known)
    else:
        assert f"use {used[1]}" in {synonyms._use(row) for row in ROWS}


@pytest.mark.parametrize("name", PACKAGE.split())
def test_names_of_the_package(name: str) -> None:
    if name in fs.__all__:
        assert getattr(fs, name).__name__ == name
        return
    with pytest.raises(fs.UnknownAttribute, match=rf"^expected a name of fusedstep; got fs\.{name}, ") as caught:
        getattr(fs, name)
    require_advice(caught.value)


@pytest.mark.parametrize(("thing", "name"), [(thing, name) for thing, names in INSTANCES.items() for name in names.split()])
def test_attributes(thing: str, name: str) -> None:
    given = {**objects(), "loss_value": STEP(X, Y)}[thing]
    try:
        getattr(given, name)
    except fs.UnknownAttribute as error:
        assert not hasattr(given, name)
        require_advice(error)


@pytest.mark.parametrize(("call", "name"), [(call, name) for call, (_, names) in CALLS.items() for name in names.split()])
def test_arguments(call: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused = None
    try:
        CALLS[call][0](**{name: None})
    except fs.UnknownArgument as error:
        refused = error
    except (fs.FusedstepError, TypeError, AttributeError):
        pass  # the argument exists, but may not be None
    assert refused is not None or name not in UNKNOWN
    if name in UNKNOWN:
        assert str(refused).endswith(f"got {name}=; leave it out")
    elif refused is not None:
        require_advice(refused, re.search(r"arguments? (.+); got", str(refused))[1].split(", "))


NOT_FOR_USERS = {"Augmentation", "Callback", "Schedule", "RateSchedule", "LineSearch", "Initializer", "RowSource", "Backend"}
"""Base classes of classes that users write."""
RESULTS = {"GradientReport", "History", "LossSurface", "Minimization", "RateSearch", "SearchResult", "SearchTrial", "StepLoss",
           "UnitReport"}  # fmt: skip
"""What functions return; nobody makes one."""
OF_BACKENDS = {"asarray", "backend", "backends", "blas_choices", "num_threads", "set_blas_choices", "set_num_threads",
               "use_backend"}  # fmt: skip
"""Functions below the framework, which do not have the table."""


@pytest.mark.parametrize("name", sorted(set(fs.__all__) - NOT_FOR_USERS - RESULTS - OF_BACKENDS))
def test_every_function_and_class_names_its_arguments(name: str) -> None:
    thing = getattr(fs, name)
    if not callable(thing) or (isinstance(thing, type) and issubclass(thing, BaseException)):
        return
    if isinstance(thing, type) and not inspect.signature(thing).parameters:
        return  # Python says that it takes no arguments
    with pytest.raises(fs.UnknownArgument, match=rf"^{name}: expected (one of the arguments .*|no arguments); got never=; "):
        thing(never=1)


def test_the_guesses_are_many() -> None:
    calls = [name for _, names in CALLS.values() for name in names.split()]
    assert len(PACKAGE.split()) > 100
    assert len(calls) > 100


@pytest.mark.parametrize(("make", "expected"), [
    (lambda: fs.Adam(betas=(0.9, 0.9)), r"^Adam: expected one of the arguments lr, .*got betas=; write beta1= and beta2=$"),
    (lambda: fs.SGD(0.1, momentum=0.9), r"got momentum=; use fs\.Momentum\(1e-2, momentum=0\.9\)$"),
    (lambda: fs.Adam(1e-3, lerning_rate=1), "got lerning_rate=; leave it out$"),
    (lambda: fs.mlp([4, 2], activatoin="relu"), "^mlp: .*got activatoin=; write activation=$"),
    (lambda: fs.Flatten(image=(2, 2)), "^Flatten: expected no arguments; got image=; leave it out$"),
    (lambda: TRAINER.fit(X, Y, validation_split=0.2), r"^Trainer\.fit: .*use trainer\.fit\(.*\) \(rows that you keep apart\)$"),
    (lambda: fs.Trainer(model=STEP.model, loss=LOSS), "^Trainer: .*got model=; write step=$"),
    (lambda: fs.MLPClassifier(solver="adam"), "^MLPClassifier: .*got solver=; write optimizer=$"),
    (lambda: fs.MLPRegressor(widths=(3,)), "^MLPRegressor: .*got widths=; write hidden_layer_sizes=$"),
    (lambda: CLF.fit(X, Y, epochs=3), r"^MLPClassifier\.fit: .*got epochs=; use fs\.MLPClassifier\(max_iter=100\)$"),
    (lambda: STEP.model.predict(X, batch_size=3), r"^Sequential\.predict: .*got batch_size=; leave it out$"),
    (lambda: TRAINER.fit(X, Y, metrics=["roc_auc"]), r"use fs\.Trainer\(step, metrics=\[\"roc_auc\"\]\)$"),
    (lambda: fs.EarlyStopping("val_loss", patience=3),
     "^EarlyStopping: expected patience once; got 'val_loss' in its place and patience=3; .*: patience=, monitor=, "),
    (lambda: fs.Adam(1e-3, lr=0.1), "^Adam: expected lr once; got 0.001 in its place and lr=0.1; "),
    (lambda: fs.Dropout(0.5, True), "^Dropout: expected at most 1 argument without a name; got one more, True; .*: p=$"),
    (lambda: TRAINER.predict(X, 3), r"^Trainer\.predict: expected at most 1 argument without a name; got one more, 3; .*: x=$"),
    (lambda: fs.export_onnx(STEP.model, "m.onnx", X),
     r"^export_onnx: expected at most 2 arguments without a name; got one more, array\(.{0,80}; .*: model=, path=, opset=$"),
    (lambda: fs.MLPClassifier((8,), "relu", "adam"), "^MLPClassifier: expected at most 2 arguments without a name; .*'adam'; "),
])
def test_messages_of_arguments(make: Callable[[], object], expected: str) -> None:
    with pytest.raises(fs.UnknownArgument, match=expected) as caught:
        make()
    assert isinstance(caught.value, TypeError)
    assert caught.value.__suppress_context__


def test_names_of_losses_and_optimisers_as_text() -> None:
    with pytest.raises(fs.HyperparameterError, match=r"expected a Loss .*; got 'mse'; use fs\.MSE\(\)$"):
        fs.TrainStep(fs.mlp([4, 1]), "mse", OPTIMIZER)  # type: ignore[arg-type]


def test_a_search_without_validation_says_how() -> None:
    with pytest.raises(fs.HyperparameterError, match=r"fs\.search\(x\[:80\], y\[:80\], validation=\(x\[80:\], y\[80:\]\)\)$"):
        fs.search(X, Y)


@pytest.mark.parametrize(("thing", "advice"), [
    (STEP, "pass step.model"), (TRAINER, "pass trainer.step.model"), (STEP.backend, "<fusedstep backend numpy>"),
])
def test_what_holds_a_model_is_no_model(thing: Any, advice: str, tmp_path: Path) -> None:
    for ask in (lambda: fs.save(thing, tmp_path / "m.safetensors"), lambda: fs.load_state_dict(thing, {})):
        with pytest.raises(fs.HyperparameterError, match=f"expected a model; got .*{advice}"):
            ask()
    with pytest.raises(fs.HyperparameterError, match=r"pass estimator\.model_$"):
        fs.load_state_dict(CLF.fit(X, Y), {})  # type: ignore[arg-type]


def test_other_errors_of_types_are_left_alone() -> None:
    class Own(fs.MSE):
        def __init__(self, **others: Any) -> None:
            others.pop("own")
            super().__init__(**others)
            raise TypeError("of its own")

    with pytest.raises(TypeError, match=r"^of its own$"):
        Own(own=1)
    class Twice(fs.Callback):
        def on_fit_begin(self, trainer: Any) -> None:
            dict([(1, 2)], [(3, 4)])  # type: ignore[call-overload]

    with pytest.raises(TypeError, match=r"^dict expected at most 1 argument, got 2$"):
        fs.Trainer(STEP, [Twice()]).fit(X, Y, epochs=1)
    with pytest.raises(TypeError, match=r"missing 1 required positional argument: 'patience'$"):
        fs.EarlyStopping()  # type: ignore[call-arg]


def test_names_that_are_not_in_the_table_are_as_in_python() -> None:
    with pytest.raises(AttributeError, match=r"^'Sequential' object has no attribute 'summry'$") as caught:
        STEP.model.summry  # noqa: B018
    assert (caught.value.name, caught.value.obj) == ("summry", STEP.model)
    assert not hasattr(STEP.model, "_ipython_display_")


def test_objects_can_be_copied_and_pickled() -> None:
    for thing in (STEP.model, STEP, TRAINER, STEP(X, Y), OPTIMIZER, fs.EMA()):
        assert type(pickle.loads(pickle.dumps(thing))) is type(thing) is type(copy.deepcopy(thing))


def test_signatures_stay() -> None:
    assert list(inspect.signature(fs.EarlyStopping).parameters)[:2] == ["patience", "monitor"]
    assert list(inspect.signature(fs.TrainStep).parameters)[3:] == list(StepSettings.__annotations__)
    assert inspect.signature(fs.mlp).parameters["activation"].default == "relu"


# The shorthand of Trainer.


def test_a_trainer_of_a_model_makes_the_step() -> None:
    def losses(trainer: fs.Trainer) -> list[float]:
        return trainer.fit(X, Y, epochs=2, batch_size=16)["loss"]

    short = fs.Trainer(fs.mlp([20, 8, 2]), LOSS, OPTIMIZER, seed=3, backend="numpy", precision="float64")
    step = fs.TrainStep(fs.mlp([20, 8, 2]), LOSS, OPTIMIZER, seed=3, backend="numpy", precision="float64")
    assert losses(short) == losses(fs.Trainer(step))
    assert short.step.precision.name == "float64"
    np.testing.assert_array_equal(short.predict(X), step.model.predict(X))


def test_callbacks_may_stand_second_after_a_step() -> None:
    stop = fs.EarlyStopping(3)
    assert fs.Trainer(STEP, [stop]).callbacks == fs.Trainer(STEP, callbacks=[stop]).callbacks == [stop]
    assert fs.Trainer(fs.mlp([20, 2]), LOSS, OPTIMIZER, [stop]).callbacks == [stop]


@pytest.mark.parametrize(("make", "expected"), [
    (lambda: fs.Trainer(STEP, LOSS, OPTIMIZER), r"got SoftmaxCrossEntropy\(\), Adam\(.*\) beside .*write fs.Trainer\(model,"),
    (lambda: fs.Trainer(STEP, seed=1), "with its own loss, .* settings; got seed= beside .*; give them to fs.TrainStep"),
    (lambda: fs.Trainer(fs.mlp([4, 2])), r"expected a TrainStep; .*; create one with fs\.TrainStep\(model, loss, optimizer\)"),
    (lambda: fs.Trainer(fs.mlp([4, 2]), LOSS), "expected an Optimizer .*; got None"),
    (lambda: fs.Trainer(STEP, [fs.EarlyStopping(3)], callbacks=[fs.EarlyStopping(3)]), "expected callbacks once"),
    (lambda: fs.Trainer(STEP, fs.EarlyStopping(3)), r"expected a list of callbacks; .*; write callbacks=\[\.\.\.\]"),
])
def test_a_trainer_that_cannot_be(make: Callable[[], object], expected: str) -> None:
    with pytest.raises(fs.HyperparameterError, match=expected):
        make()
