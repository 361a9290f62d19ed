"""What commands that write checkpoints print about them on stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def checkpoint_notes(folder: Path | None) -> Iterator[None]:
    """Prints what happens to checkpoints, and where one is when a signal has ended the command."""
    logger, handler = logging.getLogger("fusedstep.checkpoint"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("note: %(message)s"))
    logger.addHandler(handler)
    try:
        yield
    except SystemExit:
        print(f"note: ended by a signal; a checkpoint is in {folder}; --resume goes on from there", file=sys.stderr)
        raise
    finally:
        logger.removeHandler(handler)
