"""Which backend is used: argument, context manager, variable, auto; and what happens where one cannot be had."""

import asyncio
import contextvars
import logging
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import EntryPoint

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends import Unavailable, selection
from fusedstep.backends.numpy.backend import NumpyBackend


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    monkeypatch.delenv(selection.VARIABLE, raising=False)
    yield
    monkeypatch.undo()
    for cached in (
        selection._registered,
        selection.backend_class,
        selection._instance,
        selection.why_not,
        selection._automatic,
    ):
        cached.cache_clear()


@pytest.fixture
def only_numpy(monkeypatch):
    """A machine on which nothing but NumPy works, and the GPU backends are broken in two ways."""
    problems = {
        "cuda": Unavailable("the driver is too old", "update the driver to 580 or newer", RuntimeError("CUDA_ERROR")),
        "cupy": Unavailable("CuPy is not installed", "pip install cupy-cuda13x", expected=False),
        "numba": Unavailable("llvmlite cannot be imported", 'pip install "llvmlite>=0.45"', ImportError("llvmlite")),
        "numpy": None,
    }
    real = selection.why_not
    monkeypatch.setattr(selection, "why_not", lambda name: problems[name] if name in problems else real(name))
    selection._automatic.cache_clear()
    return problems


@pytest.mark.row("F1")
def test_argument_then_context_then_variable_then_auto(monkeypatch, only_numpy):
    only_numpy["numba"] = None
    assert fs.backend().name == "numba"
    monkeypatch.setenv(selection.VARIABLE, "numpy")
    assert fs.backend().name == "numpy"
    with fs.use_backend("numba") as inside:
        assert fs.backend() is inside
        assert fs.backend().name == "numba"
        assert fs.backend("numpy").name == "numpy"
        with fs.use_backend("numpy"):
            assert fs.backend().name == "numpy"
        assert fs.backend().name == "numba"
    assert fs.backend().name == "numpy"


def test_the_context_ends_with_an_exception_too():
    before = fs.backend()
    with pytest.raises(KeyError), fs.use_backend("numpy"):
        raise KeyError
    assert fs.backend() is before


def test_a_call_without_with_warns_that_it_changes_nothing():
    before = fs.backend()
    with pytest.warns(RuntimeWarning, match=r'expected `with use_backend\("numpy"\):`.* set FUSEDSTEP_BACKEND=numpy') as told:
        fs.use_backend("numpy")
    assert told[0].filename == __file__
    assert fs.backend() is before
    with pytest.raises(fs.UnknownBackend, match="did you mean 'numpy'"):
        fs.use_backend("numpi")


@pytest.mark.filterwarnings("error")
def test_a_decorated_function_runs_on_that_backend_in_every_thread():
    @fs.use_backend("numpy")
    def name(of: str, *, end: str) -> str:
        inner = fs.use_backend("numba")
        with inner, inner:
            pass
        return of + fs.backend().name + end

    before = fs.backend()
    with ThreadPoolExecutor(2) as pool:
        assert set(pool.map(lambda of: name(of, end="!"), "a" * 20)) == {"anumpy!"}
    assert name.__name__ == "name"
    assert fs.backend() is before


def test_the_variable_is_read_at_every_use(monkeypatch):
    for name in ("numpy", "numba", "numpy"):
        monkeypatch.setenv(selection.VARIABLE, name)
        assert fs.backend().name == name


@pytest.mark.parametrize("value", ["", " ", "auto"])
def test_an_empty_variable_means_unset(monkeypatch, value):
    automatic = fs.backend("auto")
    monkeypatch.setenv(selection.VARIABLE, value)
    assert fs.backend() is automatic


def test_backends_are_made_once_and_passed_through():
    assert fs.backend("numpy") is fs.backend("numpy")
    own = NumpyBackend()
    assert fs.backend(own) is own
    with fs.use_backend(own):
        assert fs.backend() is own
        assert selection.requested() == "numpy"


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("nunpy", "did you mean 'numpy'"),
        ("NUMBA", "did you mean 'numba'"),
        ("cud", "did you mean 'cuda'"),
        ("tensorflow", "choose one of these"),
    ],
)
def test_unknown_names_list_and_suggest(monkeypatch, wrong, hint):
    pattern = f"expected one of the backends numpy, numba, cupy, cuda.* or auto; got '{wrong}'.*{hint}"
    with pytest.raises(fs.UnknownBackend, match=pattern):
        fs.backend(wrong)
    with pytest.raises(fs.UnknownBackend), fs.use_backend(wrong):
        pass
    monkeypatch.setenv(selection.VARIABLE, wrong)
    with pytest.raises(fs.UnknownBackend, match=hint):
        fs.backend()
    assert issubclass(fs.UnknownBackend, ValueError)


@pytest.mark.parametrize("wrong", ["", 3, b"numpy", ["numpy"]])
def test_names_that_are_no_names(wrong):
    with pytest.raises(fs.UnknownBackend, match=r"expected the name of a backend; got .*choose one of numpy"):
        fs.backend(wrong)


def test_asked_for_and_unavailable_is_an_error(only_numpy, monkeypatch):
    for name in ("cuda", "cupy", "numba"):
        problem = only_numpy[name]
        with pytest.raises(fs.BackendUnavailable) as caught:
            fs.backend(name)
        assert caught.value.__cause__ is problem.cause
        assert problem.reason in str(caught.value)
        assert problem.remedy in str(caught.value)
        assert isinstance(caught.value, RuntimeError)
        monkeypatch.setenv(selection.VARIABLE, name)
        with pytest.raises(fs.BackendUnavailable):
            fs.TrainStep(fs.mlp([2, 2]), fs.MSE(), fs.SGD())
        with pytest.raises(fs.BackendUnavailable), fs.use_backend(name):
            pass


def test_a_missing_compiler_is_reported_with_the_line_that_mends_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "llvmlite.binding", None)
    selection.why_not.cache_clear()
    with pytest.raises(fs.BackendUnavailable, match="pip install") as caught:
        fs.backend("numba")
    assert isinstance(caught.value.__cause__, ImportError)


def test_auto_falls_back_and_says_so_once(only_numpy, caplog):
    caplog.set_level(logging.DEBUG, logger="fusedstep")
    assert [fs.backend().name for _ in range(3)] == ["numpy"] * 3
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3
    for name, message in zip(("cuda", "cupy", "numba"), said, strict=True):
        assert name in message
        assert only_numpy[name].reason in message
        assert only_numpy[name].remedy in message
    # What nobody has installed is no surprise; what is broken is, and so is a dependency that is missing.
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "WARNING"]


def test_auto_says_a_reason_that_two_backends_share_in_one_line(only_numpy, caplog):
    only_numpy["cupy"] = only_numpy["cuda"]
    only_numpy["numba"] = None
    fs.backend()
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("backend auto takes numba, not cuda or cupy: the driver is too old; to fix it: update")


def test_auto_says_nothing_where_the_first_choice_works(only_numpy, caplog):
    only_numpy["cuda"] = None
    caplog.set_level(logging.DEBUG, logger="fusedstep")
    assert selection._automatic() == "cuda"
    assert not caplog.records


class Double(NumpyBackend):
    """Stands in for a backend that cannot run here."""

    name = "cuda"


def test_a_double_stands_in_for_a_backend_of_that_name(monkeypatch):
    monkeypatch.setattr(selection, "_replaced", {})
    before = fs.backend("numpy"), selection.why_not("cuda")
    selection.replace_backend("cuda", Double)
    assert type(fs.backend("cuda")) is Double
    assert fs.backend() is fs.backend("cuda"), "auto takes it as well"
    assert fs.backends()["cuda"] is None
    selection.replace_backend("cuda", Double)
    assert fs.backend("numpy") is before[0]
    assert pickle.loads(pickle.dumps(fs.backend("cuda"))) is fs.backend("cuda")


def test_the_list_of_backends(only_numpy):
    listed = fs.backends()
    assert list(listed)[:4] == ["numpy", "numba", "cupy", "cuda"]
    assert listed["numpy"] is None
    assert listed["cuda"].reason == "the driver is too old"


def test_a_broken_plug_in_breaks_nothing_else(monkeypatch):
    broken = EntryPoint("broken", "no_such_module_of_ours:Backend", selection.ENTRY_POINTS)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [broken])
    selection._registered.cache_clear()
    selection.backend_class.cache_clear()
    selection.why_not.cache_clear()
    assert "no_such_module_of_ours" in fs.backends()["broken"].reason
    assert fs.backend("numpy").name == "numpy"
    with pytest.raises(fs.BackendUnavailable, match="reinstall the package") as caught:
        fs.backend("broken")
    assert isinstance(caught.value.__cause__, ImportError)


def test_two_backends_side_by_side():
    x = np.random.default_rng(0).normal(size=(6, 3)).astype("f4")
    models = {name: fs.mlp([3, 4, 2]).initialize(1, name) for name in ("numpy", "numba")}
    outputs = {name: np.asarray(model(x)) for name, model in models.items()}
    assert models["numpy"].backend is not models["numba"].backend
    np.testing.assert_allclose(outputs["numpy"], outputs["numba"], rtol=1e-5, atol=1e-6)
    step = fs.TrainStep(models["numba"], fs.MSE(), fs.SGD())
    assert step.backend is models["numba"].backend
    with fs.use_backend("numpy"):
        assert fs.TrainStep(models["numba"], fs.MSE(), fs.SGD()).backend.name == "numba"


def test_a_model_of_one_backend_is_refused_by_another():
    model = fs.mlp([3, 2]).initialize(0, "numpy")
    before = {name: np.array(values) for name, values in model.parameters().items()}
    with pytest.raises(
        fs.MixedBackends, match=r"expected a model on backend 'numba'; got one on 'numpy'; .*model.to\(\"numba\"\)"
    ):
        fs.TrainStep(model, fs.MSE(), fs.SGD(), backend="numba")
    assert all(np.array_equal(values, before[name]) for name, values in model.parameters().items())
    assert model.backend.name == "numpy"


def test_every_thread_has_its_own_choice():
    inside, seen = threading.Barrier(2), {}

    def work(name):
        with fs.use_backend(name):
            inside.wait()
            seen[name] = fs.backend().name
            inside.wait()

    threads = [threading.Thread(target=work, args=(name,)) for name in ("numpy", "numba")]
    before = fs.backend()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"numpy": "numpy", "numba": "numba"}
    assert fs.backend() is before


def test_every_task_has_its_own_choice():
    async def work(name):
        with fs.use_backend(name):
            await asyncio.sleep(0)
            return fs.backend().name

    async def both():
        return await asyncio.gather(work("numpy"), work("numba"))

    assert asyncio.run(both()) == ["numpy", "numba"]


def test_a_copied_context_keeps_the_choice():
    with fs.use_backend("numpy"):
        context = contextvars.copy_context()
    with fs.use_backend("numba"):
        assert context.run(fs.backend).name == "numpy"
