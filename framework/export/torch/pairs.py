"""Which layer is which module of torch.nn, or of periodic.py, with the settings and parameters of both: one table.

Nothing here imports torch; conversion.py does, where it is asked to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...layers import Layer, activations
from ...layers.dense import Linear
from ...layers.embedding import Embedding
from ...layers.images import Flatten
from ...layers.noise import Dropout
from ...layers.normalization import LayerNorm
from ...layers.number_embedding import PeriodicEmbedding
from ...layers.softmax import Softmax


@dataclass(frozen=True)
class Pair:
    """A layer and the module that computes the same.

    Args: layer, module – the class, and the name of the class in torch.nn, or in periodic.py if torch has none; arguments – of
        the module for a layer; settings – of the layer for a module; parameters – name in the module -> name in the layer, for
        those that it has; transposed – those whose matrix is the other way round; refuses – what of a module has no
        counterpart, in words, or an empty text.
    """

    layer: type[Layer]
    module: str
    arguments: Callable[[Any], dict[str, Any]] = lambda layer: {}  # noqa: ARG005
    settings: Callable[[Any], dict[str, Any]] = lambda module: {}  # noqa: ARG005
    parameters: Mapping[str, str] = field(default_factory=dict)
    transposed: frozenset[str] = frozenset()
    refuses: Callable[[Any], str] = lambda module: ""  # noqa: ARG005


def _embedding(module: Any) -> str:
    given = {name: getattr(module, name) for name in ("padding_idx", "max_norm")}
    return ", ".join(f"{name}={value}" for name, value in given.items() if value is not None)


def _layer_norm(module: Any) -> str:
    if len(module.normalized_shape) != 1:
        return f"normalized_shape={tuple(module.normalized_shape)}"
    absent = {"elementwise_affine=False": module.weight is None, "bias=False": module.bias is None}
    return next((setting for setting, is_so in absent.items() if is_so), "")


PAIRS = (
    Pair(
        Linear, "Linear",
        lambda layer: {"in_features": layer.inputs, "out_features": layer.outputs, "bias": layer.bias is not None},
        lambda module: {"inputs": module.in_features, "outputs": module.out_features, "bias": module.bias is not None},
        {"weight": "weight", "bias": "bias"}, frozenset({"weight"}),
    ),
    Pair(
        Embedding, "Embedding",
        lambda layer: {"num_embeddings": layer.categories, "embedding_dim": layer.width},
        lambda module: {"categories": module.num_embeddings, "width": module.embedding_dim},
        {"weight": "weight"}, refuses=_embedding,
    ),
    Pair(
        LayerNorm, "LayerNorm",
        lambda layer: {"normalized_shape": layer.features, "eps": layer.epsilon},
        lambda module: {"features": module.normalized_shape[0], "epsilon": module.eps},
        {"weight": "gain", "bias": "offset"}, refuses=_layer_norm,
    ),
    Pair(
        activations.PReLU, "PReLU",
        lambda layer: {"num_parameters": layer.features}, lambda module: {"features": module.num_parameters},
        {"weight": "alpha"},
    ),
    Pair(
        PeriodicEmbedding, "PeriodicModule",
        lambda layer: {name: getattr(layer, name) for name in PeriodicEmbedding.setting_names},
        lambda module: {name: getattr(module, name) for name in PeriodicEmbedding.setting_names},
        {"weight": "weight", "bias": "bias", "frequency": "frequency"},
    ),
    Pair(activations.Identity, "Identity"),
    Pair(activations.ReLU, "ReLU"),
    Pair(activations.Sigmoid, "Sigmoid"),
    Pair(activations.Tanh, "Tanh"),
    Pair(activations.SiLU, "SiLU"),
    Pair(activations.Mish, "Mish"),
    Pair(
        activations.LeakyReLU, "LeakyReLU",
        lambda layer: {"negative_slope": layer.slope}, lambda module: {"slope": module.negative_slope},
    ),
    Pair(activations.ELU, "ELU", lambda layer: {"alpha": layer.a}, lambda module: {"a": module.alpha}),
    Pair(
        activations.GELU, "GELU",
        lambda layer: {"approximate": layer.approximate}, lambda module: {"approximate": module.approximate},
    ),
    Pair(
        Softmax, "Softmax", lambda layer: {"dim": 1},  # noqa: ARG005
        refuses=lambda module: "" if module.dim in (1, -1) else f"dim={module.dim}",
    ),
    Pair(Dropout, "Dropout", lambda layer: {"p": layer.p}, lambda module: {"p": module.p}),
    Pair(
        Flatten, "Flatten",
        refuses=lambda module: "" if (module.start_dim, module.end_dim) == (1, -1) else "other dimensions than 1 to the last",
    ),
)  # fmt: skip
OF_LAYER = {pair.layer: pair for pair in PAIRS}
OF_MODULE = {pair.module: pair for pair in PAIRS}
