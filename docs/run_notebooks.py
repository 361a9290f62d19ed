"""Runs the notebooks of docs/notebooks and stores what they show: `python docs/run_notebooks.py [NAME …]`."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

NOTEBOOKS = Path(__file__).parent / "notebooks"


def executed(path: Path, folder: str) -> Any:
    """The notebook with the outputs of a run in a new kernel; nbclient raises CellExecutionError if a cell fails."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, record_timing=False, resources={"metadata": {"path": folder}}).execute()
    notebook.metadata.pop("language_info", None)  # the version of Python
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if worth_storing(output)]
    return notebook


def worth_storing(output: Any) -> bool:
    """Whether an output is neither a warning nor a progress bar, which has gone."""
    data = output.get("data", {})
    return output.get("name") != "stderr" and ("text/html" not in data or bool(data["text/html"]))


if __name__ == "__main__":
    import nbformat

    os.environ["FUSEDSTEP_BACKEND"] = "numba"
    for name in sys.argv[1:] or sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as work:
            nbformat.write(executed(NOTEBOOKS / f"{name}.ipynb", work), NOTEBOOKS / f"{name}.ipynb")
