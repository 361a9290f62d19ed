"""Which BLAS multiplies: MKL and NumPy's own give the same numbers, are limited alike, and wrong names are refused."""

import os
from importlib.util import find_spec

import pytest
from networks import in_a_process

from fusedstep.kernels.targets.blas import _mkl

MKL = pytest.mark.skipif(_mkl() is None, reason="the package mkl is not installed")
TRAINED = """
import numpy as np
import fusedstep as fs
from fusedstep.kernels.targets.blas import blas
rng = np.random.default_rng(0)
x, y = rng.standard_normal((256, 100)).astype(np.DTYPE), rng.integers(0, 10, 256)
model = fs.mlp([100, 200, 10])
model.initialize(1, "numba", "DTYPE")
step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.Adam(1e-3), backend="numba")
losses = [float(step(x, y)) for _ in range(30)]
print(blas().name.split()[0], *losses)
"""


def run(program, which, seconds=120):
    return in_a_process(program, seconds=seconds, FUSEDSTEP_BLAS=which).split()


@MKL
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
def test_mkl_and_numpys_library_train_alike(dtype, tolerance):
    program = TRAINED.replace("DTYPE", dtype)
    (mkl, *one), (own, *other) = run(program, "mkl"), run(program, "numpy")
    assert mkl == "mkl"
    assert own != "mkl"
    assert [float(a) for a in one] == pytest.approx([float(b) for b in other], rel=tolerance)


@MKL
def test_auto_takes_mkl_where_it_is_installed():
    assert run("from fusedstep.kernels.targets.blas import blas\nprint(blas().name)", "auto") == ["mkl"]


@MKL
def test_mkl_has_one_thread_within_a_step_and_all_of_them_after_it():
    program = """
import numpy as np
import fusedstep as fs
from threadpoolctl import threadpool_info
def mkl():
    return [lib["num_threads"] for lib in threadpool_info() if lib["internal_api"] == "mkl"]
inside = []
class Looking(fs.SoftmaxCrossEntropy):
    def evaluate(self, y, targets, tape):
        inside.append(mkl())
        return super().evaluate(y, targets, tape)
step = fs.TrainStep(fs.mlp([4, 8, 3]), Looking(), fs.SGD(0.1), backend="numba")
before = mkl()
step(np.ones((32, 4), np.float32), np.zeros(32, int))
assert before == mkl() and len(before) == 1, (before, mkl())
assert inside and all(counts == [1] for counts in inside), inside
print("done")
"""
    assert run(program, "mkl") == ["done"]


@MKL
@pytest.mark.peers
@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one processor")
def test_torch_keeps_its_threads_beside_mkl():
    """MKL's functions are found by libraries that are loaded later: they must not become single-threaded by it."""
    program = TRAINED.replace("DTYPE", "float32") + """
import time
import torch
torch.set_num_threads(2)
a = torch.randn(1500, 1500)
a @ a
own, every = time.thread_time(), time.process_time()
for _ in range(10):
    a @ a
print((time.process_time() - every) / (time.thread_time() - own))
"""
    assert float(run(program, "mkl")[-1]) > 1.3, "nobody but the calling thread computed"


def test_a_library_that_nobody_knows_is_refused():
    program = """
import fusedstep as fs
try:
    fs.backend("numba")
except fs.HyperparameterError as error:
    print(error)
"""
    said = " ".join(run(program, "acml"))
    assert said == "expected FUSEDSTEP_BLAS to be one of auto, mkl, numpy; got 'acml'"


def test_an_mkl_that_is_not_there_is_refused_with_its_remedy():
    program = """
from importlib import metadata
import fusedstep as fs
def missing(name):
    raise metadata.PackageNotFoundError(name)
metadata.files = missing
try:
    fs.backend("numba")
except fs.MissingDependency as error:
    print(error)
"""
    assert 'pip install "fusedstep[mkl]"' in " ".join(run(program, "mkl"))
