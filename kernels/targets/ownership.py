"""Whether files and folders belong to the user and cannot be changed by others, on POSIX systems.

Windows has no owner and mode of that kind: everything passes there. The folders of a user's profile, which are the default, are
closed to other users by their access control lists.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

POSIX = os.name == "posix"
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_READ = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_BINARY", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK"))
"""A link is not followed, and a pipe is not waited for."""


def why_not_private(folder: Path) -> str:
    """How other users could change the contents of a folder, in words; "" if only its owner, who is this user, can.

    Everything on the way to the folder counts, including symbolic links: whoever can rename a part of the path can put another
    folder there. Folders and links of root are accepted on the way, and so are folders with the sticky bit, such as /tmp.
    """
    if not POSIX:
        return ""
    try:
        folder.stat()  # raises an error for links in a circle
        *way, last = _places(folder)
        problems = [*(_problem(place, last=False) for place in way), _problem(last, last=True)]
    except OSError as error:
        return f"{str(folder)!r} cannot be examined ({error})"
    return next(filter(None, problems), "")


def _places(path: Path) -> Iterator[Path]:
    """Every folder and symbolic link that a path leads through, the folder itself last."""
    for place in (*reversed(path.parents), path):
        yield place
        if place.is_symlink():
            yield from _places(place.parent / os.readlink(place))


def _problem(place: Path, last: bool) -> str:
    status = place.lstat()
    if status.st_uid != os.geteuid() and (last or status.st_uid != 0):
        return f"{str(place)!r} belongs to another user ({status.st_uid})"
    if stat.S_ISLNK(status.st_mode):
        return ""
    if status.st_mode & _OTHERS_WRITE and (last or not status.st_mode & stat.S_ISVTX) and not _group_is_private(place, status):
        return f"others can write to {str(place)!r} (mode {stat.S_IMODE(status.st_mode):03o})"
    return ""


def _group_is_private(place: Path, status: os.stat_result) -> bool:
    """Whether only the group can write, and that is the user's own: many systems create such a group for each user."""
    import grp
    import pwd

    if status.st_mode & stat.S_IWOTH or status.st_uid != os.geteuid() or status.st_gid != status.st_uid:
        return False
    if hasattr(os, "listxattr") and "system.posix_acl_access" in os.listxattr(place):
        return False  # the bits of the group then say what other users and groups may do
    try:
        user, group = pwd.getpwuid(status.st_uid), grp.getgrgid(status.st_gid)
    except KeyError:
        return False
    return user.pw_gid == status.st_gid and user.pw_name == group.gr_name and set(group.gr_mem) <= {user.pw_name}


def is_private_file(status: os.stat_result) -> bool:
    """Whether that is a plain file of this user that nobody else can write to."""
    if not stat.S_ISREG(status.st_mode):
        return False
    return not POSIX or (status.st_uid == os.geteuid() and not status.st_mode & _OTHERS_WRITE)


def read_private(path: Path, most: int) -> bytes | None:
    """The content of a private file of at most so many bytes; None for any other file; raises OSError if it cannot be read."""
    with open(os.open(path, _READ), "rb") as file:
        status = os.fstat(file.fileno())
        return file.read() if is_private_file(status) and status.st_size <= most else None
