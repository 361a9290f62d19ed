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
rng = np.random.default_rng(0)
x, y = rng.standard_normal((256, 100)).astype(np.DTYPE), rng.integers(0, 10, 256)
model = fs.mlp([100, 400, 10])
model.initialize(1, "BACKEND", "DTYPE")
step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.Adam(1e-3), backend="BACKEND", micro_batch=PIECE)
losses = [float(step(x, y)) for _ in range(30)]
print(step.backend.blas.split()[0], *losses)
"""


def trained(dtype="float32", backend="numba", piece=None):
    return TRAINED.replace("DTYPE", dtype).replace("BACKEND", backend).replace("PIECE", repr(piece))


def in_groups(words):
    """What each of several trainings printed: the library and 30 losses."""
    assert len(words) % 31 == 0
    return [words[start : start + 31] for start in range(0, len(words), 31)]


def run(program, which, seconds=120):
    return in_a_process(program, seconds=seconds, FUSEDSTEP_BLAS=which).split()


TOLERANCES = {"float32": 1e-5, "float64": 1e-12}


@MKL
@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_mkl_and_numpys_library_train_alike(backend):
    pieces = [None] if backend == "numba" else [None, 220]
    cases = [(dtype, piece) for dtype in TOLERANCES for piece in pieces]
    program = "\n".join(trained(dtype, backend, piece) for dtype, piece in cases)
    found = [in_groups(run(program, library)) for library in ("mkl", "numpy")]
    for (dtype, piece), (mkl, *one), (own, *other) in zip(cases, *found, strict=True):
        assert mkl == "mkl"
        assert own != "mkl"
        assert [float(a) for a in one] == pytest.approx([float(b) for b in other], rel=TOLERANCES[dtype]), (dtype, piece)


@MKL
@pytest.mark.parametrize("intel", [True, False])
def test_mkl_is_the_default_on_intels_processors(intel):
    program = f"""
from fusedstep.kernels.targets import blas
blas.is_intel = lambda: {intel}
print(*blas.libraries(), blas.mkl() is not None, blas.blas() is next(iter(blas.libraries().values())))
"""
    names = ["mkl", "numpy"] if intel else ["numpy", "mkl"]
    assert run(program, "auto") == [*names, str(intel), "True"]
    assert run(program, "mkl") == ["mkl", "True", "True"]
    assert run(program, "numpy") == ["numpy", "False", "True"]


MULTIPLIED = """
import fusedstep as fs
import numpy as np
from fusedstep.kernels.targets import products
def counted(*layouts):
    calls.append(layouts[2].shape)
    return real(*layouts)
calls, real = [], products._gemm
products._gemm = counted
rng = np.random.default_rng(0)
for hidden in (8, 300):
    step = fs.TrainStep(fs.mlp([100, hidden, 10]), fs.SoftmaxCrossEntropy(), fs.SGD(0.1), backend="numpy")
    step(rng.standard_normal((300, 100)), rng.integers(0, 10, 300))
    print(hidden, *(m * n for m, n in calls), sep="|")
"""


@MKL
def test_a_numpy_step_leaves_all_products_and_sums_of_rows_that_take_several_threads_to_mkl():
    small, large = (line.split("|") for line in run(MULTIPLIED, "mkl"))
    assert small == ["8"]
    hidden, *sizes = map(int, large)
    products = [300 * 300, 300 * 10, 300 * 10, 300 * 300, 100 * 300]
    assert (hidden, sorted(sizes)) == (300, sorted([*products, 300]))


@MKL
def test_numpy_gives_the_same_bits_with_mkl_for_any_number_of_threads():
    program = trained("float32", "numpy").replace("micro_batch=None", "deterministic=True").replace(
        "losses =", "from threadpoolctl import threadpool_limits\nthreadpool_limits(THREADS)\nlosses ="
    ) + "\nprint(model.arena.values.tobytes().hex()[:200])"  # fmt: skip
    one, two = (run(program.replace("THREADS", str(count)), "mkl") for count in (1, 2))
    assert one == two


@MKL
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("piece", [None, 220])
def test_in_a_forked_child_numpy_multiplies(piece):
    program = trained("float32", "numpy", piece).replace("import numpy as np", "import os, sys\nimport numpy as np") + """
from fusedstep.kernels.targets import products
child = os.fork()
if child == 0:
    products._gemm = None  # which MKL would need
    os._exit(7 if float(step(x[::-1].copy(), y[::-1].copy())) < losses[0] else 8)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), float(step(x, y)) < losses[0])
"""
    assert run(program, "mkl")[-2:] == ["7", "True"]


@MKL
def test_idle_threads_of_mkl_spin_shortly_unless_somebody_says_otherwise():
    program = """
import os
import fusedstep as fs
from threadpoolctl import ThreadpoolController
fs.backend("numpy")
openmp = [lib.dynlib for lib in ThreadpoolController().lib_controllers if "iomp" in lib.filepath]
print([lib.kmp_get_blocktime() for lib in openmp], os.environ.get("KMP_BLOCKTIME"))
"""
    assert run(program, "mkl") == ["[2]", "None"]
    assert in_a_process(program, FUSEDSTEP_BLAS="mkl", KMP_BLOCKTIME="50").split() == ["[50]", "50"]


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
    program = trained() + """
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
    assert 'pip install "mkl>=' in " ".join(run(program, "mkl"))
