"""fusedstep: train multi-layer perceptrons at the speed limit of the array library underneath.

    import fusedstep as fs

    model = fs.mlp([784, 512, 10])
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.Adam(1e-3), seed=0)
    loss = step(x, y)

The public names are listed here and loaded when they are first used, so that importing the package stays quick.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_LAYERS = (
    "Dropout ELU GELU GaussianNoise Identity Layer LayerNorm LeakyReLU Linear Maxout PReLU ReLU Residual SiLU Sigmoid "
    "Softmax Tanh TiedLinear"
)
_LOSSES = "MSE Bhattacharyya BinaryCrossEntropy Hinge KLDivergence Loss MultiClassHinge SoftmaxCrossEntropy SymmetricKL"
_OPTIMIZERS = (
    "SGD AdaDelta AdaGrad Adam AdamW Adamax LAMB Lion Momentum NAdam Nesterov Optimizer ParameterGroup RMSProp SignDescent"
)
_INITIALIZERS = "Constant GlorotNormal GlorotUniform HeNormal HeUniform Initializer LeCunNormal Normal Zeros"
_ERRORS = (
    "BackendUnavailable DataFileError DtypeError EmptyDataError FusedstepError HyperparameterError LabelError "
    "MissingDependency MixedBackends ModelFileError NonFiniteDataError NonFiniteLossError OutputPathError ShapeError "
    "StateError UnknownBackend UnknownColumn"
)
_PLACES = {
    "backends": "Backend asarray backend backends use_backend",
    "errors": _ERRORS,
    "framework.callbacks": "Callback EarlyStopping ProgressBar",
    "framework.checks": "GradientReport gradient_check",
    "framework.history": "History",
    "framework.initializers": _INITIALIZERS,
    "framework.jacobians": "local_jacobians",
    "framework.layers": _LAYERS,
    "framework.losses": _LOSSES,
    "framework.model": "Sequential mlp",
    "framework.optimizers": _OPTIMIZERS,
    "framework.persistence": "load save",
    "framework.step": "StepLoss TrainStep",
    "framework.trainer": "Trainer",
}
_WHERE = {name: module for module, names in _PLACES.items() for name in names.split()}

__all__ = ["__version__", *sorted(_WHERE)]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        import difflib

        near = difflib.get_close_matches(name, _WHERE, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise AttributeError(f"module 'fusedstep' has no attribute {name!r}{hint}")
    value = getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
