"""Standardising what is streamed: moments in one pass, coded as it is read."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import errors
from fusedstep.framework.tables.column_statistics import NumberStatistics
from fusedstep.framework.tables.moments import column_moments
from fusedstep.framework.tables.preprocessing import Preprocessor


class _Once(fs.ArrayRows):
    """Counts how often each row is read."""

    def __init__(self, array: np.ndarray) -> None:
        super().__init__(array)
        self.reads = np.zeros(len(array), int)

    def read(self, rows, out) -> None:
        self.reads[rows] += 1
        super().read(rows, out)


@pytest.fixture
def x() -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40_000, 60)) * np.geomspace(1e-6, 1e6, 60) + np.linspace(-1e3, 1e3, 60)
    x[:, 3] = 7.25
    x[:, 4] = np.sort(x[:, 4])
    x[:, 5] = 1e8 + rng.standard_normal(40_000)
    x[:, 6] *= 1e290
    return x


def test_f5_moments_of_a_stream_are_those_of_the_matrix_in_one_pass(x) -> None:
    source = _Once(x)
    statistics = NumberStatistics(source.names, streamed=True)
    for _, block in source.blocks(np.float64):
        statistics.add_matrix(block)
    codings = statistics.number_codings("standard")
    mean, scale = np.array([[coding.center, coding.scale] for coding in codings]).T
    wanted_mean, wanted_scale = column_moments(x)
    assert np.all(source.reads == 1)
    np.testing.assert_array_less(np.abs(mean - wanted_mean), 1e-12 * (wanted_scale + np.abs(wanted_mean)))
    np.testing.assert_allclose(scale, wanted_scale, rtol=1e-11)
    wide = x.astype(np.longdouble)
    np.testing.assert_allclose(scale[5], float(wide[:, 5].std()), rtol=1e-10)
    assert (mean[3], scale[3]) == (7.25, 1.0)


def test_f5_a_preprocessor_takes_sources() -> None:
    x = np.random.default_rng(1).standard_normal((40_000, 60)) * np.geomspace(1e-3, 1e3, 60) + np.linspace(-10, 10, 60)
    y = np.where(x[:, 0] > x[:, 0].mean(), "large", "small")
    memory, stream = (Preprocessor(dtype="float64").fit(rows, y) for rows in (x, fs.ArrayRows(x)))
    assert (stream.task, stream.classes, stream.width) == ("classification", ["large", "small"], 60)
    coded = stream.transform(fs.ArrayRows(x))
    assert isinstance(coded, fs.RowSource)
    chosen = np.array([39_999, 3, 17])
    out = np.empty((3, 60))
    coded.read(chosen, out)
    np.testing.assert_allclose(out, memory.transform(x)[chosen], rtol=1e-9, atol=1e-10)
    again = Preprocessor.from_json(stream.to_json())
    np.testing.assert_array_equal(again.transform(x), stream.transform(x))
    numbers = Preprocessor().fit(fs.ArrayRows(x[:100]), fs.ArrayRows(x[:100, 0].copy()))
    assert numbers.task == "regression"


def test_f5_what_does_not_fit_is_refused(x) -> None:
    y = np.arange(40_000) % 2
    with pytest.raises(errors.ShapeError, match="one target per row"):
        Preprocessor().fit(fs.ArrayRows(x), y[:5])
    with pytest.raises(errors.ShapeError, match="several columns"):
        Preprocessor().fit(fs.ArrayRows(x[:, 0].copy()), y)
    fitted = Preprocessor().fit(fs.ArrayRows(x), y)
    with pytest.raises(errors.ShapeError, match="60 columns"):
        fitted.transform(fs.ArrayRows(x[:, :5]))
    x[30_000, 2] = np.inf
    with pytest.raises(errors.NonFiniteDataError, match=r"row.*'x2'"):
        Preprocessor().fit(fs.ArrayRows(x), y)
