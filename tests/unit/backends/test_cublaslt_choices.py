"""What is timed, what is chosen, and what is remembered from one run to the next."""

from __future__ import annotations

import ctypes
import json
import math

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends.cuda.cublaslt import Epilogue, Gemms, Status
from fusedstep.backends.cuda.cublaslt.choices import Choices
from fusedstep.backends.cuda.cublaslt.codes import ALGORITHM_BYTES
from fusedstep.kernels.targets import cache
from fusedstep.tests.fakes.cublaslt import FakeCublasLt, Fault, HostDevice

A, OUT = np.ones((16, 16), np.float32), np.empty((16, 16), np.float32)
BIAS = np.ones(16, np.float32)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "folder", lambda: tmp_path)
    return tmp_path


class Clock:
    """A stopwatch that runs what it is given once and tells prepared times."""

    def __init__(self, *times):
        self.times = list(times)
        self.count = 0

    def __call__(self, run):
        run()
        self.count += 1
        return self.times.pop(0)


def timed(*times, candidates=16, **library):
    clock = Clock(*times)
    device = HostDevice(clock)
    return Gemms(FakeCublasLt(device, **library), device, candidates), clock


def saved(folder):
    (file,) = folder.glob("products_*.json")
    return file, json.loads(file.read_text())


def algorithm(gemms):
    """(workspace, alignment) of the plan made last."""
    plan = list(gemms._plans.values())[-1]
    return tuple(np.frombuffer(plan._algorithm.raw, np.uint64)[1:3].tolist())


def test_the_fastest_algorithm_is_taken():
    gemms, clock = timed(3.0, 1.0, 2.0)
    gemms.matmul(A, A, OUT)
    assert clock.count == 3
    assert algorithm(gemms) == (0, 16)
    np.testing.assert_array_equal(OUT, A @ A)
    gemms.matmul(A, A, OUT)
    assert clock.count == 3


def test_timing_leaves_what_is_added_to_alone():
    gemms, _ = timed(3.0, 1.0, 2.0)
    out = np.full((16, 16), 5.0, np.float32)
    gemms.matmul(A, A, out, accumulate=True)
    np.testing.assert_array_equal(out, A @ A + 5.0)


def test_choices_outlive_the_process(folder):
    first, _ = timed(3.0, 2.0, 1.0)
    first.matmul(A, A, OUT)
    _, text = saved(folder)
    ((name, choice),) = text["choices"].items()
    assert "float32 float32 float32 NN 16x16x16" in name
    assert (choice["workspace"], choice["seconds"], choice["fused"]) == (4 << 20, 1.0, True)
    second, clock = timed()
    second.matmul(A, A, OUT)
    assert clock.count == 0
    assert algorithm(second) == algorithm(first)


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"format": "fusedstep.products", "version": 2}', "algorithm"])
def test_a_damaged_file_is_made_anew(folder, damage):
    timed(1.0, 2.0, 3.0)[0].matmul(A, A, OUT)
    file, text = saved(folder)
    if damage == "algorithm":
        next(iter(text["choices"].values()))["algorithm"] = "abcd"
        damage = json.dumps(text)
    file.write_text(damage)
    again, clock = timed(1.0, 2.0, 3.0)
    again.matmul(A, A, OUT)
    assert clock.count == 3
    assert len(saved(folder)[1]["choices"]) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("workspace", value) for value in (math.inf, math.nan, -1, 2**70, 1.0, True, "8", None, [])),
        *(("seconds", value) for value in (math.inf, -math.inf, math.nan, -1.0, 10**400, True, "1", None, {})),
        *(("algorithm", value) for value in (None, 1, [], "0", "zz" * 64, "00" * 63, "00" * 65)),
        *(("fused", value) for value in (0, "true", None, [])),
    ],
)
def test_values_that_could_not_have_been_written_are_ignored(folder, field, value):
    timed(1.0, 2.0, 3.0)[0].matmul(A, A, OUT)
    file, text = saved(folder)
    next(iter(text["choices"].values()))[field] = value
    file.write_text(json.dumps(text))
    again, clock = timed(1.0, 2.0, 3.0)
    again.matmul(A, A, OUT)
    assert clock.count == 3
    np.testing.assert_array_equal(OUT, A @ A)


@pytest.mark.parametrize("field", ["workspace", "seconds", "algorithm", "fused"])
def test_a_choice_without_one_of_its_values_is_ignored(folder, field):
    timed(1.0, 2.0, 3.0)[0].matmul(A, A, OUT)
    file, text = saved(folder)
    del next(iter(text["choices"].values()))[field]
    file.write_text(json.dumps(text))
    assert not Choices(text["identity"])._table


def test_an_algorithm_that_no_longer_fits_is_chosen_again(folder):
    timed(1.0, 2.0, 3.0)[0].matmul(A, A, OUT)
    file, text = saved(folder)
    next(iter(text["choices"].values()))["algorithm"] = "00" * 64
    file.write_text(json.dumps(text))
    again, clock = timed(2.0, 1.0, 3.0)
    again.matmul(A, A, OUT)
    assert clock.count == 3
    assert algorithm(again) == (0, 16)


def test_another_version_or_setting_has_a_file_of_its_own(folder):
    timed(1.0, 2.0, 3.0)[0].matmul(A, A, OUT)
    timed(1.0, 2.0, 3.0, version=120000)[0].matmul(A, A, OUT)
    timed(1.0, 2.0, candidates=2)[0].matmul(A, A, OUT)
    assert len(list(folder.glob("products_*.json"))) == 3


def test_a_device_without_a_stopwatch_writes_nothing(folder):
    device = HostDevice()
    gemms = Gemms(FakeCublasLt(device), device)
    gemms.matmul(A, A, OUT)
    assert algorithm(gemms) == (0, 1)
    assert not list(folder.iterdir())


def test_without_a_folder_choices_are_kept_in_memory(monkeypatch):
    monkeypatch.setattr(cache, "folder", lambda: None)
    gemms, clock = timed(1.0, 2.0, 3.0)
    gemms.matmul(A, A, OUT)
    gemms._plans.clear()
    gemms.matmul(A, A, OUT)
    assert clock.count == 3


@pytest.mark.parametrize(("unfused", "chosen"), [(0.5, False), (2.0, True)])
def test_fused_or_not_is_timed_once(folder, unfused, chosen):
    calls = []
    gemms, clock = timed(1.5, 1.0, 3.0, unfused)
    for _ in range(2):
        assert gemms.fused(A, A, OUT, Epilogue.BIAS, lambda: calls.append(1), vector=BIAS) is chosen
    assert (clock.count, len(calls)) == (4, 1)
    again, clock = timed()
    assert again.fused(A, A, OUT, Epilogue.BIAS, lambda: calls.append(1), vector=BIAS) is chosen
    assert (clock.count, len(calls)) == (0, 1)


def test_that_an_epilogue_is_not_supported_is_remembered(folder):
    for _ in range(2):
        gemms, clock = timed(unsupported=[Epilogue.BIAS])
        assert not gemms.fused(A, A, OUT, Epilogue.BIAS, None, vector=BIAS)
        assert clock.count == 0
    assert len(saved(folder)[1]["choices"]) == 1


def test_timing_fused_against_unfused_leaves_what_is_added_to_alone():
    gemms, _ = timed(1.0, 2.0, 3.0, 9.0)
    out, sums = np.full((16, 16), 5.0, np.float32), np.empty(16, np.float32)

    def unfused():
        out[...] += 100.0

    assert gemms.fused(A.T, A, out, Epilogue.BGRADA, unfused, vector=sums, accumulate=True)
    np.testing.assert_array_equal(out, A @ A + 5.0)


@pytest.mark.parametrize("count", ["0", "65", "many", "-1", "1.5"])
def test_a_senseless_number_of_candidates_is_refused(monkeypatch, count):
    monkeypatch.setenv("FUSEDSTEP_GEMM_CANDIDATES", count)
    with pytest.raises(fs.HyperparameterError, match="1 to 64"):
        Gemms(FakeCublasLt(HostDevice()), HostDevice())


def test_one_candidate_is_taken_without_choosing(monkeypatch):
    monkeypatch.setenv("FUSEDSTEP_GEMM_CANDIDATES", "1")
    clock = Clock(1.0)
    device = HostDevice(clock)
    gemms = Gemms(FakeCublasLt(device), device)
    gemms.matmul(A, A, OUT)
    assert algorithm(gemms) == (0, 1)


def test_nothing_is_timed_while_a_graph_is_captured():
    gemms, _ = timed(1.0)
    with gemms.device.capture(), pytest.raises(Fault, match="measurement"):
        gemms.device.seconds(lambda: None)


def test_an_algorithm_that_is_refused_while_it_is_timed_is_not_taken(monkeypatch):
    gemms, _ = timed(1.0, 9.0, 9.0, 9.0)
    refused, matmul = [], gemms.library.matmul

    def first_only_once(descriptor, *arguments):
        algorithm = bytes((ctypes.c_char * ALGORITHM_BYTES).from_address(arguments[10]))
        refused.append(algorithm)
        again = algorithm == refused[0] and refused.count(algorithm) > 1
        return Status.NOT_SUPPORTED if again else matmul(descriptor, *arguments)

    monkeypatch.setattr(gemms.library, "matmul", first_only_once)
    a, out = np.eye(32, dtype=np.float32), np.empty((32, 32), np.float32)
    gemms.matmul(a, a, out)
    np.testing.assert_array_equal(out, a)
    (plan,) = gemms._plans.values()
    assert plan._algorithm.raw != refused[0], "nothing is faster than what is not done"
