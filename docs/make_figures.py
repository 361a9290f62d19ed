"""Makes the figures of the gallery: runs `fusedstep example NAME` for each, and writes docs/figures/NAME.png.

    python docs/make_figures.py [NAME ...]

The names are those of the page docs/gallery.md. It ends with an error where an example is missing, fails, or draws nothing.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent


def names() -> list[str]:
    """The examples that the gallery shows, in its order."""
    return re.findall(r"^## `(\S+)`", (DOCS / "gallery.md").read_text(encoding="utf-8"), re.M)


def make(name: str) -> None:
    """One figure, from the command that a reader would type."""
    target = DOCS / "figures" / f"{name}.png"
    target.unlink(missing_ok=True)
    done = subprocess.run([sys.executable, "-m", "fusedstep", "example", name, "--out", str(target.parent)], check=False)
    if done.returncode:
        raise SystemExit(f"`fusedstep example {name}` ended with code {done.returncode}; fusedstep example --list names all")
    if not target.is_file():
        raise SystemExit(f"`fusedstep example {name}` wrote no {target}")


if __name__ == "__main__":
    for wanted in sys.argv[1:] or names():
        make(wanted)
