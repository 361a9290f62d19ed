"""Every error that fusedstep raises on purpose.

Each one also derives from the built-in class that a reader of the call would expect, and its message says three
things in this order: what was expected, what came, and what to do.
"""

from __future__ import annotations


class FusedstepError(Exception):
    """Base of all errors of this package; `except FusedstepError` catches them and nothing else."""


class UnknownBackend(FusedstepError, ValueError):
    """A backend name that is neither built in nor registered by an entry point."""


class BackendUnavailable(FusedstepError, RuntimeError):
    """A backend that exists but cannot run here; the original cause is chained."""


class DeviceError(FusedstepError, RuntimeError):
    """A library of the device refused a call, or a kernel failed; says which call and what came back."""


class OutOfDeviceMemory(FusedstepError, MemoryError):
    """The device has not enough memory left for what was asked for."""


class MixedBackends(FusedstepError, TypeError):
    """An array of one backend was handed to another without conversion."""


class ShapeError(FusedstepError, ValueError):
    """Array shapes, or the widths of neighbouring layers, do not fit together."""


class DtypeError(FusedstepError, TypeError):
    """An array or option has a data type that cannot be used here."""


class LabelError(FusedstepError, ValueError):
    """Class labels that are out of range, negative, or not whole numbers."""


class EmptyDataError(FusedstepError, ValueError):
    """A data set or minibatch without a single row."""


class NonFiniteDataError(FusedstepError, ValueError):
    """NaN or infinity in the data; says how many and the first row."""


class NonFiniteLossError(FusedstepError, ArithmeticError):
    """NaN or infinity in the loss or the gradient; the parameters of the last good step are kept.

    Attributes: step – number of the failing step, from 1; layer – where it first appeared.
    """

    def __init__(self, message: str, step: int = 0, layer: str = "") -> None:
        super().__init__(message)
        self.step = step
        self.layer = layer


class HyperparameterError(FusedstepError, ValueError):
    """A setting outside the range in which it makes sense (a learning rate of 0, a dropout share of 1)."""


class StateError(FusedstepError, RuntimeError):
    """A call that needs something done first, such as parameters that were never initialised."""


class NotDifferentiable(FusedstepError, TypeError):
    """A second derivative was asked for of an operation, layer or loss that has none here."""


class TooLarge(FusedstepError, MemoryError):
    """A matrix of all pairs of parameters that would not fit; says how many bytes and operations it would take."""


class DataFileError(FusedstepError, ValueError):
    """A data file that is missing, truncated, ragged, or not of the format that its name says."""


class UnknownColumn(FusedstepError, KeyError):
    """A column name that the table does not have."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ModelFileError(FusedstepError, ValueError):
    """A model file that is truncated, foreign, or of another version."""


class OutputPathError(FusedstepError, OSError):
    """A path that cannot be written."""


class MissingDependency(FusedstepError, ImportError):
    """An optional library that this call needs; the message ends with the line that installs it."""
