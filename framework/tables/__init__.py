"""Tables on the host, from a file or bundled set to matrices for a network: reading, task, splits, preprocessing.

Rows that are read on demand are in framework/sources; minibatches, device arrays and training are elsewhere. scikit-learn and
pyarrow are imported only when needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from .bundled import BUNDLED
    from .preprocessing import Preprocessor
    from .reading import load, load_features
    from .source_files import EXTENSIONS
    from .splits import split
    from .table import Dataset, Features, Matrix, Table, Task, as_features
    from .task import TASKS, find_task
    from .validation import require_finite, require_no_infinity

# Loaded at first use: a training step needs little of this package.
__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs={
    "bundled": ["BUNDLED"],
    "preprocessing": ["Preprocessor"],
    "reading": ["load", "load_features"],
    "source_files": ["EXTENSIONS"],
    "splits": ["split"],
    "table": ["Dataset", "Features", "Matrix", "Table", "Task", "as_features"],
    "task": ["TASKS", "find_task"],
    "validation": ["require_finite", "require_no_infinity"],
})  # fmt: skip

__all__ = [
    "BUNDLED", "EXTENSIONS", "TASKS", "Dataset", "Features", "Matrix", "Preprocessor", "Table", "Task", "as_features",
    "find_task", "load", "load_features", "require_finite", "require_no_infinity", "split",
]  # fmt: skip
