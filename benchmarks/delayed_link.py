"""A link with a delay between two network namespaces, where the kernel has no netem; only two_hosts.sh runs this file.

Each namespace gets a TUN device. What the kernel sends into one is written to the other a fixed time later: whole segments of
TCP, up to 64 KB, as between virtual Ethernet devices. Bandwidth is limited by the queues of the devices, not here. The file
imports nothing of the package: no delay before the link is there, and little memory.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import struct
import sys
import time
from collections import deque
from contextlib import suppress

TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4 = 0x01, 0x02
CLONE_NEWNET = 0x40000000
LONGEST = 1 << 17
"""Bytes of a segment with its headers, and more."""


def device(namespace: str, name: str = "link0") -> int:
    """The descriptor of a new TUN device in a namespace, which this process enters."""
    with open(namespace) as found:
        if ctypes.CDLL(None, use_errno=True).setns(found.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI | IFF_VNET_HDR))
    fcntl.ioctl(descriptor, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4)
    return descriptor


def relay(ends: tuple[int, int], delay: float) -> None:
    """Passes packets between two devices until it is killed; delay in seconds, in each direction."""
    other = {ends[0]: ends[1], ends[1]: ends[0]}
    waiting: deque[tuple[float, int, bytes]] = deque()  # in the order in which they are due, as all wait equally long
    while True:
        timeout = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        ready, _, _ = select.select(ends, (), (), timeout)
        now = time.monotonic()
        for end in ready:
            with suppress(BlockingIOError):
                waiting.append((now + delay, other[end], os.read(end, LONGEST)))
        while waiting and waiting[0][0] <= now:
            _, end, packet = waiting.popleft()
            with suppress(OSError):  # of a device that is not up yet: the packet is lost, as on a link
                os.write(end, packet)


if __name__ == "__main__":
    milliseconds, *namespaces = sys.argv[1:]
    with suppress(OSError):  # ahead of the processes that are measured
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    relay((device(namespaces[0]), device(namespaces[1])), float(milliseconds) / 1e3)
