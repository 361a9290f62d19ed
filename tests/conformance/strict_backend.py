"""An example of a backend that another package brings along: `array_api_strict`, a slow but pedantic array library.

Everything runs through the base class. A real backend would override what its library does better.
"""

from __future__ import annotations

from typing import ClassVar

from fusedstep.backends import Backend, Unavailable


class StrictBackend(Backend):
    """Arrays of array_api_strict, which refuses whatever the array API standard does not promise."""

    name: ClassVar[str] = "strict"

    def __init__(self) -> None:
        import array_api_strict

        super().__init__(array_api_strict)

    @classmethod
    def unavailable(cls) -> Unavailable | None:
        """The reason why it cannot run here, and the command that mends it."""
        try:
            import array_api_strict  # noqa: F401
        except ImportError as error:
            return Unavailable(f"array_api_strict cannot be imported ({error})", "pip install array-api-strict", error)
        return None
