"""Tensors of PyTorch and arrays of JAX as x and y: lazy signs are carried out, and those without values are refused."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("default")]

X = np.random.default_rng(0).integers(-8, 9, (6, 3)).astype("f4") / 4.0
Y = np.random.default_rng(1).integers(-8, 9, (6, 1)).astype("f4") / 4.0


@pytest.fixture(params=["numpy", "numba"])
def name(request):
    return request.param


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.fixture
def jax():
    return pytest.importorskip("jax", reason="JAX is not installed")


def a_step(name, **settings):
    return fs.TrainStep(fs.mlp([3, 4, 1]), fs.MSE(), fs.Adam(1e-2), seed=0, backend=name, **settings)


def after(name, x, y, **settings):
    step = a_step(name, **settings)
    losses = [float(step(x, y)), fs.Trainer(step).fit(x, y, epochs=1, batch_size=4)[0]["loss"], step.evaluate(x, y)["loss"]]
    return losses, np.asarray(step.model(x)).tolist()


def lazily_negated(torch, values):
    """The values with the negative bit set: the imaginary part of a conjugate."""
    made = torch.complex(torch.zeros(values.shape), -torch.from_numpy(values)).conj().imag
    assert made.is_neg()
    return made


TENSORS = {
    "as it is": lambda torch, a: torch.from_numpy(a),
    "negative bit": lazily_negated,
    "negative bit, part of a graph": lambda torch, a: torch.nn.Parameter(
        torch.complex(torch.zeros(a.shape), -torch.from_numpy(a))
    ).conj().imag,
    "part of a graph": lambda torch, a: torch.from_numpy(a.copy()).requires_grad_() * 1.0,
    "a parameter": lambda torch, a: torch.nn.Parameter(torch.from_numpy(a.copy())),
    "transposed": lambda torch, a: torch.from_numpy(a.T.copy()).T,
    "bfloat16": lambda torch, a: torch.from_numpy(a).bfloat16(),
    "float16": lambda torch, a: torch.from_numpy(a).half(),
    "float8": lambda torch, a: torch.from_numpy(a).to(torch.float8_e4m3fn),
    "a list of tensors": lambda torch, a: list(torch.from_numpy(a)),
    "a list of lazy tensors": lambda torch, a: list(lazily_negated(torch, a)),
    "a tuple of tensors with gradients": lambda torch, a: tuple(torch.from_numpy(a.copy()).requires_grad_()),
}  # fmt: skip


@pytest.mark.parametrize("micro_batch", [None, 4])
@pytest.mark.parametrize("kind", TENSORS)
def test_tensors_count_as_the_numbers_that_they_show(torch, name, kind, micro_batch):
    plain = after(name, X, Y, micro_batch=micro_batch)
    assert after(name, TENSORS[kind](torch, X), Y, micro_batch=micro_batch) == plain
    assert after(name, X, TENSORS[kind](torch, Y), micro_batch=micro_batch) == plain


def test_a_tensor_of_zeros_without_memory_counts_as_zeros(torch, name):
    assert np.array_equal(fs.asarray(torch._efficientzerotensor((6, 3)), backend=name), np.zeros((6, 3), "f4"))


def fake(torch):
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        return torch.ones(6, 3)


REFUSED = {
    "meta": (lambda torch: torch.empty(6, 3, device="meta"), r"Tensor of shape \(6, 3\) .*meta"),
    "fake": (fake, "FakeTensor"),
    "nested": (lambda torch: torch.nested.nested_tensor([torch.ones(3), torch.ones(2)]), r"\.to_padded_tensor\(\) fills them"),
    "sparse": (lambda torch: torch.from_numpy(X).to_sparse(), r"\.to_dense\(\) makes it dense"),
    "sparse rows": (lambda torch: torch.from_numpy(X).to_sparse_csr(), r"\.to_dense\(\) makes it dense"),
    "complex": (lambda torch: torch.from_numpy(X + 1j), r"complex.*its \.real and \.imag"),
    "conjugate": (lambda torch: torch.from_numpy(X + 1j).conj(), "complex"),
    "a loader": (lambda torch: torch.utils.data.DataLoader(torch.from_numpy(X)), r"DataLoader; list\(rows\) .*RowSource"),
    "a list of meta tensors": (lambda torch: list(torch.empty(6, 3, device="meta")), "meta"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_tensors_without_values_or_of_other_numbers_are_refused(torch, name, kind):
    make, words = REFUSED[kind]
    for call in (lambda step: step(make(torch), Y), lambda step: step.model.predict(make(torch))):
        with pytest.raises(fs.DtypeError, match=f"(?s)^x: .*{words}"):
            call(a_step(name))


def test_labels_as_tensors(torch, name):
    labels = torch.tensor([0, 1, 0, 2, 1, 0])
    losses = set()
    for y in (labels, labels[:, None], labels.to(torch.uint8), labels.numpy()):
        step = fs.TrainStep(fs.mlp([3, 3]), fs.SoftmaxCrossEntropy(), fs.Adam(1e-2), seed=0, backend=name)
        losses.add(float(step(torch.from_numpy(X), y)))
    assert len(losses) == 1


def test_single_lazy_tensors_in_a_list(torch, name):
    plain = after(name, X, Y[:, 0])
    assert after(name, list(lazily_negated(torch, X)), list(lazily_negated(torch, Y[:, 0]))) == plain


def test_arrays_of_jax(jax, name):
    plain = after(name, X, Y)
    assert after(name, jax.numpy.asarray(X), jax.numpy.asarray(Y)) == plain
    assert after(name, jax.numpy.asarray(X, "bfloat16"), list(jax.numpy.asarray(Y))) == plain


def test_arrays_of_jax_without_values_are_refused(jax, name):
    gone = jax.numpy.ones((6, 3))
    gone.delete()
    for values in (gone, jax.random.key(0)):
        with pytest.raises(fs.DtypeError, match=r"^x: expected"):
            a_step(name)(values, Y)
    with pytest.raises(fs.DtypeError, match=r"^x: expected"):
        jax.jit(lambda x: a_step(name)(x, Y))(jax.numpy.ones((6, 3)))


def test_tensors_as_tables_and_their_targets(torch):
    plain = fs.TableEncoder().fit(X).transform(X)
    for make in TENSORS.values():
        assert np.array_equal(fs.TableEncoder().fit(make(torch, X)).transform(make(torch, X)), plain)
    with pytest.raises(fs.DtypeError, match=r"features: .*meta"):
        fs.TableEncoder().fit(torch.empty(6, 3, device="meta"))
