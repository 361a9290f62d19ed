"""Finding and starting the real library, and what happens where that fails."""

from __future__ import annotations

import ctypes
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends.cuda.cublaslt import CublasLt, DataType, Epilogue, library
from fusedstep.backends.cuda.cublaslt.codes import Compute, DescriptorAttribute, Status
from fusedstep.tests.fakes.host_products import HostProducts


def installed() -> bool:
    try:
        library.load()
    except fs.BackendUnavailable:
        return False
    return True


needs_library = pytest.mark.skipif(not installed(), reason="needs libcublasLt (pip install nvidia-cublas)")


def test_the_error_of_a_missing_library_says_what_was_tried_and_what_to_install(monkeypatch):
    monkeypatch.setattr(library, "library_paths", lambda: iter(["/nowhere/libcublasLt.so.13", "libcublasLt-nowhere.so"]))
    with pytest.raises(fs.BackendUnavailable, match=r"nvidia-cublas-cu12") as caught:
        CublasLt()
    assert "/nowhere/libcublasLt.so.13" in str(caught.value)
    assert "libcublasLt-nowhere.so" in str(caught.value)


def test_wheels_come_before_the_system(tmp_path, monkeypatch):
    for place in ("cu13/lib/libcublasLt.so.13", "cublas/lib/libcublasLt.so.12"):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).touch()
    monkeypatch.setattr(library.sys, "platform", "linux")
    monkeypatch.setattr(library, "_major_of_cupy", lambda: 0)
    monkeypatch.setattr(library, "_wheels", lambda: [tmp_path / "cu13", tmp_path / "cu12", tmp_path / "cublas"])
    found = list(library.library_paths())
    assert found == [
        str(tmp_path / "cu13/lib/libcublasLt.so.13"), str(tmp_path / "cublas/lib/libcublasLt.so.12"),
        "libcublasLt.so.13", "libcublasLt.so.12",
    ]  # fmt: skip
    monkeypatch.setattr(library, "_major_of_cupy", lambda: 12)
    assert next(library.library_paths()).endswith(".so.12")


def test_without_the_library_products_are_the_other_backends_and_that_is_said_once(monkeypatch):
    class Without(HostProducts):
        def _make_gemms(self):
            return CublasLt("/nowhere/libcublasLt.so")

    backend = Without()
    a, out = np.eye(4, dtype="f") * 3.0, np.empty((4, 4), np.float32)
    with pytest.warns(RuntimeWarning, match="leaves products to CuPy.*nowhere"):
        backend.matmul(a, a, out)
    np.testing.assert_array_equal(out, a @ a)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backend.matmul(a, a, out, accumulate=True)
        fs.TrainStep(fs.mlp([4, 8, 4]), fs.MSE(), fs.SGD(0.1), backend=backend)(a, a)
    np.testing.assert_array_equal(out, 2.0 * (a @ a))


def test_sizes_of_the_structures_are_those_of_the_header():
    assert ctypes.sizeof(library._Heuristic) == 64 + 8 + 4 + 4 + 16


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.NOT_SUPPORTED, Status.INTERNAL_ERROR])
def test_algorithms_are_those_that_work_and_a_failed_search_is_an_error(status):
    """With functions in place of the library's, which need a device."""
    destroyed = []

    def search(*arguments):
        count, results, found = arguments[-3:]
        assert count == 3
        results[0].algorithm[0], results[0].workspace, results[0].state = 11, 64, Status.SUCCESS
        results[1].algorithm[0], results[1].workspace, results[1].state = 22, 32, Status.NOT_SUPPORTED
        found._obj.value = 2
        return status

    lt = CublasLt.__new__(CublasLt)
    lt._handle = 0
    lt._library = SimpleNamespace(
        cublasLtMatmulPreferenceCreate=lambda handle: Status.SUCCESS,
        cublasLtMatmulPreferenceSetAttribute=lambda *_: Status.SUCCESS,
        cublasLtMatmulPreferenceDestroy=destroyed.append,
        cublasLtMatmulAlgoGetHeuristic=search,
    )
    if status == Status.INTERNAL_ERROR:
        with pytest.raises(fs.DeviceError, match="cublasLtMatmulAlgoGetHeuristic"):
            lt.candidates(0, (1, 2, 3), 64, 16, 3)
    else:
        found = [(one.algorithm[:1], one.workspace) for one in lt.candidates(0, (1, 2, 3), 64, 16, 3)]
        assert found == ([(b"\x0b", 64)] if status == Status.SUCCESS else [])
    assert len(destroyed) == 1


@needs_library
def test_the_real_library_takes_what_plans_describe():
    """Its descriptors live on the host, so without a device all but the handle and the algorithms can be asked of it."""
    loaded = library.load()
    real = CublasLt.__new__(CublasLt)
    real._library, real._handle = loaded, 0
    assert loaded.cublasLtGetVersion() >= 120000
    layout = real.layout(DataType.bfloat16, 7, 5, 8, 3, 64)
    descriptor = real.descriptor(
        Compute.tf32, True, False, Epilogue.DRELU_BGRAD, 0x1000, DataType.float32, 0x2000, 256
    )  # fmt: skip
    expected = {
        DescriptorAttribute.TRANSA: (4, 1), DescriptorAttribute.TRANSB: (4, 0), DescriptorAttribute.EPILOGUE: (4, 152),
        DescriptorAttribute.BIAS_POINTER: (8, 0x1000), DescriptorAttribute.EPILOGUE_AUX_POINTER: (8, 0x2000),
        DescriptorAttribute.EPILOGUE_AUX_LD: (8, 256), DescriptorAttribute.BIAS_DATA_TYPE: (4, 0),
    }  # fmt: skip
    for attribute, (size, wanted) in expected.items():
        value, written = ctypes.c_uint64(0), ctypes.c_size_t()
        status = loaded.cublasLtMatmulDescGetAttribute(
            ctypes.c_void_p(descriptor), int(attribute), ctypes.byref(value), ctypes.c_size_t(size), ctypes.byref(written)
        )
        assert (status, value.value, written.value) == (0, wanted, size), attribute
    for attribute, wanted in ((0, 14), (2, 7), (3, 5), (4, 8), (5, 3), (6, 64)):
        value, written = ctypes.c_uint64(0), ctypes.c_size_t()
        size = 4 if attribute in (0, 5) else 8
        status = loaded.cublasLtMatrixLayoutGetAttribute(
            ctypes.c_void_p(layout), attribute, ctypes.byref(value), ctypes.c_size_t(size), ctypes.byref(written)
        )
        assert (status, value.value) == (0, wanted), attribute
    real.destroy((layout,), (descriptor,))


@needs_library
@pytest.mark.parametrize(("in_place", "reductions"), [(True, 7), (False, 6)])
def test_the_real_library_is_told_what_algorithms_are_wanted(in_place, reductions):
    loaded = library.load()
    real = CublasLt.__new__(CublasLt)
    real._library, real._handle = loaded, 0
    preference = real._made("MatmulPreferenceCreate")
    real._wish(preference, 5 << 20, 16, in_place)
    for attribute, size, wanted in ((1, 8, 5 << 20), (3, 4, reductions), *((k, 4, 16) for k in (5, 6, 7, 8))):
        value, written = ctypes.c_uint64(0), ctypes.c_size_t()
        status = loaded.cublasLtMatmulPreferenceGetAttribute(
            ctypes.c_void_p(preference), attribute, ctypes.byref(value), ctypes.c_size_t(size), ctypes.byref(written)
        )
        assert (status, value.value, written.value) == (0, wanted, size), attribute
    loaded.cublasLtMatmulPreferenceDestroy(preference)


@needs_library
def test_without_a_device_the_real_library_says_so():
    if library.load().cublasLtCreate(ctypes.byref(ctypes.c_void_p())) == 0:
        pytest.skip("there is a device")
    with pytest.raises(fs.BackendUnavailable, match=r"NOT_INITIALIZED.*nvidia-smi"):
        CublasLt()
