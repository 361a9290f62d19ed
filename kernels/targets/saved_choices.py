"""A JSON file next to the generated kernels with the choices that were measured to be fastest on one device or processor.

Several processes may write to it at the same time. A file that is missing, damaged or of another version counts as empty: its
choices can be measured again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from . import cache

Choice = TypeVar("Choice")


class SavedChoices(Generic[Choice]):
    """The file of one kind of choices.

    Args: kind – with which the file's name starts; version – of what is saved; identity – device or processor and versions of
        libraries, in words; load – a choice from its name and JSON value, raising ValueError, KeyError or TypeError for
        anything that `dump` would not have written; dump – the JSON value of a choice.
    """

    def __init__(
        self, kind: str, version: int, identity: str, load: Callable[[str, Any], Choice], dump: Callable[[Choice], Any]
    ) -> None:
        self._file = f"{kind}_{cache.digest(identity)}.json"
        self._header = {"format": f"fusedstep.{kind}", "version": version, "identity": identity}
        self._load, self._dump = load, dump

    def read(self) -> dict[str, Choice]:
        """The choices by name."""
        content = cache.read(self._file)
        try:
            given: Any = json.loads(content or b"")
            if any(given[key] != value for key, value in self._header.items()):
                return {}
            return {name: self._load(name, saved) for name, saved in given["choices"].items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}

    def add(self, choices: Mapping[str, Choice]) -> None:
        """Writes these as well; other processes may have written to the file meanwhile."""
        table = {**self.read(), **choices}
        text = {**self._header, "choices": {name: self._dump(choice) for name, choice in sorted(table.items())}}
        cache.write(self._file, json.dumps(text, indent=1).encode())
