"""Dual numbers: the tangent of every formula and row kernel against differences, and what has no derivative says so."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep.kernels.formulas  # noqa: F401 – registers all formulas
from fusedstep.backends import backend as find
from fusedstep.backends.forward_mode.backend import DualBackend
from fusedstep.errors import NotDifferentiable
from fusedstep.kernels.formula import REGISTRY
from fusedstep.kernels.formulas.activations import ACTIVATIONS
from fusedstep.kernels.formulas.losses import binary_cross_entropy
from fusedstep.kernels.rows.lookup import Lookup, lookup_table

SMOOTH_ENOUGH = [f for f in REGISTRY.values() if not f.random and "group" not in f.kinds]
ROWS, WIDTH = 5, 4


@pytest.fixture
def dual():
    return DualBackend(find("numpy"))


def moved(values, directions, offset):
    return [v + offset * d if isinstance(d, np.ndarray) else v for v, d in zip(values, directions, strict=True)]


@pytest.mark.parametrize("formula", SMOOTH_ENOUGH, ids=lambda f: f.name)
def test_c8_the_tangent_of_every_formula(formula, dual, lab):
    generator = np.random.default_rng(3)
    shapes = {"each": (ROWS, WIDTH), "row": (WIDTH,), "column": (ROWS,)}
    values, directions = [], []
    for kind in formula.kinds:
        if kind == "scalar":
            values.append(0.625)
            directions.append(None)
        else:
            values.append(generator.uniform(0.2, 0.9, shapes[kind]))
            directions.append(generator.standard_normal(shapes[kind]))
    outputs = [(ROWS,) if kind == "rowsum" else (ROWS, WIDTH) for kind in formula.outputs]

    def evaluate(offset):
        made = tuple(np.empty(shape) for shape in outputs)
        find("numpy").map(formula, made, *moved(values, directions, offset))
        return np.concatenate([m.ravel() for m in made])

    results = tuple(dual.empty(shape, "float64") for shape in outputs)
    given = [v if d is None else dual.pair(v, d) for v, d in zip(values, directions, strict=True)]
    dual.map(formula, results, *given)
    got = np.concatenate([r.tangent.ravel() for r in results])
    np.testing.assert_allclose(np.concatenate([r.value.ravel() for r in results]), evaluate(0.0), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(got, lab.difference(evaluate), rtol=1e-7, atol=1e-9)


X = np.random.default_rng(1).standard_normal((ROWS, 6)) * 2.0
SOFT = np.exp(X) / np.exp(X).sum(axis=1, keepdims=True)
LABELS = np.array([0, 5, 2, 2, 1], np.int32)
WEIGHTS = np.array([1.0, 2.0, 0.5, 0.0, 1.5, 1.0])
LOOKUPS = lookup_table(6, (Lookup(1, 4, 2, 0), Lookup(4, 3, 3, 8)))
CODED = X.copy()
CODED[:, 1], CODED[:, 4] = [0, 3, 3, 1, 0], [2, 2, 2, 0, 2]
KERNELS = {
    "softmax": ("softmax", ["x"], {"out": (ROWS, 6)}),
    "labels": ("softmax_cross_entropy", ["x", LABELS, WEIGHTS, 0.9, 0.02, 0.2], {"losses": (ROWS,), "gradient": (ROWS, 6)}),
    "soft labels": ("softmax_cross_entropy_soft", ["x", SOFT, 0.2], {"losses": (ROWS,), "gradient": (ROWS, 6)}),
    "focal": ("focal_loss", ["x", LABELS, WEIGHTS, 1.5, 0.2], {"losses": (ROWS,), "gradient": (ROWS, 6)}),
    "hinge": ("multi_class_hinge", ["x", LABELS, 0.2], {"losses": (ROWS,), "gradient": (ROWS, 6)}),
    "layer_norm": (
        "layer_norm", ["x", "gain", "offset", 1e-3], {"out": (ROWS, 6), "mean": (ROWS,), "scale": (ROWS,)},
    ),
    "layer_norm_backward": (
        "layer_norm_backward", ["dy", "x", "gain", "mean", "scale"], {"dx": (ROWS, 6), "dgain": (6,), "doffset": (6,)},
    ),
    "scale_columns_backward": (
        "scale_columns_backward", ["dy", "x", "gain"], {"dx": (ROWS, 6), "dfactor": (6,), "doffset": (6,)},
    ),
    "column_sum": ("column_sum", ["x"], {"out": (6,)}),
    "grouped_matmul": ("grouped_matmul", ["x", "w"], {"out": (ROWS, 4)}),
    "grouped_matmul_input": ("grouped_matmul_input", ["dv", "w"], {"dx": (ROWS, 6)}),
    "grouped_matmul_weight": ("grouped_matmul_weight", ["x", "dv"], {"dweight": (6, 2)}),
    "beside": ("beside", ["x", np.array([4, 0], np.int32), "dv"], {"out": (ROWS, 6)}),
    "embed": ("embed", [CODED, "x", "rows", LOOKUPS], {"out": (ROWS, len(LOOKUPS))}),
    "embed_backward": ("embed_backward", ["dz", CODED, LOOKUPS], {"out": (17,)}),
}  # fmt: skip


@pytest.mark.parametrize("case", KERNELS)
def test_c8_the_tangent_of_every_row_kernel(case, dual, lab):
    operation, given, outputs = KERNELS[case]
    generator = np.random.default_rng(2)
    shapes = {"x": X.shape, "dy": X.shape, "gain": (6,), "offset": (6,), "mean": (ROWS,), "scale": (ROWS,)}
    shapes |= {"w": (6, 2), "dv": (ROWS, 4), "rows": (17,), "dz": (ROWS, len(LOOKUPS))}
    point = {name: X if name == "x" else generator.uniform(0.5, 1.5, shape) for name, shape in shapes.items()}
    along = {name: generator.standard_normal(shape) for name, shape in shapes.items()}

    def evaluate(offset):
        made = [np.zeros(shape) for shape in outputs.values()]
        arguments = [point[g] + offset * along[g] if isinstance(g, str) else g for g in given]
        find("numpy").rows(operation, *arguments, *made)
        return np.concatenate([m.ravel() for m in made])

    made = [dual.zeros(shape, "float64") for shape in outputs.values()]
    arguments = [dual.pair(point[g], along[g]) if isinstance(g, str) else g for g in given]
    arguments = [dual.pair(a) if isinstance(a, np.ndarray) else a for a in arguments]
    dual.rows(operation, *arguments, *made)
    got = np.concatenate([m.tangent.ravel() for m in made])
    np.testing.assert_allclose(np.concatenate([m.value.ravel() for m in made]), evaluate(0.0), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(got, lab.difference(evaluate), rtol=1e-7, atol=1e-9)


def test_c8_maxout_follows_its_winners(dual):
    z, dz = np.random.default_rng(0).standard_normal((2, 3, 8))
    out, winner = dual.empty((3, 4), "float64"), dual.empty((3, 4), "uint8")
    dual.rows("maxout", dual.pair(z, dz), out, winner)
    left = z[:, :4] > z[:, 4:]
    np.testing.assert_array_equal(out.tangent, np.where(left, dz[:, :4], dz[:, 4:]))
    back = dual.empty((3, 8), "float64")
    dual.rows("maxout_spread", out, winner, back)
    np.testing.assert_array_equal(back.tangent, np.hstack([np.where(left, dz[:, :4], 0), np.where(left, 0, dz[:, 4:])]))
    picked = dual.empty((3, 4), "float64")
    dual.rows("maxout_pick", dual.pair(z, dz), winner, picked)
    np.testing.assert_array_equal(picked.tangent, out.tangent)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_c8_at_a_corner_the_tangent_takes_the_slope_of_the_layer(name, dual):
    activation = ACTIVATIONS[name]
    settings = [0.3] * len(activation.settings)
    zero, direction = np.zeros((1, 1)), np.ones((1, 1))
    y = dual.empty((1, 1), "float64")
    dual.map(activation.forward, y, dual.pair(zero, direction), *settings)
    saved = y.value if activation.keeps == "output" else zero
    derivative = np.empty((1, 1))
    find("numpy").map(activation.backward, derivative, direction, saved, *settings)
    np.testing.assert_allclose(y.tangent, derivative, atol=1e-15)


def test_c8_the_curvature_of_cross_entropy_at_a_logit_of_exactly_zero(dual):
    loss, gradient = dual.empty((1,), "float64"), dual.empty((1, 1), "float64")
    target = dual.pair(np.array([[0.3]]))
    dual.map(binary_cross_entropy, (loss, gradient), dual.pair(np.zeros((1, 1)), np.ones((1, 1))), target, 1.0)
    assert gradient.tangent[0, 0] == 0.25


def test_c8_what_leaves_the_backend_is_refused_by_name(dual):
    x = dual.pair(np.ones((2, 2)), np.ones((2, 2)))
    for function, name in (
        (lambda: np.exp(x), "numpy.exp"),
        (lambda: np.asarray(x), "host array"),
        (lambda: dual.xp.fft, "fft"),
        (lambda: dual.take_rows(x, x), "take_rows"),
        (lambda: dual.copy(x, dual.pair(np.ones((2, 2)))), "held constant"),
    ):
        with pytest.raises(NotDifferentiable, match=name):
            function()
