"""The two CPU backends, and a little data."""

import numpy as np
import pytest


@pytest.fixture(params=("numpy", "numba"))
def name(request):
    return request.param


@pytest.fixture(params=("float32", "float64"))
def dtype(request):
    return request.param


@pytest.fixture
def data():
    """x [24, 6] and labels of 3 classes."""
    generator = np.random.default_rng(5)
    return generator.normal(size=(24, 6)).astype("f4"), generator.integers(0, 3, 24)
