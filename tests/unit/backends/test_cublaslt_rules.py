"""What the fake cuBLASLt refuses, as the real one does, and what it calls a fault, because the real one would not notice."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends.cuda.cublaslt import Epilogue, Gemms, Status
from fusedstep.backends.cuda.cublaslt import gemms as gemms_module
from fusedstep.backends.cuda.cublaslt.codes import Compute, DataType
from fusedstep.backends.cuda.cublaslt.device import WORKSPACE_BYTES
from fusedstep.backends.cuda.cublaslt.plan import ProductPlan
from fusedstep.backends.cuda.cublaslt.problem import ProductProblem
from fusedstep.tests.fakes.cublaslt import ALGORITHMS, FakeCublasLt, Fault, HostDevice

F32 = DataType.float32


class Bench:
    """One product [6, 4] [4, 5] through the library's own calls, so that each argument can be spoiled."""

    def __init__(self, epilogue=Epilogue.NONE, **library):
        self.device = HostDevice()
        self.library = FakeCublasLt(self.device, **library)
        rng = np.random.default_rng(0)
        self.a, self.b = rng.normal(size=(6, 4)).astype("f"), rng.normal(size=(4, 5)).astype("f")
        self.out, self.bias = np.empty((6, 5), np.float32), np.zeros(5, np.float32)
        self.mask = np.zeros((6, 16), np.uint8)
        self.workspace = self.device.bytes(WORKSPACE_BYTES)
        problem = ProductProblem.of(self.a, self.b, self.out, False, 16, False, epilogue, F32, 128)
        where = self.device.address
        self.plan = ProductPlan(self.library, problem, where(self.bias), where(self.mask))
        found = self.library.candidates(self.plan.descriptor, self.plan.layouts, WORKSPACE_BYTES, 16, 8)
        self.candidates = found
        if found:
            self.plan.use(found[0].algorithm)

    def run(self, **given):
        where = self.device.address
        arguments = {
            "a": where(self.a), "b": where(self.b), "out": where(self.out), "workspace": where(self.workspace),
            "size": WORKSPACE_BYTES, "stream": 0,
        } | given  # fmt: skip
        return self.plan.try_run(**arguments)


def test_a_sound_product_is_taken():
    bench = Bench()
    assert bench.run() == Status.SUCCESS
    np.testing.assert_allclose(bench.out, bench.a @ bench.b, rtol=1e-5)


def test_algorithms_that_need_more_workspace_or_alignment_are_not_offered():
    bench = Bench()
    assert [c.workspace for c in bench.candidates] == [w for w, _ in ALGORITHMS if w <= WORKSPACE_BYTES]
    plan = bench.plan
    assert len(bench.library.candidates(plan.descriptor, plan.layouts, 0, 16, 8)) == 2
    assert len(bench.library.candidates(plan.descriptor, plan.layouts, 0, 4, 8)) == 1
    assert len(bench.library.candidates(plan.descriptor, plan.layouts, WORKSPACE_BYTES, 16, 1)) == 1


def test_too_little_workspace_and_addresses_that_are_not_aligned_are_refused():
    bench = Bench()
    bench.plan.use(next(c.algorithm for c in bench.candidates if c.workspace))
    assert bench.run(size=1 << 20) == Status.INVALID_VALUE
    assert bench.run(workspace=bench.device.address(bench.workspace) + 16) == Status.INVALID_VALUE
    assert bench.run(out=bench.device.address(bench.out) + 4) == Status.INVALID_VALUE
    assert bench.run() == Status.SUCCESS


def test_an_algorithm_of_another_product_is_refused():
    bench, other = Bench(), Bench(Epilogue.BIAS)
    bench.plan.use(other.candidates[0].algorithm)
    assert bench.run() == Status.INVALID_VALUE
    bench.plan.use(b"\0" * 64)
    assert bench.run() == Status.INVALID_VALUE


@pytest.mark.parametrize("operand", ["a", "b", "out"])
def test_memory_outside_an_array_or_of_one_that_is_gone_is_a_fault(operand):
    bench = Bench()
    array = getattr(bench, operand)
    with pytest.raises(Fault, match="living array"):
        bench.run(**{operand: bench.device.address(array) + 16 * 4})
    address = bench.device.address(array)
    saved = array.copy()
    setattr(bench, operand, saved)
    del array
    gc.collect()
    with pytest.raises(Fault, match="living array"):
        bench.run(**{operand: address})


def test_a_bias_that_is_gone_is_a_fault():
    bench = Bench(Epilogue.BIAS)
    assert bench.run() == Status.SUCCESS
    bench.bias = None
    gc.collect()
    with pytest.raises(Fault, match="the bias"):
        bench.run()


def test_a_mask_that_is_too_short_is_a_fault():
    bench = Bench(Epilogue.RELU_AUX_BIAS)
    assert bench.run() == Status.SUCCESS
    bench.device._blocks[bench.device.address(bench.mask)] = (95, bench.device._blocks[bench.device.address(bench.mask)][1])
    with pytest.raises(Fault, match="the mask"):
        bench.run()


def test_a_result_over_an_operand_is_a_fault():
    bench = Bench()
    bench.a = np.zeros((6, 5), np.float32)
    with pytest.raises(Fault, match="overlaps"):
        bench.run(a=bench.device.address(bench.out))


def test_destroyed_handles_are_faults():
    bench = Bench()
    bench.library.destroy(bench.plan.layouts, ())
    with pytest.raises(Fault, match="layout that exists"):
        bench.run()
    with pytest.raises(Fault, match="destroyed once"):
        bench.library.destroy(bench.plan.layouts, ())
    bench.plan._layouts.clear()


def test_plans_free_their_handles():
    bench = Bench()
    library = bench.library
    assert len(library.live) == 4
    bench.plan = None
    gc.collect()
    assert library.live == {}


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"aux_leading": 64}, Status.INVALID_VALUE),
        ({"aux_leading": 0}, Status.INVALID_VALUE),
        ({"aux": 0}, Status.INVALID_VALUE),
        ({"vector": 0}, Status.INVALID_VALUE),
        ({"vector_type": DataType.float16}, Status.NOT_SUPPORTED),
        ({"epilogue": Epilogue(2 | 32)}, Status.INVALID_VALUE),
        ({"compute": Compute.float64}, Status.NOT_SUPPORTED),
        ({"transpose_a": True}, Status.INVALID_VALUE),
        ({"transpose_b": True}, Status.INVALID_VALUE),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_descriptors_that_the_real_library_refuses(changes, status):
    bench = Bench(Epilogue.RELU_AUX_BIAS)
    where = bench.device.address
    sound = {
        "compute": Compute.float32, "transpose_a": False, "transpose_b": False, "epilogue": Epilogue.RELU_AUX_BIAS,
        "vector": where(bench.bias), "vector_type": F32, "aux": where(bench.mask), "aux_leading": 128,
    }  # fmt: skip
    assert bench.library._status(bench.library.descriptor(**sound), bench.plan.layouts) == Status.SUCCESS
    assert bench.library._status(bench.library.descriptor(**(sound | changes)), bench.plan.layouts) == status


@pytest.mark.parametrize(("rows", "columns", "leading"), [(5, 4, 4), (0, 4, 1), (5, 3, 5)])
def test_layouts_that_the_real_library_refuses(rows, columns, leading):
    bench = Bench()
    layouts = (bench.library.layout(F32, rows, columns, leading), *bench.plan.layouts[1:])
    assert bench.library._status(bench.plan.descriptor, layouts) == Status.INVALID_VALUE


def test_the_kept_input_of_a_gelu_needs_a_multiple_of_eight():
    device = HostDevice()
    gemms = Gemms(FakeCublasLt(device), device)
    x, w, y, saved = (np.zeros(s, np.float32) for s in ((4, 4), (4, 10), (4, 10), (4, 10)))
    with pytest.warns(RuntimeWarning, match="runs in separate kernels.*INVALID_VALUE"):
        assert not gemms.fused(x, w, y, Epilogue.GELU_AUX, None, aux=saved, aux_leading=10)
    # Known from now on, and said once.
    assert not gemms.fused(x, w, y, Epilogue.GELU_AUX, None, aux=saved, aux_leading=10)
    assert not gemms.fused(x[:2], w, y[:2], Epilogue.GELU_AUX, None, aux=saved[:2], aux_leading=10)


# Captured graphs


def test_while_capturing_only_known_products_run():
    device = HostDevice()
    gemms = Gemms(FakeCublasLt(device), device)
    a, out = np.ones((4, 4), np.float32), np.empty((4, 4), np.float32)
    gemms.matmul(a, a, out)
    with device.capture():
        gemms.matmul(a, a, out)
        with pytest.raises(fs.StateError, match="run the step once"):
            gemms.matmul(a[:2], a, out[:2])
        with pytest.raises(fs.StateError, match="run the step once"):
            gemms.fused(a, a, out, Epilogue.BIAS, None, vector=a[0])
        for forbidden in (
            lambda: device.bytes(256), lambda: device.copy(a), lambda: device.seconds(lambda: None),
            lambda: gemms.library.layout(F32, 1, 1, 1),
        ):  # fmt: skip
            with pytest.raises(Fault, match="captured"):
                forbidden()
    gemms.matmul(a[:2], a, out[:2])


def test_a_new_stream_while_capturing_is_refused():
    device = HostDevice()
    gemms = Gemms(FakeCublasLt(device), device)
    a, out = np.ones((4, 4), np.float32), np.empty((4, 4), np.float32)
    gemms.matmul(a, a, out)
    device.stream = lambda: 7
    with device.capture(), pytest.raises(fs.StateError, match="stream"):
        gemms.matmul(a, a, out)
    gemms.matmul(a, a, out)
    assert set(gemms._workspaces) == {0, 7}


def test_the_oldest_plans_go_first(monkeypatch):
    monkeypatch.setattr(gemms_module, "MOST_PLANS", 3)
    device = HostDevice()
    gemms = Gemms(FakeCublasLt(device), device)
    a, out = np.ones((9, 9), np.float32), np.empty((9, 9), np.float32)
    for rows in range(1, 9):
        gemms.matmul(a[:rows], a, out[:rows])
    gc.collect()
    assert len(gemms.library.live) == 3 * 4


# Errors


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (Status.NOT_INITIALIZED, fs.BackendUnavailable, "driver"),
        (Status.ALLOC_FAILED, fs.OutOfDeviceMemory, "batch_size"),
        (Status.EXECUTION_FAILED, fs.DeviceError, "CUDA_LAUNCH_BLOCKING"),
        (Status.NOT_SUPPORTED, fs.DeviceError, "no such product"),
        (Status.ARCH_MISMATCH, fs.DeviceError, "no code for this device"),
        (Status.INVALID_VALUE, fs.DeviceError, "report"),
        (77, fs.DeviceError, "unknown"),
    ],
)
def test_a_failing_product_says_what_it_means(status, error, words):
    device = HostDevice()
    library = FakeCublasLt(device)
    gemms = Gemms(library, device)
    a, out = np.ones((4, 4), np.float32), np.empty((4, 4), np.float32)
    gemms.matmul(a, a, out)
    library._failing = status
    with pytest.raises(error, match=words) as caught:
        gemms.matmul(a, a, out)
    assert "4x4x4" in str(caught.value)
