"""Layers for k members of an ensemble that are computed together: RepeatColumns, EnsembleLinear, SeparateLinear, EnsembleMean.

The columns of the members stand side by side, [B, k d]. Without gaps these are also k rows for each row, [B k, d], so that a
matrix that all members share takes one product. The loss of each member is in framework/engine/member_loss.py.
"""

from __future__ import annotations

from typing import Any

from ...backends import Backend, Random
from ...errors import ShapeError
from ...kernels.formulas import ensembles as formulas
from ...kernels.formulas.elementwise import add_bias, row_product, scale_columns, softmax_derivative
from ...kernels.formulas.losses import rate
from ...kernels.formulas.precision import times
from ...kernels.formulas.vectors import product
from ...kernels.rows import repeats
from ..engine.initializers import Initializer, Normal, initializer
from ..engine.parameter import Parameter
from ..engine.tape import Tape
from ..settings import whole
from .base import Array, Layer, require_width, zeros


class RandomSigns(Initializer):
    """-1 or 1, each with probability 1/2. Source: Wen, Tran and Ba (2020)."""

    def fill(self, host: Backend, shape: tuple[int, int], fan_in: int, fan_out: int, random: Random) -> Any:
        """See Initializer."""
        drawn = Normal(1.0).fill(host, shape, fan_in, fan_out, random)
        drawn[...] = host.xp.where(drawn < 0.0, -1.0, 1.0)
        return drawn


class RepeatColumns(Layer):
    """y = (x, x, ..., x): the same x for each of k members.

    Args: inputs – columns of x; times – k.
    """

    setting_names = ("inputs", "times")

    def __init__(self, inputs: int, times: int) -> None:
        self.inputs = whole(inputs, "inputs of RepeatColumns")
        self.times = whole(times, "times of RepeatColumns")

    def output_width(self, width: int) -> int:
        """`inputs` times `times`."""
        require_width(self, self.inputs, width)
        return width * self.times

    def forward(self, x: Array, tape: Tape) -> Array:
        """The repeated columns."""
        y = tape.empty((x.shape[0], self.inputs * self.times))
        tape.backend.rows("take_columns", x, tape.table(repeats.tiled, self.inputs, self.times), y)
        return y

    def backward(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:
        """dx = the sum of the gradients of all repetitions."""
        if not needs_input:
            return None
        dx = tape.empty((dy.shape[0], self.inputs))
        tape.backend.rows("sum_columns", dy, tape.table(repeats.tiled_transposed, self.inputs, self.times), dx)
        return dx

    def jvp(self, x: Array, dx: Array | None, tape: Tape) -> tuple[Array, Array]:
        """dy = (dx, dx, ..., dx)."""
        y = self.forward(x, tape)
        return y, zeros(tape, y.shape) if dx is None else self.forward(dx, tape)


class _MembersLinear(Layer, public=False):
    """Base class: k affine maps of d columns to e columns each, of x [B, k d] to y [B, k e].

    Attributes: members – k; each, gives – d and e; weight, bias – Parameters.
    """

    weight: Parameter
    bias: Parameter

    def _declare(self, inputs: Any, outputs: Any, members: Any) -> None:
        name = type(self).__name__
        self.each = whole(inputs, f"inputs of {name}")
        self.gives = whole(outputs, f"outputs of {name}")
        self.members = whole(members, f"members of {name}")

    def _declare_bias(self, bias_init: str | float | Initializer) -> None:
        # The fans are those of a unit, so that initializers draw what they would for a Linear layer.
        shape = (self.members * self.gives,)
        self.bias = Parameter("bias", shape, initializer(bias_init), self.each, self.gives, decays=False)

    def _shifted(self, dy: Array, tape: Tape) -> Array:
        """dy + db, in the same array."""
        shift = tape.tangent(self.bias)
        if shift is not None:
            tape.backend.map(add_bias, dy, dy, shift)
        return dy

    @property
    def inputs(self) -> int:
        """Columns of x: those of all members."""
        return self.members * self.each

    @property
    def settings(self) -> dict[str, Any]:
        """See Layer."""
        return {"inputs": self.each, "outputs": self.gives, "members": self.members}

    def output_width(self, width: int) -> int:
        """Columns of y: those of all members."""
        require_width(self, self.inputs, width)
        return self.members * self.gives


class EnsembleLinear(_MembersLinear):
    """Linear layers of k members that share W: y_i = s_i * ((r_i * x_i) W) + b_i for the columns x_i of member i.

    With z = (r * x) W: dW = sum over members (r_i * x_i)^T (s_i * dy_i), ds = sum of the rows of dy * z, db = that of dy;
    dx = r * u and dr = sum of the rows of x * u with u = (s * dy) W^T. One product for all members.

    Args: inputs, outputs – columns d and e of one member; members – k, side by side in x [B, k d] and y [B, k e]; weight_init,
        bias_init – as in Linear; scale_init – of r, default 1; "random_signs" for the first layer, so that members differ.
    Parameters: weight [d, e]; scale_in (r) [k d], scale_out (s) [k e], starts at 1, bias [k e]; only the weight decays.
    Source: Wen, Tran and Ba (2020), "BatchEnsemble", equation 5; Gorishniy, Kotelnikov and Babenko (2025), "TabM".
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        members: int,
        weight_init: str | float | Initializer = "he_normal",
        bias_init: str | float | Initializer = 0.0,
        scale_init: str | float | Initializer = 1.0,
    ) -> None:
        self._declare(inputs, outputs, members)
        fans = self.each, self.gives
        self.weight = Parameter("weight", fans, initializer(weight_init), *fans)
        first = RandomSigns() if scale_init == "random_signs" else initializer(scale_init)
        self.scale_in = Parameter("scale_in", (self.inputs,), first, 1, 1, decays=False)
        self.scale_out = Parameter("scale_out", (self.members * self.gives,), initializer(1.0), 1, 1, decays=False)
        self._declare_bias(bias_init)

    def _product(self, x: Array, tape: Tape) -> Array:
        """x_i W for each member."""
        z = tape.empty((x.shape[0], self.members * self.gives))
        tape.backend.matmul(self._rows(x, tape), tape.parameter(self.weight), self._rows(z, tape))
        return z

    def _rows(self, x: Array, tape: Tape) -> Array:
        """x [B, k d] as [B k, d]."""
        return tape.backend.xp.reshape(x, (x.shape[0] * self.members, -1))

    def forward(self, x: Array, tape: Tape) -> Array:
        """s * ((r * x) W) + b, by one product and two passes."""
        scaled = tape.empty(x.shape)
        tape.backend.map(times, scaled, x, tape.parameter(self.scale_in))
        z = self._product(scaled, tape)
        y = tape.empty(z.shape)
        tape.backend.map(scale_columns, y, z, tape.parameter(self.scale_out), tape.parameter(self.bias))
        tape.push(x, scaled, z)
        return y

    def backward(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:  # noqa: ARG002
        """Writes the gradients of all parameters to the tape; returns dx."""
        x, scaled, z = tape.pop()
        backend = tape.backend
        dz = self._unscaled(dy, z, self.scale_out, tape.gradient(self.bias)[0], tape)
        gradient, again = tape.gradient(self.weight)
        backend.matmul(self._rows(scaled, tape), self._rows(dz, tape), gradient, transpose_a=True, accumulate=again)
        du = tape.empty(x.shape)
        backend.matmul(self._rows(dz, tape), tape.parameter(self.weight), self._rows(du, tape), transpose_b=True)
        return self._unscaled(du, x, self.scale_in, tape.empty(self.scale_in.shape), tape)

    def _unscaled(self, dy: Array, x: Array, scale: Parameter, offset: Array, tape: Tape) -> Array:
        """dx for y = x scale + offset; writes the gradient of the scale to the tape, and that of the offset to its array."""
        dx, (gradient, again) = tape.empty(dy.shape), tape.gradient(scale)
        tape.backend.rows("scale_columns_backward", dy, x, tape.parameter(scale), dx, gradient, offset, again)
        return dx

    def jvp(self, x: Array, dx: Array | None, tape: Tape) -> tuple[Array, Array]:
        """dy = s * dz + ds * z + db with dz = (r * dx + dr * x) W + (r * x) dW."""
        y = self.forward(x, tape)
        backend = tape.backend
        _, scaled, z = tape.top()
        moved = self._scaled_tangent(x, dx, self.scale_in, tape)
        dz = self._product(moved, tape)
        direction = tape.tangent(self.weight)
        if direction is not None:
            backend.matmul(self._rows(scaled, tape), direction, self._rows(dz, tape), accumulate=True)
        return y, self._shifted(self._scaled_tangent(z, dz, self.scale_out, tape), tape)

    def _scaled_tangent(self, x: Array, dx: Array | None, scale: Parameter, tape: Tape) -> Array:
        dy, direction = tape.empty(x.shape), tape.tangent(scale)
        direction = zeros(tape, scale.shape) if direction is None else direction
        given = zeros(tape, x.shape) if dx is None else dx
        tape.backend.map(formulas.times_tangent, dy, given, x, tape.parameter(scale), direction)
        return dy


class SeparateLinear(_MembersLinear):
    """Linear layers of k members that share nothing: y_i = x_i W_i + b_i for the columns x_i of member i.

    dW_i = x_i^T dy_i, db_i = sum of the rows of dy_i, dx_i = dy_i W_i^T. The matrices of all members take one kernel.

    Args: inputs, outputs – columns d and e of one member; members – k, side by side in x [B, k d] and y [B, k e]; weight_init,
        bias_init – as in Linear.
    Parameters: weight [k d, e], the matrices of the members below each other; bias [k e].
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        members: int,
        weight_init: str | float | Initializer = "he_normal",
        bias_init: str | float | Initializer = 0.0,
    ) -> None:
        self._declare(inputs, outputs, members)
        shape = (self.inputs, self.gives)
        self.weight = Parameter("weight", shape, initializer(weight_init), self.each, self.gives)
        self._declare_bias(bias_init)

    def forward(self, x: Array, tape: Tape) -> Array:
        """x_i W_i + b_i for each member."""
        y = tape.empty((x.shape[0], self.members * self.gives))
        tape.backend.rows("grouped_matmul", x, tape.parameter(self.weight), y, False)
        tape.backend.map(add_bias, y, y, tape.parameter(self.bias))
        tape.push(x)
        return y

    def backward(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:
        """Writes the gradients of W and b to the tape; returns dx."""
        (x,) = tape.pop()
        gradient, again = tape.gradient(self.weight)
        tape.backend.rows("grouped_matmul_weight", x, dy, gradient, again)
        tape.sum_rows(dy, self.bias)
        if not needs_input:
            return None
        dx = tape.empty(x.shape)
        tape.backend.rows("grouped_matmul_input", dy, tape.parameter(self.weight), dx)
        return dx

    def jvp(self, x: Array, dx: Array | None, tape: Tape) -> tuple[Array, Array]:
        """dy_i = dx_i W_i + x_i dW_i + db_i."""
        y = self.forward(x, tape)
        dy = zeros(tape, y.shape)
        if dx is not None:
            tape.backend.rows("grouped_matmul", dx, tape.parameter(self.weight), dy, True)
        direction = tape.tangent(self.weight)
        if direction is not None:
            tape.backend.rows("grouped_matmul", x, direction, dy, True)
        return y, self._shifted(dy, tape)


class EnsembleMean(Layer, frozen=False):
    """The prediction of k members, in the form of the outputs of one: x [B, k e] gives y [B, e].

    y = ln(mean over members of softmax(x_i)) for head "classes", so that softmax(y) is the mean of the probabilities;
    y = ln(m / (1 - m)) with m = mean of sigmoid(x_i) for "binary"; y = ln(mean of e^x_i) for "log_rates"; the mean of x_i for
    "signs", "values" and None. Means below 1e-30 count as 1e-30.

    As the last layer of a model it has the head of the model, which a TrainStep sets, and each member has a loss of its own in
    training: see `n_ensemble` of `fs.mlp`. Anywhere else it is a layer like others.

    Args: members – k; head – see Sequential.
    """

    setting_names = ("members", "head")

    def __init__(self, members: int, head: str | None = None) -> None:
        self.members = whole(members, "members of EnsembleMean")
        self.head = head

    def output_width(self, width: int) -> int:
        """`width` / k."""
        if width % self.members:
            raise ShapeError(
                f"{self!r} expected a multiple of {self.members} input columns; got {width}; give each member as many outputs"
            )
        return width // self.members

    def _sum(self, x: Array, tape: Tape) -> Array:
        """The sum over members [B, e]."""
        out = tape.empty((x.shape[0], x.shape[1] // self.members))
        tape.backend.rows("sum_columns", x, tape.table(repeats.tiled_transposed, out.shape[1], self.members), out)
        return out

    def _rows(self, x: Array, tape: Tape) -> Array:
        """x [B, k e] as [B k, e]."""
        return tape.backend.xp.reshape(x, (x.shape[0] * self.members, -1))

    def forward(self, x: Array, tape: Tape) -> Array:
        """The averaged prediction; saves what each member predicts, and the sums."""
        backend, part = tape.backend, 1.0 / self.members
        if self.head == "classes":
            parts = [tape.empty(x.shape)]
            backend.rows("softmax", self._rows(x, tape), self._rows(parts[0], tape))
        elif self.head == "binary":
            parts = [tape.empty(x.shape), tape.empty(x.shape)]
            backend.map(formulas.both_odds, tuple(parts), x)
        elif self.head == "log_rates":
            parts = [tape.empty(x.shape)]
            backend.map(rate, parts[0], x)
        else:
            parts = [x]
        sums = [self._sum(each, tape) for each in parts]
        y = tape.empty(sums[0].shape)
        backend.map(self._formula, y, *sums, part)
        tape.push(parts, sums)
        return y

    @property
    def _formula(self) -> Any:
        """y for the sums over members."""
        if self.head == "binary":
            return formulas.log_odds_of_means
        return formulas.log_of_mean if self.head in ("classes", "log_rates") else formulas.mean_of

    def _through_members(self, d: Array, parts: list[Array], tape: Tape) -> Array:
        """d [B, k e] times the (symmetric) derivative of what each member predicts."""
        if self.head not in ("classes", "binary", "log_rates"):
            return d
        out, backend = tape.empty(d.shape), tape.backend
        if self.head == "classes":
            p, given, result = (self._rows(each, tape) for each in (parts[0], d, out))
            products = tape.empty((p.shape[0],))
            backend.map(row_product, products, given, p)
            backend.map(softmax_derivative, result, given, p, products)
        else:
            backend.map(formulas.times_both if self.head == "binary" else product, out, d, *parts)
        return out

    def _through_mean(self, d: Array, sums: list[Array], tape: Tape) -> Array:
        """d [B, e] times the derivative of y with respect to the sums."""
        out, part = tape.empty(d.shape), 1.0 / self.members
        if self.head == "binary":
            tape.backend.map(formulas.through_log_odds_of_means, out, d, *sums, part)
        elif self.head in ("classes", "log_rates"):
            tape.backend.map(formulas.through_log_of_mean, out, d, *sums, part)
        else:
            tape.backend.map(formulas.mean_of, out, d, part)
        return out

    def backward(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:  # noqa: ARG002
        """dx: the gradient of each mean, for all members, times the derivative of their predictions."""
        parts, sums = tape.pop()
        means = self._through_mean(dy, sums, tape)
        each = tape.empty((dy.shape[0], self.members * dy.shape[1]))
        tape.backend.rows("take_columns", means, tape.table(repeats.tiled, dy.shape[1], self.members), each)
        return self._through_members(each, parts, tape)

    def jvp(self, x: Array, dx: Array | None, tape: Tape) -> tuple[Array, Array]:
        """As `backward`, the other way round."""
        y = self.forward(x, tape)
        if dx is None:
            return y, zeros(tape, y.shape)
        parts, sums = tape.top()
        return y, self._through_mean(self._sum(self._through_members(dx, parts, tape), tape), sums, tape)
