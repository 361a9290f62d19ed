"""Base class of optimisers: penalties, clipping, parameter groups, and the state on a backend.

A subclass names its rule and returns the rule's scalars for step t.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...backends import Array, Random, having
from ...errors import DtypeError, HyperparameterError
from ...kernels.formula import Formula
from ...kernels.formulas.precision import count_above
from ...kernels.formulas.reach import Reach, averaged
from ...kernels.formulas.updates import (
    AVERAGE,
    AVERAGE_KEEP,
    GRADIENT_SCALE,
    MASK,
    RULES,
    WIDE,
    Rule,
    masked,
    update_formula,
)  # fmt: skip
from ..engine.arena import Arena
from ..engine.averaging import EMA
from ..engine.frozen import Frozen
from ..engine.parameter import Parameter
from ..settings import choice, not_negative, positive
from ..sources.names import did_you_mean
from ..streams import ROUNDING
from ..suggestions import SuggestsAttributes, suggests_arguments
from .headroom import Headroom, most_squares

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..engine.precision import LossScale

DECAY_LR = "decay_lr"
"""Name of the plain learning rate among the scalars of an update."""

OPTIMIZERS: dict[str, type[Optimizer]] = {}


@suggests_arguments
@dataclass(frozen=True)
class ParameterGroup:
    """Settings for the parameters whose name matches a pattern; None keeps the settings of the optimiser.

    Args: pattern – such as "0.Linear.*" or "*.bias", matched against the whole name; the first matching group applies;
        lr_scale – factor for the learning rate; l2, l1, weight_decay – as in the optimiser, and applied to biases too if given
        here.
    """

    pattern: str
    lr_scale: float = 1.0
    l2: float | None = None
    l1: float | None = None
    weight_decay: float | None = None


def _checked(groups: Any) -> tuple[ParameterGroup, ...]:
    """The groups as a tuple; raises HyperparameterError for an invalid setting of a group."""
    checked = tuple(groups) if isinstance(groups, Sequence) and not isinstance(groups, str) else None
    if checked is None or not all(isinstance(group, ParameterGroup) for group in checked):
        raise HyperparameterError(
            f"expected groups to be a list of fs.ParameterGroup; got {groups!r}; "
            'write groups=[fs.ParameterGroup("*.bias", lr_scale=2.0)]'
        )
    for group in checked:
        if not isinstance(group.pattern, str):
            raise HyperparameterError(f'expected pattern to be text such as "*.bias"; got {group.pattern!r}; write a name')
        positive(group.lr_scale, f"lr_scale of group {group.pattern!r}")
        for name in ("l2", "l1", "weight_decay"):
            value = getattr(group, name)
            if value is not None:
                not_negative(value, f"{name} of group {group.pattern!r}")
    return checked


class Optimizer(Frozen, SuggestsAttributes):
    """An optimiser: a rule that updates parameters from gradients.

    Args: lr – learning rate > 0; l2 – alpha of the penalty (alpha / 2) ||theta||^2, whose gradient alpha theta is added to g;
        weight_decay – lambda of theta -= lr lambda theta, decoupled from g (as in AdamW); l1 – beta of the penalty beta
        ||theta||_1; l1_form – "subgradient" adds beta sign(theta) to g, "proximal" soft-thresholds by lr beta after the rule,
        which gives exact zeros; clip_value – every element of g is clipped to [-c, c]; clip_norm – g is scaled down to this
        global norm if its norm is larger; groups – ParameterGroups; state_dtype – "bfloat16" stores the optimiser state in 16
        bits with stochastic rounding, so that small changes are kept on average (on `numpy` and `cuda`); None uses the type of
        the parameters.

    Biases, gains and offsets are exempt from penalties and decay. Clipping is applied to the gradient of the loss, before
    penalties are added.

    Order in a step: clip_norm, clip_value, l2 and l1, weight_decay, the rule, the proximal step.

    Several steps can share an optimiser, so its settings are fixed: setting one raises StateError. `step.lr` and
    `step.momentum` can be set.
    """

    rule_name = "sgd"
    _instead = "set step.lr or step.momentum, or make a new optimiser and a new TrainStep"

    def __init_subclass__(cls, frozen: bool | None = None) -> None:
        super().__init_subclass__(frozen)
        if "looks_ahead" in cls.__dict__:
            raise HyperparameterError(
                f"expected {cls.__name__} to define `bind`; got `looks_ahead`, which nothing asks any more; return "
                "framework.optimizers.momentum.LookAheadState(self, arena) from `bind`"
            )
        OPTIMIZERS[cls.__name__] = cls

    def __init__(
        self,
        lr: float,
        *,
        l2: float = 0.0,
        l1: float = 0.0,
        l1_form: str = "subgradient",
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        groups: Sequence[ParameterGroup] = (),
        state_dtype: str | None = None,
    ) -> None:
        self.lr = positive(lr, "lr")
        self.l2 = not_negative(l2, "l2")
        self.l1 = not_negative(l1, "l1")
        self.weight_decay = not_negative(weight_decay, "weight_decay")
        self.clip_norm = None if clip_norm is None else positive(clip_norm, "clip_norm")
        self.clip_value = None if clip_value is None else positive(clip_value, "clip_value")
        self.l1_form = choice(l1_form, "l1_form", ("subgradient", "proximal"))
        self.groups = _checked(groups)
        self.state_dtype = None if state_dtype is None else choice(state_dtype, "state_dtype", ("float32", "bfloat16"))

    @property
    def rule(self) -> Rule:
        """The update rule, by `rule_name`."""
        return RULES[self.rule_name]

    def scalars(self, t: int, lr: float) -> dict[str, float]:  # noqa: ARG002
        """The rule's scalars in step t = 1, 2, …; including "lr" if the rule changes it."""
        return {"lr": lr}

    def momentum_scalars(self, momentum: float) -> dict[str, float]:  # noqa: ARG002
        """The scalars that depend on the momentum, for a value set by a schedule; empty if the momentum has no schedule."""
        return {}

    def bind(self, arena: Arena) -> OptimizerState:
        """The state of this optimiser for one model."""
        return OptimizerState(self, arena)

    def _group(self, name: str, parameter: Parameter) -> tuple[float, ...]:
        """(lr_scale, l2, l1, weight_decay) of a parameter."""
        for group in self.groups:
            if fnmatchcase(name, group.pattern):
                pairs = ((group.l2, self.l2), (group.l1, self.l1), (group.weight_decay, self.weight_decay))
                own = (o if o is not None else (d if parameter.decays else 0.0) for o, d in pairs)
                return (group.lr_scale, *own)
        return (1.0, *((self.l2, self.l1, self.weight_decay) if parameter.decays else (0.0, 0.0, 0.0)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(lr={self.lr:g})"


def find_optimizer(name: str, option: str = "--optimizer") -> str:
    """The class name of an optimiser; case-insensitive.

    Args: name; option – what it was given to, for the message.
    Raises: HyperparameterError.
    """
    known = {entry.lower(): entry for entry in OPTIMIZERS if not entry.startswith("_")}
    if name.lower() not in known:
        raise HyperparameterError(
            f"{option}: expected one of {', '.join(known.values())}; got {name!r}{did_you_mean(name, known.values())}"
        )
    return known[name.lower()]


class Update(NamedTuple):
    """The call of an update formula: the arguments of `Backend.update`, and those of `Backend.limit_norm` before it."""

    formula: Formula
    arrays: tuple[Array, ...]
    table: Array
    segments: Any
    largest: float
    most: float


class OptimizerState:
    """The state of an optimiser for one model, and the update itself.

    Attributes: t – number of steps taken; lr – the learning rate, which may be set between steps; momentum – likewise, None for
        that of the optimiser; states – name -> flat array with the layout of the arena; table – [scalars, groups] on the
        backend, for the step that `begin` prepared; loss_scale – the LossScale of steps in float16, otherwise None; settings –
        (lr_scale, l2, l1, weight_decay) of each group; group_of – parameter -> group number; most – the largest sum of squares
        of a gradient that is applied; skips – None, or [1], counts on the backend the steps that changed nothing; headroom –
        what is known of the size of the arrays; average – the EMA of the parameters, whose array is among the states, or None;
        shown_from – the states from which `show_average` takes what the model shows, which begin as copies of the parameters;
        loads – of the arena, when they began; scalar_names – of the rule, known from the first step on; proven – whether the
        steps whose scalars were computed last cannot overflow.
    """

    one_by_one = ""
    """Why several steps cannot be run in one launch, as text; "" if they can."""

    def __init__(self, optimizer: Optimizer, arena: Arena) -> None:
        self.optimizer = optimizer
        self.arena = arena
        self.t = 0
        self.lr = optimizer.lr
        self.momentum: float | None = None
        self.group_of, self.settings = self._groups()
        self._features = self._used()
        self.segments = arena.backend.segments(arena.merged_ranges(self.group_of))
        self.states = self._new_states()
        self.average: EMA | None = None
        self.shown_from: tuple[str, ...] = ()
        self.loads = arena.loads
        self._rounding = Random(arena.backend.random_state(0), ROUNDING) if optimizer.state_dtype == "bfloat16" else None
        self.make_formulas()
        self._senders: list[Callable[[Any], None]] = []
        self.loss_scale: LossScale | None = None
        self.scalar_names: tuple[str, ...] = ()
        clipped = min(self.largest, optimizer.clip_value or math.inf)
        most = most_squares(arena.dtype)
        self.most = most if clipped * clipped > most else sys.float_info.max
        self.headroom = Headroom(self)
        self.proven = False
        self.skips: Array | None = None

    def make_formulas(self) -> None:
        """The formulas of a step with the present features, and their tables."""
        self.formula = self._formula()
        self.table = self._new_table(self.formula)
        self._names = scalars_of(self.formula)

    def keep_average(self, average: EMA) -> None:
        """From the first step on, updates also average the parameters; to be called before it."""
        self.average, self.shown_from = average, (AVERAGE,)
        self.states[AVERAGE] = self.arena.new()
        self._begin_averages()
        self._features = (*self._features, AVERAGE)
        self.make_formulas()

    def show_average(self) -> None:
        """The arena has the average of the parameters until the next step; does nothing without one."""
        if self.average is not None and self.t and self.arena.behind is not self.states[AVERAGE]:
            self.arena.show(self.states[AVERAGE])

    def _new_states(self) -> dict[str, Array]:
        """The initial states: name -> zeros."""
        backend, wanted = self.arena.backend, self.optimizer.state_dtype or self.arena.dtype
        if wanted != self.arena.dtype and (wanted != "bfloat16" or wanted not in backend.precisions):
            others = having("bfloat16", backend.device)
            raise DtypeError(
                f"expected a state_dtype that backend {backend.name!r} has for parameters in {self.arena.dtype}; got "
                f"{wanted!r}; bfloat16 works on {' and '.join(others)}; leave it out, or choose another backend"
            )
        size, own = (self.arena.size,), self.arena.dtype
        return {name: backend.zeros(size, own if name in WIDE else wanted) for name in self.optimizer.rule.states}

    def _formula(self) -> Formula:
        """The formula of the update, whose scalars `begin` sends."""
        return update_formula(self.optimizer.rule, self.features)

    def _new_table(self, formula: Formula) -> Array:
        """An array [scalars, groups] for the scalars of a formula."""
        return self.arena.backend.zeros((len(scalars_of(formula)), len(self.settings)), self.arena.dtype)

    def _groups(self) -> tuple[dict[Parameter, int], list[tuple[float, ...]]]:
        """(parameter -> group number, (lr_scale, l2, l1, weight_decay) of each group)."""
        for group in self.optimizer.groups:
            if not any(fnmatchcase(name, group.pattern) for name in self.arena.names.values()):
                raise HyperparameterError(
                    f"expected a pattern that matches a parameter; got {group.pattern!r}; the names are "
                    + ", ".join(self.arena.names.values())
                )
        settings: list[tuple[float, ...]] = []
        group_of = {}
        for parameter, name in self.arena.names.items():
            own = self.optimizer._group(name, parameter)
            if own not in settings:
                settings.append(own)
            group_of[parameter] = settings.index(own)
        return group_of, settings

    @property
    def features(self) -> tuple[str, ...]:
        """The optional operations of the update that are in use; MASK once weights of the model were pruned."""
        return self._features if self.arena.mask is None else (*self._features, MASK)

    def _used(self) -> tuple[str, ...]:
        """The optional operations that any group uses, without the mask."""
        used = [name for k, name in enumerate(("l2", "l1", "weight_decay"), 1) if any(s[k] for s in self.settings)]
        if self.optimizer.clip_value is not None:
            used.append("clip_value")
        proximal = self.optimizer.l1_form == "proximal"
        return tuple("l1_proximal" if name == "l1" and proximal else name for name in used)

    def _feature(self, name: str) -> list[float]:
        """The value of a feature for each group."""
        if name == "clip_value":
            assert self.optimizer.clip_value is not None
            return [self.optimizer.clip_value] * len(self.settings)
        position = {"l2": 1, "l1": 2, "l1_proximal": 2, "weight_decay": 3}[name]
        return [s[position] for s in self.settings]

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays with the layout of the arena that this state keeps."""
        return sum(int(state.nbytes) for state in self.states.values())

    @property
    def tables(self) -> tuple[tuple[Array, tuple[str, ...]], ...]:
        """The arrays [scalars, groups] that the host writes before a step, each with the names of its scalars."""
        return ((self.table, self._names),)

    @property
    def reach(self) -> Reach | None:
        """How far steps can carry parameters and states; see kernels/formulas/reach.py."""
        own = self._reach
        return own if own is None or self.average is None else averaged(own, len(self.optimizer.rule.states))

    @property
    def _reach(self) -> Reach | None:
        """The same, without an average."""
        return self.optimizer.rule.reach

    def sources(self) -> list[list[list[tuple[str, float]]]]:
        """For every number of `tables`, its scalar and a factor; a scalar named "" is 1."""
        return [[self._by_group(name) for name in names] for _, names in self.tables]

    def _by_group(self, name: str) -> list[tuple[str, float]]:
        """The source of a scalar of a formula for each group."""
        if name in ("lr", DECAY_LR):
            return [(name, own[0]) for own in self.settings]
        if name in self.scalar_names:
            return [(name, 1.0)] * len(self.settings)
        return [("", value) for value in ([1.0] * len(self.settings) if name == GRADIENT_SCALE else self._feature(name))]

    @cached_property
    def _places(self) -> list[list[tuple[int, float]]]:
        """For each table: of every number the place of its scalar in `_given`, and the factor."""
        place = {name: k for k, name in enumerate(("", DECAY_LR, *self.scalar_names))}
        return [[(place[name], factor) for row in table for name, factor in row] for table in self.sources()]

    @cached_property
    def _columns(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The places and the factors of all tables."""
        places, factors = zip(*(pair for table in self._places for pair in table), strict=True)
        return np.array(places), np.array(factors)

    def _given(self, ahead: int = 0) -> tuple[float, ...]:
        """1, the learning rate, and the scalars of the rule in the step after `ahead` further ones."""
        scalars = self.scalars(ahead)
        self.scalar_names = self.scalar_names or tuple(scalars)
        return (1.0, self.lr, *scalars.values())

    def scalars_for_steps(self, rates: Sequence[tuple[float, float | None]]) -> NDArray[np.float64]:
        """[steps, numbers]: for each of the next steps all numbers of `tables`.

        Args: rates – learning rate and momentum of each step; those of the last one are set afterwards.
        """
        steps = []
        for ahead, (self.lr, self.momentum) in enumerate(rates):
            steps.append(self._given(ahead))
        scalars = np.array(steps)
        self.proven = self.headroom.covers(scalars)
        places, factors = self._columns
        return scalars[:, places] * factors

    @property
    def masks(self) -> tuple[Array, ...]:
        """The mask of the arena, as a tuple of further arrays of an update: empty if nothing was pruned."""
        return () if self.arena.mask is None else (self.arena.mask,)

    def _squares(self, gradient: Array, squares: Any) -> Any:
        """The sum of squares for norm clipping, without the gradient of pruned weights, which are first set to 0."""
        if self.arena.mask is None or self.optimizer.clip_norm is None or self.most < sys.float_info.max:
            return squares
        self.arena.backend.map(masked, gradient, gradient, self.arena.mask)
        return self.arena.backend.sum_of_squares(gradient) + 0.0 * squares

    def hold(self) -> None:
        """Sets the states of pruned weights to 0, for example their momentum."""
        if self.arena.mask is not None:
            xp = self.arena.backend.xp
            for state in self.states.values():
                self.arena.backend.copy(xp.where(self.arena.mask > 0.0, state, xp.zeros_like(state)), state)

    @property
    def largest(self) -> float:
        """The largest norm of the gradient, which is scaled down to it; infinite without norm clipping."""
        return self.optimizer.clip_norm if self.optimizer.clip_norm is not None else float("inf")

    def scalars(self, ahead: int = 0) -> dict[str, float]:
        """The scalars of the rule in the step after `ahead` further ones, with the momentum that was set, if any."""
        values = self.optimizer.scalars(self.t + 1 + ahead, self.lr)
        if self.momentum is not None:
            values = {**values, **self.optimizer.momentum_scalars(self.momentum)}
        return values if self.average is None else {**values, AVERAGE_KEEP: self.average.keep(self.t + 1 + ahead)}

    def begin(self) -> None:
        """Prepares a step: sends its scalars to the backend, so that `apply` only runs kernels."""
        self.make_ready()
        if not self._senders:
            backend = self.arena.backend
            self._senders = [backend.sender(backend.xp.reshape(table, (-1,))) for table, _ in self.tables]
        given = self._given()
        self.proven = self.headroom.covers_step(given)
        for send, places in zip(self._senders, self._places, strict=True):
            send([given[place] * factor for place, factor in places])
        self.set_step(self.t + 1)

    def make_ready(self) -> None:
        """Before one or more steps: the arena has the parameters that are trained, and with a mask the formula has one too.

        The average begins at the initial parameters, so that first steps that are skipped leave it there, and at those that
        `load_parameters` has put in their place.
        """
        self.arena.show_trained()
        if not self.t or self.loads != self.arena.loads:
            self._begin_averages()
        if self.arena.mask is not None and MASK not in self.formula.parameters:
            self.formula = self._formula()

    def _begin_averages(self) -> None:
        """The states from which the model is shown become copies of the parameters."""
        self.loads = self.arena.loads
        for name in self.shown_from:
            self.arena.backend.copy(self.arena.values, self.states[name])

    def set_step(self, number: int) -> None:
        """Sets the random numbers, which round 16-bit states, to those of another step."""
        if self._rounding is not None:
            self.arena.backend.set_step(self._rounding.state, number)

    def advance(self) -> None:
        """Advances these random numbers to the next step; runs on the backend, so that a graph can replay it."""
        if self._rounding is not None:
            self.arena.backend.advance(self._rounding.state)

    def undo(self) -> None:
        """Restores the parameters bit for bit if `begin` changed them and the step is abandoned."""

    def update(self, gradient: Array) -> Update | None:
        """The call that `apply` makes, for executors that capture it; None if `apply` consists of other or more calls.

        Args: gradient – flat, of the loss.
        """
        if self.arena.mask is not None and self.optimizer.clip_norm is not None:
            return None
        arrays = (self.arena.values, gradient, *self.masks, *self.states.values())
        return Update(self.formula, arrays, self.table, self.segments, self.largest, self.most)

    def apply(self, gradient: Array, squares: Any) -> None:
        """Updates all parameters in one kernel call, with the scalars sent by `begin`.

        Args: gradient – flat, of the loss; squares – its sum of squares, a scalar of the backend; if it is not finite, or more
            than `most`, nothing is changed.
        """
        self.t += 1
        backend = self.arena.backend
        self._judge(self._squares(gradient, squares))
        arrays = (self.arena.values, gradient, *self.masks, *self.states.values())
        backend.update(self.formula, arrays, self.table, self.segments, self._rounding)

    def verdict(self, squares: Any) -> Any:
        """What decides whether the last step changed anything, a scalar of the backend: it did if that is at most `most`.

        Args: squares – of its gradient; in float16 LossScale decides, and an overflow that only reduces the scale is fine.
        """
        return squares if self.loss_scale is None else self.loss_scale.take_verdict(self.most)

    def _judge(self, squares: Any) -> None:
        """Completes GRADIENT_SCALE: divides by the loss scale, clips the norm, and sets NaN if the update must be skipped."""
        scales = self.table[0, ...]
        if self.loss_scale is not None:
            squares = self.arena.backend.xp.reshape(self.loss_scale.judge(squares, scales), ())
        if self.skips is not None:
            xp, most = self.arena.backend.xp, min(self.most, float(np.finfo(self.arena.dtype).max))
            judged = xp.reshape(xp.asarray(self.verdict(squares), dtype=self.skips.dtype), (1,))
            self.arena.backend.map(count_above, self.skips, self.skips, judged, most)
        self.arena.backend.limit_norm(scales, squares, self.largest, self.most)


def scalars_of(formula: Formula) -> tuple[str, ...]:
    """The names of the scalars of an update formula, in its order."""
    return tuple(p for p, kind in zip(formula.parameters, formula.kinds, strict=True) if kind == "group")
