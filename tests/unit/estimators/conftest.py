"""Small tables that a small network learns in a moment."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def data():
    """x [240, 5] and labels "high", "low", "mid"."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((240, 5))
    return x, np.array(["low", "mid", "high"])[(x[:, 0] > 0).astype(int) + (x[:, 1] > 0.5)]


@pytest.fixture
def people():
    """A data frame with text, dates, booleans and missing values, and the labels that follow from it."""
    pandas = pytest.importorskip("pandas", reason="needs pandas: pip install pandas")
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame({
        "age": np.where(rng.random(240) < 0.1, np.nan, rng.normal(40.0, 12.0, 240)),
        "town": rng.choice(np.array(["Ulm", "Bonn", None], dtype=object), 240),
        "since": pandas.Timestamp("2020-01-01") + pandas.to_timedelta(rng.integers(0, 900, 240), unit="D"),
        "member": rng.random(240) < 0.3,
    })  # fmt: skip
    return frame, np.where((frame["town"] == "Ulm") | frame["member"], "yes", "no")
