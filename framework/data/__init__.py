"""Data on the host, from a file or bundled set to matrices for a network: sources, task, splits, preprocessing.

Minibatches, device arrays and training live elsewhere; scikit-learn and pyarrow are imported only when needed.
"""

from __future__ import annotations

from .bundled import BUNDLED
from .memory_map import memory_map
from .parquet_rows import ParquetRows
from .preprocessing import Preprocessor
from .row_source import ArrayRows, RowSource
from .sources import EXTENSIONS, load, load_features
from .splits import split
from .table import Dataset, Features, Matrix, Table, Task, as_features
from .task import TASKS, find_task
from .validation import require_finite, require_finite_features

__all__ = [
    "BUNDLED",
    "EXTENSIONS",
    "TASKS",
    "ArrayRows",
    "Dataset",
    "Features",
    "Matrix",
    "ParquetRows",
    "Preprocessor",
    "RowSource",
    "Table",
    "Task",
    "as_features",
    "find_task",
    "load",
    "load_features",
    "memory_map",
    "require_finite",
    "require_finite_features",
    "split",
]
