"""Optional libraries: imported, or only found, when they are first needed.

No other module of this folder imports pyarrow or scikit-learn.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
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
        raise _missing(module.partition(".")[0], extra, purpose, error) from error


def folder_of(package: str, extra: str, purpose: str) -> Path:
    """The folder of an optional package, which is not imported: some take a second, where only a file of theirs is needed.

    Args: package – name without dots; extra, purpose – as for `require`.
    Raises: MissingDependency, as `require`.
    """
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        error = ModuleNotFoundError(f"No module named {package!r}", name=package)
        raise _missing(package, extra, purpose, error) from error
    return Path(found.submodule_search_locations[0])


def _missing(library: str, extra: str, purpose: str, error: ImportError) -> MissingDependency:
    return MissingDependency(
        f"{purpose} needs {library}, which cannot be imported ({error});  {install_line(extra)}"
    )
