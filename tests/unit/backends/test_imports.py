"""What `import fusedstep` brings along, and how long it takes; measured in fresh processes."""

import json
import os
import statistics
import subprocess
import sys

import pytest

HEAVY = ("numba", "cupy", "sklearn", "pyarrow", "scipy", "typer", "rich", "torch", "jax", "pandas", "matplotlib", "safetensors",
         "optuna", "sqlalchemy")  # fmt: skip


def fresh(code: str, environment: dict[str, str] | None = None) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment).stdout


def loaded(code: str) -> set[str]:
    return set(
        json.loads(fresh(f"import json, sys\n{code}\nprint(json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"))
    )


@pytest.mark.parametrize(
    "code",
    [
        "import fusedstep",
        "import fusedstep as fs; fs.backend('numpy')",
        "import fusedstep as fs; fs.mlp([2, 2]).initialize(0, 'numpy')([[1.0, 2.0]])",
        "import fusedstep as fs; fs.TrainStep(fs.mlp([2, 2]), fs.SoftmaxCrossEntropy(), fs.Adam(), backend='numpy')",
    ],
)
def test_nothing_heavy_is_imported(code):
    assert not loaded(code) & set(HEAVY)


def test_looking_for_backends_does_not_import_unasked():
    # Listing has to try Numba and CuPy; asking for numpy by name must not.
    assert "numba" not in loaded("import fusedstep as fs\nwith fs.use_backend('numpy'): fs.backend()")


def test_every_public_name_exists():
    import fusedstep

    for name in fusedstep.__all__:
        assert getattr(fusedstep, name) is not None
    with pytest.raises(AttributeError):
        fusedstep.no_such_name  # noqa: B018


def test_import_takes_little_longer_than_numpy(record_property, tmp_path):
    # Bytecode as an installation has it: NumPy comes with its own, so a tree without would be compiled anew each time.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def seconds(statement: str) -> float:
        # Of the processor, for others may be using it as well.
        code = f"import time; start = time.process_time(); {statement}; print(time.process_time() - start)"
        return float(fresh(code, environment))

    statements = ("import numpy", "import fusedstep", "import fusedstep; fusedstep.TrainStep; fusedstep.mlp; fusedstep.Adam")
    for statement in statements:
        seconds(statement)
    rounds = [[seconds(statement) for statement in statements] for _ in range(9)]
    numpy, bare, used = (statistics.median(times) for times in zip(*rounds, strict=True))
    record_property("import_seconds", bare)
    print(f"import numpy {numpy:.3f} s, import fusedstep {bare:.3f} s, with the names of a training step {used:.3f} s")
    # Names are loaded at first use, so the bare import is next to nothing; the project's goal of 0.35 s is for the second.
    assert bare < numpy
    assert used < 2.0 * numpy
