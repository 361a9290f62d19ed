"""What is noticed of the bytes of a text table while they pass: quotes, and cells such as 007, wherever blocks begin."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fusedstep.framework.tables import text_layout
from fusedstep.framework.tables.text_layout import Seen

ZEROS = re.compile(rb'(?:^|[,"\r\n]) ?0[0-9]')


@pytest.mark.parametrize("characters", [b"0", b"01.", b'07, \n"', b'0123456789.-/:;,| \r\n"x'])
def test_as_a_regular_expression_says(characters: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_layout, "_PART", 8)
    rng = np.random.default_rng(len(characters))
    found = 0
    for _ in range(400):
        text = bytes(rng.choice(list(characters), rng.integers(1, 40)).astype(np.uint8))
        ends = np.sort(rng.integers(0, len(text) + 1, 3))
        blocks = [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True) if start < end]
        seen = Seen(b'"', b",")
        assert b"".join(seen.watched(blocks)) == text
        assert seen.quotes == text.count(b'"')
        assert seen.end == b"\n" + text
        assert seen.zeros == (ZEROS.search(text) is not None), (text, blocks)
        found += seen.zeros
    assert found or characters == b"01."
