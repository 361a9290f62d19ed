"""Fits estimators in several processes, or alone; rank 0 writes predictions. Arguments: file, "mpi" or "alone"."""

import sys

import numpy as np
import pandas as pd

import fusedstep as fs
from fusedstep.backends.communicators import communicator

path, parallel = sys.argv[1], None if sys.argv[2] == "alone" else sys.argv[2]
rng = np.random.default_rng(2)
frame = pd.DataFrame({"a": rng.standard_normal(300), "b": rng.standard_normal(300), "kind": rng.choice(["x", "y", "z"], 300)})
label = np.where(frame.a + (frame.kind == "x") > 0.4, "yes", "no")
given = {"max_iter": 4, "early_stopping": True, "backend": "numba", "precision": "float64", "parallel": parallel}
classifier = fs.MLPClassifier((16,), random_state=4, class_weight="balanced", **given).fit(frame, label)
regressor = fs.MLPRegressor((16,), random_state=4, **given).fit(frame, frame.a * 3.0 + 1.0)
# Without random_state the processes draw one seed.
drawn = fs.MLPClassifier((8,), **given).fit(frame, label).predict_proba(frame)
together = communicator(parallel)
if together is not None:
    assert len(set(together.gather(drawn.tobytes()))) == 1
if together is None or together.first:
    np.savez(path, classes=classifier.predict_proba(frame), numbers=regressor.predict(frame))
