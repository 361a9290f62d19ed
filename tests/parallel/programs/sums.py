"""Sums in the background have the same bits everywhere; prints the number of processes, and the algorithm that Open MPI uses."""

import hashlib
import os

import numpy as np

from fusedstep.backends.communicators import communicator

together = communicator("mpi")
for size in (1, 3, 1000, 100003):
    everywhere = [np.random.default_rng(rank).standard_normal(size) for rank in range(together.size)]
    own = everywhere[together.rank].copy()
    together.start_sum(own)()
    np.testing.assert_allclose(own, sum(everywhere), rtol=0.0, atol=1e-12)
    assert len(set(together.gather(hashlib.sha256(own.tobytes()).hexdigest()))) == 1
if together.first:
    print(together.size, os.environ["OMPI_MCA_coll_libnbc_iallreduce_algorithm"])
