"""The folder of compiled kernels: whatever happens to it, kernels come out right."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from fusedstep.kernels.targets import cache
from fusedstep.kernels.targets.cpu import generate
from fusedstep.kernels.targets.llvm import machine
from fusedstep.kernels.targets.llvm.compiler import KernelError
from fusedstep.kernels.targets.llvm.kinds import F32, ArrayOf
from fusedstep.kernels.targets.native import address_of


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A cache folder of its own."""
    monkeypatch.setenv("FUSEDSTEP_CACHE_DIR", str(tmp_path / "kernels"))
    cache.folder.cache_clear()
    yield cache.folder()
    cache.folder.cache_clear()


def kernel():
    """out = factor out, made anew."""
    parameters = {"out": ArrayOf(np.dtype(np.float32), 1, True), "factor": F32}
    return generate("scale_everything", parameters, ["for i in range(out.shape[0]):", "    out[i] *= factor"], {})


def works(made):
    """Whether it computes what it is to, called both ways."""
    out = np.arange(5, dtype=np.float32)
    made(out, np.float32(3))
    words = np.array([address_of(out), 5, np.array([2.0, 0.0], np.float32).view(np.int64)[0]])
    made.entry(int(address_of(words)))
    return out.tolist() == [0.0, 6.0, 12.0, 18.0, 24.0]


def entries(folder):
    return sorted(path.name for path in folder.glob("*.o"))


class Start:
    """Stands for another start of the process: an engine of its own, which counts what it compiles."""

    engines = []  # which have to live as long as kernels that they compiled may be called

    def __init__(self, monkeypatch):
        made = machine.Machine()
        self.engines.append(made)
        self.compiled = 0
        compiler = made.object_of

        def counted(assembly):
            self.compiled += 1
            return compiler(assembly)

        monkeypatch.setattr(made, "object_of", counted)
        monkeypatch.setattr(machine, "machine", lambda: made)


def test_a_second_start_finds_what_the_first_one_compiled(folder, monkeypatch):
    first = Start(monkeypatch)
    assert works(kernel())
    assert works(kernel())
    assert (first.compiled, len(entries(folder))) == (1, 1)
    second = Start(monkeypatch)
    assert works(kernel())
    assert second.compiled == 0


@pytest.mark.parametrize("damage", ["cut", "empty", "garbage", "one bit"])
def test_damaged_entries_are_made_anew(folder, damage, monkeypatch):
    Start(monkeypatch)
    assert works(kernel())
    names = entries(folder)
    for path in folder.glob("*.o"):
        held = path.read_bytes()
        flipped = held[:-9] + bytes([held[-9] ^ 1]) + held[-8:]
        path.write_bytes(
            {"cut": held[: len(held) // 2], "empty": b"", "garbage": b"garbage " * 100, "one bit": flipped}[damage]
        )
    again = Start(monkeypatch)
    assert works(kernel())
    assert entries(folder) == names
    assert again.compiled == 1
    assert works(kernel())
    third = Start(monkeypatch)
    assert works(kernel())
    assert third.compiled == 0


def test_code_of_another_processor_or_compiler_is_not_taken(folder, monkeypatch):
    Start(monkeypatch)
    assert works(kernel())
    other = Start(monkeypatch)
    machine.machine().identity += " of another version"
    assert works(kernel())
    assert other.compiled == 1
    assert len(entries(folder)) == 2


def test_an_error_of_the_kernel_itself_is_raised(folder):
    wrong = generate("wrong", {"out": ArrayOf(np.dtype(np.float32), 1, True)}, ["out.nothing()"], {})
    with pytest.raises(KernelError, match="nothing"):
        wrong.entry  # noqa: B018


def test_a_folder_that_disappears(folder, monkeypatch):
    Start(monkeypatch)
    made = kernel()
    shutil.rmtree(folder)
    assert works(made)
    assert works(kernel())


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files")
@pytest.mark.parametrize("most", [pytest.param(0, marks=pytest.mark.exhaustive), 100])
def test_a_disk_without_room(tmp_path, most):
    """Files may grow to so many bytes: none is written, or machine code is cut."""
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most}))
import numpy as np
from fusedstep.kernels.targets import cache
from fusedstep.backends.numba.walk import walk
from test_cache import kernel, works
assert cache.folder() is not None
assert works(kernel())
assert callable(walk().part)
print("done")
"""
    inherited = {**os.environ, "FUSEDSTEP_CACHE_DIR": str(tmp_path / "kernels"), "PYTHONDONTWRITEBYTECODE": "1"}
    paths = filter(None, [os.path.dirname(__file__), os.environ.get("PYTHONPATH")])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**inherited, "PYTHONPATH": os.pathsep.join(paths)}, cwd=tmp_path,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout == "done\n", done.stderr
    assert not [name for name in os.listdir(tmp_path / "kernels") if name.endswith(".tmp")]


def test_what_killed_processes_left_is_removed_by_the_next_write(tmp_path):
    for name, hours in (("tmpabcdefgh.tmp", 2.0), ("tmpijklmnop.tmp", 0.0), ("products.tmp", 2.0)):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - hours * cache.ABANDONED,) * 2)
    cache.write_whole(tmp_path / "products.json", b"whole")
    assert sorted(os.listdir(tmp_path)) == ["products.json", "products.tmp", "tmpijklmnop.tmp"]


@pytest.mark.filterwarnings("error")
def test_one_that_another_process_removes_meanwhile_is_no_error(tmp_path, monkeypatch):
    for name in ("tmpabcdefgh.tmp", "tmpijklmnop.tmp"):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - 2.0 * cache.ABANDONED,) * 2)
    there, asked = os.scandir, []

    class Vanished:
        def __init__(self, entry):
            self.name, self.path = entry.name, entry.path

        def stat(self):
            asked.append(self.name)
            raise FileNotFoundError(self.name)

    class Entries:
        def __init__(self, folder):
            self.listed = there(folder)

        def __enter__(self):
            return map(Vanished, self.listed)

        def __exit__(self, *raised):
            self.listed.close()

    monkeypatch.setattr(os, "scandir", Entries)
    cache.write_whole(tmp_path / "products.json", b"whole")
    assert sorted(asked) == ["tmpabcdefgh.tmp", "tmpijklmnop.tmp"]


@pytest.mark.parametrize("cold", [3])
def test_processes_that_start_cold_together(tmp_path, cold):
    code = "from test_cache import kernel, works; print(works(kernel()))"
    paths = filter(None, [os.path.dirname(__file__), os.environ.get("PYTHONPATH")])
    environment = {
        **os.environ, "FUSEDSTEP_CACHE_DIR": str(tmp_path / "kernels"), "PYTHONPATH": os.pathsep.join(paths),
    }  # fmt: skip
    started = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) for _ in range(cold)
    ]
    assert [process.communicate(timeout=120)[0] for process in started] == ["True\n"] * cold


# Where it is

@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """An empty working folder, in which nothing may appear."""
    monkeypatch.chdir(tmp_path)
    for name in ("FUSEDSTEP_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    cache.folder.cache_clear()
    yield tmp_path
    cache.folder.cache_clear()
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="asks the list of users")
def test_a_user_without_a_home_has_no_folder(nowhere, monkeypatch):
    import pwd

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", lambda number: {}[number])  # as in a container that is run under any number
    assert cache.folder() is None


def test_relative_folders_of_the_system_are_not_taken(nowhere, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert cache.folder() is None


def test_a_home_in_the_variable_is_found(nowhere, monkeypatch, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setenv("FUSEDSTEP_CACHE_DIR", os.path.join("~", "kept"))
    assert cache.folder() == home / "kept"


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that even root cannot write to")
def test_a_folder_that_cannot_be_made_is_none(nowhere, monkeypatch):
    monkeypatch.setenv("FUSEDSTEP_CACHE_DIR", "/proc/self/kernels")
    assert cache.folder() is None
    assert works(kernel())
