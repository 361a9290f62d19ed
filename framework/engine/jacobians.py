"""Local Jacobians of a layer as explicit matrices, for small layers and for teaching."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...backends import Array
from ...backends import backend as find_backend
from ...errors import ShapeError
from ..layers import Layer
from ..suggestions import suggests_arguments
from .checks import double_arena
from .model import Sequential
from .tape import Tape


@suggests_arguments
def local_jacobians(
    layer: Layer, x: Any, parameters: Mapping[str, Any] | None = None, seed: int = 0
) -> tuple[Array, Array]:
    """(dz/dx [e, d], dz/dw [e, n]) of z = layer(x) at one sample x [d], in float64 on the host.

    The columns of dz/dw are the parameters in the order of the layer: the weight matrix by output unit (all weights of the
    first output, then of the second, …), then the bias. For an affine layer this is the e x e(d + 1) matrix of the notes: each
    row contains x^T, shifted by d columns from row to row, followed by the e x e identity.

    Args: layer – a layer, or a model, whose parameters are used if it is initialised; x – the sample; parameters – name ->
        array, as in model.parameters(); parameters that are not given are drawn at random; None draws all unless the model is
        initialised; seed – for drawing.
    Raises: ShapeError unless x is a vector of the layer's width, and for unknown parameter names.
    Source: notes 001; on one slide the 2 x 8 example lacks a column.
    """
    host = find_backend("numpy")
    chain = layer if isinstance(layer, Sequential) else Sequential(layer)
    arena = double_arena(chain, host, seed, copied=parameters is None)
    names = {name: p for p, name in arena.names.items()} | {name.rpartition(".")[2]: p for p, name in arena.names.items()}
    for name, values in (parameters or {}).items():
        if name not in names:
            raise ShapeError(f"expected parameters out of {', '.join(arena.names.values())}; got {name!r}")
        host.copy(host.asarray(values, "float64"), arena.views[names[name]])
    row = host.asarray(x, "float64")
    if len(row.shape) != 1:
        raise ShapeError(f"expected one sample x [columns]; got shape {tuple(row.shape)}")
    xp = host.xp
    inputs = xp.reshape(row, (1, -1))
    gradients = arena.new()
    tape = Tape(arena, gradients=gradients)
    width = chain.output_width(int(inputs.shape[1]))
    by_input, by_parameters = [], []
    for unit in range(width):
        tape.begin(1)
        chain.forward(inputs, tape)
        direction = host.zeros((1, width), "float64")
        direction[0, unit] = 1.0
        dx = chain.backward(direction, tape)
        by_input.append(xp.reshape(dx, (-1,)) + 0.0)
        parts = [xp.reshape(arena.views_of(gradients)[p].T, (-1,)) for p in arena.parameters]
        by_parameters.append(xp.concat(parts) if parts else host.zeros((0,), "float64"))
    return xp.stack(by_input), xp.stack(by_parameters)
