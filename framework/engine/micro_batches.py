"""Number of rows processed at a time: a whole minibatch, parts of a given size, or as many as fit into memory."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, TypeVar

from ...backends import Backend
from ...errors import HyperparameterError
from ..settings import whole

Result = TypeVar("Result")

AUTO = "auto"


class MicroBatches:
    """The number of rows of micro-batches, and the response to running out of memory.

    Args: setting – None: never split; a number: parts of at most that many rows; "auto": split only if memory runs out, then
        into half as many rows, and so on; backend – recognises out-of-memory errors; forget – releases all buffers of the step.
    Attributes: setting; largest – the size found by "auto", None if nothing was split so far.
    """

    def __init__(self, setting: int | str | None, backend: Backend, forget: Callable[[], Any]) -> None:
        self.setting = checked(setting)
        self.largest: int | None = None
        self._backend = backend
        self._forget = forget

    def rows(self, batch: int) -> int:
        """Number of rows of a micro-batch, for a minibatch of that many rows."""
        limit = self.largest if self.setting == AUTO else self.setting
        return batch if limit is None else min(batch, int(limit))

    def __repr__(self) -> str:
        return f"MicroBatches({self.setting!r}, largest={self.largest})"

    def attempt(self, batch: int, work: Callable[[int], Result]) -> Result:
        """The result of `work(rows)`; with "auto", a call that runs out of memory is repeated with half as many rows.

        Args: batch – rows of the minibatch; work – function of the rows of a micro-batch; must change nothing if it fails.
        """
        while True:
            size = self.rows(batch)
            try:
                return work(size)
            except Exception as error:
                if self.setting != AUTO or size == 1 or not self._backend.out_of_memory(error):
                    raise
                reason = f"{type(error).__name__}: {error}"
            # Only here, after the `except` block, are the traceback of the failed attempt and its arrays freed.
            self.largest = -(-size // 2)
            self._forget()
            gc.collect()
            self._backend.trim_memory()
            import logging  # which the import of the package does without

            logging.getLogger("fusedstep").warning(
                "micro_batch auto: not enough memory for %d rows at a time (%s); going on with %d, with the same result",
                size, reason, self.largest,
            )  # fmt: skip


def checked(setting: Any) -> int | str | None:
    """The setting, checked; raises HyperparameterError if it is invalid."""
    if setting is None or setting == AUTO:
        return setting  # type: ignore[no-any-return]
    if isinstance(setting, str):
        raise HyperparameterError(
            f'expected micro_batch to be a number of rows, "auto" or None; got {setting!r}; write micro_batch="auto"'
        )
    return whole(setting, "micro_batch")
