"""The example backend as another package would bring it along: importable, and registered by an entry point."""

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))


@pytest.fixture
def registered(monkeypatch):
    """The example backend registered under "strict", as if its package were installed."""
    from fusedstep.backends import selection

    entry = EntryPoint("strict", "strict_backend:StrictBackend", selection.ENTRY_POINTS)
    caches = (selection._registered, selection.backend_class, selection._instance, selection.why_not)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [entry] if group == entry.group else [])
    for cached in caches:
        cached.cache_clear()
    yield "strict"
    monkeypatch.undo()
    for cached in caches:
        cached.cache_clear()
