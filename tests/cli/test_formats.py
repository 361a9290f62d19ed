"""Training and prediction from Parquet and Feather files."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

TRAIN = ("--backend", "numpy", "--epochs", 2, "--out", "m.safetensors")


def test_columns_of_every_type_train_and_predict_in_every_format(call, tmp_path):
    arrow = pytest.importorskip("pyarrow", reason="writes the files")
    feather = pytest.importorskip("pyarrow.feather", reason="writes the files")
    parquet = pytest.importorskip("pyarrow.parquet", reason="writes the files")
    rows = range(60)
    kinds = {"small": arrow.int8(), "large": arrow.uint64(), "half": arrow.float16(), "real": arrow.float64(),
             "money": arrow.decimal128(9, 2), "text": arrow.string(), "bytes": arrow.binary(),
             "yes": arrow.bool_(), "day": arrow.date32(), "moment": arrow.timestamp("ns", "Europe/Berlin"),
             "clock": arrow.time32("s"), "lasting": arrow.duration("ms")}  # fmt: skip
    columns = {
        name: arrow.array([f"v{k % 7}" for k in rows], kind) if name in ("text", "bytes")
        else arrow.array([k % 3 == 0 for k in rows]) if name == "yes"
        else arrow.array([86_400_000 * (k % 7) for k in rows]).cast(kind) if name == "lasting"
        else arrow.array([k % 7 for k in rows], arrow.int32()).cast(kind) if name in ("day", "clock")
        else arrow.array([10**15 * k for k in rows]).cast(arrow.timestamp("ns")).cast(kind) if name == "moment"
        else arrow.array([Decimal(k % 7) for k in rows], kind) if name == "money"
        else arrow.array(np.arange(60, dtype=np.float16) % 7) if name == "half"
        else arrow.array([k % 7 for k in rows], kind)
        for name, kind in kinds.items()
    }  # fmt: skip
    columns["coded"] = columns["text"].dictionary_encode()
    columns["gaps"] = arrow.array([None if k % 5 == 0 else k % 4 for k in rows])
    columns["y"] = arrow.array(["ja" if k % 7 > 3 else "nein" for k in rows])
    table = arrow.table(columns)
    parquet.write_table(table, tmp_path / "d.parquet")
    feather.write_feather(table, tmp_path / "d.feather")
    for name in ("d.parquet", "d.feather"):
        assert call("train", name, "--target", "y", *TRAIN).code == 0
        first, other = (call("predict", "m.safetensors", source) for source in ("d.parquet", "d.feather"))
        assert (first.code, first.out) == (0, other.out)
