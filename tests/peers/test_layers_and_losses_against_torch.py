"""Forward pass, input gradient and parameter gradients of every layer and loss that PyTorch defines, in float64.

Not here, because PyTorch has no such thing: Maxout, TiedLinear, SymmetricKL, Bhattacharyya, the notes' label smoothing.
Where it defines something near, the difference is written out.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.framework.engine.tape import Tape
from fusedstep.framework.layers.activations import ACTIVATION_LAYERS

torch = pytest.importorskip("torch", reason="PyTorch is not installed; pip install torch to compare with it")

pytestmark = pytest.mark.peers

F = torch.nn.functional
BACKENDS = ["numpy", "numba"]
ROWS, WIDTH = 7, 6
CLOSE = {"rtol": 1e-12, "atol": 1e-13}


def our_layer(layer, x, dy, backend, values=None):
    """(y, dx, gradients by name) of a layer in training mode."""
    model = fs.Sequential(layer).initialize(seed=9, backend=backend, dtype="float64")
    if values is not None:
        model.load_parameters(values)
    arena = model.arena
    gradient = arena.new()
    tape = Tape(arena, training=True, gradients=gradient)
    tape.begin(x.shape[0])
    y = np.array(model.forward(arena.backend.asarray(x), tape))
    dx = np.array(model.backward(arena.backend.asarray(dy), tape))
    views = arena.views_of(gradient)
    return y, dx, {name: np.array(views[p]) for name, p in model.declared()}, model.parameters()


def compare_layer(layer, reference, backend, values=None, x=None, out_width=None):
    """`reference(x, parameters by short name)` in torch against the layer."""
    rng = np.random.default_rng(1)
    x = rng.normal(0.0, 2.0, (ROWS, WIDTH)) if x is None else x
    dy = rng.normal(size=(ROWS, out_width or WIDTH))
    y, dx, gradients, parameters = our_layer(layer, x, dy, backend, values)
    theirs = {n: torch.tensor(np.array(v), requires_grad=True) for n, v in parameters.items()}
    tx = torch.tensor(x, requires_grad=True)
    ty = reference(tx, theirs)
    ty.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, ty.detach().numpy(), **CLOSE)
    np.testing.assert_allclose(dx, tx.grad.numpy(), **CLOSE)
    assert gradients.keys() == theirs.keys()
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, theirs[name].grad.numpy(), **CLOSE, err_msg=name)


ELSEWHERE = ("identity", "prelu")
PLAIN = {
    **{kind.__name__: (kind, getattr(F, name)) for name, kind in ACTIVATION_LAYERS.items() if name not in ELSEWHERE},
    "Identity": (fs.Identity, torch.nn.Identity()),
    "LeakyReLU(0.3)": (lambda: fs.LeakyReLU(0.3), lambda x: F.leaky_relu(x, 0.3)),
    "ELU(0.4)": (lambda: fs.ELU(0.4), lambda x: F.elu(x, 0.4)),
    "GELU tanh": (lambda: fs.GELU("tanh"), lambda x: F.gelu(x, approximate="tanh")),
    "Softmax": (fs.Softmax, lambda x: F.softmax(x, dim=1)),
}


@pytest.mark.row("A2")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", PLAIN)
def test_layer_without_parameters(name, backend):
    make, reference = PLAIN[name]
    compare_layer(make(), lambda x, _: reference(x), backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["ReLU", "LeakyReLU", "ELU"])
def test_corner_at_zero_has_the_same_subgradient(name, backend):
    make, reference = PLAIN[name]
    x = np.zeros((ROWS, WIDTH))
    x[1:3] = -0.0
    compare_layer(make(), lambda x, _: reference(x), backend, x=x)


@pytest.mark.row("A1")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("bias", [True, False])
def test_linear(bias, backend):
    def reference(x, p):
        return F.linear(x, p["0.Linear.weight"].T, p.get("0.Linear.bias"))

    compare_layer(fs.Linear(WIDTH, 4, bias=bias, bias_init=0.3), reference, backend, out_width=4)


@pytest.mark.row("A2")
@pytest.mark.parametrize("backend", BACKENDS)
def test_prelu(backend):
    values = {"0.PReLU.alpha": np.linspace(-0.5, 1.5, WIDTH)}
    compare_layer(fs.PReLU(WIDTH), lambda x, p: F.prelu(x, p["0.PReLU.alpha"]), backend, values)


@pytest.mark.parametrize("backend", BACKENDS)
def test_g7_an_embedding_is_that_of_torch(backend):
    codes = np.random.default_rng(3).integers(0, 4, (ROWS, 1))
    model = fs.Sequential(fs.Embedding(4, 3)).initialize(seed=9, backend=backend, dtype="float64")
    arena, dy = model.arena, np.random.default_rng(4).normal(size=(ROWS, 3))
    gradient = arena.new()
    tape = Tape(arena, training=True, gradients=gradient)
    tape.begin(ROWS)
    y = np.array(model.forward(codes.astype(float), tape))
    model.backward(dy, tape, needs_input=False)
    theirs = torch.tensor(np.array(model.parameters()["0.Embedding.weight"]), requires_grad=True)
    ty = F.embedding(torch.tensor(codes[:, 0]), theirs)
    ty.backward(torch.tensor(dy))
    np.testing.assert_array_equal(y, ty.detach().numpy())
    np.testing.assert_allclose(np.array(gradient[:12]).reshape(4, 3), theirs.grad.numpy(), **CLOSE)


def _per_column(features, weight, bias, columns, width):
    """ReLU(features W + b) for each column: features [B, columns, m], weight [columns, m, width]."""
    z = torch.einsum("bcm,cmw->bcw", features, weight).reshape(len(features), columns * width)
    return torch.relu(z + bias)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("columns", [None, (4, 1)])
def test_g14_a_periodic_embedding_is_that_of_the_paper(columns, backend):
    chosen = list(range(WIDTH)) if columns is None else list(columns)
    others = [column for column in range(WIDTH) if column not in chosen]
    n, k, width = len(chosen), 5, 3

    def reference(x, p):
        frequency = p["0.PeriodicEmbedding.frequency"].reshape(n, k)
        v = 2 * np.pi * frequency * x[:, chosen, None]
        weight = torch.cat(list(p["0.PeriodicEmbedding.weight"].reshape(2, n, k, width)), dim=1)
        features = torch.cat([torch.sin(v), torch.cos(v)], dim=2)
        embedded = _per_column(features, weight, p["0.PeriodicEmbedding.bias"], n, width)
        return torch.cat([x[:, others], embedded], dim=1)

    layer = fs.PeriodicEmbedding(WIDTH, width, k, deviation=0.7, columns=columns)
    bias = np.random.default_rng(6).normal(size=n * width)
    rng = np.random.default_rng(7)
    values = {"frequency": rng.normal(size=n * k), "weight": rng.normal(size=(2 * n * k, width)), "bias": bias}
    values = {f"0.PeriodicEmbedding.{name}": value for name, value in values.items()}
    compare_layer(layer, reference, backend, values, out_width=len(others) + n * width)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("columns", [None, (4, 1)])
def test_g14_a_piecewise_linear_embedding_is_that_of_the_paper(columns, backend):
    chosen = list(range(WIDTH)) if columns is None else list(columns)
    others = [column for column in range(WIDTH) if column not in chosen]
    data = np.random.default_rng(8).normal(0.0, 2.0, (200, WIDTH))
    data[:, 1] = np.round(data[:, 1])  # fewer bins
    layer = fs.PiecewiseLinearEmbedding.from_data(data, bins=7, width=3, columns=columns)
    most = max(len(edges) - 1 for edges in layer.bins)
    assert most == 7 > len(layer.bins[chosen.index(1)]) - 1

    def encoded(x, edges):
        """Equation 1 of the paper."""
        parts = []
        for t, (low, high) in enumerate(pairwise(edges)):
            share = (x - low) / (high - low)
            share = share if t == 0 else torch.clamp(share, min=0.0)
            parts.append(share if t == len(edges) - 2 else torch.clamp(share, max=1.0))
        return torch.stack(parts + [torch.zeros_like(x)] * (most - len(parts)), dim=1)

    def reference(x, p):
        features = torch.stack([encoded(x[:, c], edges) for c, edges in zip(chosen, layer.bins, strict=True)], dim=1)
        weight = p["0.PiecewiseLinearEmbedding.weight"].reshape(len(chosen), most, 3)
        embedded = _per_column(features, weight, p["0.PiecewiseLinearEmbedding.bias"], len(chosen), 3)
        return torch.cat([x[:, others], embedded], dim=1)

    compare_layer(layer, reference, backend, out_width=len(others) + 3 * len(chosen))


@pytest.mark.row("A8")
@pytest.mark.parametrize("backend", BACKENDS)
def test_layer_norm(backend):
    rng = np.random.default_rng(2)
    values = {"0.LayerNorm.gain": rng.normal(size=WIDTH), "0.LayerNorm.offset": rng.normal(size=WIDTH)}

    def reference(x, p):
        return F.layer_norm(x, (WIDTH,), p["0.LayerNorm.gain"], p["0.LayerNorm.offset"], 1e-3)

    compare_layer(fs.LayerNorm(WIDTH, epsilon=1e-3), reference, backend, values)


@pytest.mark.row("A4")
@pytest.mark.parametrize("backend", BACKENDS)
def test_residual(backend):
    """The inner layers are fused; the gradient has to come through both ways."""
    layer = fs.Residual(fs.Linear(WIDTH, 9), fs.GELU(), fs.Linear(9, WIDTH), fs.Tanh())

    def reference(x, p):
        w = {n.split(".", 2)[2]: v for n, v in p.items()}
        h = F.gelu(x @ w["0.Linear.weight"] + w["0.Linear.bias"])
        return x + torch.tanh(h @ w["2.Linear.weight"] + w["2.Linear.bias"])

    compare_layer(layer, reference, backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", [n for n in PLAIN if n not in ("Softmax",)])
def test_dense_layer_fused_with_its_activation(name, backend):
    """Linear and activation are one kernel in a Sequential; the same numbers have to come out."""
    make, reference = PLAIN[name]
    model = fs.Sequential(fs.Linear(WIDTH, 5), make(), fs.Linear(5, 3)).initialize(4, backend, "float64")
    rng = np.random.default_rng(3)
    x, t = rng.normal(size=(ROWS, WIDTH)), rng.normal(size=(ROWS, 3))
    step = fs.TrainStep(model, fs.MSE(), fs.SGD(1e-3), backend=backend)
    theirs = {n: torch.tensor(np.array(v), requires_grad=True) for n, v in model.parameters().items()}
    w = list(theirs.values())
    loss = ((reference(torch.tensor(x) @ w[0] + w[1]) @ w[2] + w[3] - torch.tensor(t)) ** 2).sum(1).mean()
    loss.backward()
    assert float(step(x, t)) == pytest.approx(float(loss.detach()), rel=1e-12)
    views = model.arena.views_of(step.gradient)
    for n, p in model.declared():
        np.testing.assert_allclose(np.asarray(views[p]), theirs[n].grad.numpy(), **CLOSE, err_msg=n)


def our_loss(loss, y, targets, backend, width):
    """(loss, gradient) of a loss for outputs y."""
    model = fs.Sequential(fs.Linear(width, width)).initialize(0, backend, "float64")
    tape = Tape(model.arena, gradients=model.arena.new())
    tape.begin(y.shape[0])
    prepared = loss.prepare(targets, width, model.backend, "float64")
    rows, gradient = loss.evaluate(model.backend.asarray(y), prepared, tape)
    share = 1.0 / y.shape[0] if loss.reduction == "mean" else 1.0
    return float(model.backend.total(rows)) * share, np.array(gradient)


def compare_loss(loss, reference, y, targets, backend):
    """`reference(y, targets)` in torch against value and gradient of the loss."""
    value, gradient = our_loss(loss, y, targets, backend, y.shape[1])
    ty = torch.tensor(y, requires_grad=True)
    expected = reference(ty, torch.tensor(targets))
    expected.backward()
    assert value == pytest.approx(float(expected.detach()), rel=1e-12, abs=1e-14)
    np.testing.assert_allclose(gradient, ty.grad.numpy(), **CLOSE)


@pytest.fixture
def logits():
    return np.random.default_rng(6).normal(0.0, 3.0, (9, 5))


@pytest.fixture
def labels():
    return np.array([0, 1, 2, 3, 4, 2, 2, 0, 1])


WEIGHTS = [0.5, 2.0, 1.0, 0.0, 3.0]


@pytest.mark.row("B2")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_cross_entropy(reduction, backend, logits, labels):
    compare_loss(
        fs.SoftmaxCrossEntropy(reduction=reduction),
        lambda y, t: F.cross_entropy(y, t, reduction=reduction), logits, labels, backend,
    )  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scale", [1e4, 1e150])
def test_cross_entropy_of_huge_logits(scale, backend, logits, labels):
    compare_loss(fs.SoftmaxCrossEntropy(), F.cross_entropy, logits * scale, labels, backend)


@pytest.mark.row("B6")
@pytest.mark.parametrize("backend", BACKENDS)
def test_cross_entropy_with_uniform_label_smoothing(backend, logits, labels):
    compare_loss(
        fs.SoftmaxCrossEntropy(label_smoothing=0.15, smoothing="uniform"),
        lambda y, t: F.cross_entropy(y, t, label_smoothing=0.15), logits, labels, backend,
    )  # fmt: skip


@pytest.mark.row("B6")
@pytest.mark.parametrize("backend", BACKENDS)
def test_label_smoothing_of_the_notes_as_a_distribution(backend, logits, labels):
    q = np.full((9, 5), 0.15 / 4)
    q[np.arange(9), labels] = 0.85

    def reference(y, _):
        return F.cross_entropy(y, torch.tensor(q))

    compare_loss(fs.SoftmaxCrossEntropy(label_smoothing=0.15), reference, logits, labels, backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_class_weights_are_divided_by_the_batch_and_not_by_their_sum(backend, logits, labels):
    weights = torch.tensor(WEIGHTS, dtype=torch.float64)
    loss = fs.SoftmaxCrossEntropy(class_weights=WEIGHTS)
    compare_loss(loss, lambda y, t: F.cross_entropy(y, t, weights, reduction="sum") / 9, logits, labels, backend)
    torch_mean = float(F.cross_entropy(torch.tensor(logits), torch.tensor(labels), weights))
    share = float(weights[torch.tensor(labels)].sum()) / 9
    assert share != 1.0
    assert our_loss(loss, logits, labels, backend, 5)[0] == pytest.approx(torch_mean * share, rel=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_cross_entropy_with_distributions(backend, logits):
    q = np.random.default_rng(7).dirichlet(np.full(5, 0.4), 9)
    q[0] = [0.0, 1.0, 0.0, 0.0, 0.0]
    compare_loss(fs.SoftmaxCrossEntropy(), F.cross_entropy, logits, q, backend)


@pytest.mark.row("B1")
@pytest.mark.parametrize("backend", BACKENDS)
def test_squared_error_is_not_divided_by_the_width(backend, logits):
    targets = np.random.default_rng(8).normal(size=logits.shape)
    compare_loss(fs.MSE(), lambda y, t: F.mse_loss(y, t) * 5, logits, targets, backend)
    compare_loss(fs.MSE("sum"), lambda y, t: F.mse_loss(y, t, reduction="sum"), logits, targets, backend)


@pytest.mark.row("G8")
@pytest.mark.parametrize("backend", BACKENDS)
def test_absolute_error_and_huber_are_not_divided_by_the_width(backend, logits):
    targets = np.random.default_rng(8).normal(size=logits.shape)
    targets[0] = logits[0]  # the subgradient at 0
    targets[1] = logits[1] + 0.7  # at delta, to rounding
    compare_loss(fs.MAE(), lambda y, t: F.l1_loss(y, t) * 5, logits, targets, backend)
    compare_loss(fs.MAE("sum"), lambda y, t: F.l1_loss(y, t, reduction="sum"), logits, targets, backend)
    compare_loss(fs.Huber(), lambda y, t: F.huber_loss(y, t) * 5, logits, targets, backend)
    compare_loss(fs.Huber(0.7, "sum"), lambda y, t: F.huber_loss(y, t, reduction="sum", delta=0.7), logits, targets, backend)


@pytest.mark.row("G8")
@pytest.mark.parametrize("backend", BACKENDS)
def test_poisson(backend, logits):
    targets = np.random.default_rng(8).poisson(3.0, logits.shape).astype(float)
    compare_loss(fs.Poisson(), lambda y, t: F.poisson_nll_loss(y, t) * 5, logits, targets, backend)
    compare_loss(fs.Poisson("sum"), lambda y, t: F.poisson_nll_loss(y, t, reduction="sum"), logits, targets, backend)


@pytest.mark.row("G8")
@pytest.mark.parametrize("backend", BACKENDS)
def test_quantiles(backend):
    """PyTorch has none; this is the definition by differentiation, with three levels of two targets."""
    generator, levels = np.random.default_rng(8), torch.tensor([0.05, 0.5, 0.8], dtype=torch.float64)
    outputs, targets = generator.normal(size=(9, 6)), generator.normal(size=(9, 2))

    def reference(y, t):
        d = t[:, :, None] - y.reshape(9, 2, 3)
        return torch.maximum(levels * d, (levels - 1.0) * d).sum() / 9

    compare_loss(fs.Quantile(levels.tolist()), reference, outputs, targets, backend)


@pytest.mark.row("G8")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal(gamma, backend, logits, labels):
    """PyTorch has none for several classes; this is equation 5 of Lin et al. with a softmax, by differentiation."""
    alpha = torch.tensor(WEIGHTS, dtype=torch.float64)

    def reference(y, t):
        entropy = F.cross_entropy(y, t, reduction="none")
        return (alpha[t] * (1.0 - torch.exp(-entropy)) ** gamma * entropy).sum() / 9

    compare_loss(fs.Focal(gamma, WEIGHTS), reference, logits, labels, backend)


@pytest.mark.row("G8")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_binary_focal(gamma, backend, logits):
    """The lines of torchvision.ops.sigmoid_focal_loss, with alpha 0.25."""
    targets = np.random.default_rng(9).choice([0.0, 1.0], logits.shape)

    def reference(y, t):
        p = torch.sigmoid(y)
        entropy = F.binary_cross_entropy_with_logits(y, t, reduction="none")
        p_t = p * t + (1 - p) * (1 - t)
        return ((0.25 * t + 0.75 * (1 - t)) * entropy * (1 - p_t) ** gamma).sum() / 9

    compare_loss(fs.BinaryFocal(gamma, [0.75, 0.25]), reference, logits, targets, backend)


@pytest.mark.row("B3")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_binary_cross_entropy(scale, backend, logits):
    targets = np.random.default_rng(9).choice([0.0, 1.0, 0.3], logits.shape)
    compare_loss(
        fs.BinaryCrossEntropy(),
        lambda y, t: F.binary_cross_entropy_with_logits(y, t, reduction="sum") / 9, logits * scale, targets, backend,
    )  # fmt: skip


@pytest.mark.row("B4")
@pytest.mark.parametrize("backend", BACKENDS)
def test_hinge(backend, logits):
    """PyTorch has hinge_embedding_loss, another function; this is its max(0, 1 - t y) by differentiation."""
    targets = np.random.default_rng(10).choice([-1.0, 1.0], logits.shape)
    compare_loss(fs.Hinge(), lambda y, t: torch.relu(1.0 - t * y).sum() / 9, logits, targets, backend)


@pytest.mark.row("B4")
@pytest.mark.parametrize("backend", BACKENDS)
def test_multi_class_hinge_is_crammer_and_singers(backend, logits, labels):
    """torch.nn.MultiMarginLoss sums over all rivals and divides by K; Crammer and Singer take the largest rival only."""

    def reference(y, t):
        own = y.gather(1, t[:, None])
        rival = y.scatter(1, t[:, None], -torch.inf).max(dim=1, keepdim=True).values
        return torch.relu(1.0 + rival - own).mean()

    compare_loss(fs.MultiClassHinge(), reference, logits, labels, backend)
    theirs = float(F.multi_margin_loss(torch.tensor(logits), torch.tensor(labels)))
    assert abs(our_loss(fs.MultiClassHinge(), logits, labels, backend, 5)[0] - theirs) > 0.1
    # With two classes there is one rival, and the two differ by the factor K.
    two = labels % 2
    assert our_loss(fs.MultiClassHinge(), logits[:, :2].copy(), two, backend, 2)[0] == pytest.approx(
        2.0 * float(F.multi_margin_loss(torch.tensor(logits[:, :2]), torch.tensor(two))), rel=1e-12
    )


@pytest.mark.row("B5")
@pytest.mark.parametrize("backend", BACKENDS)
def test_kl_divergence_takes_probabilities_where_torch_takes_logarithms(backend):
    rng = np.random.default_rng(11)
    q, p = rng.dirichlet(np.ones(5), 9), rng.dirichlet(np.full(5, 0.5), 9)
    p[0] = [0.0, 0.0, 1.0, 0.0, 0.0]
    compare_loss(fs.KLDivergence(), lambda y, t: F.kl_div(y.log(), t, reduction="batchmean"), q, p, backend)


@pytest.mark.row("B5")
@pytest.mark.parametrize("backend", BACKENDS)
def test_symmetric_kl_and_bhattacharyya_by_differentiation(backend):
    rng = np.random.default_rng(12)
    q, p = rng.dirichlet(np.ones(5), 9), rng.dirichlet(np.ones(5), 9)
    compare_loss(fs.SymmetricKL(), lambda y, t: ((t - y) * (t.log() - y.log())).sum() / 9, q, p, backend)
    compare_loss(fs.Bhattacharyya(), lambda y, t: -(t * y).sqrt().sum(1).log().mean(), q, p, backend)


def channels_last(images):
    """Rows as ours hold them, from torch's [B, C, H, W]."""
    return images.detach().permute(0, 2, 3, 1).reshape(len(images), -1).contiguous().numpy()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("image", "kernel", "stride", "padding"), [((6, 5), (3, 3), 1, 1), ((7, 6), (2, 3), 2, 0), ((5, 5), (4, 2), (1, 2), (2, 1))]
)
def test_a9_convolution(image, kernel, stride, padding, backend, dtype):
    """Values and all gradients; torch's weight [O, C, KH, KW] is ours [KH KW C, O]."""
    torch.manual_seed(0)
    kind = getattr(torch, dtype)
    x = torch.randn(4, 3, *image, dtype=kind, requires_grad=True)
    weight = torch.randn(5, 3, *kernel, dtype=kind, requires_grad=True)
    bias = torch.randn(5, dtype=kind, requires_grad=True)
    y = F.conv2d(x, weight, bias, stride, padding)
    dy = torch.randn_like(y)
    y.backward(dy)

    def ours(w):
        return w.detach().permute(2, 3, 1, 0).reshape(-1, 5).contiguous().numpy()

    model = fs.Sequential(fs.Conv2d(3, 5, kernel, stride, padding, image=image)).initialize(0, backend, dtype)
    model.load_parameters({"0.Conv2d.weight": ours(weight), "0.Conv2d.bias": bias.detach().numpy()})
    gradient = model.arena.new()
    tape = Tape(model.arena, training=True, gradients=gradient)
    tape.begin(4)
    got = np.array(model.forward(model.backend.asarray(channels_last(x)), tape))
    dx = np.array(model.backward(model.backend.asarray(channels_last(dy)), tape))
    views = {name: np.array(model.arena.views_of(gradient)[p]) for name, p in model.declared()}
    allowed = {"rtol": 1e-5, "atol": 2e-5} if dtype == "float32" else {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(got, channels_last(y), **allowed)
    np.testing.assert_allclose(dx, channels_last(x.grad), **allowed)
    np.testing.assert_allclose(views["0.Conv2d.weight"], ours(weight.grad), **allowed)
    np.testing.assert_allclose(views["0.Conv2d.bias"], bias.grad.numpy(), **allowed)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("size", "stride"), [(2, None), ((3, 2), None), (3, 1), (2, 3)])
def test_a9_max_pooling(size, stride, backend, dtype):
    """Values and gradient, windows that overlap and windows with gaps among them."""
    torch.manual_seed(1)
    x = torch.randn(4, 3, 7, 6, dtype=getattr(torch, dtype), requires_grad=True)
    y = F.max_pool2d(x, size, stride)
    dy = torch.randn_like(y)
    y.backward(dy)
    model = fs.Sequential(fs.MaxPool2d(size, stride, image=(7, 6, 3))).initialize(0, backend, dtype)
    tape = Tape(model.arena, training=True, gradients=model.arena.new())
    tape.begin(4)
    np.testing.assert_array_equal(np.array(model.forward(model.backend.asarray(channels_last(x)), tape)), channels_last(y))
    dx = np.array(model.backward(model.backend.asarray(channels_last(dy)), tape))
    np.testing.assert_allclose(dx, channels_last(x.grad), rtol=1e-6 if dtype == "float32" else 1e-14)


ROW_WEIGHTS = np.array([0.0, 2.0, 0.5, 1.0, 3.0, 0.25, 1.5, 0.0, 1.0])


@pytest.mark.row("G2")
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["labels", "distributions", "squares", "bits", "margins"])
def test_sample_weights(kind, backend, reduction, labels):
    """A step against torch: reduction "none", then the weighted mean, or the weighted sum."""
    rng = np.random.default_rng(8)
    x, t = rng.standard_normal((9, 4)), rng.standard_normal((9, 5))
    loss, y, reference = {
        "labels": (fs.SoftmaxCrossEntropy, labels, lambda o, y: F.cross_entropy(o, y, reduction="none")),
        "distributions": (
            fs.SoftmaxCrossEntropy, rng.dirichlet(np.ones(5), 9), lambda o, y: F.cross_entropy(o, y, reduction="none"),
        ),
        "squares": (fs.MSE, t, lambda o, y: F.mse_loss(o, y, reduction="none").sum(1)),
        "bits": (
            fs.BinaryCrossEntropy, (t > 0).astype(float),
            lambda o, y: F.binary_cross_entropy_with_logits(o, y, reduction="none").sum(1),
        ),
        "margins": (
            fs.MultiClassHinge, labels,
            lambda o, y: torch.clamp(
                1 + o.masked_fill(F.one_hot(y, 5) > 0, -torch.inf).max(1).values - o.gather(1, y[:, None])[:, 0], min=0
            ),
        ),
    }[kind]  # fmt: skip
    model = fs.mlp([4, 6, 5], activation="tanh").initialize(3, backend, "float64")
    step = fs.TrainStep(model, loss(reduction=reduction), fs.SGD(0.1))
    theirs = {n: torch.tensor(np.array(v), requires_grad=True) for n, v in model.parameters().items()}
    a, b, c, d = theirs.values()
    rows = reference(torch.tanh(torch.tensor(x) @ a + b) @ c + d, torch.tensor(y)) * torch.tensor(ROW_WEIGHTS)
    expected = rows.sum() / (ROW_WEIGHTS.sum() if reduction == "mean" else 1.0)
    expected.backward()
    assert float(step(x, y, sample_weight=ROW_WEIGHTS)) == pytest.approx(float(expected.detach()), rel=1e-12)
    views = model.arena.views_of(step.gradient)
    for name, parameter in model.declared():
        np.testing.assert_allclose(np.asarray(views[parameter]), theirs[name].grad.numpy(), **CLOSE, err_msg=name)
