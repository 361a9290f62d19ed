"""The command line: `fusedstep backends | train | predict | compare | bench | profile`, one file a command.

Nothing heavy is imported before a command needs it, so that `fusedstep --help` is quick.
"""

from __future__ import annotations

import io
import sys


def main() -> None:
    """Entry point of the console script."""
    from .application import app

    if isinstance(sys.stdout, io.TextIOWrapper):
        # Where the terminal, or the file that the output goes to, has no arrow or no bullet, it gets a question mark.
        sys.stdout.reconfigure(errors="replace")
    app()
