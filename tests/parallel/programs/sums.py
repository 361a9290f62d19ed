"""Sums in the background have the same bits everywhere; prints the number of processes, and Open MPI's algorithm."""

import hashlib
import os

import numpy as np

from fusedstep.backends.communicators import communicator
from fusedstep.backends.communicators.mpi import OPEN_MPI

together = communicator("mpi")
for size in (1, 3, 1000, 100003):
    everywhere = [np.random.default_rng(rank).standard_normal(size) for rank in range(together.size)]
    own = everywhere[together.rank].copy()
    together.start_sum(own)()
    np.testing.assert_allclose(own, sum(everywhere), rtol=0.0, atol=1e-12)
    assert len(set(together.gather(hashlib.sha256(own.tobytes()).hexdigest()))) == 1
if together.first:
    print(together.size, os.environ[next(iter(OPEN_MPI))])
