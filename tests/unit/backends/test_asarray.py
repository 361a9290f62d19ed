"""What fs.asarray and the models take as arrays, and what they refuse."""

import array

import array_api_strict
import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends.arrays import plain_tensor

HOSTS = ("numpy", "numba")


@pytest.fixture(params=HOSTS)
def name(request):
    return request.param


class OnGpu:
    """An array that says it is on a CUDA device."""

    shape, dtype, ndim = (2, 3), np.dtype("f4"), 2

    def __dlpack_device__(self):
        return (2, 0)

    def __dlpack__(self, **_):
        raise AssertionError("the values must not be asked for")


def test_a_device_that_dlpack_does_not_know_is_a_typed_error(name):
    class Meta(OnGpu):
        def __dlpack_device__(self):
            raise ValueError("Unknown device type meta for Dlpack")

    with pytest.raises(fs.DtypeError, match=r"values that can be read; got a \w+\.Meta of shape \(2, 3\).*Unknown device"):
        fs.asarray(Meta(), backend=name)


def test_lazy_signs_are_carried_out_before_memory_is_shared():
    class Lazy:
        def __init__(self, done=()):
            self.done = done

        def detach(self):
            return Lazy((*self.done, "detach"))

        def resolve_conj(self):
            return Lazy((*self.done, "conj"))

        def resolve_neg(self):
            return Lazy((*self.done, "neg"))

    assert plain_tensor(Lazy()).done == ("detach", "conj", "neg")
    own = np.ones(3)
    assert plain_tensor(own) is own


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([[1, 2], [3, 4]], "int64"),
        ([[1.5, 2.0]], "float64"),
        ((1.5, 2.0), "float64"),
        ([True, False], "bool"),
        (3.5, "float64"),
        (np.float32(3.5), "float32"),
        ([], "float64"),
        (array.array("f", [1.0, 2.0]), "float32"),
        (memoryview(b"ab"), "uint8"),
        (np.arange(3, dtype="u2"), "uint16"),
        (np.ones((2, 2), "f2"), "float16"),
    ],
)
def test_values_of_python_and_numpy(name, values, dtype):
    made = fs.asarray(values, backend=name)
    assert fs.backend(name).is_array(made)
    assert made.dtype == dtype
    assert np.array_equal(made, values)
    assert fs.asarray(values, backend=name, dtype="float32").dtype == np.float32


def test_nothing_is_copied_without_need(name):
    own = np.ones((2, 3), "f4")
    assert fs.asarray(own, backend=name) is own
    assert fs.asarray(own, backend=name, dtype="float32") is own
    assert fs.asarray(own.T, backend=name).flags.c_contiguous


def test_the_backend_in_use_is_taken():
    with fs.use_backend("numba"):
        assert isinstance(fs.asarray([1.0]), np.ndarray)


def test_dlpack_of_a_strict_library(name):
    values = np.random.default_rng(0).normal(size=(3, 4))
    for foreign in (array_api_strict.asarray(values), array_api_strict.asarray(values.astype("f4"))):
        made = fs.asarray(foreign, backend=name)
        assert np.array_equal(made, np.from_dlpack(foreign))
        assert str(made.dtype) in repr(foreign.dtype)


@pytest.mark.filterwarnings("default")  # PyTorch warns in its own code when it is imported.
def test_dlpack_of_torch(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    values = np.random.default_rng(0).normal(size=(3, 4)).astype("f4")
    for tensor in (
        torch.from_numpy(values.copy()),
        torch.from_numpy(values.copy()).requires_grad_(),
        torch.from_numpy(values.T.copy()).T,
    ):
        assert np.array_equal(fs.asarray(tensor, backend=name), values)
        assert fs.asarray(tensor, backend=name, dtype="float64").dtype == np.float64
    model = fs.mlp([4, 3]).initialize(0, name)
    assert np.array_equal(model(torch.from_numpy(values)), model(values))
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD())
    assert float(step(torch.from_numpy(values), torch.tensor([0, 2, 1]))) > 0.0
    assert np.array_equal(model(torch.from_numpy(values).bfloat16()), model(torch.from_numpy(values).bfloat16().float()))


@pytest.mark.parametrize(
    "values",
    [
        ["a", "b"], "text", b"text", None, object(), {"a": 1}, [None], [1j], np.array(["a"]), np.array([b"a"]),
        np.array(["2020-01-01"], "M8[D]"), np.array([1 + 1j]), np.array([None, 1]), [[1.0, 2.0], [3.0]], [[1.0], 2.0],
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [None, "float32"])
def test_what_is_no_array_of_numbers(name, values, dtype):
    with pytest.raises(fs.DtypeError, match=r"expected .*; got .*; "):
        fs.asarray(values, backend=name, dtype=dtype)


def test_arrays_on_a_gpu_are_refused_with_the_call_that_converts(name):
    with pytest.raises(fs.MixedBackends, match=rf"OnGpu of shape \(2, 3\).*fs.asarray\(array, backend=\"{name}\"\)"):
        fs.asarray(OnGpu(), backend=name)
    model = fs.mlp([3, 2]).initialize(0, name)
    with pytest.raises(fs.MixedBackends):
        model(OnGpu())
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD())
    with pytest.raises(fs.MixedBackends):
        step(OnGpu(), [0, 1])
    with pytest.raises(fs.MixedBackends):
        step(np.ones((2, 3), "f4"), OnGpu())
    assert step.steps == 0


def test_arrays_of_cupy_come_back_by_their_own_method(name):
    class FakeCupy(OnGpu):
        __cuda_array_interface__ = {}

        def get(self):
            return np.full((2, 3), 7.0, "f4")

    assert np.array_equal(fs.asarray(FakeCupy(), backend=name), np.full((2, 3), 7.0))


def test_names_of_dtypes(name):
    with pytest.raises(fs.DtypeError, match="expected the name of a data type"):
        fs.backend(name).zeros((2,), "float99")


@pytest.mark.parametrize("values", [["a", "b"], np.array(["a"]), np.array([None, 1]), np.array([1j])], ids=repr)
@pytest.mark.parametrize("dtype", [None, "float32"])
def test_the_base_class_on_numpy_refuses_text_and_objects_as_well(values, dtype):
    with pytest.raises(fs.DtypeError, match=r"expected .*; got .*; "):
        fs.Backend(np).asarray(values, dtype=dtype)


def test_the_base_class_on_numpy_copies_nothing_without_need():
    own = np.ones((2, 3), "f4")
    assert fs.Backend(np).asarray(own) is own
    assert fs.Backend(np).asarray(own, dtype="float64").dtype == np.float64


class Sparse:
    """What NumPy takes for one object, as it does a matrix of scipy.sparse."""

    shape, dtype = (2, 3), np.dtype("f4")

    def toarray(self):
        raise AssertionError("the values must not be asked for")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (Sparse(), r"got a \w+\.Sparse of shape \(2, 3\) and dtype float32; \.toarray\(\) makes a sparse matrix dense"),
        (np.array([1.0, None]), r"dtype object with a missing value \(None\) in row 2 .*; fill in or drop"),
        (np.array(["1.0"]), r"dtype <U3 with .1.0. in row 1 .*; \.astype\(float\) converts it .*np\.unique"),
        (None, r"got a builtins\.NoneType; give an array"),
        (np.ma.masked_greater([1.0, 2.0, 3.0], 1.5), r"without a mask; got a numpy\.MaskedArray .* with 2 entries masked"),
    ],
)
def test_what_was_given_is_named_and_what_would_mend_it(name, values, message):
    with pytest.raises(fs.DtypeError, match=message):
        fs.asarray(values, backend=name)


def test_a_masked_array_of_which_nothing_is_masked_is_an_array(name):
    assert fs.asarray(np.ma.masked_greater([1.0, 2.0], 9.0), backend=name).tolist() == [1.0, 2.0]
