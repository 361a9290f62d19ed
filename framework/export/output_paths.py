"""Files that are written whole or not at all: checks of their paths, unfinished files, and the removal of abandoned ones."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...errors import OutputPathError

PathLike = str | os.PathLike[str]

_PART = re.compile(r"\.fusedstep-[0-9a-f]{16}\.part")
"""Names of what is unfinished, in the folder of the file that it becomes; short, since that one may have the longest name."""

_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM)
"""Of folders that a file system does not synchronise, or that may be written to but not read."""


@contextmanager
def replacing(path: PathLike, what: str, failures: tuple[type[Exception], ...] = (OSError,)) -> Iterator[Path]:
    """Gives an unfinished file to write, which gets its name at the end: complete and on the disk, or not at all.

    A file that is replaced keeps its permissions; a new one gets the default permissions. Unfinished files in that folder
    whose process was killed are removed.

    Args: path – of the file, replaced if it exists; what – for the message; failures – what writing raises.
    Raises: OutputPathError for a path that cannot be written and for writing that fails; nothing is left behind then.
    """
    target = require_writable(path)
    try:
        with _unfinished(target) as part:
            mode = stat.S_IMODE((target if target.exists() else part).stat().st_mode)
            yield part
            if stat.S_IMODE(part.stat().st_mode) != mode:
                part.chmod(mode)
            with part.open("rb+") as file:
                os.fsync(file)  # some file systems say only now that there is no room
            os.replace(part, target)
        sync_folder(target.parent)
        remove_abandoned(target.parent)
    except failures as error:
        raise OutputPathError(
            f"{target}: expected to write {what}; writing failed ({error}); check that the disk has room"
        ) from error


def require_writable(path: PathLike) -> Path:
    """Makes sure that a file can be written there, by trying; to be called before anything slow.

    Returns: the path with links followed, so that the file a link points to is replaced and not the link.
    Raises: OutputPathError with the reason; no file is left behind, and none that exists is touched.
    """
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise OutputPathError(f"expected the path of a file to write, as text or a Path; got {path!r}; pass such as 'out.file'")
    shown = os.fspath(path)
    if not shown:
        raise OutputPathError("expected the path of a file to write; got an empty one; give a name such as out.file")
    try:
        target = Path(os.path.realpath(path))
        known = _mode(target)
        folder = _mode(target.parent)
    except (OSError, ValueError) as error:
        os.getcwd()  # raises another error if the working folder was removed
        raise _not_writable(shown, error) from error
    if stat.S_ISDIR(known):
        raise OutputPathError(f"expected the path of a file to write; {shown!r} is a folder; add a file name to it")
    if known and not stat.S_ISREG(known):
        raise OutputPathError(f"expected the path of a plain file; {shown!r} is a device or pipe; choose another path")
    if not folder:
        raise OutputPathError(
            f"expected a path in a folder that exists; {str(target.parent)!r} does not; create it (mkdir -p) or choose another"
        )
    part = _part_of(target)
    try:
        if known and not os.access(target, os.W_OK):
            raise PermissionError("the file is write-protected")
        part.touch()
        part.unlink(missing_ok=True)
    except OSError as error:
        raise _not_writable(shown, error) from error
    return target


def require_folder(folder: Path, what: str) -> None:
    """Creates a folder unless it is there; raises OutputPathError where that is impossible.

    Args: what – is stored in it, for the message.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise folder_error(folder, what, error) from error


def folder_error(folder: Path, what: str, error: OSError | ValueError) -> OutputPathError:
    """For a folder that cannot be created or written to."""
    return OutputPathError(
        f"expected a folder that can be written, for {what}; {str(folder)!r} cannot ({_reason(error)}); choose another"
    )


def beside(path: Path, suffix: str) -> Path:
    """The path of another file in the folder of one that can be written: its name with a suffix, before the extension.

    A name for which the file system has no room is shortened, so that the new one is as long as the old one.
    """
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    longer = path.with_stem(path.stem + suffix)
    try:
        require_writable(longer)
    except OutputPathError:
        stem, ending = (path.stem, path.suffix) if len(path.suffix) < 20 else (path.name, "")
        while stem and len(os.fsencode(stem + suffix + ending)) > len(os.fsencode(path.name)):
            stem = stem[:-1]
        return path.with_name(stem + suffix + ending)
    return longer


def sync_folder(folder: Path) -> None:
    """Writes the names in a folder to the disk, so that a renamed file is found there after a power failure."""
    if os.name != "posix":
        return
    try:
        with _opened(folder) as descriptor:
            os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def remove_abandoned(folder: Path) -> None:
    """Removes unfinished files that no process holds any more: their writers were killed."""
    with suppress(OSError):  # of a folder that cannot be listed, or with files of other users
        for name in os.listdir(folder):
            if _PART.fullmatch(name):
                _remove_unless_held(folder / name)


def _remove_unless_held(part: Path) -> None:
    """Removes an unfinished file if its lock is free; a writer that has just created it notices, and creates another."""
    if sys.platform != "win32":
        import fcntl

        with suppress(OSError), _opened(part) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if part.is_dir():
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.unlink(missing_ok=True)  # as version 0.1.0 left them


@contextmanager
def _unfinished(target: Path) -> Iterator[Path]:
    """An empty file in a folder of its own beside the target; the folder is locked meanwhile, and removed at the end.

    A folder, because writers may put temporary files of their own beside what they write, and replace it by them.
    """
    folder, lock = _created(target)
    try:
        part = folder / "part"
        part.touch()
        yield part
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _created(target: Path) -> tuple[Path, int | None]:
    """A new folder, and the descriptor that locks it until it is closed."""
    while True:
        folder = _part_of(target)
        folder.mkdir(mode=0o700)
        if sys.platform == "win32":
            return folder, None
        import fcntl

        with suppress(FileNotFoundError):  # it was taken for an abandoned one before it was locked
            lock = os.open(folder, os.O_RDONLY)
            with suppress(OSError):  # a file system without locks, where none is taken for abandoned either
                fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
                return folder, lock
            os.close(lock)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _part_of(target: Path) -> Path:
    """A name in the folder of the target: on the same disk, so that renaming is atomic; used by nobody else."""
    return target.with_name(f".fusedstep-{secrets.token_hex(8)}.part")


def _mode(path: Path) -> int:
    """The kind and permissions of what is there; 0 for nothing. Raises OSError or ValueError for an impossible path."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return 0


def _not_writable(shown: str, error: OSError | ValueError) -> OutputPathError:
    return OutputPathError(
        f"expected a writable path; {shown!r} is not ({_reason(error)}); choose another or change its permissions"
    )


def _reason(error: OSError | ValueError) -> object:
    return (error.strerror if isinstance(error, OSError) else None) or error
