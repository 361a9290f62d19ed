"""Imports optional libraries when they are first needed.

No other module of this folder imports pyarrow or scikit-learn.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..errors import MissingDependency
from ..extras import install_line


def require(module: str, extra: str, purpose: str) -> Any:
    """Import an optional module.

    Args: module – dotted name; extra – the extra of this package that installs it; purpose – what needs it, for the message.
    Returns: the module.
    Raises: MissingDependency with the install command; the original ImportError is chained.
    """
    try:
        return import_module(module)
    except ImportError as error:
        library = module.partition(".")[0]
        raise MissingDependency(
            f"{purpose} needs {library}, which cannot be imported ({error});  {install_line(extra)}"
        ) from error
