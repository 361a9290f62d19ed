"""The requirements of each extra of this package, and the command that installs them.

The package is on no package index, so the command names the requirements themselves. A test compares the table with
pyproject.toml.
"""

from __future__ import annotations

EXTRAS: dict[str, tuple[str, ...]] = {
    "cuda13": ("cupy-cuda13x>=14", "numba-cuda[cu13]>=0.30", "nvidia-cublas>=13", "ml_dtypes>=0.5"),
    "cuda12": ("cupy-cuda12x>=14", "numba-cuda[cu12]>=0.30", "nvidia-cublas-cu12>=12.4", "ml_dtypes>=0.5"),
    "mkl": ("mkl>=2024.2",),
    "precision": ("ml_dtypes>=0.5",),
    "sklearn": ("scikit-learn>=1.6",),
    "tables": ("pyarrow>=17", "narwhals>=1.30"),
    "plot": ("matplotlib>=3.9",),
    "ensemble": ("joblib>=1.4",),
    "search": ("optuna>=4.1",),
    "onnx": ("onnx>=1.17",),
    "mpi": ("mpi4py>=4",),
    "torch": ("torch>=2.6",),
    "tensorboard": ("tensorboardX>=2.6",),
    "mlflow": ("mlflow-skinny>=3", "sqlalchemy>=2", "alembic>=1.13"),
    "wandb": ("wandb>=0.20",),
}
"""The requirements of each extra that users install, without environment markers."""


def install_line(extra: str) -> str:
    """The command that installs the requirements of an extra.

    Args: extra – a key of EXTRAS.
    Returns: a shell command.

    >>> install_line("tables")
    'pip install "pyarrow>=17" "narwhals>=1.30"'
    """
    return "pip install " + " ".join(f'"{requirement}"' for requirement in EXTRAS[extra])
