"""Which library computes a product of a plan: the faster one by the clock, remembered, forced, set, or by the fixed rule.

The second library is a real one that is there wherever SciPy is; a slow one is the same with other work before each product.
"""

import ctypes
import json
import os
import threading

import numpy as np
import pytest
from networks import in_a_process

import fusedstep as fs
from fusedstep.backends.threads import single_threaded_blas
from fusedstep.kernels.targets import blas, cache, gemm_choices, native
from fusedstep.kernels.targets.gemm_choices import GemmChoices, Product, fastest, representative

FLOAT = np.dtype("float32")
PRODUCT = Product(FLOAT, (False, True), (64, 32, 48))
NAME = "float32 NT 64x32x48"
MKL = pytest.mark.skipif(blas._mkl() is None, reason="the package mkl is not installed")


WORK, CALLED = np.ones(100_000), []


def slow(library):
    """The same library, which has other work to do before each product."""

    def slowed(address):
        kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 13)
        real = kind(address)
        called = kind(lambda *arguments: (np.sqrt(WORK), real(*arguments))[1])
        CALLED.append(called)
        return ctypes.cast(called, ctypes.c_void_p).value

    return library._replace(name="slow", sgemm=slowed(library.sgemm), dgemm=slowed(library.dgemm))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "folder", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def libraries():
    return {"numpy": blas._numpys() or blas._scipys(), "scipy": blas._scipys()}


@pytest.fixture
def use(monkeypatch):
    """Makes these libraries those of the process, the default first, with no choices; returns what holds the choices."""

    def used(found):
        monkeypatch.setattr(gemm_choices, "libraries", lambda: found)
        monkeypatch.setattr(gemm_choices, "blas", lambda: next(iter(found.values())))
        choices = GemmChoices()
        monkeypatch.setattr(gemm_choices, "_choices", choices)
        return choices

    return used


@pytest.fixture
def timed(monkeypatch):
    """The names of the products that were timed, in order."""
    names = []

    def counted(product, *others):
        names.append(product.name)
        return fastest(product, *others)

    monkeypatch.setattr(gemm_choices, "fastest", counted)
    return names


def planned(choices, *products, deterministic=False):
    """The libraries of these products in one plan."""
    with single_threaded_blas, choices.planning(deterministic):
        return [choices.library(product) for product in products]


def trained(deterministic=False, steps=3, widths=(40, 48, 10)):
    """The parameters after some steps on two threads."""
    fs.set_num_threads(2)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((64, widths[0])).astype(FLOAT), rng.integers(0, widths[-1], 64)
    model = fs.mlp(widths)
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.Adam(1e-2), seed=1, backend="numba", deterministic=deterministic)
    for _ in range(steps):
        step(x, y)
    return model.arena.values.tobytes()


def saved(folder):
    (file,) = folder.glob("blas_*.json")
    return file, json.loads(file.read_text())


# The clock

@pytest.mark.parametrize(("product", "accuracy"), [(PRODUCT, 1e-5), (PRODUCT._replace(dtype=np.dtype("float64")), 1e-12)])
def test_the_faster_library_is_selected_wherever_it_stands(libraries, product, accuracy):
    quick, second = libraries["numpy"], slow(libraries["numpy"])
    with single_threaded_blas:
        assert fastest(product, {"numpy": quick, "slow": second}, 0.01) == "numpy"
        assert fastest(product, {"slow": second, "numpy": quick}, 0.01) == "numpy"
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(shape).astype(product.dtype) for shape in ((64, 48), (32, 48)))
    out = np.empty((64, 32), product.dtype)
    for library in (quick, second, libraries["scipy"]):
        gemm = gemm_choices.bound_gemm(library, product.dtype, product.extents, [("N", 48), ("T", 48), ("N", 32)])
        gemm(*(array.ctypes.data for array in (a, b, out)))
        np.testing.assert_allclose(out, a @ b.T, rtol=accuracy, atol=accuracy)


@pytest.mark.parametrize(("other", "winner"), [(0.5, "b"), (0.98, "b"), (0.99, "a"), (1.0, "a"), (2.0, "a")])
def test_the_default_stays_unless_another_is_two_percent_faster(monkeypatch, other, winner):
    monkeypatch.setattr(gemm_choices, "_timed", lambda product, seconds, matrices: lambda runs: seconds)
    assert fastest(PRODUCT, {"a": 1e-3, "b": other * 1e-3}, 1.0) == winner


def test_one_block_that_was_held_up_does_not_decide(monkeypatch):
    times = {"a": iter([9.0, 1e-3, 1e-3, 9.0] + [1e-3] * 9), "b": iter([1.1e-3] * 13)}
    monkeypatch.setattr(gemm_choices, "_timed", lambda product, name, matrices: lambda runs: next(times[name]))
    assert fastest(PRODUCT, {"a": "a", "b": "b"}, 1.0) == "a"


def test_with_a_clock_that_stands_still_the_default_stays(monkeypatch):
    monkeypatch.setattr(gemm_choices, "_CLOCK", lambda: 0.0)
    library = blas._numpys() or blas._scipys()
    assert fastest(PRODUCT, {"a": library, "b": library}, 0.01) == "a"


def test_products_that_took_their_time_are_repeated_once():
    runs = []
    quick = blas._numpys() or blas._scipys()
    real = gemm_choices._timed

    def counting(*arguments):
        seconds = real(*arguments)
        return lambda count: (runs.append(count), seconds(count))[1]

    with pytest.MonkeyPatch.context() as context, single_threaded_blas:
        context.setattr(gemm_choices, "_timed", counting)
        fastest(PRODUCT, {"a": quick, "b": quick}, 0.0)
    assert len(runs) == 4, "each library once to begin with, and one block"


@pytest.mark.parametrize(
    ("extents", "smaller"),
    [
        ((64, 32, 48), (64, 32, 48)),
        ((1024, 1024, 512), (1024, 1024, 512)),
        ((100_000, 10, 64), (4096, 10, 64)),
        ((4096, 2048, 784), (512, 1024, 784)),
        ((3, 10**6, 10**6), (3, 4096, 4096)),
    ],
)
def test_of_large_products_a_part_is_timed(extents, smaller):
    assert representative(PRODUCT._replace(extents=extents)).extents == smaller


# Plans

def test_a_step_uses_the_faster_library_and_remembers_it(libraries, use, timed, folder):
    use({"numpy": libraries["numpy"]})
    alone = trained()
    assert not timed, "there is nothing to choose from"
    assert not list(folder.glob("blas_*"))
    assert set(fs.blas_choices().values()) == {"numpy"}
    use({"slow": slow(libraries["numpy"]), "numpy": libraries["numpy"]})
    assert trained() == alone
    assert len(timed) == len(set(timed)), "each product once, though there are two cores"
    assert set(fs.blas_choices()) >= set(timed)
    assert {fs.blas_choices()[name] for name in timed} == {"numpy"}
    _, text = saved(folder)
    assert text["choices"] == dict.fromkeys(sorted(timed), "numpy")
    trained()
    count = len(timed)
    use(gemm_choices.libraries())  # another process
    assert trained() == alone
    assert len(timed) == count
    assert gemm_choices.saved_blas_choices() == text["choices"]


def test_each_library_gets_its_products(libraries, use, folder):
    """What was saved decides, product by product: the bits are those of the same choices that were set."""
    choices = use(libraries)
    trained(steps=1)
    mixed = {name: ("numpy", "scipy")[k % 2] for k, name in enumerate(fs.blas_choices())}
    file, text = saved(folder)
    file.write_text(json.dumps({**text, "choices": mixed}))
    use(libraries)
    one = trained()
    assert fs.blas_choices().items() >= {name: mixed[name] for name in text["choices"]}.items()
    file.unlink()
    use(libraries)
    fs.set_blas_choices(mixed)
    assert trained() == one
    assert choices.library(PRODUCT) is not None


def test_a_deterministic_step_follows_the_fixed_rule(libraries, use, timed, folder):
    use({"scipy": libraries["scipy"]})
    alone = trained(deterministic=True)
    choices = use({"scipy": slow(libraries["scipy"]), "numpy": libraries["numpy"]})
    assert trained(deterministic=True, steps=3) == alone
    fs.set_blas_choices(dict.fromkeys([NAME], "numpy"))
    assert planned(choices, PRODUCT, deterministic=True) == [gemm_choices.blas()]
    assert not timed
    assert not list(folder.glob("blas_*"))


def test_a_whole_epoch_of_deterministic_steps_follows_the_fixed_rule(libraries, use, monkeypatch):
    """Also where many steps are launched at once, and where the clock has already preferred the other library."""
    default, given = slow(libraries["numpy"]), []
    use({"slow": default, "numpy": libraries["numpy"]})
    trained()
    assert "numpy" in fs.blas_choices().values()
    real = native.gemm_address
    monkeypatch.setattr(native, "gemm_address", lambda *product: (given.append(real(*product)), given[-1])[1])
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((256, 40)).astype(FLOAT), rng.integers(0, 10, 256)
    for deterministic in (True, False):
        given.clear()
        step = fs.TrainStep(
            fs.mlp([40, 48, 10]), fs.SoftmaxCrossEntropy(), fs.SGD(0.1), backend="numba", deterministic=deterministic
        )
        fs.Trainer(step).fit(x, y, epochs=1, batch_size=64)
        assert given
        assert (set(given) == {default.sgemm}) == deterministic


def test_without_a_cache_nothing_is_timed(libraries, use, timed, monkeypatch):
    monkeypatch.setattr(cache, "folder", lambda: None)
    choices = use({"slow": slow(libraries["numpy"]), "numpy": libraries["numpy"]})
    assert [found.name for found in planned(choices, PRODUCT)] == ["slow"]
    assert not timed
    assert gemm_choices.saved_blas_choices() == {}


def test_the_smallest_products_are_not_timed(libraries, use, timed):
    small = PRODUCT._replace(extents=(2, 3, 4))
    choices = use({"slow": slow(libraries["numpy"]), "numpy": libraries["numpy"]})
    assert [found.name for found in planned(choices, small)] == ["slow"]
    assert not timed
    assert fs.blas_choices() == {"float32 NT 2x3x4": "slow"}


def test_outside_of_a_plan_nothing_is_timed(libraries, use, timed):
    choices = use({"slow": slow(libraries["numpy"]), "numpy": libraries["numpy"]})
    assert choices.library(PRODUCT).name == "slow"
    assert planned(choices, PRODUCT) == [libraries["numpy"]]
    assert choices.library(PRODUCT) == libraries["numpy"]
    assert timed == [NAME]


def test_a_plan_with_many_products_takes_less_for_each(libraries, use, monkeypatch):
    allowed = []
    monkeypatch.setattr(gemm_choices, "fastest", lambda product, found, seconds: (allowed.append(seconds), "numpy")[1])
    times = iter(np.arange(1000) * 0.02)
    monkeypatch.setattr(gemm_choices, "_CLOCK", lambda: next(times))
    choices = use(libraries)
    planned(choices, *(PRODUCT._replace(extents=(64, 64, k)) for k in range(100, 140)))
    assert allowed[0] == gemm_choices.PRODUCT_SECONDS
    assert allowed == sorted(allowed, reverse=True)
    assert allowed[-1] == 0.0


# The file

@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"format": "fusedstep.blas", "version": 99}', "library", "identity", "deep"]
)
def test_a_damaged_file_is_made_anew(libraries, use, timed, folder, damage):
    planned(use(libraries), PRODUCT)
    file, text = saved(folder)
    if damage == "library":
        damage = json.dumps({**text, "choices": {NAME: "acml"}})
    elif damage == "identity":
        damage = json.dumps({**text, "identity": "another processor"})
    elif damage == "deep":
        damage = "[" * 100_000
    file.write_text(damage)
    planned(use(libraries), PRODUCT)
    assert timed == [NAME] * 2
    assert set(saved(folder)[1]["choices"]) == {NAME}


@pytest.mark.parametrize(
    "choices", [[], None, 1.5, {NAME: None}, {NAME: 1}, {NAME: ["numpy"]}, {NAME: {}}, {"product": "numpy"}]
)
def test_choices_that_could_not_have_been_written_are_ignored(libraries, use, folder, choices):
    planned(use(libraries), PRODUCT)
    file, text = saved(folder)
    file.write_text(json.dumps({**text, "choices": choices}))
    assert use(libraries).saved().read() == {}


def test_processes_add_to_the_same_file(libraries, use, timed, folder):
    first, second = use(libraries), use(libraries)
    other = PRODUCT._replace(extents=(65, 33, 49))
    planned(first, PRODUCT)
    planned(second, other)
    assert set(saved(folder)[1]["choices"]) == {NAME, other.name}
    assert sorted(timed) == sorted([NAME, other.name])
    planned(first, other)
    assert len(timed) == 2, "what another process measured meanwhile is read"


def test_other_libraries_have_another_file(libraries, use, folder):
    planned(use(libraries), PRODUCT)
    newer = {**libraries, "scipy": libraries["scipy"]._replace(version="SciPy 99")}
    planned(use(newer), PRODUCT)
    assert len(list(folder.glob("blas_*.json"))) == 2


def test_a_file_that_cannot_be_written_is_done_without(libraries, use, timed, folder, monkeypatch):
    choices = use(libraries)
    monkeypatch.setattr(cache, "folder", lambda: folder / "gone")
    first = planned(choices, PRODUCT)
    assert planned(choices, PRODUCT) == first
    assert timed == [NAME]


# Read and set

def test_choices_are_plain_data_and_can_be_set(libraries, use, timed, made_plans):
    use(libraries)
    trained(steps=1)
    read = fs.blas_choices()
    assert json.loads(json.dumps(read)) == read
    assert set(map(type, read.values())) == {str}
    for name in ("numpy", "scipy"):
        use({name: libraries[name]})
        alone = trained()
        use(libraries)
        fs.set_blas_choices(dict.fromkeys(read, name))
        assert trained() == alone
        assert fs.blas_choices() == dict.fromkeys(read, name)


def test_a_step_that_goes_on_uses_what_is_set(libraries, use, made_plans):
    use(libraries)
    fs.set_num_threads(1)
    x, y = np.ones((32, 40), FLOAT), np.zeros(32, int)
    step = fs.TrainStep(fs.mlp([40, 48, 10]), fs.SoftmaxCrossEntropy(), fs.SGD(0.1), backend="numba")
    step(x, y)
    step(x, y)
    assert made_plans == ["RowsPlan"]
    fs.set_blas_choices(dict.fromkeys(fs.blas_choices(), "scipy"))
    step(x, y)
    assert made_plans == ["RowsPlan"] * 2
    assert set(fs.blas_choices().values()) == {"scipy"}
    fs.set_blas_choices(None)
    step(x, y)
    assert len(made_plans) == 3


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ([NAME], "dictionary"),
        ("mkl", "dictionary"),
        ({"64x32x48": "numpy"}, "products such as"),
        ({7: "numpy"}, "products such as"),
        ({NAME: "acml"}, "'acml'"),
        ({NAME: None}, "None"),
        ({NAME: ["numpy"]}, "numpy"),
    ],
)
def test_what_is_no_choice_is_refused(libraries, use, choices, said):
    use(libraries)
    with pytest.raises(fs.HyperparameterError, match=said):
        fs.set_blas_choices(choices)


def test_a_library_that_is_ruled_out_or_not_installed_is_refused(libraries, use, monkeypatch):
    use({"numpy": libraries["numpy"]})
    monkeypatch.setattr(gemm_choices, "wanted", lambda: "numpy")
    with pytest.raises(fs.HyperparameterError, match="unset FUSEDSTEP_BLAS"):
        fs.set_blas_choices({NAME: "mkl"})
    fs.set_blas_choices({NAME: "numpy"})
    monkeypatch.setattr(gemm_choices, "wanted", lambda: "auto")
    with pytest.raises(fs.MissingDependency, match='pip install "mkl>='):
        fs.set_blas_choices({NAME: "mkl"})
    assert fs.blas_choices() == {NAME: "numpy"}


# Threads and processes

def test_threads_that_plan_at_the_same_time_agree(libraries, use, timed):
    choices = use(libraries)
    products = [PRODUCT._replace(extents=(64, 32, k)) for k in range(40, 60)]
    together, found = threading.Barrier(4), []

    def plan():
        together.wait()
        found.append(planned(choices, *products))

    threads = [threading.Thread(target=plan) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(one == found[0] for one in found)
    assert sorted(timed) == sorted(product.name for product in products)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_that_is_forked_while_a_thread_plans_can_plan():
    program = """
import os, threading
import numpy as np
from fusedstep.kernels.targets import gemm_choices as g
product = g.Product(np.dtype("float32"), (False, False), (64, 64, 64))
held, done = threading.Event(), threading.Event()
def hold():
    with g._choices._lock:
        held.set()
        done.wait()
thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if child == 0:
    os._exit(7 if g._choices.library(product).sgemm else 8)
done.set()
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert in_a_process(program, seconds=60).split() == ["7"]


RUN = """
import json
import numpy as np
import fusedstep as fs
rng = np.random.default_rng(0)
x, y = rng.standard_normal((64, 40)).astype("f4"), rng.integers(0, 10, 64)
model = fs.mlp([40, 48, 10])
step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.Adam(1e-2), seed=1, backend="numba")
for _ in range(3):
    step(x, y)
print(json.dumps(fs.blas_choices()).replace(" ", "_"), model.arena.values.tobytes().hex())
"""


def ran(folder, **variables):
    """(choices, bits) of a training in a process of its own."""
    choices, bits = in_a_process(RUN, seconds=120, FUSEDSTEP_CACHE_DIR=str(folder), **variables).split()
    return json.loads(choices.replace("_", " ")), bits


@MKL
def test_processes_on_one_machine_choose_alike(folder):
    first = ran(folder, FUSEDSTEP_BLAS="auto")
    assert set(first[0].values()) <= {"mkl", "numpy"}
    assert ran(folder, FUSEDSTEP_BLAS="auto") == first
    assert len(list(folder.glob("blas_*.json"))) == 1


@MKL
@pytest.mark.parametrize("forced", ["mkl", "numpy"])
def test_a_forced_library_computes_everything(folder, forced):
    assert set(ran(folder, FUSEDSTEP_BLAS=forced)[0].values()) == {forced}
    assert not list(folder.glob("blas_*.json"))
