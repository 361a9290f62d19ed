"""`to_torch`, `from_torch` and `load_state_dict`: the same network with the same weights in PyTorch, and the way back.

Which layer is which module is in pairs.py. Only to_torch and from_torch need torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ....backends import Backend
from ....backends import backend as find_backend
from ....backends.arrays import as_array
from ....errors import DtypeError, ExportError, HyperparameterError, ShapeError
from ...engine.model import Sequential, require_model
from ...engine.parameter import Parameter
from ...layers import Layer
from ...layers.activations import PReLU
from ...layers.dense import Linear
from ...layers.embedding import Embedding
from ...layers.sequence import Sequence
from ...optional import require
from ...suggestions import suggests_arguments
from ..output_paths import PathLike
from .pairs import OF_LAYER, OF_MODULE, Pair
from .weights_file import read_weights


@suggests_arguments
def to_torch(model: Sequential) -> Any:
    """A torch.nn.Sequential of the same layers with copies of the parameters, on the CPU and in evaluation mode.

    Linear, Embedding, LayerNorm, Dropout, Softmax, Flatten and the activations become the module of that name,
    PeriodicEmbedding one of this package, and a sequence of layers a Sequential. After an Embedding there is a Flatten, because
    that of PyTorch gives a further axis; it takes integer codes.
    `safetensors.torch.save_file(fs.to_torch(model).state_dict(), path)` writes the weights for others.

    Args: model – initialised.
    Returns: the module; its outputs are those of `model(x)`, such as logits.
    Raises: ExportError for another layer, with its name; StateError for a model without parameters; MissingDependency.
    """
    require_model(model)
    torch = require("torch", "torch", "to_torch")
    made: dict[int, list[Any]] = {}
    with torch.device("meta"):  # without memory, and without random numbers of torch
        module = _module(torch.nn, model, made)
    host = model.host_copies()[0]
    values = {parameter: host[name] for name, parameter in model.declared()}
    state = {
        name: torch.from_numpy(np.ascontiguousarray(values[parameter].T if transposed else values[parameter]))
        for name, parameter, transposed in _names(model)
    }
    module.load_state_dict(state, assign=True)
    return module.eval()


@suggests_arguments
def from_torch(module: Any, backend: str | Backend | None = None, dtype: str | None = None) -> Sequential:
    """The model of a module of PyTorch, with copies of its parameters: the way back from `to_torch`.

    Args: module – a torch.nn.Sequential of Linear, Embedding followed by Flatten, LayerNorm, Dropout, Softmax, Identity,
        Flatten, activations, modules of this package and Sequential, or one of them; backend – name, or None for the one in
        use; dtype – "float32", "float64", or None: float64 if the module has such parameters.
    Returns: the model, ready for `predict` and for a TrainStep.
    Raises: ExportError for another module, with its name; ShapeError for widths that do not match; DtypeError for another
        dtype; MissingDependency.
    """
    if dtype not in (None, "float32", "float64"):
        raise DtypeError(f"expected dtype 'float32', 'float64' or None; got {dtype!r}")
    torch = require("torch", "torch", "from_torch")
    model = Sequential(*_layers(torch.nn, module))
    # In their order, because modules inside a Sequential may have any names.
    names = [name for name, _, _ in _names(model)]
    state = dict(zip(names, (value.detach().cpu() for value in module.state_dict().values()), strict=True))
    wide = any(value.dtype == torch.float64 for value in state.values())
    model.place(find_backend(backend), dtype or ("float64" if wide else "float32"))
    load_state_dict(model, state)
    return model


@suggests_arguments
def load_state_dict(model: Sequential, source: PathLike | Mapping[str, Any]) -> None:
    """Overwrites the parameters of a model with those of a `state_dict` of PyTorch; torch is not needed.

    Args: model – initialised; source – name -> tensor or array, or the path of a safetensors file of them; names and shapes are
        those of `fs.to_torch(model).state_dict()`: "0.weight" [outputs, inputs], "0.bias", "2.weight", …; numbers of 16 bits
        are taken as they are.
    Raises: ShapeError for other names or shapes, before anything is overwritten; ModelFileError for a file that cannot be read;
        DtypeError for integers; ExportError for a layer that has no module; HyperparameterError for another source;
        StateError for a model without parameters.
    """
    require_model(model)
    given: Mapping[str, Any]
    if isinstance(source, str | os.PathLike):
        given = read_weights(source)
    elif isinstance(source, Mapping):
        given = source
    else:
        raise HyperparameterError(
            f"expected a state_dict, or the path of a safetensors file of one; got {type(source).__name__}; pass "
            "module.state_dict()"
        )
    known = {name: (parameter, transposed) for name, parameter, transposed in _names(model)}
    found = {known[name][0] for name in given if name in known}
    missing = [name for name, (parameter, _) in known.items() if parameter not in found]
    unknown = sorted(set(given) - set(known))
    if missing or unknown:
        raise ShapeError(
            f"expected the parameters of this model by their names in fs.to_torch(model).state_dict(); missing: {missing}; "
            f"unknown: {unknown}; rename them"
        )
    values = {}
    for name, value in given.items():
        parameter, transposed = known[name]
        array = as_array(value)
        shape = parameter.shape[::-1] if transposed else parameter.shape
        if array.shape != shape:
            raise ShapeError(f"parameter {name}: expected shape {shape}; got {tuple(array.shape)}; load a model of this shape")
        values[parameter] = np.ascontiguousarray(array.T) if transposed else array
    model.load_parameters({name: values[parameter] for name, parameter in model.declared()})


def _pair(layer: Layer) -> Pair:
    pair = OF_LAYER.get(type(layer))
    if pair is None or getattr(layer, "groups", 1) > 1:
        raise ExportError(
            f"expected layers that PyTorch has ({', '.join(sorted(kind.__name__ for kind in OF_LAYER))}); got {layer!r} of "
            f"class {type(layer).__module__}.{type(layer).__qualname__}; replace it, or write that module yourself"
        )
    return pair


def _class(nn: Any, name: str) -> Any:
    """The class of a module, of torch.nn or of this package."""
    if hasattr(nn, name):
        return getattr(nn, name)
    from . import periodic

    return getattr(periodic, name)


def _plain(layer: Layer) -> bool:
    """Whether a layer is a sequence that only runs its layers."""
    return isinstance(layer, Sequence) and type(layer).forward is Sequence.forward


def _module(nn: Any, chain: Sequence, made: dict[int, list[Any]]) -> Any:
    """The Sequential of a sequence of layers; `made` – the modules of each layer, so that one used twice stays one."""
    modules = []
    for layer in chain.layers:
        if id(layer) not in made:
            if isinstance(layer, Sequence) and _plain(layer):
                made[id(layer)] = [_module(nn, layer, made)]
            else:
                pair = _pair(layer)
                module = _class(nn, pair.module)(**pair.arguments(layer))
                made[id(layer)] = [module, nn.Flatten()] if isinstance(layer, Embedding) else [module]
        modules += made[id(layer)]
    return nn.Sequential(*modules)


def _names(chain: Sequence, prefix: str = "") -> Iterator[tuple[str, Parameter, bool]]:
    """(name in the state_dict, parameter, whether the matrix is transposed) for all parameters, shared ones at each place."""
    place = 0
    for layer in chain.layers:
        if isinstance(layer, Sequence) and _plain(layer):
            yield from _names(layer, f"{prefix}{place}.")
        else:
            pair, own = _pair(layer), dict(layer.declared())
            for theirs, ours in pair.parameters.items():
                if ours in own:
                    yield f"{prefix}{place}.{theirs}", own[ours], theirs in pair.transposed
        place += 2 if isinstance(layer, Embedding) else 1


def _layers(nn: Any, module: Any) -> list[Layer]:
    """The layers of a module; one for each module of a Sequential, but for the Flatten after an Embedding."""
    if not isinstance(module, nn.Module):
        raise ExportError(f"expected a torch.nn.Module; got {module!r:.80}; pass one, such as torch.nn.Sequential(…)")
    owners: dict[int, set[int]] = {}
    for inner in module.modules():
        _require_no_hooks(inner)
        for parameter in inner.parameters(recurse=False):
            owners.setdefault(id(parameter), set()).add(id(inner))
    if any(len(modules) > 1 for modules in owners.values()):
        raise ExportError(
            f"expected modules with parameters of their own; got two of {module!r:.200} that share one; use one module twice"
        )
    return _chain(nn, list(module) if type(module) is nn.Sequential else [module], {})


def _chain(nn: Any, modules: list[Any], made: dict[int, Layer]) -> list[Layer]:
    layers: list[Layer] = []
    waiting = list(modules)
    while waiting:
        module = waiting.pop(0)
        if id(module) not in made:
            if type(module) is nn.Sequential:
                made[id(module)] = Sequence(*_chain(nn, list(module), made))
            else:
                made[id(module)] = _layer(nn, module, waiting)
        _require_own_alphas(made[id(module)], layers)
        if type(module) is nn.Embedding:
            waiting.pop(0)
        layers.append(made[id(module)])
    return layers


def _layer(nn: Any, module: Any, following: list[Any]) -> Layer:
    """The layer of one module; `following` – those after it."""
    name = type(module).__name__
    pair = OF_MODULE.get(name)
    if pair is None or type(module) is not _class(nn, name):
        raise ExportError(
            f"expected a Sequential of modules that are layers here ({', '.join(sorted(OF_MODULE))}); got {module!r:.200} of "
            f"class {type(module).__module__}.{type(module).__qualname__}; put such modules into a torch.nn.Sequential"
        )
    refused = pair.refuses(module)
    if refused:
        raise ExportError(f"expected {name} without {refused}, for which its layer has no setting; got {module!r}; change it")
    settings = pair.settings(module)
    if pair.layer is Embedding:
        settings["columns"] = _columns(nn, module, following)
    return pair.layer(**settings)


def _require_own_alphas(layer: Layer, before: list[Layer]) -> None:
    """Raises ExportError for a PReLU with one slope for all columns, of which the layers before it give several."""
    width = next((one.outputs for one in reversed(before) if isinstance(one, Linear)), 1)
    if isinstance(layer, PReLU) and layer.features == 1 and width > 1:
        raise ExportError(
            f"expected PReLU with a slope for each of the {width} columns; got PReLU(num_parameters=1), with one for all; "
            f"write torch.nn.PReLU({width}) and fill its weight with that slope"
        )


def _columns(nn: Any, module: Any, following: list[Any]) -> int:
    """Columns of codes of an Embedding: as many as make the width of the next module that has one, else 1."""
    if not following or type(following[0]) is not nn.Flatten:
        raise ExportError(
            f"expected Flatten after {module!r}, because the rows of codes of a layer are one row of numbers; got "
            f"{following[0] if following else 'nothing'!r}; put torch.nn.Flatten() there"
        )
    for later in following[1:]:
        width = {"Linear": "in_features", "PReLU": "num_parameters", "LayerNorm": "normalized_shape"}.get(type(later).__name__)
        if width is not None:
            size = int(np.prod(getattr(later, width)))
            if size % module.embedding_dim:
                raise ShapeError(f"expected {later!r} to take whole rows of {module!r}; {size} is no multiple of its width")
            return size // int(module.embedding_dim)
    return 1


def _require_no_hooks(module: Any) -> None:
    """Raises ExportError for a module that does more than its class says."""
    hooks = [name for name in ("_forward_hooks", "_forward_pre_hooks") if getattr(module, name, None)]
    if hooks:
        raise ExportError(
            f"expected modules without hooks, which may change what they compute; got {module!r:.200} with some; remove them"
        )
