"""Changes of valid files, drawn from a seed: of single bits and bytes, slices, numbers and words, and of values in JSON."""

from __future__ import annotations

import json
import random
import re
import struct

NUMBERS = [
    0, 1, -1, 2, 3, 7, 127, 128, 255, 256, 32767, 65535, 65536, 10**6, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 10**12, 2**53,
    2**63 - 1, 2**63, 2**64, 10**30, -(2**63),
]  # fmt: skip
WORDS = [
    b"nan", b"inf", b"-inf", b"1e999", b"null", b"true", b"[]", b"{}", b'""', b"0.5", b"-", b"", b"\n", b"\0", b"\xff\xfe",
    b",",
]  # fmt: skip
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")


def mutated(rng: random.Random, data: bytes, other: bytes, words: list[bytes]) -> bytes:
    """A file with one to four changes; `other` – a valid file of the same kind, `words` – what its format knows."""
    for _ in range(rng.choice([1, 1, 1, 2, 2, 3, 4])):
        data = rng.choice(_CHANGES)(rng, data, other, words)
    return data


def _place(rng: random.Random, data: bytes) -> int:
    """More often near the ends, where headers and directories are."""
    length = max(1, len(data))
    near = rng.randrange(min(256, length))
    return rng.choice([near, length - 1 - near, rng.randrange(length)])


def _slice(rng: random.Random, data: bytes) -> tuple[int, int]:
    start = _place(rng, data)
    return start, min(len(data), start + rng.choice([1, 1, 2, 4, 8, rng.randrange(1, 200)]))


def _flip(rng, data, other, words):
    place = _place(rng, data)
    return data[:place] + bytes([(data[place] if data else 0) ^ 1 << rng.randrange(8)]) + data[place + 1 :]


def _set(rng, data, other, words):
    place = _place(rng, data)
    return data[:place] + bytes([rng.choice([0, 1, 127, 128, 254, 255, rng.randrange(256)])]) + data[place + 1 :]


def _insert(rng, data, other, words):
    place = _place(rng, data)
    return data[:place] + rng.choice([rng.randbytes(rng.randrange(1, 16)), rng.choice(WORDS + words)]) + data[place:]


def _delete(rng, data, other, words):
    start, stop = _slice(rng, data)
    return data[:start] + data[stop:]


def _repeat(rng, data, other, words):
    start, stop = _slice(rng, data)
    return data[:start] + data[start:stop] * rng.choice([2, 3, 50]) + data[stop:]


def _cut(rng, data, other, words):
    return data[: _place(rng, data)]


def _integer(rng, data, other, words):
    place, form = _place(rng, data), rng.choice(["<I", ">I", "<Q", ">Q", "<H", ">H"])
    size = struct.calcsize(form)
    return data[:place] + struct.pack(form, rng.choice(NUMBERS) % 2 ** (8 * size)) + data[place + size :]


def _splice(rng, data, other, words):
    start, stop = _slice(rng, data)
    first, last = _slice(rng, other)
    return data[:start] + other[first:last] + data[stop:]


def _written_number(rng, data, other, words):
    found = list(_NUMBER.finditer(data[:100_000]))
    if not found:
        return _set(rng, data, other, words)
    chosen = rng.choice(found)
    return data[: chosen.start()] + str(rng.choice([*NUMBERS, 1e300, -0.0, 1e-320])).encode() + data[chosen.end() :]


def _word(rng, data, other, words):
    known = [word for word in words if word in data]
    if not known:
        return _insert(rng, data, other, words)
    return data.replace(rng.choice(known), rng.choice(WORDS + words), 1)


_CHANGES = [_flip, _set, _insert, _delete, _repeat, _cut, _integer, _splice, _written_number, _word, _flip, _written_number]


def mutated_json(rng: random.Random, text: str) -> str:
    """JSON with one to three values changed, moved or removed, and now and then with changed bytes."""
    if rng.random() < 0.2:
        return mutated(rng, text.encode(), text.encode(), []).decode("utf-8", "replace")
    value = json.loads(text)
    for _ in range(rng.choice([1, 1, 2, 3])):
        value = _changed(rng, value)
    return json.dumps(value)


def _changed(rng: random.Random, value):
    """The same value with a change somewhere in it."""
    inner = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    if not inner or rng.random() < 0.15:
        return _another(rng, value)
    key, old = rng.choice(inner)
    change = rng.random()
    if isinstance(value, list):
        copy = list(value)
        if change < 0.08:
            del copy[key]
        elif change < 0.16:
            copy.insert(key, rng.choice(value))
        else:
            copy[key] = _changed(rng, old)
        return copy
    copy = dict(value)
    if change < 0.08:
        del copy[key]
    elif change < 0.16:
        copy[rng.choice(["again", "layer", "layers", "class", "settings", "x", *value])] = copy.pop(key)
    else:
        copy[key] = _changed(rng, old)
    return copy


def _another(rng: random.Random, value):
    """A value of the same or of another kind."""
    own = {"again": [rng.randrange(4)]}, [rng.choice(NUMBERS)], {"layer": [rng.randrange(4)]}
    texts = "relu", "float64", "values", "Sequence", "Residual", "Linear", "Dropout", "numeric", "text", "\ud800", "a\0"
    return rng.choice([
        rng.choice(NUMBERS), rng.choice(NUMBERS), rng.choice(texts), None, True, False, [], {}, "", 0.5, -0.5, 1e308,
        float("nan"), float("inf"), [value, value], {"a": value}, *own,
    ])  # fmt: skip
