"""The update rules of the optimisers, and the operations around them: clipping, penalties, decay.

A rule maps (theta, g, states, scalars) to (theta, states); step-dependent scalars come from framework/optimizers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..formula import Column, Each, Formula, Scalar, formula, make_formula
from ..vocabulary import Value, absolute, maximum, minimum, select, sign, sqrt
from . import reach
from .reach import Reach

GRADIENT_SCALE = "gradient_scale"
"""Name of the first scalar of every update, the factor of the gradient. If it is NaN, the update changes nothing."""


@dataclass(frozen=True, eq=False)
class Rule:
    """One optimiser's formula.

    Args: name; function – (theta, g, *states, *scalars) -> (theta, *states); states – names of the state arrays;
        scalars – names of the scalars, the first of which is always the learning rate; reach – how far it can carry parameters
        and states, see reach.py; None if that is unknown, and the results of every step have to be looked at; decays – whether
        it applies weight decay itself, and takes it as the keyword `decay`, None without one.
    """

    name: str
    function: Callable[..., tuple[Value, ...]]
    states: tuple[str, ...] = ()
    scalars: tuple[str, ...] = ("lr",)
    reach: Reach | None = None
    decays: bool = False


RULES: dict[str, Rule] = {}
"""Name -> update rule. Optimisers and tests read this table."""


def rule(bound: Reach | None = None) -> Callable[[Callable[..., tuple[Value, ...]]], Callable[..., tuple[Value, ...]]]:
    """Decorator: enters a rule in RULES. Of the arguments after theta and g, those before lr are states, the rest scalars.

    Args: bound – its `reach`.
    """

    def enter(function: Callable[..., tuple[Value, ...]]) -> Callable[..., tuple[Value, ...]]:
        arguments = tuple(inspect.signature(function).parameters)
        decays = arguments[-1] == "decay"
        arguments, lr = arguments[: len(arguments) - decays], arguments.index("lr")
        RULES[function.__name__] = Rule(function.__name__, function, arguments[2:lr], arguments[lr:], bound, decays)
        return function

    return enter


@rule(reach.descent)
def sgd(theta: Value, g: Value, lr: Value) -> tuple[Value, ...]:
    """theta -= lr g."""
    return (theta - lr * g,)


@rule(reach.rates_added)
def momentum_update(theta: Value, g: Value, u: Value, lr: Value, gamma: Value) -> tuple[Value, ...]:
    """u = gamma u + lr g; theta -= u. Source: notes 002; Polyak (1964)."""
    u = gamma * u + lr * g
    return theta - u, u


@rule(reach.rates_added)
def momentum_velocity(theta: Value, g: Value, velocity: Value, lr: Value, mu: Value) -> tuple[Value, ...]:
    """M = mu M - lr g; theta += M. Source: notes 003."""
    velocity = mu * velocity - lr * g
    return theta + velocity, velocity


@rule(reach.gradients_added)
def momentum_average(theta: Value, g: Value, m: Value, lr: Value, beta: Value, rest: Value) -> tuple[Value, ...]:
    """m = beta m + (1 - beta) g; theta -= lr m, with rest = 1 - beta. Source: notes 004."""
    m = beta * m + rest * g
    return theta - lr * m, m


@rule(reach.gradients_added)
def momentum_sum(theta: Value, g: Value, u: Value, lr: Value, gamma: Value) -> tuple[Value, ...]:
    """u = gamma u + g; theta -= lr u: the form of PyTorch, in which a new lr applies to all past gradients at once."""
    u = gamma * u + g
    return theta - lr * u, u


@rule(reach.gradients_added)
def nesterov(theta: Value, g: Value, u: Value, lr: Value, gamma: Value) -> tuple[Value, ...]:
    """u = gamma u + g; theta -= lr (g + gamma u), theta being the look-ahead point. Source: Sutskever et al. (2013)."""
    u = gamma * u + g
    return theta - lr * (g + gamma * u), u


@rule(reach.rates_added)
def nesterov_look_ahead(theta: Value, g: Value, u: Value, lr: Value, gamma: Value) -> tuple[Value, ...]:
    """u' = gamma u + lr g; theta += gamma u - u'. The given theta is the look-ahead point, at which g was computed.

    Source: Nesterov (1983); notes 002 and 004.
    """
    updated = gamma * u + lr * g
    return theta + gamma * u - updated, updated


@rule(reach.adagrad)
def adagrad_outside(theta: Value, g: Value, v: Value, lr: Value, eps: Value) -> tuple[Value, ...]:
    """v += g^2; theta -= lr g / (sqrt(v) + eps). Source: Duchi, Hazan and Singer (2011); PyTorch."""
    v = v + g * g
    return theta - lr * g / (sqrt(v) + eps), v


@rule(reach.adagrad)
def adagrad_inside(theta: Value, g: Value, v: Value, lr: Value, eps: Value) -> tuple[Value, ...]:
    """v += g^2; theta -= lr g / sqrt(v + eps). Source: notes 002."""
    v = v + g * g
    return theta - lr * g / sqrt(v + eps), v


@rule(reach.rmsprop)
def rmsprop_outside(theta: Value, g: Value, v: Value, lr: Value, rest: Value, eps: Value) -> tuple[Value, ...]:
    """v = beta v + (1 - beta) g^2; theta -= lr g / (sqrt(v) + eps), rest = 1 - beta. Source: PyTorch."""
    v = v + rest * (g * g - v)
    return theta - lr * g / (sqrt(v) + eps), v


@rule(reach.rmsprop)
def rmsprop_inside(theta: Value, g: Value, v: Value, lr: Value, rest: Value, eps: Value) -> tuple[Value, ...]:
    """v = beta v + (1 - beta) g^2; theta -= lr g / sqrt(v + eps). Source: notes 002 and 003; Tieleman, Hinton (2012)."""
    v = v + rest * (g * g - v)
    return theta - lr * g / sqrt(v + eps), v


@rule(reach.adadelta)
def adadelta_inside(theta: Value, g: Value, v: Value, d: Value, lr: Value, rest: Value, eps: Value) -> tuple[Value, ...]:
    """v = rho v + (1 - rho) g^2; s = sqrt(d + eps) / sqrt(v + eps) g; d = rho d + (1 - rho) s^2; theta -= lr s.

    Source: Zeiler (2012).
    """
    v = v + rest * (g * g - v)
    s = sqrt(d + eps) / sqrt(v + eps) * g
    return theta - lr * s, v, d + rest * (s * s - d)


@rule(reach.adadelta)
def adadelta_outside(theta: Value, g: Value, v: Value, d: Value, lr: Value, rest: Value, eps: Value) -> tuple[Value, ...]:
    """As `adadelta_inside`, with s = (sqrt(d) + eps) / (sqrt(v) + eps) g."""
    v = v + rest * (g * g - v)
    s = (sqrt(d) + eps) / (sqrt(v) + eps) * g
    return theta - lr * s, v, d + rest * (s * s - d)


@rule(reach.adam)
def adam_outside(
    theta: Value, g: Value, m: Value, v: Value, lr: Value, rest1: Value, rest2: Value, root: Value, eps: Value
) -> tuple[Value, ...]:
    """m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; theta -= lr m / (sqrt(v) root + eps).

    Bias correction: the lr that is passed is already divided by 1 - b1^t, and root is 1 / sqrt(1 - b2^t).
    Source: Kingma and Ba (2015), algorithm 1.
    """
    m = m + rest1 * (g - m)
    v = v + rest2 * (g * g - v)
    return theta - lr * m / (sqrt(v) * root + eps), m, v


@rule(reach.adam)
def adam_inside(
    theta: Value, g: Value, m: Value, v: Value, lr: Value, rest1: Value, rest2: Value, root: Value, eps: Value
) -> tuple[Value, ...]:
    """As `adam_outside`, with theta -= lr m / sqrt(v root^2 + eps)."""
    m = m + rest1 * (g - m)
    v = v + rest2 * (g * g - v)
    return theta - lr * m / sqrt(v * root * root + eps), m, v


@rule(reach.nadam)
def nadam(
    theta: Value, g: Value, m: Value, v: Value,
    lr: Value, rest1: Value, rest2: Value, root: Value, eps: Value, ahead: Value, now: Value,
) -> tuple[Value, ...]:
    """Adam with theta -= lr (ahead m + now g) / (sqrt(v) root + eps).

    ahead = b1 / (1 - b1^(t+1)) and now = (1 - b1) / (1 - b1^t).
    Source: Dozat (2016), with a constant b1. Differs from: PyTorch, which changes b1 with t; equals optax.nadam.
    """
    m = m + rest1 * (g - m)
    v = v + rest2 * (g * g - v)
    return theta - lr * (ahead * m + now * g) / (sqrt(v) * root + eps), m, v


@rule(reach.adamax)
def adamax(
    theta: Value, g: Value, m: Value, u: Value, lr: Value, rest1: Value, beta2: Value, eps: Value
) -> tuple[Value, ...]:
    """m = b1 m + (1 - b1) g; u = max(b2 u, |g| + eps); theta -= lr m / u, lr divided by 1 - b1^t.

    Source: Kingma and Ba (2015), algorithm 2; eps as in PyTorch, so that u > 0 even if the gradient is 0.
    """
    m = m + rest1 * (g - m)
    u = maximum(beta2 * u, absolute(g) + eps)
    return theta - lr * m / u, m, u


@rule(reach.signs)
def lion(theta: Value, g: Value, m: Value, lr: Value, rest1: Value, rest2: Value) -> tuple[Value, ...]:
    """theta -= lr sign(b1 m + (1 - b1) g); m = b2 m + (1 - b2) g. Source: Chen et al. (2023)."""
    return theta - lr * sign(m + rest1 * (g - m)), m + rest2 * (g - m)


@rule(reach.signs)
def sign_descent(theta: Value, g: Value, lr: Value) -> tuple[Value, ...]:
    """theta -= lr sign(g). Source: notes 004 (the normalised step); Bernstein et al. (2018)."""
    return (theta - lr * sign(g),)


@rule(reach.schedule_free)
def schedule_free_adamw(
    theta: Value, g: Value, z: Value, v: Value,
    lr: Value, rest2: Value, root: Value, eps: Value, mix: Value, pull: Value, *, decay: Value | None = None,
) -> tuple[Value, ...]:  # fmt: skip
    """v = b2 v + (1 - b2) g^2; d = lr (g / (sqrt(v) root + eps) + decay theta); z -= d; x = (1 - mix) x + mix z.

    theta is the point y = (1 - b1) z + b1 x of the gradient; x is not stored, for y = (1 - mix) y + mix z - pull d with the z
    before the step and pull = 1 - b1 (1 - mix).

    Source: Defazio et al. (2024), algorithm 1.
    """
    v = v + rest2 * (g * g - v)
    direction = g / (sqrt(v) * root + eps)
    step = lr * (direction if decay is None else direction + decay * theta)
    return theta + mix * (z - theta) - pull * step, z - step, v


@formula
def schedule_free_average(theta: Each, z: Each, ahead: Scalar) -> Each:
    """x = theta + ahead (theta - z), with ahead = (1 - b1) / b1; theta is y = (1 - b1) z + b1 x."""
    return theta + ahead * (theta - z)


FEATURES = ("clip_value", "l2", "l1", "l1_proximal", "weight_decay")
"""Optional operations around a rule. Each in use adds a scalar of that name, in this order, after the learning rate."""

MASK = "mask"
"""Another optional operation: an additional array of 0 and 1; where it is 0, theta and the states become 0."""


AVERAGE = "average"
"""Another one: an additional state at the end, which becomes a moving average of theta."""
WIDE = frozenset({AVERAGE, "z"})
"""States that are parameters themselves, and have their type when other states are stored in 16 bits."""
AVERAGE_KEEP = "average_keep"
"""Its scalar, the last one: the fraction of the average that is kept; the rest is the new theta."""


def shrink(theta: Value, amount: Value) -> Value:
    """sign(theta) max(|theta| - amount, 0): the proximal operator of the L1 norm, which gives exact zeros."""
    return select(theta > amount, theta - amount, select(theta < -amount, theta + amount, theta * 0.0))


def penalised_gradient(theta: Value, gradient: Value, scale: Value, setting: dict[str, Value]) -> Value:
    """g = clip(scale gradient, clip_value) + l2 theta + l1 sign(theta); operations that are not in `setting` are left out."""
    g = scale * gradient
    if "clip_value" in setting:
        g = minimum(maximum(g, -setting["clip_value"]), setting["clip_value"])
    if "l2" in setting:
        g = g + setting["l2"] * theta
    if "l1" in setting:
        g = g + setting["l1"] * sign(theta)
    return g


def hold(mask: tuple[Value, ...], *values: Value) -> tuple[Value, ...]:
    """The values, set to 0 where the mask is 0; `mask` is empty or holds one array."""
    return tuple(select(mask[0] > 0.0, value, 0.0) for value in values) if mask else values


@cache
def update_formula(rule: Rule, features: tuple[str, ...] = ()) -> Formula:
    """A rule together with the features in use, as one formula that needs a single pass over the arena.

    g = clip(gradient_scale gradient, clip_value) + l2 theta + l1 sign(theta); theta *= 1 - decay_lr weight_decay; then the rule
    (which applies the decay itself if it `decays`); then, with l1_proximal, the proximal step of size decay_lr l1_proximal;
    then average = theta - average_keep (theta - average), which is exact where nothing is kept and where both are equal.

    Arguments of the formula: theta, gradient, [mask], *states, [average]; scalars gradient_scale, decay_lr (the plain learning
    rate), those of `features`, those of the rule, [average_keep]. Penalties are added after clipping, so clipping does not
    weaken them.
    """
    masked, averaged = ((MASK,) if MASK in features else ()), ((AVERAGE,) if AVERAGE in features else ())
    features = tuple(f for f in FEATURES if f in features)
    states = (*rule.states, *averaged)
    scalars = (GRADIENT_SCALE, "decay_lr", *features, *rule.scalars, *((AVERAGE_KEEP,) if averaged else ()))
    kinds = {**dict.fromkeys(("theta", "gradient", *masked, *states), "each"), **dict.fromkeys(scalars, "group")}

    def function(theta: Any, gradient: Any, *rest: Any) -> tuple[Any, ...]:
        mask, rest = rest[: len(masked)], rest[len(masked) :]
        before, rest = rest[: len(states)], rest[len(states) :]
        scale, decay_lr, *others = rest
        setting = dict(zip(features, others, strict=False))
        g = penalised_gradient(theta, gradient, scale, setting)
        if "weight_decay" in setting and not rule.decays:
            theta = theta - decay_lr * setting["weight_decay"] * theta
        decay = {"decay": setting.get("weight_decay")} if rule.decays else {}
        own = others[len(features) : len(features) + len(rule.scalars)]
        theta, *after = rule.function(theta, g, *before[: len(rule.states)], *own, **decay)
        if "l1_proximal" in setting:
            theta = shrink(theta, decay_lr * setting["l1_proximal"])
        if averaged:
            after.append(theta - others[-1] * (theta - before[-1]))
        return hold(mask, theta, *after)

    name = "_".join((rule.name, "update", *features, *masked, *averaged))
    return make_formula(name, function, kinds, ("each",) * (1 + len(states)), ("theta", *states))


def _direction(
    name: str, scalars: tuple[str, ...], mean: Callable[..., Value], features: tuple[str, ...], decays: bool
) -> Formula:  # fmt: skip
    """direction = mean / (sqrt(v) root + eps) [+ weight_decay theta], with m and v as in Adam; see the formulas that call it.

    Args: scalars – the first ones after those of the features; mean – their function of m and g; decays – whether weight decay
        is part of the direction.
    """
    masked = (MASK,) if MASK in features else ()
    features = tuple(f for f in FEATURES if f in features)
    every = (GRADIENT_SCALE, "decay_lr", *features, *scalars, "rest1", "rest2", "root", "eps")
    arrays = ("theta", "gradient", *masked, "direction", "m", "v")
    kinds = {**dict.fromkeys(arrays, "each"), **dict.fromkeys(every, "group")}

    def function(theta: Any, gradient: Any, *given: Any) -> tuple[Any, ...]:
        mask, (_, m, v, scale, _, *rest) = given[: len(masked)], given[len(masked) :]
        setting = dict(zip(features, rest, strict=False))
        *own, rest1, rest2, root, eps = rest[len(features) :]
        g = penalised_gradient(theta, gradient, scale, setting)
        m = m + rest1 * (g - m)
        v = v + rest2 * (g * g - v)
        direction = mean(m, g, *own) / (sqrt(v) * root + eps)
        if decays and "weight_decay" in setting:
            direction = direction + setting["weight_decay"] * theta
        return hold(mask, direction, m, v)

    return make_formula("_".join((name, *features, *masked)), function, kinds, ("each",) * 3, ("direction", "m", "v"))


def _corrected(m: Value, g: Value, correction: Value) -> Value:  # noqa: ARG001
    return correction * m


def _ahead(m: Value, g: Value, ahead: Value, now: Value) -> Value:
    return ahead * m + now * g


@cache
def lamb_direction(features: tuple[str, ...] = ()) -> Formula:
    """The first half of LAMB: direction = m / (1 - b1^t) / (sqrt(v) root + eps) + weight_decay theta; m, v as in Adam.

    The second half multiplies the direction of each layer by `trust_ratio`, ||theta|| / ||direction||. Clipping and l2 apply to
    the gradient, as in `update_formula`.

    Source: You et al. (2020), algorithm 2.
    """
    return _direction("lamb_direction", ("correction",), _corrected, features, decays=True)


@cache
def muon_direction(features: tuple[str, ...] = ()) -> Formula:
    """The first part of Muon: direction = (ahead m + now g) / (sqrt(v) root + eps); m, v as in Adam.

    In the groups of matrices, root is 0 and eps is 1, and the direction is orthogonalised before the step along it. In the
    others this is Adam, or with now > 0 NAdam.

    Source: Jordan (2024).
    """
    return _direction("muon_direction", ("ahead", "now"), _ahead, features, decays=False)


@formula
def inverse_norm(squares: Each, eps: Scalar) -> Each:
    """1 / (||x|| + eps) from the squared norm."""
    return 1.0 / (sqrt(squares) + eps)


@formula
def scaled_rows(x: Each, factor: Column) -> Each:
    """factor x."""
    return factor * x


@formula
def weighted_sum(x: Each, y: Each, p: Scalar, q: Scalar) -> Each:
    """p x + q y."""
    return p * x + q * y


SMALLEST_RATIO = 1e-30
"""Of the squared norms of direction and parameters in LAMB; the quotient of smaller ones can overflow."""


@formula
def trust_ratio(theta_squares: Each, direction_squares: Each) -> Each:
    """||theta|| / ||direction|| from the squared norms, at most 1e15; 1 if either is 0."""
    usable = minimum(theta_squares, direction_squares) > 0.0
    divisor = maximum(direction_squares, theta_squares * SMALLEST_RATIO)
    return select(usable, sqrt(theta_squares / select(usable, divisor, 1.0)), 1.0)


@formula
def masked(x: Each, mask: Each) -> Each:
    """x, or 0 where mask is 0."""
    return select(mask > 0.0, x, 0.0)


for _rule in RULES.values():
    update_formula(_rule)
    update_formula(_rule, FEATURES)
for _direction_of in (lamb_direction, muon_direction):
    _direction_of()
    _direction_of(FEATURES)
    _direction_of((*FEATURES, MASK))
for _name in ("sgd", "momentum_update", "nesterov_look_ahead", "adam_outside"):
    update_formula(RULES[_name], (*FEATURES, MASK))
    update_formula(RULES[_name], (*FEATURES, MASK, AVERAGE))
