"""Which folders compiled kernels are read from: those that nobody but the user can write to."""

from __future__ import annotations

import os
import stat
import tempfile
import warnings
from types import SimpleNamespace

import pytest

from fusedstep.kernels.targets import cache
from fusedstep.kernels.targets.ownership import read_private, why_not_private

from .test_cache import Start, kernel, works

pytestmark = pytest.mark.skipif(os.name != "posix", reason="asks for owners and modes")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder that only the user can write to; the system's temporary folder is in it."""
    (tmp_path / "tmp").mkdir(mode=0o700)
    (tmp_path / "tmp").chmod(0o1777)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    cache.folder.cache_clear()
    yield tmp_path
    cache.folder.cache_clear()


def made(path, mode=0o700):
    path.mkdir()
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o500])
def test_a_folder_of_the_user_is_accepted(home, mode):
    assert why_not_private(made(home / "kernels", mode)) == ""


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o722, 0o702])
def test_a_folder_that_others_can_write_to_is_not(home, mode):
    assert why_not_private(made(home / "kernels", mode)) == f"others can write to '{home}/kernels' (mode {mode:o})"


def test_neither_is_one_whose_parent_they_can_write_to_unless_that_is_sticky(home):
    parent = made(home / "shared", 0o777)
    folder = made(parent / "kernels")
    assert why_not_private(folder) == f"others can write to '{parent}' (mode 777)"
    parent.chmod(0o1777)
    assert why_not_private(folder) == ""


def test_neither_is_that_of_another_user(home, monkeypatch):
    folder = made(home / "kernels")
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(folder).st_uid + 1)
    assert "belongs to another user" in why_not_private(folder)


def test_links_are_followed_to_what_counts(home):
    (home / "link").symlink_to(made(home / "open", 0o777))
    assert why_not_private(home / "link") == f"others can write to '{home}/open' (mode 777)"
    inner = made(made(home / "shared", 0o777) / "link")
    inner.rmdir()
    inner.symlink_to(made(home / "kernels"))
    assert "others can write to" in why_not_private(inner), "whoever can write there can let the link point elsewhere"
    (home / "relative").symlink_to("kernels")
    assert why_not_private(home / "relative") == ""
    (home / "loop").symlink_to("loop")
    assert why_not_private(home / "loop" / "kernels").endswith(")")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give files away")
def test_links_and_parents_of_another_user_are_refused(home):
    folder = made(made(home / "theirs") / "kernels")
    os.chown(folder.parent, 12345, 12345)
    assert why_not_private(folder) == f"'{folder.parent}' belongs to another user (12345)"
    (home / "tmp" / "link").symlink_to(made(home / "mine"))
    os.lchown(home / "tmp" / "link", 12345, 12345)
    assert why_not_private(home / "tmp" / "link") == f"'{home}/tmp/link' belongs to another user (12345)"


@pytest.mark.parametrize(
    ("members", "name", "mode", "private"),
    [
        ([], "me", 0o775, True), (["me"], "me", 0o770, True), (["you"], "me", 0o775, False), ([], "us", 0o775, False),
        ([], "me", 0o777, False),
    ],
)  # fmt: skip
def test_the_group_of_one_user_is_nobody_else(home, monkeypatch, members, name, mode, private):
    import grp
    import pwd

    folder = made(home / "kernels", mode)
    os.chown(folder, -1, os.getegid())
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: SimpleNamespace(pw_gid=uid, pw_name="me"))
    monkeypatch.setattr(grp, "getgrgid", lambda _: SimpleNamespace(gr_name=name, gr_mem=members))
    if os.getegid() != os.geteuid():
        pytest.skip("the user's group has another number")
    assert (why_not_private(folder) == "") is private


# What the cache does then

def test_a_shared_folder_is_left_alone_and_that_is_said_once(home, monkeypatch):
    shared = made(home / "shared", 0o777)
    monkeypatch.setenv("FUSEDSTEP_CACHE_DIR", str(shared))
    wanted = rf"others can write to '{shared}' \(mode 777\).*set FUSEDSTEP_CACHE_DIR"
    with pytest.warns(RuntimeWarning, match=wanted) as said:
        folder, again = cache.folder(), cache.folder()
    assert folder == again == home / "tmp" / f"fusedstep-{os.geteuid()}"
    assert len(said) == 1
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    Start(monkeypatch)
    assert works(kernel())
    assert list(folder.glob("scale_everything_*.o"))
    assert os.listdir(shared) == []


def test_the_private_folder_is_used_again(home, monkeypatch):
    monkeypatch.setenv("FUSEDSTEP_CACHE_DIR", str(made(home / "shared", 0o777)))
    with pytest.warns(RuntimeWarning, match="others can write"):
        first = cache.folder()
    cache.folder.cache_clear()
    with pytest.warns(RuntimeWarning, match="others can write"):
        assert cache.folder() == first


@pytest.mark.parametrize("taken", ["a folder that is open", "a link", "a file"])
def test_without_a_private_folder_nothing_is_kept(home, monkeypatch, taken):
    monkeypatch.setenv("FUSEDSTEP_CACHE_DIR", str(made(home / "shared", 0o777)))
    name = home / "tmp" / f"fusedstep-{os.geteuid()}"
    if taken == "a file":
        name.touch()
    elif taken == "a link":
        name.symlink_to(home / "shared")
    else:
        made(name, 0o777)
    with pytest.warns(RuntimeWarning, match="they are compiled in every process"):
        assert cache.folder() is None
    assert works(kernel())


def test_folders_that_the_library_makes_are_private_whatever_the_umask(home, monkeypatch):
    monkeypatch.setenv("FUSEDSTEP_CACHE_DIR", str(home / "a" / "b"))
    before = os.umask(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert cache.folder() == home / "a" / "b"
            cache.write("entry", b"content")
    finally:
        os.umask(before)
    assert [stat.S_IMODE((home / name).stat().st_mode) for name in ("a", "a/b")] == [0o700, 0o700]
    assert cache.read("entry") == b"content"


# Entries

@pytest.mark.parametrize("planted", ["writable", "link", "pipe", "folder", "another owner", "too large"])
def test_entries_that_others_could_have_written_are_made_anew(home, monkeypatch, planted):
    monkeypatch.setenv("FUSEDSTEP_CACHE_DIR", str(home / "kernels"))
    cache.write("entry", b"content")
    path = home / "kernels" / "entry"
    if planted == "writable":
        path.chmod(0o666)
    elif planted == "another owner":
        monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    elif planted == "too large":
        monkeypatch.setattr(cache, "LARGEST", 3)
    else:
        path.rename(home / "elsewhere")
        {"link": lambda: path.symlink_to(home / "elsewhere"), "pipe": lambda: os.mkfifo(path), "folder": path.mkdir}[planted]()
    assert cache.read("entry") is None
    cache.write("entry", b"again")
    if planted in ("writable", "link", "pipe"):
        assert cache.read("entry") == b"again"


def test_a_file_is_read_whole(home):
    (home / "file").write_bytes(b"abc")
    (home / "file").chmod(0o600)
    assert read_private(home / "file", 3) == b"abc"
    assert read_private(home / "file", 2) is None
