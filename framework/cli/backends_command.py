"""`fusedstep backends`: which backends work on this machine, why others do not, and which one is in use."""

from __future__ import annotations

from .options import BackendName


def backends(backend: BackendName = None) -> None:
    """Show which backends work on this machine, why others do not, and which one is in use."""
    from rich.markup import escape
    from rich.table import Table

    from ...backends import backend as find
    from ...backends import backends as all_backends
    from ...backends.selection import AUTO_ORDER, BUILT_IN, backend_class
    from ...extras import install_line
    from ...kernels.targets.gemm_choices import in_words, saved_blas_choices
    from .console import new_console

    console = new_console()
    table = Table("backend", "works", "device", "problem and fix", show_lines=True)
    for name, problem in all_backends().items():
        device = backend_class(name).device if problem is None or name in BUILT_IN else "?"
        if problem is None:
            table.add_row(f"[bold]{escape(name)}[/bold]", "[green]yes[/green]", device, "")
        else:
            what = f"{escape(problem.reason)}\n[cyan]{escape(problem.remedy)}[/cyan]"
            table.add_row(escape(name), "[red]no[/red]", device, what)
    console.print(table)
    chosen = find(backend)
    console.print(f"In use now: [bold]{escape(chosen.name)}[/bold] ({escape(why(backend, chosen.name))})")
    library = getattr(chosen, "blas", "")
    if library:
        console.print(f"BLAS library: [bold]{escape(library)}[/bold]; FUSEDSTEP_BLAS=numpy or mkl selects another.")
        timed = in_words(saved_blas_choices()) if chosen.name == "numba" else ""
        if timed:
            console.print(f"Faster in the captured passes of this machine, by measurement: [bold]{timed}[/bold].")
        if lacks_mkl():
            console.print(escape(f"On Intel processors oneMKL is often faster: {install_line('mkl')}"))
    console.print("auto selects the first of these that works: " + ", ".join(AUTO_ORDER) + ".")
    console.print("Select another backend with FUSEDSTEP_BACKEND=NAME or --backend NAME.")


def lacks_mkl() -> bool:
    """Whether the package `mkl` could be installed on this machine, but is not."""
    import platform
    from importlib import metadata

    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    try:
        metadata.version("mkl")
    except metadata.PackageNotFoundError:
        return True
    return False


def why(argument: str | None, chosen: str) -> str:
    """Why this backend is in use, in a few words; backends that are not installed are not mentioned.

    Args: argument – the value of --backend, or None; chosen – the name of the backend in use.
    """
    from ...backends.selection import AUTO_ORDER, VARIABLE, requested, why_not

    if argument not in (None, "auto"):
        return "set by --backend"
    if argument is None and requested() != "auto":
        return f"set by {VARIABLE}={requested()}"
    refused: dict[str, list[str]] = {}
    for name in AUTO_ORDER[: AUTO_ORDER.index(chosen)]:
        problem = why_not(name)
        if problem is not None and problem.expected:
            refused.setdefault(problem.reason.partition(" (")[0], []).append(name)
    return "auto" + "".join(f"; not {' or '.join(names)}: {reason}" for reason, names in refused.items())
