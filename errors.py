"""The exceptions of fusedstep.

Each class also derives from the matching built-in exception. A message states, in this order, what was expected, what was
received, and what to do.
"""

from __future__ import annotations


class FusedstepError(Exception):
    """Base class of all errors of this package; `except FusedstepError` catches exactly these."""


class UnknownAttribute(FusedstepError, AttributeError):
    """A name that another library uses; the message gives the name that does the same here."""


class UnknownArgument(FusedstepError, TypeError):
    """An argument that a function or class does not take, or not in that place; the message says which does the same here."""


class UnknownBackend(FusedstepError, ValueError):
    """A backend name that is neither built in nor registered by an entry point."""


class BackendUnavailable(FusedstepError, RuntimeError):
    """A backend that exists but cannot run on this machine; the original exception is chained."""


class DeviceError(FusedstepError, RuntimeError):
    """A device library returned an error, or a kernel failed; the message states the call and the error."""


class OutOfDeviceMemory(FusedstepError, MemoryError):
    """The device does not have enough free memory for the request."""


class MixedBackends(FusedstepError, TypeError):
    """An array of one backend was passed to another without conversion."""


class ShapeError(FusedstepError, ValueError):
    """Array shapes, or the widths of adjacent layers, do not match."""


class DtypeError(FusedstepError, TypeError):
    """An array or option has an unsupported data type."""


class LabelError(FusedstepError, ValueError):
    """Class labels that are out of range, negative, or not integers."""


class CategoryError(FusedstepError, ValueError):
    """Codes of categories that are out of range, negative, or not integers."""


class SampleWeightError(FusedstepError, ValueError):
    """Weights of rows that are negative, NaN or infinite, or all 0."""


class EmptyDataError(FusedstepError, ValueError):
    """A data set or minibatch without rows."""


class NonFiniteDataError(FusedstepError, ValueError):
    """NaN or infinity in the data; the message states how many and the first row."""


class NonFiniteLossError(FusedstepError, ArithmeticError):
    """NaN or infinity in the loss, the gradient or an update; parameters and optimiser state of the last valid step are kept.

    Attributes: step – number of the failing step, counted from 1; layer – where the value first appeared; what – what is not
        finite, in words.
    """

    def __init__(self, message: str, step: int = 0, layer: str = "", what: str = "") -> None:
        super().__init__(message)
        self.step = step
        self.layer = layer
        self.what = what


class HyperparameterError(FusedstepError, ValueError):
    """A setting outside its valid range (a learning rate of 0, a dropout fraction of 1)."""


class StateError(FusedstepError, RuntimeError):
    """A call that is not possible in the current state, such as training with parameters that are not initialised."""


class ProcessesDiffer(FusedstepError, ValueError):
    """Processes that train together were started with other data, settings, versions or backends."""


class NotDifferentiable(FusedstepError, TypeError):
    """A second derivative was requested of an operation, layer or loss that does not provide one."""


class TooLarge(FusedstepError, MemoryError):
    """A matrix over all pairs of parameters would be too large; the message states the bytes and operations needed."""


class DataFileError(FusedstepError, ValueError):
    """A data file that is missing, truncated, ragged, or not in the format that its name implies."""


class UnknownColumn(FusedstepError, KeyError):
    """A column name that does not exist in the table."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ModelFileError(FusedstepError, ValueError):
    """A model file that is truncated, of an unsupported version, or not written by this package."""


class ExportError(FusedstepError, TypeError):
    """A layer, module or column that the format or library to convert to cannot represent."""


class CheckpointError(FusedstepError, ValueError):
    """A checkpoint that is missing, damaged, of a newer version or of another training, or a folder that has one already."""


class OutputPathError(FusedstepError, OSError):
    """A path that cannot be written to."""


class MissingDependency(FusedstepError, ImportError):
    """An optional library that is required but missing; the message ends with the command that installs it."""
