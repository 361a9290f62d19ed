"""Maps module names of version 0.1.0 to the current ones, so that its pickles can be loaded."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.abc import Loader, MetaPathFinder
else:
    Loader = MetaPathFinder = object  # importlib.abc imports more than all the rest of `import fusedstep`

MOVED = {
    ("backends", "backends"): "base=contract kept=bounded_cache",
    ("backends", "backends.cuda"): (
        "captured=capture cublaslt cuda_backend=backend cuda_rows=backend cuda_toolchain=toolchain streams"
    ),
    ("backends", "backends.cupy"): "cupy_backend=backend pinned pinned_ring pinned_slots",
    ("backends", "backends.forward_mode"): "dual_backend=backend dual_numbers=numbers",
    ("backends", "backends.numba"): "numba_backend=backend recorder=capture",
    ("backends", "backends.numpy"): "numpy_backend=backend",
    ("backends.cublaslt", "backends.cuda.cublaslt"): (
        "checks choices codes dense device gemms library plan problem products"
    ),
    ("backends.executors", "backends.cuda"): "graph several",
    ("backends.executors", "backends.numba"): "crew=thread_pool pace=thread_count played=plan program=replay rows splitting",
    ("framework", "framework"): "seeing=diagnostics",
    ("framework", "framework.diagnostics"): "plots",
    ("framework", "framework.engine"): (
        "anatomy arena checks diagnosis initializers jacobians micro_batches minibatches model parameter precision "
        "revision=frozen snapshot step step_loss tape training_chain"
    ),
    ("framework", "framework.estimators"): "bagging bagging_file",
    ("framework", "framework.export"): "persistence",
    ("framework", "framework.search"): "rate_search",
    ("framework", "framework.sources"): "feeds",
    ("framework", "framework.training"): "augmentation callbacks history launches pruning schedules stopping trainer",
    ("framework.data", "framework"): "optional",
    ("framework.data", "framework.sources"): "blocks loader memory_map names order parquet_rows row_source",
    ("framework.data", "framework.tables"): (
        "bootstrap bundled columns csv_source idx_source moments npy_source npz_source parquet_source "
        "preprocessing sources=reading splits svmlight_source table target_coding task validation"
    ),
    ("framework.plots", "framework.diagnostics.plots"): "curves layers rates regions style surface",
    ("framework.schedules", "framework.training.schedules"): "base course=runner decay named observed rising",
    ("framework.seeing", "framework.diagnostics"): "layer_statistics loss_surface parameter_path tensorboard units watched",
}
"""(old folder, new folder) -> modules; "a=b" where the name is another one as well."""

ALIASES = {"framework.data": "framework.tables"}
"""Old name -> new name, of modules and folders."""
for (_old, _new), _names in MOVED.items():
    for _name in _names.split():
        _before, _, _after = _name.partition("=")
        ALIASES[f"{_old}.{_before}"] = f"{_new}.{_after or _before}"


CLASSES = {"framework.training.schedules.runner": {"Course": "ScheduleRunner"}}
"""Module, by its new name -> old name of a class -> new name."""


class _Alias(Loader):
    """Gives the module of the new name."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:  # noqa: ARG002
        """See Loader."""
        module = importlib.import_module(self._name)
        self._spec = module.__spec__
        for before, now in CLASSES.get(self._name.removeprefix(f"{__package__}."), {}).items():
            setattr(module, before, getattr(module, now))
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It has been executed already; only what the import system wrote into it is taken back."""
        module.__spec__ = self._spec


class _Finder(MetaPathFinder):
    """Finds modules under their old names."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None  # noqa: ARG002
    ) -> ModuleSpec | None:  # fmt: skip
        """See MetaPathFinder."""
        package, _, rest = name.partition(".")
        if package != __package__ or rest not in ALIASES:
            return None
        return ModuleSpec(name, _Alias(f"{__package__}.{ALIASES[rest]}"))


def install() -> None:
    """Before the other finders: an old folder leads to a new one, in which they would load its modules once more."""
    sys.meta_path.insert(0, _Finder())
