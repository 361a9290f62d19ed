"""The command line: `fusedstep backends | train | predict | compare | bench | profile`, one file a command.

Nothing heavy is imported before a command needs it, so that `fusedstep --help` is quick.
"""

from __future__ import annotations


def main() -> None:
    """Entry point of the console script."""
    from .application import app

    app()
