"""The processor of this machine: its name, and whether Intel made it."""

from __future__ import annotations

import platform
import subprocess
import sys
from functools import cache


@cache
def processor() -> str:
    """The model of the processor, as the system names it."""
    named = _cpuinfo().get("model name")
    if named is None and sys.platform == "darwin":
        named = _sysctl("machdep.cpu.brand_string")
    return named or platform.processor() or platform.machine()


@cache
def is_intel() -> bool:
    """Whether it is known to be one of Intel's."""
    if sys.platform == "darwin":
        return platform.machine() == "x86_64"
    return "GenuineIntel" in (_cpuinfo().get("vendor_id") or platform.processor())


@cache
def _cpuinfo() -> dict[str, str]:
    """What Linux says of the first processor; nothing elsewhere."""
    found: dict[str, str] = {}
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if not line.strip():
                    break
                name, _, value = line.partition(":")
                found[name.strip()] = value.strip()
    except OSError:
        pass
    return found


def _sysctl(name: str) -> str | None:
    try:
        done = subprocess.run(("sysctl", "-n", name), capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
