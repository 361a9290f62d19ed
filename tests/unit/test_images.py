"""Convolution and pooling: values by their definition, shapes, images that flow through a model, and digits learned."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.datasets import load_digits

import fusedstep as fs
from fusedstep.backends.conformance import close
from fusedstep.errors import HyperparameterError, ShapeError
from fusedstep.framework.tables.splits import split
from fusedstep.kernels.rows import patches

BACKENDS = ["numpy", "numba"]


def plain_convolution(x, weight, bias, kernel, stride, padding):
    """The sum of the definition, element by element; x [B, H, W, C], weight [KH, KW, C, O]."""
    rows, height, width, channels = x.shape
    padded = np.zeros((rows, height + 2 * padding[0], width + 2 * padding[1], channels))
    padded[:, padding[0] : padding[0] + height, padding[1] : padding[1] + width] = x
    sides = [patches.extent((height, width)[k], kernel[k], stride[k], padding[k]) for k in (0, 1)]
    y = np.zeros((rows, *sides, weight.shape[3]))
    for i, j in np.ndindex(*sides):
        part = padded[:, i * stride[0] : i * stride[0] + kernel[0], j * stride[1] : j * stride[1] + kernel[1]]
        y[:, i, j] = np.einsum("bhwc,hwco->bo", part, weight) + bias
    return y


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("image", "kernel", "stride", "padding"),
    [((5, 6), (3, 3), (1, 1), (0, 0)), ((5, 6), (3, 2), (2, 1), (1, 0)), ((7, 4), (1, 4), (3, 2), (2, 3)),
     ((2, 2), (2, 2), (1, 1), (0, 0)), ((3, 3), (1, 1), (1, 1), (0, 0)), ((2, 3), (4, 5), (1, 1), (1, 1))],
)  # fmt: skip
def test_a9_convolution_is_the_sum_of_its_definition(image, kernel, stride, padding, backend, dtype):
    rng = np.random.default_rng(0)
    layer = fs.Conv2d(3, 4, kernel, stride, padding, image=image, bias_init=fs.Normal(0.3))
    model = fs.Sequential(layer).initialize(1, backend, dtype)
    x = rng.normal(size=(6, *image, 3)).astype(dtype)
    weight, bias = (np.array(v, dtype="f8") for v in model.parameters().values())
    wanted = plain_convolution(x.astype("f8"), weight.reshape(*kernel, 3, 4), bias, kernel, stride, padding)
    assert layer.output_image() == wanted.shape[1:]
    assert model.outputs == wanted[0].size
    close(np.array(model(x.reshape(6, -1))), wanted.reshape(6, -1), dtype, "sum")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("size", "stride"), [(2, None), ((2, 3), None), (3, 1), (2, 3), ((1, 2), (2, 1)), (1, 1)])
def test_a9_pooling_takes_the_largest_of_each_window(size, stride, backend):
    rng = np.random.default_rng(1)
    x = np.round(rng.normal(size=(5, 7, 6, 3)) * 2)  # with equal numbers among them
    layer = fs.MaxPool2d(size, stride, image=(7, 6, 3))
    model = fs.Sequential(layer).initialize(0, backend, "float64")
    (height, width), (down, across) = layer.kernel, layer.stride
    sides = [(7 - height) // down + 1, (6 - width) // across + 1]
    wanted = np.zeros((5, *sides, 3))
    for i, j in np.ndindex(*sides):
        wanted[:, i, j] = x[:, i * down : i * down + height, j * across : j * across + width].max((1, 2))
    np.testing.assert_array_equal(np.array(model(x.reshape(5, -1))), wanted.reshape(5, -1))
    x[0, 0, 0, 0] = np.nan
    assert np.isnan(np.array(model(x.reshape(5, -1)))[0, 0])


@pytest.mark.parametrize("run", BACKENDS)
@pytest.mark.parametrize("overlap", [False, True])
def test_a9_gradients_of_a_whole_cnn(run, overlap):
    """Every parameter, and the input, against central differences in float64."""
    model = fs.Sequential(
        fs.Conv2d(2, 3, 3, padding=1, image=(5, 4), bias_init=0.1), fs.Tanh(),
        fs.MaxPool2d(2, 1) if overlap else fs.MaxPool2d(2), fs.Conv2d(3, 2, 2, stride=(1, 2), padding=(1, 0)), fs.SiLU(),
        fs.Flatten(), fs.Linear(2 * (5 if overlap else 3) * 1, 3),
    )  # fmt: skip
    rng = np.random.default_rng(4)
    report = fs.gradient_check(model, fs.SoftmaxCrossEntropy(), rng.normal(size=(4, 40)), rng.integers(0, 3, 4), backend=run)
    assert report.passed, str(report)


def test_a9_tables_are_transposes_of_each_other():
    images, kernels, strides, paddings = ((4, 5, 2), (3, 3, 1)), ((2, 3), (1, 1)), ((1, 1), (2, 2)), ((0, 0), (1, 2))
    for image, kernel, stride, padding in itertools.product(images, kernels, strides, paddings):
        table = patches.patches(image, kernel, stride, padding)
        cut = np.zeros((table.size, np.prod(image)))
        cut[np.flatnonzero(table >= 0), table[table >= 0]] = 1.0
        back = patches.patches_transposed(image, kernel, stride, padding)
        again = np.zeros_like(cut)
        for column, places in enumerate(back):
            again[places[places >= 0], column] += 1.0
        np.testing.assert_array_equal(again, cut)


def test_a9_images_flow_from_the_first_layer():
    model = fs.Sequential(
        fs.GaussianNoise(0.1), fs.Conv2d(1, 4, 3, padding=1, image=(8, 6)), fs.LayerNorm(192), fs.PReLU(192),
        fs.Residual(fs.Conv2d(4, 4, 3, padding=1), fs.ReLU(), fs.Dropout(0.1)), fs.MaxPool2d(2),
        fs.Sequential(fs.Conv2d(4, 5, 2, stride=2), fs.ReLU()), fs.Flatten(), fs.Linear(10, 3),
    )  # fmt: skip
    assert (model.inputs, model.outputs) == (48, 3)
    assert model.layers[4].layers[0].image == (8, 6, 4)
    assert model.layers[5].image == (8, 6, 4)
    assert model.layers[6].layers[0].image == (4, 3, 4)
    assert fs.Sequential(fs.MaxPool2d(2, image=(4, 4, 3)), fs.Conv2d(3, 2, 2)).outputs == 2
    assert fs.Sequential(fs.Linear(5, 9), fs.Conv2d(1, 2, 2, image=(3, 3))).outputs == 8


def test_a9_what_does_not_fit_is_refused():
    for wrong in (
        lambda: fs.Conv2d(0, 1, 3), lambda: fs.Conv2d(1, 0, 3), lambda: fs.Conv2d(1, 1, 0), lambda: fs.Conv2d(1, 1, (3, 3, 3)),
        lambda: fs.Conv2d(1, 1, 3, stride=0), lambda: fs.Conv2d(1, 1, 3, padding=-1), lambda: fs.Conv2d(1, 1, 3, image=8),
        lambda: fs.Conv2d(1, 1, "3"), lambda: fs.MaxPool2d(0), lambda: fs.MaxPool2d(17), lambda: fs.MaxPool2d(2, image=(8, 8)),
        lambda: fs.MaxPool2d(2, 0),
    ):  # fmt: skip
        try:
            wrong()
        except HyperparameterError:
            continue
        layer = wrong()
        assert layer.image == (8, 8, 1)  # one number is a square
    with pytest.raises(ShapeError, match="at least 5 x 5"):
        fs.Conv2d(1, 2, 5, image=(4, 8))
    with pytest.raises(ShapeError, match="at least 3 x 3"):
        fs.MaxPool2d(3, image=(2, 8, 1))
    for layers, words in (
        ([fs.Conv2d(1, 2, 3, image=(4, 4)), fs.Conv2d(3, 2, 1)], "3 channels"),
        ([fs.Conv2d(1, 2, 3, image=(4, 4)), fs.Conv2d(2, 2, 1, image=(4, 4))], "first layer only"),
        ([fs.Conv2d(1, 2, 3, image=(4, 4)), fs.MaxPool2d(3)], "at least 3 x 3"),
        ([fs.Conv2d(1, 2, 3, image=(4, 4)), fs.Flatten(), fs.MaxPool2d(2)], r"image=\(height, width"),
        ([fs.Conv2d(1, 2, 3, image=(4, 4)), fs.Linear(9, 2)], "9 input columns"),
        ([fs.Linear(5, 9), fs.Conv2d(1, 2, 2)], r"image=\(height, width"),
        ([fs.Linear(5, 8), fs.Conv2d(1, 2, 2, image=(3, 3))], "9 input columns"),
    ):  # fmt: skip
        with pytest.raises(ShapeError, match=words):
            fs.Sequential(*layers)
    unknown = fs.Sequential(fs.Conv2d(1, 2, 3)).initialize(0, "numpy")
    with pytest.raises(ShapeError, match=r"image=\(height, width"):
        unknown(np.zeros((2, 16), "f4"))
    with pytest.raises(ShapeError, match="16"):
        fs.Sequential(fs.Conv2d(1, 2, 3, image=(4, 4))).initialize(0, "numpy")(np.zeros((2, 15), "f4"))


@pytest.mark.parametrize("backend", [pytest.param("numpy", marks=pytest.mark.exhaustive), "numba"])
def test_a9_a_small_cnn_learns_digits(backend, tmp_path):
    """8 x 8 images; a file and the other backend then give the same answers."""
    digits = load_digits()
    x, y = (digits.data / 16.0).astype("f4"), digits.target
    train, _, test = split(y, (0.25, 0.0), seed=0)
    model = fs.Sequential(
        fs.Conv2d(1, 16, 3, padding=1, image=(8, 8)), fs.ReLU(), fs.MaxPool2d(2),
        fs.Conv2d(16, 32, 3, padding=1), fs.ReLU(), fs.MaxPool2d(2), fs.Flatten(), fs.Linear(128, 10),
    )  # fmt: skip
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.Adam(5e-3), seed=0, backend=backend)
    fs.Trainer(step).fit(x[train], y[train], epochs=10, batch_size=64)
    accuracy = step.evaluate(x[test], y[test])["accuracy"]
    print(f"accuracy {accuracy:.4f}")
    assert accuracy > 0.97
    fs.save(model, tmp_path / "cnn.safetensors")
    same = fs.load(tmp_path / "cnn.safetensors", backend)
    np.testing.assert_array_equal(np.array(same(x[test])), np.array(model(x[test])))
    other = fs.load(tmp_path / "cnn.safetensors", BACKENDS[1 - BACKENDS.index(backend)])
    np.testing.assert_allclose(np.array(other(x[test])), np.array(model(x[test])), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a9_a_cnn_in_16_bits_follows_that_in_32(precision):
    pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 36)).astype("f4"), rng.integers(0, 3, 32)
    losses = []
    for wanted in ("float32", precision):
        model = fs.Sequential(
            fs.Conv2d(1, 6, 3, padding=1, image=(6, 6)), fs.ReLU(), fs.MaxPool2d(2), fs.Conv2d(6, 4, 2), fs.Tanh(),
            fs.Flatten(), fs.Linear(16, 3),
        )  # fmt: skip
        step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD(0.1), seed=0, backend="numpy", precision=wanted)
        losses.append([float(step(x, y)) for _ in range(15)])
    assert losses[0][-1] < 0.9 * losses[0][0]
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.02)
