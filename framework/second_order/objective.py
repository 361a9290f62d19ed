"""A training problem as a function of one flat vector: value, gradient, and products with its curvature matrices.

It is evaluated over the whole batch, in evaluation mode, at the current parameters of the model. For a pruned model it is a
function of the remaining weights: gradients and products are 0 for pruned weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from typing import Any

from ...backends import Array, Backend
from ...backends.forward_mode.backend import DualBackend
from ...errors import DtypeError, HyperparameterError, NonFiniteLossError, ShapeError
from ...kernels.formulas.vectors import sign_rows
from ..engine.model import Sequential
from ..engine.step import TrainStep
from ..engine.tape import Tape
from ..engine.training_chain import training_loss
from ..layers.noise import Dropout, GaussianNoise
from ..losses import Loss
from ..optimizers.momentum import SGD
from ..settings import not_negative
from ..suggestions import suggests_arguments
from .limits import require_room
from .vectors import Packing, Vectors

MATRIX_LIMIT = 5000
"""Default limit for the number of parameters of methods with an explicit matrix: 200 MB in float64."""

EPSILON = {"float32": 2.0**-23, "float64": 2.0**-52}
"""The distance from 1 to the next number, by dtype."""

ROUNDINGS = 8.0
"""Assumed rounding error of outputs and loss in units of EPSILON; small networks of up to five layers show at most 1.5."""


@suggests_arguments
class Objective:
    """f(theta) = loss of model on (x, y) + (l2 / 2) ||theta||^2 over the parameters that decay.

    Pruned weights (fs.prune) are constants: their rows and columns of H and G, and their elements of the gradient, are 0.

    Args: model – a Sequential, initialised in float64 if necessary; loss; x, y – the full batch; l2 – >= 0, default 0; seed,
        backend – as in TrainStep; precision – "float64" (default for a model without parameters) or "float32".
    Attributes: parameters – the parameters of the model, flat; writing to it changes the model; count – number of parameters;
        passes – number of forward (and backward) passes for values and gradients; products – number of passes for curvature
        products; rounding – error bound of the last value from `gradient`.
    Raises: HyperparameterError for layers that draw random numbers, because f would change from call to call; StateError after
        the model was initialised again or moved; NotDifferentiable from hessian_product for a custom layer or loss that
        computes outside its tape's backend.

        f = fs.Objective(model, fs.MSE(), x, y)
        value, gradient = f.gradient()
        curvature = f.hessian_product(gradient)
    """

    def __init__(
        self,
        model: Sequential,
        loss: Loss,
        x: Any,
        y: Any,
        l2: float = 0.0,
        seed: int = 0,
        backend: str | Backend | None = None,
        precision: str | None = None,
    ) -> None:
        self.l2 = not_negative(l2, "l2")
        if precision not in (None, "float32", "float64"):
            raise DtypeError(
                f"expected precision 'float64' or 'float32', as curvature needs the digits; got {precision!r}; leave it out"
            )
        fresh = isinstance(model, Sequential) and not model.initialized
        step = TrainStep(model, loss, SGD(), seed, backend, precision or ("float64" if fresh else None))
        for layer in model.walk():
            if isinstance(layer, Dropout | GaussianNoise) and any(layer.settings.values()):
                raise HyperparameterError(
                    f"expected a function that is the same at each call; got a model with {layer!r}, which draws new numbers "
                    "every time; leave the layer out and use l2, or train with a first-order optimiser"
                )
        self.inputs, self.targets = step.prepare(x, y)
        model.remember_columns(x)
        model.remember_targets(y)
        if loss.balances:
            classes = model.output_width(int(model.inputs or 0))
            loss = loss.balanced_by(step.backend.to_numpy(self.targets), classes)
        self.model, self.loss, self.seed = model, loss, step.seed
        self.chain, self._member_loss = step.chain, training_loss(model, loss)
        self.arena = model.arena
        self.backend = self.arena.backend
        self.vectors = Vectors(self.arena)
        self.packing = Packing(self.arena)
        self.count = self.arena.count
        self.rows = int(self.inputs.shape[0])
        self.passes = 0
        self.products = 0
        self.rounding = 0.0
        self._decaying = max((self.arena.ranges[p][1] for p in self.arena.parameters if p.decays), default=0)
        self._values = Tape(self.arena)
        self._gradient = self.arena.new()
        self._gradients = Tape(self.arena, gradients=self._gradient)
        self._curvature: _Curvature | None = None

    def __getstate__(self) -> dict[str, Any]:
        """The arguments that recreate this function for a copy of the model."""
        to_host = self.backend.to_numpy
        state: dict[str, Any] = {name: getattr(self, name) for name in ("model", "loss", "l2", "seed", "passes", "products")}
        return {**state, "inputs": to_host(self.inputs), "targets": to_host(self.targets)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        ndim = state["model"].target_ndim
        self.__init__(  # type: ignore[misc]
            state["model"], state["loss"], state["inputs"], state["targets"], state["l2"], state["seed"]
        )
        self.model.target_ndim = ndim  # the targets of a copy are prepared ones
        self.passes, self.products = state["passes"], state["products"]

    @property
    def parameters(self) -> Array:
        """The model's parameters, flat."""
        self._require_own_parameters()
        return self.arena.values

    def _require_own_parameters(self) -> None:
        self.model.require_arena(self.arena, "Objective")

    @property
    def l2_factors(self) -> tuple[int, float]:
        """(end, l2): the penalty applies to the first `end` elements of flat arrays, which are the parameters with decay."""
        return self._decaying, self.l2

    def value(self) -> float:
        """f; may be NaN or infinite."""
        self._require_own_parameters()
        self.passes += 1
        self._values.begin(self.rows)
        with self.backend.quiet():
            outputs = self.chain.forward(self.inputs, self._values)
            losses, _ = self._member_loss.evaluate(outputs, self.targets, self._values)
            return self._with_penalty(losses)

    def gradient(self, out: Array | None = None) -> tuple[float, Array]:
        """(f, its gradient, in `out` or in a new flat array)."""
        self._require_own_parameters()
        self.passes += 1
        out = self.arena.new() if out is None else out
        tape = self._gradients
        tape.begin(self.rows)
        with self.backend.quiet():
            outputs = self.chain.forward(self.inputs, tape)
            losses, gradient = self._member_loss.evaluate(outputs, self.targets, tape)
            value = self._with_penalty(losses)
            self.rounding = self._rounding(value, outputs, gradient)
            self.chain.backward(gradient, tape, needs_input=False)
            self.backend.copy(self._gradient, out)
            self._add_penalty(out, self.parameters)
            self.arena.hold(out)
        return value, out

    def _rounding(self, value: float, outputs: Array, gradient: Array) -> float:
        """ROUNDINGS eps (|f| + sum |df/dy_ij y_ij|): the effect of relative errors of some eps in the outputs y and in f.

        eps is that of the parameters' dtype, in which rows are computed, even if they are summed in a wider type. 0 if the
        result is not finite.

        Source: first-order error analysis, as in Higham (2002), "Accuracy and stability of numerical algorithms", chapter 3.
        """
        xp = self.backend.xp
        spread = self.backend.item(xp.sum(xp.abs(outputs * gradient)))
        rounding = ROUNDINGS * EPSILON[self.arena.dtype] * (abs(value) + spread)
        return rounding if math.isfinite(rounding) else 0.0

    def _with_penalty(self, losses: Array) -> float:
        backend = self.backend
        value = backend.item(backend.total(losses)) * self.loss.factor(self.rows)
        if self.l2:
            value += 0.5 * self.l2 * backend.item(backend.sum_of_squares(self.parameters[: self._decaying]))
        return value

    def _add_penalty(self, out: Array, x: Array) -> None:
        """out += l2 x, where parameters decay."""
        if self.l2 and self._decaying:
            end = self._decaying
            self.vectors.combine(out[:end], 1.0, out[:end], self.l2, x[:end])

    def hessian_product(self, direction: Array, out: Array | None = None) -> Array:
        """H v, exact to rounding: the derivative of the gradient along v, by a backward pass on dual numbers.

        At the kinks of ReLU, Maxout and hinge losses it is the value of the side that their gradient takes.

        Args: direction – v, flat, with zeros in the gaps (as from `gradient` or arena.new()); out – flat, or a new array.
        Source: Pearlmutter (1994), whose R operator this is.
        """
        return self._product(_Curvature.hessian, direction, out)

    def gauss_newton_product(self, direction: Array, out: Array | None = None) -> Array:
        """G v = J^T H_L J v: J is the Jacobian of the outputs, H_L the Hessian of the loss with respect to the outputs.

        Positive semi-definite for every smooth loss here except Focal and BinaryFocal, which are not convex in the outputs;
        equal to H if the outputs are linear in the parameters.

        Source: Schraudolph (2002); Martens (2010).
        """
        return self._product(_Curvature.gauss_newton, direction, out)

    def _product(self, kind: Callable[[_Curvature, Array, Array], None], direction: Array, out: Array | None) -> Array:
        self._require_own_parameters()
        shape = tuple(getattr(direction, "shape", ()))
        if shape != (self.arena.size,):
            raise ShapeError(
                f"expected a flat direction [{self.arena.size}] with the arena's layout; got shape {shape}; start from "
                "model.arena.new() and write into model.arena.views_of(direction)"
            )
        self.products += 1
        if self._curvature is None:
            self._curvature = _Curvature(self)
        out = self.arena.new() if out is None else out
        with self.backend.quiet():
            kind(self._curvature, direction, out)
            self._add_penalty(out, direction)
            self.arena.hold(out)
        return out

    def hessian(self, limit: int = MATRIX_LIMIT) -> Array:
        """H [count, count] with the parameters in the order of the model, by one exact product per parameter.

        Args: limit – the largest accepted count.
        Raises: TooLarge, with the memory and operations that it would need.
        """
        return self._matrix(self.hessian_product, limit, "the exact Hessian")

    def gauss_newton(self, limit: int = MATRIX_LIMIT) -> Array:
        """G [count, count]; as `hessian`."""
        return self._matrix(self.gauss_newton_product, limit, "the Gauss-Newton matrix")

    def _matrix(self, product: Callable[[Array, Array], Array], limit: int, what: str) -> Array:
        require_room(self.count, limit, self.arena.dtype, what)
        backend = self.backend
        matrix = backend.zeros((self.count, self.count), self.arena.dtype)
        unit, flat, column = backend.zeros((self.count,), self.arena.dtype), self.arena.new(), self.arena.new()
        for k in range(self.count):
            unit[k : k + 1] = 1.0
            self.packing.unpack(unit, flat)
            unit[k : k + 1] = 0.0
            self.packing.pack(product(flat, column), matrix[k, :])
        return (matrix + matrix.T) * 0.5

    def signed_gradient(self, signs: Array, out: Array) -> None:
        """out = the sum over the rows of sign_i g_i, where g_i is the gradient of row i's contribution to the loss.

        For independent random signs, the expectation of its elementwise square is the sum of the squares of the g_i.

        Args: signs – [rows], only their signs are used; out – flat.
        """
        self.products += 1
        tape = self._gradients
        tape.begin(self.rows)
        with self.backend.quiet():
            outputs = self.chain.forward(self.inputs, tape)
            _, gradient = self._member_loss.evaluate(outputs, self.targets, tape)
            self.backend.map(sign_rows, gradient, gradient, signs)
            self.chain.backward(gradient, tape, needs_input=False)
        self.backend.copy(self._gradient, out)
        self.arena.hold(out)

    def require_finite(self, value: float, norm: float) -> None:
        """Raises NonFiniteLossError unless both are finite."""
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise NonFiniteLossError(
                f"expected a finite loss and gradient to start from; got {value} and a gradient of norm {norm}; "
                "check the parameters, or scale the data",
            )


class _Curvature:
    """Buffers and tapes for curvature products, created for the first one."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        arena = objective.arena
        self.dual = DualBackend(arena.backend)
        self.direction, self.result, self.spare = arena.new(), arena.new(), arena.new()
        lifted = copy(arena)
        lifted.backend = self.dual
        lifted.values = self.dual.pair(arena.values, self.direction)
        lifted.views = lifted.views_of(lifted.values)
        self.twice = Tape(lifted, gradients=self.dual.pair(self.spare, self.result))
        self.outputs = Tape(lifted)
        self.jacobian = Tape(arena, gradients=self.result, tangents=self.direction)
        self.inputs = self.dual.pair(objective.inputs)
        self.targets = self.dual.pair(objective.targets)

    def _along(self, direction: Array) -> None:
        """Sets the direction v, with 0 for pruned weights."""
        self.objective.backend.copy(direction, self.direction)
        self.objective.arena.hold(self.direction)

    def hessian(self, direction: Array, out: Array) -> None:
        """out = H v: the tangent of the gradient after forward, loss and backward at theta + v e."""
        f = self.objective
        self._along(direction)
        self.twice.begin(f.rows)
        _, gradient = f._member_loss.evaluate(f.chain.forward(self.inputs, self.twice), self.targets, self.twice)
        f.chain.backward(gradient, self.twice, needs_input=False)
        f.backend.copy(self.result, out)

    def gauss_newton(self, direction: Array, out: Array) -> None:
        """out = J^T H_L J v: J v by jvp, H_L as the tangent of the gradient of the loss, J^T by the backward pass."""
        f = self.objective
        self._along(direction)
        self.jacobian.begin(f.rows)
        y, dy = f.chain.jvp(f.inputs, None, self.jacobian)
        self.outputs.begin(f.rows)
        _, gradient = f._member_loss.evaluate(self.dual.pair(y, dy), self.targets, self.outputs)
        f.chain.backward_unfused(gradient.tangent, self.jacobian, needs_input=False)
        f.backend.copy(self.result, out)
