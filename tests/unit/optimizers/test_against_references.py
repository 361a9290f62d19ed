"""Every optimiser against its rule written out in plain NumPy, 100 steps in float64, with all that goes around it.

The references follow the papers and the notes, not the code: no fused scalars, one array at a time.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from optimizer_cases import NOT_PROXIMAL, REFERENCES, adam_moments, muon, schedule_free_adamw

import fusedstep as fs
from fusedstep.framework.optimizers import OPTIMIZERS, ParameterGroup

BOUND = 1e-10
BACKENDS = ["base", "numpy", "numba"]

# What goes around the rule; the references read the same keys.
AROUND = {
    "plain": {},
    "clip_norm": {"clip_norm": 6.0},
    "clip_value": {"clip_value": 0.5},
    "l2": {"l2": 0.1},
    "l1 subgradient": {"l1": 0.05},
    "l1 proximal": {"l1": 0.5, "l1_form": "proximal"},
    "weight_decay": {"weight_decay": 0.3},
    "all": {"clip_norm": 9.0, "clip_value": 0.9, "l2": 0.1, "l1": 0.05, "weight_decay": 0.3},
    "all, proximal, groups": {
        "clip_norm": 9.0, "clip_value": 0.9, "l2": 0.1, "l1": 0.2, "weight_decay": 0.3, "l1_form": "proximal",
        "groups": (
            ParameterGroup("2.Linear.bias", lr_scale=0.5, weight_decay=0.2),
            ParameterGroup("2.*", lr_scale=2.0, l2=0.0, l1=0.4),
        ),
    },
}  # fmt: skip


BACKENDS_FOR = {
    **{around: [backend] for around, backend in zip(AROUND, itertools.cycle(("base", "numpy")), strict=False)},
    "plain": ["base", "numba"],
    "all": ["numpy", "numba"],
    "all, proximal, groups": BACKENDS,
}
"""Compiling takes long: numba runs the rule alone and the two fullest settings. The others share the rest."""


def group_settings(name, around):
    """(lr_scale, l2, l1, weight_decay) of a parameter, by the rule: the first pattern counts, biases are exempt."""
    decays = name.endswith("weight")
    l2, l1, weight_decay = (around.get(k, 0.0) if decays else 0.0 for k in ("l2", "l1", "weight_decay"))
    if "groups" in around:
        if name == "2.Linear.bias":
            return 0.5, l2, l1, 0.2
        if name.startswith("2."):
            return 2.0, 0.0, 0.4, weight_decay
    return 1.0, l2, l1, weight_decay


def reference_run(first, gradients, base_lr, rule, settings, around, rate_of=None):
    """Parameters by name after each step."""
    thetas = {name: value.copy() for name, value in first.items()}
    memories = {name: {} for name in first}
    history = []
    for t, step in enumerate(gradients, 1):
        rate = base_lr if rate_of is None else rate_of(t)
        norm = np.sqrt(sum((g**2).sum() for g in step.values()))
        scale = min(1.0, around["clip_norm"] / norm) if "clip_norm" in around else 1.0
        after = {}
        for name, theta in thetas.items():
            lr_scale, l2, l1, weight_decay = group_settings(name, around)
            lr = rate * lr_scale
            m = memories[name]
            proximal = around.get("l1_form") == "proximal"
            # Nesterov's look-ahead point is where the gradient, and so the penalties, are taken.
            here = theta - 0.9 * m.get("u", 0.0) if rule == "look-ahead" else theta
            g = scale * step[name]
            if "clip_value" in around:
                g = np.clip(g, -around["clip_value"], around["clip_value"])
            g = g + l2 * here
            if not proximal:
                g = g + l1 * np.sign(here)
            if rule == "look-ahead":
                m["u"] = 0.9 * m.get("u", 0.0) + lr * g
                new = theta - m["u"] - lr * weight_decay * here
            elif rule == "lamb":
                adam_moments(g, m, 0.8, 0.95)
                r = m["m"] / (1 - 0.8**t) / (np.sqrt(m["v"] / (1 - 0.95**t)) + 1e-4) + weight_decay * theta
                long, wide = np.linalg.norm(theta), np.linalg.norm(r)
                new = theta - lr * (long / wide if long > 0 and wide > 0 else 1.0) * r
            elif rule is schedule_free_adamw:
                new = rule(theta, g, m, t, lr, decay=weight_decay, **settings)
            elif rule is muon:
                hidden = name == "0.Linear.weight"
                lr *= 1.0 if hidden else 0.005 / 0.02
                new = rule(theta, g, m, t, lr, hidden=hidden, **settings) - lr * weight_decay * theta
            else:
                new = rule(theta, g, m, t, lr, **settings) - lr * weight_decay * theta
            if proximal:
                new = np.sign(new) * np.maximum(np.abs(new) - lr * l1, 0.0)
            after[name] = new
        thetas = after
        history.append(after)
    return history


def require_same(history, expected, label):
    worst = max(
        float((np.abs(h[n] - e[n]) / np.maximum(1.0, np.abs(e[n]))).max())
        for h, e in zip(history, expected, strict=True)
        for n in e
    )
    print(f"largest deviation of {label}: {worst:.2e}")
    assert worst <= BOUND


def label(row):
    return " ".join([row[0], *(v for v in row[1].values() if isinstance(v, str))])


def test_every_optimiser_has_a_reference():
    assert {row[0] for row in REFERENCES} == set(OPTIMIZERS)
    for name, kind in OPTIMIZERS.items():
        for form in getattr(kind, "FORMS", ()):
            assert any(row[0] == name and row[1]["form"] == form for row in REFERENCES), (name, form)
        import inspect

        if "epsilon_placement" in inspect.signature(kind.__init__).parameters:
            placements = {row[1].get("epsilon_placement", "default") for row in REFERENCES if row[0] == name}
            assert len(placements) == 2, name


@pytest.mark.row("C2", "C3", "C4", "C5", "C6")
@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("row", REFERENCES, ids=label)
def test_reference(row, around, bench):
    name, arguments, rule, settings = row
    if name in NOT_PROXIMAL and AROUND[around].get("l1_form") == "proximal":
        with pytest.raises(fs.HyperparameterError, match="l1_form"):
            OPTIMIZERS[name](**arguments | AROUND[around])
        return
    expected = reference_run(bench.first, bench.gradients, arguments["lr"], rule, settings, AROUND[around])
    moved = max(np.abs(expected[-1][n] - bench.first[n]).max() for n in expected[-1])
    assert moved > 0.02
    for backend in BACKENDS_FOR[around]:
        history, _ = bench.run(OPTIMIZERS[name](**arguments | AROUND[around]), backend, bench.gradients)
        require_same(history, expected, f"{label(row)}, {around}, on {backend}")


@pytest.mark.parametrize("row", REFERENCES, ids=label)
def test_learning_rate_that_changes_between_steps(row, bench):
    name, arguments, rule, settings = row

    def rate_of(t):
        return arguments["lr"] * 0.98**t * (0.1 if t > 60 else 1.0)

    around = {"weight_decay": 0.1}
    expected = reference_run(bench.first, bench.gradients, 0.0, rule, settings, around, rate_of)
    for backend in ("base", "numpy"):
        history, _ = bench.run(OPTIMIZERS[name](**arguments | around), backend, bench.gradients, rate_of)
        require_same(history, expected, f"{label(row)} with changing lr on {backend}")


@pytest.mark.parametrize("row", [row for row in REFERENCES if row[0] not in NOT_PROXIMAL], ids=label)
@pytest.mark.parametrize("backend", BACKENDS)
def test_proximal_form_gives_exact_zeros_and_the_subgradient_does_not(row, backend, bench):
    name, arguments, _, _ = row
    small = [{n: 0.05 * g for n, g in step.items()} for step in bench.gradients]

    def zeros(**penalty):
        last = bench.run(OPTIMIZERS[name](**arguments | penalty), backend, small)[0][-1]
        return {n: int((v == 0.0).sum()) for n, v in last.items()}

    strength = 1.0 / arguments["lr"] / 50
    proximal = zeros(l1=strength, l1_form="proximal")
    assert proximal["0.Linear.weight"] > 10
    assert proximal["0.Linear.bias"] == 0
    if backend != "numba":
        assert sum(zeros(l1=strength).values()) == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_biases_keep_still_under_every_penalty_unless_a_group_says_otherwise(backend, bench):
    still = [{n: np.zeros_like(v) for n, v in bench.first.items()}] * 5
    penalties = {"l2": 0.5, "l1": 0.5, "weight_decay": 0.5}
    last = bench.run(fs.SGD(0.1, **penalties), backend, still)[0][-1]
    for name, value in bench.first.items():
        assert np.array_equal(last[name], value) == name.endswith("bias"), name
    grouped = fs.SGD(0.1, **penalties, groups=[ParameterGroup("0.*.bias", l2=0.5)])
    last = bench.run(grouped, backend, still)[0][-1]
    np.testing.assert_allclose(last["0.Linear.bias"], bench.first["0.Linear.bias"] * 0.95**5, rtol=1e-14)


@pytest.mark.parametrize("backend", BACKENDS)
def test_padding_of_the_arena_stays_zero(backend, bench):
    """Parameters start at multiples of 64; what lies between must not drift under any rule."""
    for name, arguments, _, _ in REFERENCES:
        model_state = bench.run(OPTIMIZERS[name](**arguments | AROUND["all"]), backend, bench.gradients[:5])[1]
        arena = model_state.arena
        padding = np.ones(arena.size, bool)
        for start, stop in arena.ranges.values():
            padding[start:stop] = False
        assert padding.sum() > 64
        assert not np.asarray(arena.values)[padding].any(), name
