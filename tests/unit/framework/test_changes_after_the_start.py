"""Layers, losses and optimisers stay as they were made, however they were made; what was made for other parameters says so."""

from __future__ import annotations

import abc
import copy
import dataclasses
import inspect
import pickle

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.framework.layers import LAYERS
from fusedstep.framework.optimizers import OPTIMIZERS


def new_step(backend: str, optimizer: fs.Optimizer | None = None) -> fs.TrainStep:
    model = fs.Sequential(fs.Linear(6, 8), fs.ReLU(), fs.Residual(fs.Linear(8, 8), fs.Tanh()), fs.Linear(8, 3))
    return fs.TrainStep(model.initialize(1, backend), fs.SoftmaxCrossEntropy(), optimizer or fs.Adam(0.01))


def test_layers_of_a_model_cannot_be_exchanged(name, data, tmp_path):
    step = new_step(name)
    step(*data)
    model, inner = step.model, step.model.layers[2]
    before = np.array(model(data[0]))
    for chain in (model, inner):
        with pytest.raises(TypeError, match="does not support item assignment"):
            chain.layers[0] = fs.Tanh()
        with pytest.raises(fs.StateError, match=r"got layers = .* make a new one of other layers"):
            chain.layers = (fs.Linear(8, 8), fs.Tanh())
    fs.save(model, tmp_path / "model")
    assert np.array_equal(fs.load(tmp_path / "model", name)(data[0]), before)
    assert np.array_equal(pickle.loads(pickle.dumps(model))(data[0]), before)
    assert repr(model) == repr(copy.deepcopy(model))


@pytest.mark.parametrize(
    ("setting", "value"), [("lr", 0.5), ("l2", 1.0), ("l1", 1.0), ("weight_decay", 1.0), ("clip_value", 1e-3), ("beta1", 0.0)]
)
def test_settings_of_an_optimiser_cannot_be_set(setting, value, name, data):
    optimizer = fs.Adam(0.01)
    message = rf"Adam\(lr=0.01\) to stay as it was made; got {setting} = {value}; set step.lr .* make a new optimiser"
    with pytest.raises(fs.StateError, match=message):
        setattr(optimizer, setting, value)
    step, same = new_step(name, optimizer), new_step(name)
    with pytest.raises(fs.StateError, match="make a new optimiser and a new TrainStep"):
        setattr(optimizer, setting, value)
    for _ in range(3):
        assert float(step(*data)) == float(same(*data))


DUPLICATES = [copy.copy, copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))]


@pytest.mark.parametrize("duplicate", DUPLICATES, ids=["copy", "deepcopy", "pickle"])
@pytest.mark.parametrize(
    ("make", "setting"),
    [
        (lambda: fs.Adam(0.01), "l2"), (lambda: fs.Dropout(0.1), "p"), (lambda: fs.Conv2d(1, 2, 3, image=(6, 6)), "stride"),
        (fs.Tanh, "activation"), (lambda: fs.SoftmaxCrossEntropy(0.1), "label_smoothing"),
        (lambda: fs.Residual(fs.Linear(4, 4), fs.Tanh()), "layers"), (lambda: fs.mlp([2, 3, 1]), "inputs"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_copy_stays_as_it_was_made_too(duplicate, make, setting):
    first = make()
    second = duplicate(first)
    assert repr(second) == repr(first)
    for thing in (first, second):
        with pytest.raises(fs.StateError, match=f"got {setting} = 3"):
            setattr(thing, setting, 3)
        with pytest.raises(fs.StateError, match=f"got del {setting}"):
            delattr(thing, setting)
        with pytest.raises(fs.StateError, match="got misspelt = 3"):
            thing.misspelt = 3


class Halving(fs.Dropout, public=False):
    """Sets attributes before and after those of its base, and one of its base anew."""

    def __init__(self, p, name):
        self.name = name
        super().__init__(p)
        self.p = self.p / 2.0
        self.more = [p]


@dataclasses.dataclass
class Named(fs.GaussianNoise, public=False):
    """A dataclass sets its fields in an `__init__` that Python writes."""

    sigma: float = 0.5
    name: str = "noise"


class Slotted(fs.Tanh, public=False):
    """Keeps one attribute in a slot."""

    __slots__ = ("name",)

    def __init__(self, name):
        self.name = name


class Counting(fs.ReLU, public=False, frozen=False):
    """Counts how often it is called."""

    def __init__(self):
        self.calls = 0

    def forward(self, x, tape):
        self.calls += 1
        return super().forward(x, tape)


class Remembering(fs.SoftmaxCrossEntropy):
    """Says itself what a pickle holds."""

    def __getstate__(self):
        return self.label_smoothing

    def __setstate__(self, state):
        self.__init__(state)
        self.loaded = True
        super().__setstate__({})


@pytest.mark.parametrize("duplicate", [lambda o: o, *DUPLICATES], ids=["itself", "copy", "deepcopy", "pickle"])
@pytest.mark.parametrize(
    ("make", "attributes"),
    [
        (lambda: Halving(0.4, "half"), {"p": 0.2, "name": "half", "more": [0.4]}),
        (Named, {"sigma": 0.5, "name": "noise"}),
        (lambda: Slotted("tanh"), {"name": "tanh"}),
        (lambda: Remembering(0.1), {"label_smoothing": 0.1, "reduction": "mean"}),
    ],
    ids=["before and after", "dataclass", "slots", "own state"],
)
def test_a_subclass_is_frozen_once_its_own_init_is_over(make, attributes, duplicate):
    thing = duplicate(make())
    assert {name: getattr(thing, name) for name in attributes} == attributes
    for name in attributes:
        with pytest.raises(fs.StateError, match=rf"got {name} = 1; make a new .*, or write class .*, frozen=False\)"):
            setattr(thing, name, 1)


def test_a_subclass_may_say_that_it_is_not_frozen(name, data):
    layer = Counting()
    model = fs.Sequential(fs.Linear(6, 4), layer, fs.Linear(4, 3))
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD(), backend=name)
    step(*data)
    assert layer.calls > 0
    del layer.calls


def test_an_own_layer_or_loss_is_not_frozen_and_an_own_optimiser_is(monkeypatch):
    monkeypatch.setitem(OPTIMIZERS, "OwnOptimizer", None)

    class Own(fs.Layer, public=False):
        pass

    class OwnLoss(fs.Loss):
        pass

    class OwnOptimizer(fs.Optimizer):
        pass

    layer, loss, optimizer = Own(), OwnLoss(), OwnOptimizer(0.1)
    layer.more = loss.reduction = 1
    with pytest.raises(fs.StateError, match="got lr = 1"):
        optimizer.lr = 1


def test_what_was_given_as_a_setting_is_not_kept_but_copied():
    weights, groups, image, pair = [1.0, 2.0], [fs.ParameterGroup("*.bias")], [4, 4], [2, 2]
    loss, optimizer = fs.SoftmaxCrossEntropy(class_weights=weights), fs.SGD(groups=groups)
    convolution, pool = fs.Conv2d(1, 2, pair, image=image), fs.MaxPool2d(pair, image=[*image, 1])
    array = np.array([1.0, 2.0])
    other = fs.SoftmaxCrossEntropy(class_weights=array)
    for given in (weights, groups, image, pair):
        given.clear()
    array[:] = 7.0
    assert loss.class_weights == other.class_weights == (1.0, 2.0)
    assert optimizer.groups == (fs.ParameterGroup("*.bias"),)
    assert (convolution.kernel, convolution.image, pool.kernel, pool.image) == ((2, 2), (4, 4, 1), (2, 2), (4, 4, 1))
    for thing in (loss, optimizer, convolution, pool, fs.mlp([2, 3, 1])):
        assert not [value for value in vars(thing).values() if isinstance(value, list | dict | set | np.ndarray)]


def test_classes_show_the_signature_of_their_init():
    assert list(inspect.signature(fs.Dropout).parameters) == ["p"]
    assert list(inspect.signature(Named).parameters) == ["sigma", "name"]


def test_a_subclass_can_be_abstract():
    class Base(fs.Layer, abc.ABC, public=False):
        @abc.abstractmethod
        def forward(self, x, tape): ...

    with pytest.raises(TypeError, match="abstract"):
        Base()


@pytest.mark.parametrize("change", [lambda m, n: m.initialize(7, n), lambda m, n: m.to(n, "float64")], ids=["initialize", "to"])
def test_what_was_made_for_other_parameters_says_so(change, name, data):
    step = new_step(name)
    step(*data)
    objective = fs.Objective(fs.mlp([6, 4, 3], "tanh").initialize(0, name, "float32"), fs.SoftmaxCrossEntropy(), *data)
    _, gradient = objective.gradient()
    change(step.model, name)
    change(objective.model, name)
    uses = [lambda: step(*data), lambda: step.evaluate(*data), lambda: step.profile(*data, 1)]
    uses += [objective.value, objective.gradient, lambda: objective.hessian_product(gradient), lambda: objective.parameters]
    for use in uses:
        with pytest.raises(fs.StateError, match="the model was initialised again or moved since; create a new"):
            use()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=["deepcopy", "pickle"])
def test_a_copied_objective_is_the_same_function_of_its_own_model(duplicate, name, data):
    model = fs.mlp([6, 5, 3], "tanh").initialize(0, name, "float64")
    first = fs.Objective(model, fs.SoftmaxCrossEntropy(0.1), *data, l2=0.1)
    value, gradient = first.gradient()
    product = np.array(first.hessian_product(gradient))
    second = duplicate(first)
    assert (second.passes, second.products) == (first.passes, first.products)
    assert second.value() == value
    assert np.array_equal(second.gradient()[1], gradient)
    assert np.array_equal(second.hessian_product(gradient), product)
    second.model.load_parameters({k: v + 1.0 for k, v in second.model.parameters().items()})
    assert second.value() != value
    assert first.value() == value


def test_a_parameter_of_another_layer_is_refused_when_saving(name, tmp_path, monkeypatch):
    class Borrowing(fs.Linear, public=False):
        def __init__(self, inputs, outputs, other=None):
            super().__init__(inputs, outputs)
            self.weight = self.weight if other is None else other.weight

    monkeypatch.setitem(LAYERS, "Borrowing", Borrowing)
    first = fs.Linear(6, 6)
    model = fs.Sequential(first, fs.ReLU(), Borrowing(6, 6, first)).initialize(0, name)
    with pytest.raises(fs.ModelFileError, match="share weights by TiedLinear or by using one layer twice"):
        fs.save(model, tmp_path / "model")
    assert not list(tmp_path.iterdir())
