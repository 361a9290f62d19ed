"""`python -m fusedstep`, the same as the command `fusedstep`."""

from __future__ import annotations

from .framework.cli import main

if __name__ == "__main__":
    main()
