"""The name of the processor, and who made it, as each system tells it."""

import platform
import sys

import pytest

from fusedstep.kernels.targets import processor


@pytest.fixture(autouse=True)
def anew(monkeypatch):
    for function in (processor.processor, processor.is_intel, processor._cpuinfo):
        monkeypatch.setattr(processor, function.__name__, function.__wrapped__)


@pytest.mark.parametrize(
    ("told", "name", "intel"),
    [
        ({"vendor_id": "GenuineIntel", "model name": "Xeon"}, "Xeon", True),
        ({"vendor_id": "AuthenticAMD", "model name": "EPYC"}, "EPYC", False),
        ({"CPU part": "0xd40"}, "aarch64", False),
    ],
)
def test_linux(monkeypatch, told, name, intel):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(processor, "_cpuinfo", lambda: told)
    assert (processor.processor(), processor.is_intel()) == (name, intel)


@pytest.mark.parametrize("maker", ["GenuineIntel", "AuthenticAMD"])
def test_windows(monkeypatch, maker):
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(platform, "processor", lambda: f"Family 6 Model 85 Stepping 7, {maker}")
    monkeypatch.setattr(processor, "_cpuinfo", dict)
    assert processor.processor().endswith(maker)
    assert processor.is_intel() == (maker == "GenuineIntel")


@pytest.mark.parametrize("machine", ["x86_64", "arm64"])
def test_macos(monkeypatch, machine):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(processor, "_cpuinfo", dict)
    monkeypatch.setattr(processor, "_sysctl", lambda name: f"answer to {name}")
    assert processor.processor() == "answer to machdep.cpu.brand_string"
    assert processor.is_intel() == (machine == "x86_64")


def test_a_command_that_is_not_there_is_no_answer(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert processor._sysctl("machdep.cpu.brand_string") is None


@pytest.mark.skipif(sys.platform != "linux", reason="this is not Linux")
def test_only_the_first_processor_of_this_machine_is_read():
    told = processor._cpuinfo()
    assert told.get("processor", "0") == "0"
    assert processor.processor()
