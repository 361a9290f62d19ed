"""Changes checkpoints at random: `python tests/unit/checkpoints/mutate.py 10000` prints how many of each outcome there were.

Bytes of the file are changed, or values of the state, with a checksum that belongs to the change. Each file then is refused
with a typed error, or skipped for the checkpoint before, or training goes on; nothing takes longer than five seconds.
"""

from __future__ import annotations

import collections
import json
import logging
import random
import shutil
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path

import numpy as np
from trainings import Stop, StopAfter, fit, trainer_of

import fusedstep as fs
from fusedstep.framework.training import checkpoint_files as files
from fusedstep.framework.training import checkpoint_run

VALUES = [0, 1, -1, 2**31, 2**63, 2**64, -3.5, 1e308, None, True, "", "text", [], {}, {"$": "nan"}]
SECONDS = 5.0


def changed_bytes(rng, data):
    place = rng.choice([rng.randrange(len(data)), rng.randrange(min(9000, len(data))), rng.randrange(16)])
    kind = rng.randrange(4)
    if kind == 0:
        return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
    if kind == 1:
        return data[:place]
    if kind == 2:
        return data[:place] + rng.randbytes(rng.randrange(1, 9)) + data[place:]
    return data[:place] + data[place + rng.randrange(1, 40) :]


def changed_value(rng, value):
    """The same plain value with a change somewhere in it."""
    inner = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    if not inner or rng.random() < 0.1:
        return rng.choice(VALUES)
    key, old = rng.choice(inner)
    copy = dict(value) if isinstance(value, dict) else list(value)
    if rng.random() < 0.15:
        del copy[key]
    else:
        copy[key] = changed_value(rng, old)
    return copy


def changed_state(rng, path):
    """Writes the checkpoint again with another value, or another array, and the checksum of it."""
    state = files.read(path)
    arrays = {}
    plain = files.packed(state, arrays)
    if rng.random() < 0.2:
        name = rng.choice(sorted(arrays))
        values = arrays[name]
        arrays[name] = rng.choice([values[:-1], values.astype("float64"), np.zeros(3, "int64"), values.reshape(1, -1)])
    else:
        plain = changed_value(rng, plain)
    text = json.dumps(plain)
    try:
        files.write(path, files.unpacked(json.loads(text), arrays))
    except files.WRONG:
        return False
    return True


def contents(path):
    """Everything in a checkpoint, comparable."""
    arrays = {}
    plain = files.packed(files.read(path), arrays)
    return plain, {name: (values.tobytes(), values.shape, str(values.dtype)) for name, values in arrays.items()}


def run(count, seed=0):
    """Outcome -> number."""
    logging.getLogger("fusedstep").setLevel(logging.CRITICAL)
    checkpoint_run.Writer.start = lambda writer, job: checkpoint_run.in_thread(job)
    rng, found = random.Random(seed), collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        original, copy = Path(folder) / "original", Path(folder) / "copy"
        with suppress(Stop):
            fit(trainer_of(extra=[fs.StopOnStall(), StopAfter(27)]), original, every_steps=4)
        whole = files.checkpoints(original)
        before = contents(whole[0])
        while sum(found.values()) < count:
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(original, copy)
            path = copy / whole[0].name
            forged = rng.random() < 0.4
            if not forged:
                path.write_bytes(changed_bytes(rng, path.read_bytes()))
            elif not changed_state(rng, path):
                continue
            started = time.monotonic()
            try:
                unchanged = contents(path) == before
                outcome = "the same contents" if unchanged else "other contents with their own checksum"
                assert unchanged or forged, "other contents were read"
            except files.Damaged:
                outcome = "damaged"
            except fs.CheckpointError:
                outcome = "newer"
            if outcome.startswith("other") or sum(found.values()) % 20 == 0:
                try:
                    fit(trainer_of(extra=[fs.StopOnStall()]), copy, epochs=3)
                    outcome += ", resumed"
                except fs.FusedstepError as error:
                    outcome += f", {type(error).__name__}"
                except Exception as error:
                    outcome = f"UNTYPED {type(error).__name__}: {error} {traceback.extract_tb(error.__traceback__)[-3:]}"
            assert time.monotonic() - started < SECONDS
            found[outcome] += 1
    return found


if __name__ == "__main__":
    for outcome, number in run(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0).most_common():
        print(f"{number:6} {outcome}")
