"""The ONNX nodes of each layer in evaluation mode: one table from the class of a layer to the function that adds them.

The layers themselves are in framework/layers, the graph is in graph.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ....errors import ExportError
from ....kernels.formulas.ensembles import SMALLEST_MEAN
from ....kernels.rows.lookup import copied_columns
from ...engine.parameter import Parameter
from ...layers import Layer, activations, dense, embedding, ensemble, images, noise, normalization, number_embedding
from ...layers.residual import Residual
from ...layers.sequence import Sequence
from ...layers.softmax import Softmax
from .graph import Graph

HostArray = np.ndarray[Any, Any]


class LayerGraph:
    """A graph, and the parameters of the network that is added to it.

    Args: graph; values – the array of each parameter, on the host.
    """

    def __init__(self, graph: Graph, values: Mapping[Parameter, HostArray]) -> None:
        self.graph = graph
        self.add = graph.add
        self.constant = graph.constant
        self._values = values
        self._names: dict[Parameter, str] = {}

    def value(self, parameter: Parameter) -> HostArray:
        """The array of a parameter."""
        return self._values[parameter]

    def parameter(self, parameter: Parameter) -> str:
        """The constant of a parameter as it is, once however many layers use it."""
        if parameter not in self._names:
            self._names[parameter] = self.graph.parameter(parameter.name, self.value(parameter))
        return self._names[parameter]

    def own(self, name: str, values: HostArray) -> str:
        """A constant made of parameters."""
        return self.graph.parameter(name, values)

    def run(self, layer: Layer, x: str) -> str:
        """The output of a layer for the input x.

        Raises: ExportError for a class that is not in NODES, among them each that a user defines.
        """
        if isinstance(layer, Sequence) and type(layer).forward is Sequence.forward:
            for inner in layer.layers:
                x = self.run(inner, x)
            return x
        nodes = NODES.get(type(layer))
        if nodes is None:
            raise ExportError(
                f"expected layers that ONNX can represent ({', '.join(sorted(kind.__name__ for kind in NODES))}); got "
                f"{layer!r} of class {type(layer).__module__}.{type(layer).__qualname__}; replace it by those"
            )
        return nodes(self, layer, x)


def _same(to: LayerGraph, layer: Layer, x: str) -> str:  # noqa: ARG001
    return x


def _operator(name: str, **attributes: str) -> Callable[[LayerGraph, Any, str], str]:
    """The nodes of a layer that is one operator; attribute of the operator -> that of the layer."""
    return lambda to, layer, x: to.add(name, x, **{key: getattr(layer, own) for key, own in attributes.items()})


def _gemm(to: LayerGraph, x: str, weight: Parameter, bias: Parameter | None, transposed: bool = False) -> str:
    further = [] if bias is None else [to.parameter(bias)]
    return to.add("Gemm", x, to.parameter(weight), *further, **({"transB": 1} if transposed else {}))


def _linear(to: LayerGraph, layer: dense.Linear, x: str) -> str:
    return _gemm(to, x, layer.weight, layer.bias)


def _tied(to: LayerGraph, layer: dense.TiedLinear, x: str) -> str:
    return _gemm(to, x, layer.of.weight, layer.bias, transposed=True)


def _maxout(to: LayerGraph, layer: dense.Maxout, x: str) -> str:
    pieces = to.add("Reshape", _linear(to, layer.affine, x), to.constant([-1, layer.pieces, layer.outputs], "int64"))
    return _reduced(to, "ReduceMax", pieces, 1)


def _reduced(to: LayerGraph, operator: str, x: str, axis: int) -> str:
    """A reduction, whose axes are an input from opset 18 on."""
    if to.graph.opset >= 18:
        return to.add(operator, x, to.constant([axis], "int64"), keepdims=0)
    return to.add(operator, x, axes=[axis], keepdims=0)


def _silu(to: LayerGraph, layer: Layer, x: str) -> str:  # noqa: ARG001
    return to.add("Mul", x, to.add("Sigmoid", x))


def _mish(to: LayerGraph, layer: Layer, x: str) -> str:  # noqa: ARG001
    return to.add("Mul", x, to.add("Tanh", to.add("Softplus", x)))


def _gelu(to: LayerGraph, layer: activations.GELU, x: str) -> str:
    if to.graph.opset >= 20:
        return to.add("Gelu", x, approximate=layer.approximate)
    if layer.approximate == "none":
        inner = to.add("Erf", to.add("Mul", x, to.constant(0.5**0.5, "float32")))
    else:
        cube = to.add("Mul", to.add("Mul", to.add("Mul", x, x), x), to.constant(0.044715, "float32"))
        inner = to.add("Tanh", to.add("Mul", to.add("Add", x, cube), to.constant((2.0 / np.pi) ** 0.5, "float32")))
    half = to.add("Mul", x, to.constant(0.5, "float32"))
    return to.add("Mul", half, to.add("Add", inner, to.constant(1.0, "float32")))


def _prelu(to: LayerGraph, layer: activations.PReLU, x: str) -> str:
    return to.add("PRelu", x, to.parameter(layer.alpha))


def _layer_norm(to: LayerGraph, layer: normalization.LayerNorm, x: str) -> str:
    given = x if layer.groups == 1 else _reshaped(to, x, layer.features)
    y = to.add("LayerNormalization", given, to.parameter(layer.gain), to.parameter(layer.offset), epsilon=layer.epsilon)
    return y if layer.groups == 1 else _reshaped(to, y, layer.inputs)


def _reshaped(to: LayerGraph, x: str, *shape: int) -> str:
    """x with as many rows as there are for the rest of the shape."""
    return to.add("Reshape", x, to.constant([-1, *shape], "int64"))


def _repeated(to: LayerGraph, layer: ensemble.RepeatColumns, x: str) -> str:
    return to.add("Tile", x, to.constant([1, layer.times], "int64"))


def _members(to: LayerGraph, layer: ensemble.EnsembleLinear, x: str) -> str:
    """(r x) W s + b, with a row for each member in the product."""
    scaled = to.add("Mul", x, to.parameter(layer.scale_in))
    z = to.add("MatMul", _reshaped(to, scaled, layer.each), to.parameter(layer.weight))
    y = to.add("Mul", _reshaped(to, z, layer.members * layer.gives), to.parameter(layer.scale_out))
    return to.add("Add", y, to.parameter(layer.bias))


def _separate(to: LayerGraph, layer: ensemble.SeparateLinear, x: str) -> str:
    """[B, k, 1, d] times [k, d, e]: one product for all members."""
    weight = to.own("weight", to.value(layer.weight).reshape(layer.members, layer.each, layer.gives))
    z = to.add("MatMul", _reshaped(to, x, layer.members, 1, layer.each), weight)
    return to.add("Add", _reshaped(to, z, layer.members * layer.gives), to.parameter(layer.bias))


def _ensemble_mean(to: LayerGraph, layer: ensemble.EnsembleMean, x: str) -> str:
    each = to.add("Reshape", x, to.constant([0, layer.members, -1], "int64"))

    def log_mean(parts: str) -> str:
        mean = to.add("Max", _reduced(to, "ReduceMean", parts, 1), to.constant(SMALLEST_MEAN, "float32"))
        return to.add("Log", mean)

    if layer.head == "classes":
        return log_mean(to.add("Softmax", each, axis=2))
    if layer.head == "binary":
        ones, others = to.add("Sigmoid", each), to.add("Sigmoid", to.add("Neg", each))
        return to.add("Sub", log_mean(ones), log_mean(others))
    return log_mean(to.add("Exp", each)) if layer.head == "log_rates" else _reduced(to, "ReduceMean", each, 1)


def _residual(to: LayerGraph, layer: Residual, x: str) -> str:
    y = x
    for inner in layer.layers:
        y = to.run(inner, y)
    return to.add("Add", x, y)


def _columns(to: LayerGraph, x: str, columns: list[int]) -> str:
    return to.add("Gather", x, to.constant(columns, "int64"), axis=1)


def _lookup(to: LayerGraph, layer: embedding.Embedding | embedding.ColumnEmbeddings, x: str) -> str:
    """The copied columns and the rows of the codes; a last row of NaN is for codes that have none."""
    copied = copied_columns(layer.inputs, layer.lookups)
    parts = [_columns(to, x, copied)] if copied else []
    weight = to.value(layer.weight).reshape(-1)
    tables: dict[int, str] = {}
    for column, codes, width, first in layer.lookups:
        if first not in tables:
            rows = weight[first : first + codes * width].reshape(codes, width)
            tables[first] = to.own("rows", np.vstack([rows, np.full((1, width), np.nan)]))
        given = to.add("Gather", x, to.constant(column, "int64"), axis=1)
        whole = to.add("Equal", given, to.add("Floor", given))
        above = to.add("GreaterOrEqual", given, to.constant(0.0, "float32"))
        below = to.add("Less", given, to.constant(codes, "float32"))
        known = to.add("And", whole, to.add("And", above, below))
        row = to.add("Where", known, given, to.constant(codes, "float32"))
        parts.append(to.add("Gather", tables[first], to.graph.cast(row, "int64"), axis=0))
    return parts[0] if len(parts) == 1 else to.add("Concat", *parts, axis=1)


def _embedded(to: LayerGraph, layer: Any, x: str, features: Callable[[str, int, int], list[str]]) -> str:
    """The other columns, and ReLU(features W + b) of each embedded column c; `features` – matrices [B, c, m] of x [B, c, 1]."""
    columns, m = len(layer.columns), layer.m
    chosen = _columns(to, x, list(layer.columns))
    parts = features(to.add("Reshape", chosen, to.constant([-1, columns, 1], "int64")), columns, m)
    weight = to.value(layer.weight).reshape(len(parts), columns, m, layer.width)
    # [B, c, 1, parts m] times [c, parts m, width]: one product for all columns.
    wide = parts[0] if len(parts) == 1 else to.add("Concat", *parts, axis=2)
    matrix = to.own("weight", np.moveaxis(weight, 0, 1).reshape(columns, len(parts) * m, layer.width))
    product = to.add("MatMul", to.add("Reshape", wide, to.constant([-1, columns, 1, len(parts) * m], "int64")), matrix)
    flat = to.add("Reshape", product, to.constant([-1, columns * layer.width], "int64"))
    y = to.add("Relu", to.add("Add", flat, to.parameter(layer.bias)))
    others = [column for column in range(layer.inputs) if column not in set(layer.columns)]
    return to.add("Concat", _columns(to, x, others), y, axis=1) if others else y


def _periodic(to: LayerGraph, layer: number_embedding.PeriodicEmbedding, x: str) -> str:
    def features(x: str, columns: int, m: int) -> list[str]:
        turns = to.add("Mul", x, to.own("frequency", to.value(layer.frequency).reshape(columns, m)))
        turns = to.add("Sub", turns, to.add("Floor", to.add("Add", turns, to.constant(0.5, "float32"))))
        angle = to.add("Mul", turns, to.constant(2.0 * np.pi, "float32"))
        return [to.add("Sin", angle), to.add("Cos", angle)]

    return _embedded(to, layer, x, features)


def _piecewise(to: LayerGraph, layer: number_embedding.PiecewiseLinearEmbedding, x: str) -> str:
    def features(x: str, columns: int, m: int) -> list[str]:
        first, scale, least, most = (to.own("bins", np.reshape(row, (columns, m))) for row in layer.formula_rows)
        filled = to.add("Mul", to.add("Sub", x, first), scale)
        return [to.add("Min", to.add("Max", filled, least), most)]

    return _embedded(to, layer, x, features)


def _as_image(to: LayerGraph, layer: images.Conv2d | images.MaxPool2d, x: str) -> str:
    """Rows [height, width, channels] as [channels, height, width]."""
    return to.add("Transpose", to.add("Reshape", x, to.constant([-1, *layer.known_image()], "int64")), perm=[0, 3, 1, 2])


def _as_rows(to: LayerGraph, layer: images.Conv2d | images.MaxPool2d, y: str) -> str:
    width = int(np.prod(layer.output_image()))
    return to.add("Reshape", to.add("Transpose", y, perm=[0, 2, 3, 1]), to.constant([-1, width], "int64"))


def _convolution(to: LayerGraph, layer: images.Conv2d, x: str) -> str:
    shape = (*layer.kernel, layer.in_channels, layer.out_channels)
    weight = to.own("weight", to.value(layer.weight).reshape(shape).transpose(3, 2, 0, 1))
    biases = [] if layer.bias is None else [to.parameter(layer.bias)]
    sizes = {"kernel_shape": list(layer.kernel), "strides": list(layer.stride), "pads": [*layer.padding, *layer.padding]}
    return _as_rows(to, layer, to.add("Conv", _as_image(to, layer, x), weight, *biases, **sizes))


def _pooling(to: LayerGraph, layer: images.MaxPool2d, x: str) -> str:
    sizes = {"kernel_shape": list(layer.kernel), "strides": list(layer.stride)}
    return _as_rows(to, layer, to.add("MaxPool", _as_image(to, layer, x), **sizes))


NODES: dict[type[Layer], Callable[[LayerGraph, Any, str], str]] = {
    activations.Identity: _same,
    activations.ReLU: _operator("Relu"),
    activations.Sigmoid: _operator("Sigmoid"),
    activations.Tanh: _operator("Tanh"),
    activations.SiLU: _silu,
    activations.Mish: _mish,
    activations.LeakyReLU: _operator("LeakyRelu", alpha="slope"),
    activations.ELU: _operator("Elu", alpha="a"),
    activations.GELU: _gelu,
    activations.PReLU: _prelu,
    Softmax: _operator("Softmax"),
    dense.Linear: _linear,
    dense.TiedLinear: _tied,
    dense.Maxout: _maxout,
    noise.Dropout: _same,
    noise.GaussianNoise: _same,
    normalization.LayerNorm: _layer_norm,
    ensemble.RepeatColumns: _repeated,
    ensemble.EnsembleLinear: _members,
    ensemble.SeparateLinear: _separate,
    ensemble.EnsembleMean: _ensemble_mean,
    Residual: _residual,
    embedding.Embedding: _lookup,
    embedding.ColumnEmbeddings: _lookup,
    number_embedding.PeriodicEmbedding: _periodic,
    number_embedding.PiecewiseLinearEmbedding: _piecewise,
    images.Conv2d: _convolution,
    images.MaxPool2d: _pooling,
    images.Flatten: _same,
}
"""Class of a layer -> the function (graph, layer, input) -> output that adds its nodes."""
