"""What the estimators take from scikit-learn; without it, classes of the same names of which no instance can be made.

So all public names of the package can be imported on machines without scikit-learn.
"""

from __future__ import annotations

from typing import Any

from ..optional import require

try:
    from sklearn import utils
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import multiclass, validation
except ImportError:

    class _NotInstalled:
        def __new__(cls, *_args: Any, **_settings: Any) -> Any:
            """Raises MissingDependency."""
            return require("sklearn", "sklearn", "an estimator with scikit-learn's interface")

    class BaseEstimator(_NotInstalled):  # type: ignore[no-redef]
        """Stands for the base class."""

    class ClassifierMixin(_NotInstalled):  # type: ignore[no-redef]
        """Stands for the mixin."""

    class RegressorMixin(_NotInstalled):  # type: ignore[no-redef]
        """Stands for the mixin."""

    utils = multiclass = validation = None

__all__ = ["BaseEstimator", "ClassifierMixin", "RegressorMixin", "multiclass", "utils", "validation"]
