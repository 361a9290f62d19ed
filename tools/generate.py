"""What follows from the registries of layers, losses and optimisers: the public stub, help texts, lists and tables of the docs;
and from the benchmark reports: the results in docs/performance.md and docs/scale.md.

`python -m fusedstep.tools.generate` writes it, and the table of registers with it; a test compares what is committed.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..framework.layers import LAYERS
from ..framework.layers.activations import ACTIVATION_LAYERS
from ..framework.layers.softmax import Softmax
from ..framework.losses import LOSSES
from ..framework.optimizers import OPTIMIZERS
from ..kernels.formulas.activations import ACTIVATIONS
from . import measured, ptx, register_table

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = __package__.removesuffix(".tools")
END = "<!-- end -->"
COMMAND = "python -m fusedstep.tools.generate"

SYMBOLS = {
    r"weight_decay": "λ", r"\btheta\b": "θ", r"\blr\b": "η", r"\blr_t\b": "ηₜ", r"\balpha\b": "α", r"\bbeta\b": "β",
    r"\bgamma\b": "γ", r"\brho_t\b": "ρₜ", r"\brho\b": "ρ", r"\beps(?:ilon)?\b": "ε", r"\bPhi\b": "Φ", r"\bphi\b": "φ",
    r"\bsum over j of\b": "Σⱼ",
    r"\bb1\b": "β₁", r"\bb2\b": "β₂", r"_k\b": "ₖ", r"_j\b": "ⱼ",
    r"\^\(t\+1\)": "ᵗ⁺¹", r"\^t\b": "ᵗ", r"\^-x\b": "⁻ˣ", r"\^x\b": "ˣ", r"\^2\b": "²", r"\^3\b": "³",
    r"\b([mv])\^": "\\1\u0302", r"sqrt\((\w)\)": r"√\1", r"\bsqrt\b": "√", r"\|\|": "‖", r"\|": r"\|", r"<=": "≤", r"<": "&lt;",
    r"(?<=\s)-(?==|\s)": "−",
}  # fmt: skip
"""How the formulas of docstrings are set in the tables."""


def built_in(registry: Mapping[str, type]) -> dict[str, type]:
    """Our own classes by their names, in alphabetical order; in a running process there may be others."""
    own = [cls for cls in registry.values() if cls.__module__.startswith(f"{PACKAGE}.")]
    return {cls.__name__: cls for cls in sorted(own, key=lambda cls: cls.__name__.lower()) if not cls.__name__.startswith("_")}


def activations() -> dict[str, Any]:
    """All activation layers."""
    return built_in({**ACTIVATION_LAYERS, "softmax": Softmax})


def in_symbols(text: str | None) -> str:
    """The formula that a docstring begins with, in the symbols of the field, without the full stop."""
    first = re.split(r"\n\s*\n|\s(?:Source|Args|Differs from):", text or "", maxsplit=1)[0]
    for pattern, symbol in SYMBOLS.items():
        first = re.sub(pattern, symbol, first)
    return " ".join(first.split()).removesuffix(".")


def optimizer_table() -> str:
    """| optimiser | rule |."""
    rows = [f"| `fs.{name}` | {in_symbols(cls.__doc__)} |" for name, cls in built_in(OPTIMIZERS).items()]
    return "\n".join(["| optimiser | rule |", "|---|---|", *rows])


def activation_table() -> str:
    """| layer | value | derivative |."""
    rows = []
    for name, cls in activations().items():
        row = ACTIVATIONS.get(getattr(cls, "short_name", ""))
        derivative = cls.backward.__doc__ if row is None else row.derivative.__doc__
        parts = (in_symbols(text) for text in (cls.__doc__, derivative))
        value, derivative = (re.sub(r"^(?:y|dy/dx) = ", "", part) for part in parts)
        rows.append(f"| `fs.{name}` | {value} | {derivative} |")
    return "\n".join(["| layer | y | dy/dx, in what is stored |", "|---|---|---|", *rows])


def reference(names: Iterable[str]) -> str:
    """The entries of classes in the reference."""
    return "\n\n".join(f"::: {PACKAGE}.{name}\n    options: {{members: false}}" for name in names)


def public(names: Iterable[str]) -> str:
    """A cell of the table of features."""
    return " ".join(f"`fs.{name}`" for name in names)


def replaced(text: str, before: str, after: str, new: str) -> str:
    """The text with `new` between two marks, of which the first stands there once."""
    head, found, rest = text.partition(before)
    _, ended, tail = rest.partition(after)
    if not found or not ended or before in rest:
        raise ValueError(f"expected {before!r}, and {after!r} behind it, once; put the marks back")
    return f"{head}{before}{new}{after}{tail}"


def pages() -> dict[str, list[tuple[str, str, str]]]:
    """Page -> (mark before, mark after, what stands between them)."""
    features = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
    earlier = set(re.findall(r"`fs\.(\w+)`", "".join(re.findall(r"^\| C[2-5] \|.*$", features, re.M))))
    others = [name for name in built_in(OPTIMIZERS) if name not in earlier]
    block = f"<!-- written by {COMMAND}: {{}} -->\n\n"
    return {
        "docs/index.md": [
            (f"| {what} | `", "`", " ".join(built_in(registry)))
            for what, registry in (("layers", LAYERS), ("losses", LOSSES), ("optimisers", OPTIMIZERS))
        ],
        "docs/features.md": [
            ("| A2 | Activations; the derivative of ReLU at 0 is 0 | ", " | ", public(activations())),
            ("| C6 | Adam and its relatives, sign descent and others | ", " | ", public(others)),
        ],
        "docs/reference/layers.md": [(block.format("layers"), f"\n\n{END}", reference(built_in(LAYERS)))],
        "docs/reference/losses.md": [(block.format("losses"), f"\n\n{END}", reference(built_in(LOSSES)))],
        "docs/reference/optimisers.md": [(block.format("optimisers"), f"\n\n{END}", reference(built_in(OPTIMIZERS)))],
        "docs/mathematics/layers.md": [(block.format("activations"), f"\n\n{END}", activation_table())],
        "docs/performance.md": [(block.format("results"), f"\n\n{END}", measured.section(ROOT / "benchmarks" / "results"))],
        "docs/scale.md": [(block.format("the model"), f"\n\n{END}", measured.model(ROOT / "benchmarks" / "results"))],
        "docs/mathematics/optimisers.md": [(block.format("optimisers"), f"\n\n{END}", optimizer_table())],
    }


def stub() -> str:
    """The public stub: what it names already, and all that is registered, from the files that define it."""
    text = (ROOT / "__init__.pyi").read_text(encoding="utf-8")
    registered = {
        name: f".{cls.__module__.removeprefix(f'{PACKAGE}.')}"
        for registry in (LAYERS, LOSSES, OPTIMIZERS)
        for name, cls in built_in(registry).items()
    }
    names: dict[str, set[str]] = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                names.setdefault(registered.get(alias.name, f".{node.module}"), set()).add(alias.name)
    for name, module in registered.items():
        names.setdefault(module, set()).add(name)
    imports = []
    for module in sorted(names):
        order = sorted(names[module], key=lambda name: (not name.isupper(), name[0].islower(), name.lower()))
        imports.append(f"from {module} import (\n" + "".join(f"    {name} as {name},\n" for name in order) + ")\n")
    head = f"# Layers, losses and optimisers are entered by `{COMMAND}`, which also sorts what is entered by hand.\n"
    return head + "".join(imports) + "\n__version__: str\n"


def help_names() -> str:
    """framework/cli/names.py: what options may be."""
    short = sorted(name for name, cls in ACTIVATION_LAYERS.items() if cls in built_in(ACTIVATION_LAYERS).values())
    lines = [f'"""What options may be, for help texts that import no layers; written by `{COMMAND}`."""', ""]
    for constant, names in (("ACTIVATIONS", short), ("OPTIMIZERS", list(built_in(OPTIMIZERS)))):
        wrapped = textwrap.wrap(", ".join(names[:-1]) + f" or {names[-1]}", 110, break_on_hyphens=False)
        inner = "\n".join(f'    "{line}{"" if line is wrapped[-1] else " "}"' for line in wrapped)
        lines.append(f"{constant} = (\n{inner}\n)" if len(wrapped) > 1 else f'{constant} = "{wrapped[0]}"')
    return "\n".join(lines) + "\n"


def generated() -> dict[str, str]:
    """File -> its whole text, as the registries have it now."""
    files = {"__init__.pyi": stub(), "framework/cli/names.py": help_names()}
    for page, parts in pages().items():
        files[page] = (ROOT / page).read_text(encoding="utf-8")
        for before, after, new in parts:
            files[page] = replaced(files[page], before, after, new)
    return files


def main() -> int:
    """Writes the files that are not as the registries have them, then the table of registers, where ptxas is installed."""
    for name, text in generated().items():
        if not (ROOT / name).exists() or (ROOT / name).read_text(encoding="utf-8") != text:
            (ROOT / name).write_text(text, encoding="utf-8")
            print(f"wrote {name}")
    if ptx.find_ptxas() is None:
        print("The table of registers needs ptxas: pip install nvidia-cuda-nvcc", file=sys.stderr)
        return 2
    return register_table.main([])


if __name__ == "__main__":
    sys.exit(main())
