"""Muon: orthogonalised momentum for hidden matrices, AdamW for everything else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from ...backends import Array, Backend
from ...errors import HyperparameterError
from ...kernels.formula import Formula
from ...kernels.formulas import reach
from ...kernels.formulas.updates import (
    AVERAGE,
    MASK,
    RULES,
    Rule,
    inverse_norm,
    muon_direction,
    scaled_rows,
    update_formula,
    weighted_sum,
)  # fmt: skip
from ..engine.arena import Arena
from ..engine.parameter import Parameter
from ..settings import choice, epsilon_above_zero, flag, fraction, positive, whole
from .base import Optimizer, OptimizerState, scalars_of

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""a, b, c of Jordan (2024): the slope at 0 is as large as possible while singular values stay near 1."""
OF_MATRICES = {
    "ahead": ("matrix_ahead", 1.0), "now": ("matrix_now", 1.0), "rest1": ("matrix_rest1", 1.0),
    "root": ("", 0.0), "eps": ("", 1.0),
}  # fmt: skip
"""Sources of scalars in the groups of matrices, where the divisor is 1."""
STEP = frozenset({"weight_decay", "l1_proximal", AVERAGE, MASK})
"""Features of the step along the direction; the others change the gradient."""


class Muon(Optimizer):
    """theta -= lr s NS(b m + (1 - b) g) for hidden matrices, m = b m + (1 - b) g; AdamW with adam_lr for all other parameters.

    NS makes the singular values nearly 1 by Newton-Schulz steps X = a X + (b A + c A^2) X with A = X X^T, beginning at X /
    (||X|| + epsilon); (a, b, c) = (3.4445, -4.7750, 2.0315). Products are computed in bfloat16 on `cuda`, unless the parameters
    are in float64, and in the type of the parameters elsewhere. A step is two kernels over the arena; between them are three
    products and two small kernels per Newton-Schulz step and shape, as matrices of equal shape are multiplied together.

    Args: lr – of the matrices, default 0.02; momentum – b, default 0.95; nesterov – False orthogonalises m itself;
        bias_correction – whether m and g are divided by 1 - b^(t+1) and 1 - b^t, default False; newton_schulz_steps – default
        5; scale – s: "width" (default) is sqrt(max(1, outputs / inputs)), "rms" is 0.2 sqrt(max(outputs, inputs)), with which
        learning rates of AdamW fit; matrices – patterns of names such as ["*.weight"], as in ParameterGroup; None (default):
        all weights of two dimensions except the last one, of the output layer, and embeddings; adam_lr – learning rate of the
        rest, default 1e-3; schedules change both by the same factor; beta1, beta2, epsilon – of the rest, default 0.9, 0.999
        and 1e-8; adam_nesterov – whether the rest is NAdam, default False; weight_decay – decoupled, default 0.01.
    Differs from: torch.optim.Muon, which is given matrices only. Equal to optax.contrib.muon with bias_correction=True,
        adam_nesterov=True and matrices=["*"].
    Source: Jordan (2024), "Muon: An optimizer for hidden layers in neural networks"; Liu et al. (2025) for "rms".
    """

    def __init__(
        self, lr: float = 0.02, momentum: float = 0.95, nesterov: bool = True, bias_correction: bool = False,
        newton_schulz_steps: int = 5, scale: str = "width", matrices: Sequence[str] | None = None, adam_lr: float = 1e-3,
        beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8, adam_nesterov: bool = False,
        weight_decay: float = 0.01, **rest: Any,
    ) -> None:  # fmt: skip
        super().__init__(lr, weight_decay=weight_decay, **rest)
        self.muon_momentum = fraction(momentum, "momentum")
        self.nesterov, self.bias_correction = flag(nesterov, "nesterov"), flag(bias_correction, "bias_correction")
        self.adam_nesterov = flag(adam_nesterov, "adam_nesterov")
        self.newton_schulz_steps = whole(newton_schulz_steps, "newton_schulz_steps", 1, 99)
        self.scale = choice(scale, "scale", ("width", "rms"))
        self.matrices = None if matrices is None else _patterns(matrices)
        self.adam_lr = positive(adam_lr, "adam_lr")
        self.beta1, self.beta2 = fraction(beta1, "beta1"), fraction(beta2, "beta2")
        self.epsilon = epsilon_above_zero(epsilon)

    @property
    def rule(self) -> Rule:
        """The states of Adam, of which v of matrices stays unused; the last kernel is plain SGD along the direction."""
        return RULES["adam_outside"]

    def bind(self, arena: Arena) -> OptimizerState:
        """A state whose groups tell matrices from the rest."""
        return _MuonState(self, arena)

    def scale_of(self, shape: tuple[int, ...]) -> float:
        """s of a matrix [inputs, outputs]."""
        inputs, outputs = shape
        return math.sqrt(max(1.0, outputs / inputs)) if self.scale == "width" else 0.2 * math.sqrt(max(inputs, outputs))

    def is_matrix(self, name: str, parameter: Parameter, last: Parameter | None) -> bool:
        """Whether a parameter is orthogonalised; `last` – the last one with two dimensions."""
        if len(parameter.shape) != 2:
            return False
        if self.matrices is not None:
            return any(fnmatchcase(name, pattern) for pattern in self.matrices)
        return parameter.decays and not parameter.gathered and parameter is not last

    def scalars(self, t: int, lr: float) -> dict[str, float]:
        """lr, the scalars of Adam or NAdam, and those of matrices."""
        ahead, now = _mean(self.beta1, t, self.adam_nesterov, corrected=True)
        matrix_ahead, matrix_now = _mean(self.muon_momentum, t, self.nesterov, self.bias_correction)
        return {
            "lr": lr, "ahead": ahead, "now": now, "rest1": 1.0 - self.beta1, "rest2": 1.0 - self.beta2,
            "root": (1.0 - self.beta2**t) ** -0.5, "eps": self.epsilon,
            "matrix_ahead": matrix_ahead, "matrix_now": matrix_now, "matrix_rest1": 1.0 - self.muon_momentum,
        }  # fmt: skip


def _mean(beta: float, t: int, nesterov: bool, corrected: bool) -> tuple[float, float]:
    """The weights of m and of g in what is orthogonalised, or divided by the root of v."""
    now, after = (1.0 - beta**t, 1.0 - beta ** (t + 1)) if corrected else (1.0, 1.0)
    return (beta / after, (1.0 - beta) / now) if nesterov else (1.0 / now, 0.0)


def _patterns(matrices: Any) -> tuple[str, ...]:
    found = () if isinstance(matrices, str) or not isinstance(matrices, Sequence) else tuple(matrices)
    if not found or not all(isinstance(pattern, str) for pattern in found):
        raise HyperparameterError(f'expected matrices to be a list of patterns such as ["*.weight"]; got {matrices!r}')
    return found


class _MuonState(OptimizerState):
    """The state of Muon.

    Attributes: direction – flat, of the last step; matrices – the parameters that are orthogonalised, in the order of the
        model; scales – s of each group, None for the rest.
    """

    optimizer: Muon
    def __init__(self, optimizer: Optimizer, arena: Arena) -> None:
        super().__init__(optimizer, arena)
        backend, count = arena.backend, max(1, len(self.matrices))
        self.direction = arena.new()
        self._views = arena.views_of(self.direction)
        self._norms, self._factors = (backend.zeros((count,), arena.dtype) for _ in range(2))
        narrow = arena.dtype == "float32" and not backend.on_host and "bfloat16" in backend.precisions
        computed = "bfloat16" if narrow else arena.dtype
        shapes = [tuple(parameter.shape) for parameter in self.matrices]
        self._stacks = [
            _Stack(backend, shape, [k for k, other in enumerate(shapes) if other == shape], computed, arena.dtype)
            for shape in dict.fromkeys(shapes)
        ]
        self._scales = backend.asarray([1.0 if s is None else s for s in self.scales], arena.dtype)

    @property
    def _reach(self) -> reach.Reach:
        return partial(reach.muon, max((s for s in self.scales if s is not None), default=0.0))

    def make_formulas(self) -> None:
        """See OptimizerState; the second table is that of the step along the direction."""
        super().make_formulas()
        self._second = self._new_table(self._step)

    def _formula(self) -> Formula:
        return muon_direction(tuple(f for f in self.features if f not in STEP - {MASK}))

    @property
    def _step(self) -> Formula:
        return update_formula(RULES["sgd"], tuple(f for f in self.features if f in STEP))

    def _groups(self) -> tuple[dict[Parameter, int], list[tuple[float, ...]]]:
        group_of, settings = super()._groups()
        own, arena = self.optimizer, self.arena
        last = next((p for p in reversed(arena.parameters) if len(p.shape) == 2 and p.decays), None)
        self.matrices = [p for p, name in arena.names.items() if own.is_matrix(name, p, last)]
        kinds = {p: (settings[k], own.scale_of(p.shape) if p in self.matrices else None) for p, k in group_of.items()}
        groups = list(dict.fromkeys(kinds.values()))
        self.scales = [scale for _, scale in groups]
        ratio = own.adam_lr / own.lr
        rated = [(s[0] if scale is not None else s[0] * ratio, *s[1:]) for s, scale in groups]
        return {p: groups.index(kind) for p, kind in kinds.items()}, rated

    def _by_group(self, name: str) -> list[tuple[str, float]]:
        usual = super()._by_group(name)
        own = OF_MATRICES.get(name)
        return usual if own is None else [u if s is None else own for u, s in zip(usual, self.scales, strict=True)]

    @property
    def nbytes(self) -> int:
        """See OptimizerState; includes the direction."""
        return super().nbytes + int(self.direction.nbytes)

    @property
    def tables(self) -> tuple[tuple[Array, tuple[str, ...]], ...]:
        """See OptimizerState; includes the table of the step along the direction."""
        return (*super().tables, (self._second, scalars_of(self._step)))

    def update(self, gradient: Array) -> None:
        """None, because a step consists of more than one call."""

    def apply(self, gradient: Array, squares: Any) -> None:
        """The direction, the Newton-Schulz steps, then the step along it."""
        self.t += 1
        arena, backend, table = self.arena, self.arena.backend, self.table
        self._judge(self._squares(gradient, squares))
        moments = (self.states["m"], self.states["v"])
        backend.update(
            self.formula, (arena.values, gradient, *self.masks, self.direction, *moments), table, self.segments, self._rounding
        )
        self._orthogonalise()
        averages = () if self.average is None else (self.states[AVERAGE],)
        # Scales of shapes are the gradient scale of the step. Adding x - x carries over the NaN by which the first kernel was
        # skipped.
        self._second[0, ...] = self._scales + (table[0, ...] - table[0, ...])
        backend.update(self._step, (arena.values, self.direction, *self.masks, *averages), self._second, self.segments)

    def _orthogonalise(self) -> None:
        """Newton-Schulz steps on the direction of each matrix."""
        backend, own = self.arena.backend, self.optimizer
        for position, parameter in enumerate(self.matrices):
            start, stop = self.arena.ranges[parameter]
            self._norms[position] = backend.sum_of_squares(self.direction[start:stop])
        backend.map(inverse_norm, self._factors, self._norms, own.epsilon)
        for stack in self._stacks:
            views = [self._views[self.matrices[position]] for position in stack.positions]
            stack.begin(backend, views, self._factors)
            for step in range(own.newton_schulz_steps):
                stack.improve(backend, views if step == own.newton_schulz_steps - 1 else None)


class _Stack:
    """Matrices of one shape, which are orthogonalised together.

    Attributes: positions – of the matrices among those of the state.
    Args: dtype – in which they are computed; master – type of the parameters.
    """

    def __init__(self, backend: Backend, shape: tuple[int, ...], positions: list[int], dtype: str, master: str) -> None:
        count, least = len(positions), min(shape)
        self.positions = positions
        self._wide = shape[0] <= shape[1]
        shapes = ((count, *shape), (count, *shape), (count, least, least), (count, least, least))
        self._x, self._product, self._gram, self._square = (backend.empty(s, dtype) for s in shapes)
        self._pairs = [(self._x[k, ...], self._product[k, ...]) for k in range(count)]
        self._rows = backend.empty(shape[:1], master)

    def begin(self, backend: Backend, views: list[Array], factors: Array) -> None:
        """x = factor view for each matrix, with the factor at its position."""
        for (x, _), view, position in zip(self._pairs, views, self.positions, strict=True):
            self._rows[...] = factors[position]
            backend.map(scaled_rows, x, view, self._rows)

    def improve(self, backend: Backend, views: list[Array] | None) -> None:
        """x = a x + (b A + c A^2) x, with A = x x^T; or a x + x (b A + c A^2), with A = x^T x if that is smaller.

        Args: views – to which the result is written, in the last step; None for x.
        """
        a, b, c = COEFFICIENTS
        x, product, gram, square = self._x, self._product, self._gram, self._square

        def flat(array: Array) -> Array:
            return backend.xp.reshape(array, (-1,))

        backend.matmul(x, x, gram, transpose_a=not self._wide, transpose_b=self._wide)
        backend.matmul(gram, gram, square)
        backend.map(weighted_sum, flat(square), flat(gram), flat(square), b, c)
        backend.matmul(*((square, x) if self._wide else (x, square)), product)
        if views is None:
            backend.map(weighted_sum, flat(x), flat(x), flat(product), a, 1.0)
            return
        for (one, other), view in zip(self._pairs, views, strict=True):
            backend.map(weighted_sum, view, one, other, a, 1.0)
