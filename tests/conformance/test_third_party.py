"""A backend of another package plugs in by an entry point, and is then used by name like our own."""

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends import conformance, selection


def test_it_is_found_by_name(registered):
    assert registered in selection.names()
    assert fs.backends()[registered] is None
    found = fs.backend(registered)
    assert type(found).__name__ == "StrictBackend"
    assert fs.backend(registered) is found
    with fs.use_backend(registered) as used:
        assert used is found is fs.backend()


def test_it_is_found_by_variable(registered, monkeypatch):
    monkeypatch.setenv(selection.VARIABLE, registered)
    assert fs.backend().name == registered


def test_names_that_are_nearly_right_suggest_it(registered):
    with pytest.raises(fs.UnknownBackend, match=r"strict.*did you mean 'strict'\?"):
        fs.backend("strikt")


def test_auto_never_takes_it(registered):
    assert fs.backend("auto").name != registered


def test_ours_cannot_be_replaced(registered, monkeypatch):
    from importlib.metadata import EntryPoint

    thief = EntryPoint("numpy", "strict_backend:StrictBackend", selection.ENTRY_POINTS)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [thief])
    selection._registered.cache_clear()
    selection.backend_class.cache_clear()
    assert type(fs.backend("numpy")).__name__ == "NumpyBackend"


def test_a_network_trains_on_it_by_name(registered):
    x = np.random.default_rng(0).normal(size=(16, 4)).astype("f4")
    y = np.arange(16) % 3
    model = fs.mlp([4, 8, 3])
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.Adam(0.01), seed=1, backend=registered)
    losses = [float(step(x, y)) for _ in range(10)]
    assert losses[-1] < losses[0]
    assert all(type(values).__module__.startswith("array_api_strict") for values in model.parameters().values())
    with pytest.raises(fs.MixedBackends, match=r'fs.asarray\(array, backend="numpy"\)'):
        fs.backend("numpy").rows("softmax", model(x), model(x))
    model.to("numpy")
    assert all(isinstance(values, np.ndarray) for values in model.parameters().values())


def test_its_arrays_convert(registered):
    array = fs.asarray([[1.0, 2.0]], backend=registered)
    assert np.array_equal(fs.asarray(array, backend="numpy"), [[1.0, 2.0]])
    assert fs.backend(registered).is_array(fs.asarray(np.ones(3), backend=registered))


def test_the_report_of_a_run_can_be_read(registered):
    report = conformance.run(fs.backend(registered), groups=["signatures", "reductions"], small=True)
    assert report.passed
    assert not report.failures
    assert "backend strict" in str(report)
    assert "reductions" in str(report)
    assert "FAILED" not in str(report)


def test_row_operations_may_still_be_called_as_methods(registered):
    backend = fs.backend(registered)
    x, wanted, out = backend.asarray(np.ones((2, 3), "f4")), backend.zeros((3,)), backend.zeros((3,))
    backend.rows("column_sum", x, wanted, False)
    with pytest.warns(DeprecationWarning, match="call backend.rows.'column_sum'"):
        backend.column_sum(x, out=out, accumulate=False)
    assert np.array_equal(backend.to_numpy(out), backend.to_numpy(wanted))
