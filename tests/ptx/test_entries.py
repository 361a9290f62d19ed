"""Numba's entries in the kernel cache, which are pickles: they are checked before they are unpickled."""

from __future__ import annotations

import os
import pickle
import stat

import pytest

from fusedstep.kernels.targets import cache
from fusedstep.kernels.targets.source import build

numba = pytest.importorskip("numba", reason="needs Numba, as the extras cuda12 and cuda13 install it")

TEXT = "def twice(x):\n    return x + x\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("NUMBA_CACHE_DIR", "NUMBA_CACHE_LOCATOR_CLASSES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cache, "folder", lambda: tmp_path)
    return tmp_path


def start():
    """(whether the kernel works, whether it came from the cache): compiled for the CPU, whose entries have the same form."""
    from fusedstep.kernels.targets.cuda.compiling import compiled

    function = build("twice", TEXT)
    made = compiled(function, lambda kept: numba.njit("float64(float64)", cache=kept)(function))
    return made(3.0) == 6.0, sum(made.stats.cache_hits.values()) == 1


def entries(folder, kind="nb*"):
    return sorted((folder / "__pycache__").glob(f"*.{kind}"))


class Trap:
    """Unpickling it leaves a mark."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return (os.mkdir, (self.mark,))


def test_a_second_start_finds_what_the_first_one_compiled(folder):
    assert [start(), start()] == [(True, False), (True, True)]


@pytest.mark.parametrize("mask", [0, 0o002, 0o077])
def test_entries_are_private_whatever_the_umask(folder, mask):
    before = os.umask(mask)
    try:
        assert [start(), start()] == [(True, False), (True, True)]
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (folder / "__pycache__").iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE((folder / "__pycache__").stat().st_mode) == 0o700


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", ["one bit", "cut", "empty", "gone", "trap", "trap with its seal"])
def test_damaged_entries_are_not_unpickled(folder, kind, damage):
    assert start() == (True, False)
    (path,) = entries(folder, kind)
    held, mark = path.read_bytes(), folder / "mark"
    trap = pickle.dumps(Trap(mark))
    path.write_bytes({
        "one bit": held[:-9] + bytes([held[-9] ^ 1]) + held[-8:], "cut": held[: len(held) // 2], "empty": b"", "gone": b"",
    }.get(damage, trap))  # fmt: skip
    if damage == "gone":
        path.unlink()
    if damage == "trap with its seal":  # whoever cannot write to the folder cannot do that
        path.chmod(0o666)
        (seal,) = entries(folder, "seal")
        seal.chmod(0o666)
    assert start() == (True, False)
    assert not mark.exists()
    assert start() == (True, True)


def test_entries_without_a_seal_are_not_unpickled(folder):
    """As another user could have planted them while the folder was open, and as older versions wrote them."""
    assert start() == (True, False)
    (seal,) = entries(folder, "seal")
    seal.unlink()
    for path in entries(folder):
        path.write_bytes(pickle.dumps(Trap(folder / "mark")))
    assert [start(), start()] == [(True, False), (True, True)]
    assert not (folder / "mark").exists()


@pytest.mark.skipif(os.name != "posix", reason="asks for owners")
@pytest.mark.parametrize("folder_is", ["a link", "a file", "another user's"])
def test_a_folder_of_entries_that_cannot_be_trusted_is_not_used(folder, folder_is, monkeypatch):
    place = folder / "__pycache__"
    if folder_is == "a link":
        (folder / "theirs").mkdir()
        place.symlink_to(folder / "theirs")
    elif folder_is == "a file":
        place.touch()
    else:
        place.mkdir()
        monkeypatch.setattr(os, "geteuid", lambda: place.stat().st_uid + 1)
    assert [start(), start()] == [(True, False)] * 2


@pytest.mark.parametrize("name", ["NUMBA_CACHE_DIR", "NUMBA_CACHE_LOCATOR_CLASSES"])
def test_entries_in_another_place_are_not_used(folder, monkeypatch, name):
    monkeypatch.setenv(name, str(folder / "elsewhere"))
    assert [start(), start()] == [(True, False)] * 2


def test_an_error_of_the_kernel_itself_is_raised(folder):
    from fusedstep.kernels.targets.cuda.compiling import compiled

    wrong = build("wrong", "def wrong(x):\n    return x.nothing\n")
    with pytest.raises(numba.TypingError, match="nothing"):
        compiled(wrong, lambda kept: numba.njit("float64(float64)", cache=kept)(wrong))

