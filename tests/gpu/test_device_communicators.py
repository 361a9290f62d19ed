"""The conformance suite of communicators with arrays of a device: one process, which is what one GPU allows."""

import pytest
from launching import PROGRAMS, launch

from fusedstep.backends.conformance.communicators import CHECKS

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("name", ["mpi", "nccl"])
@pytest.mark.parametrize("backend", ["cupy", "cuda"])
def test_communicators(name, backend):
    ended = launch(1, PROGRAMS / "conformance.py", name, backend)
    assert ended.status == 0, ended.error
    assert ended.out.strip() == f"{len(CHECKS)} checks passed"


@pytest.mark.parametrize("name", ["mpi", "nccl"])
def test_a_training_of_one_process_is_that_without_a_launcher(name, tmp_path):
    """Losses and parameters of `cuda` through the sum over processes, and without it."""
    import numpy as np

    program = PROGRAMS / "device_course.py"
    assert launch(1, program, tmp_path / "together.npz", name).status == 0
    assert launch(1, program, tmp_path / "alone.npz", "alone").status == 0
    together, alone = (np.load(tmp_path / f"{kind}.npz") for kind in ("together", "alone"))
    from fusedstep.backends.conformance.tolerances import TOLERANCES

    assert TOLERANCES["float32", "loss"].allows(together["losses"], alone["losses"]).all()
    assert TOLERANCES["float32", "parameter"].allows(together["parameters"], alone["parameters"]).all()
