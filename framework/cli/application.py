"""The application: its commands, its help, and how errors reach the terminal.

Errors that a user can fix are printed as one line on stderr, with exit code 2. The commands themselves are in other files.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ...errors import FusedstepError
from .backends_command import backends
from .compare_command import compare
from .declared import command
from .example_command import example
from .export_command import export
from .find_lr_command import find_lr
from .later import LATER, STYLE, Later
from .options import DEBUG_KEY, Debug
from .predict_command import predict
from .search_command import search
from .single_values import Command
from .train_command import train

HELP = """Train multi-layer perceptrons, on a CPU or a CUDA GPU with the same commands and the same numbers.

**Start here**

- `fusedstep train digits` trains on a bundled data set
- `fusedstep train people.csv --target income` trains on your data
- `fusedstep predict people.safetensors new.csv -o answers.csv` makes predictions with the trained model
- `fusedstep export people.safetensors people.onnx` writes it for onnxruntime, with its columns and labels
- `fusedstep find-lr digits` suggests a learning rate; `fusedstep search digits` also tries optimisers, schedules and networks
- `fusedstep example --list` lists the experiments of the lecture notes
- `fusedstep bench` measures how fast steps are on this machine
- `fusedstep COMMAND --help` explains a command

By default, the best backend that works on this machine is used; `FUSEDSTEP_BACKEND=NAME` or `--backend NAME` selects another.
"""

FAILED = 2
"""Exit status after an error that users can fix."""

_SILENT = logging.NullHandler()

_UsageError: Any = typer.BadParameter.__base__
"""The class from click, which is a separate package or a part of typer, depending on the version of typer."""


class _Group(TyperGroup):
    """Prints errors that a user can fix as one line, with exit code 2; knows commands of higher layers only by name."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The commands of this package, then those that are loaded on first use."""
        return [*super().list_commands(ctx), *LATER]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, or None."""
        return Later(cmd_name) if cmd_name in LATER else super().get_command(ctx, cmd_name)

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parses the options before the command; without any argument, shows the help."""
        with _one_line(None):
            return super().make_context(info_name, args or ["--help"], parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Runs the command."""
        # The commands themselves report a fallback, in one place and in fewer words.
        logging.getLogger("fusedstep").addHandler(_SILENT)
        with _one_line(ctx):
            return super().invoke(ctx)


@contextmanager
def _one_line(ctx: Any) -> Iterator[None]:
    """Ends the program with a one-line message for errors that users can fix; other errors keep their traceback."""
    try:
        yield
    except BrokenPipeError:
        raise  # the reader of the output closed the pipe, as `head` does
    except (FusedstepError, MemoryError, OSError, KeyboardInterrupt, _UsageError) as error:
        context = ctx or getattr(error, "ctx", None)
        if context is not None and context.meta.get(DEBUG_KEY):
            traceback.print_exc()
        from .processes import tell_others

        message = " ".join(_message(error).split())
        tell_others(message, FAILED)
        print("error: " + message, file=sys.stderr)
        raise typer.Exit(FAILED) from error


def _message(error: BaseException) -> str:
    if isinstance(error, FusedstepError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        # Commands that write files while they run say in the message which ones exist.
        return f"stopped from the keyboard; {str(error) or 'no file was written; run the command again to start over'}"
    if isinstance(error, MemoryError):
        what = f" ({error})" if str(error) else ""
        return (
            f"expected data and network to fit in memory; they do not{what}; use fewer rows or columns, "
            "or a smaller --hidden or --batch-size"
        )
    if isinstance(error, OSError):
        if not _has_working_folder():
            return "expected a working folder that exists; it was removed; change to another (cd) and run the command again"
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}expected to read or write; the system refused ({error.strerror or error}); check path and permissions"
    usage: Any = error
    command = usage.ctx.command_path if usage.ctx is not None else "fusedstep"
    instead = _instead(usage)  # in place of options that only look alike
    return f"{usage.message if instead else usage.format_message().rstrip('.')}{instead}; see {command} --help"


def _instead(usage: Any) -> str:
    """What an option is called here that other libraries call as the one that does not exist."""
    wrong = getattr(usage, "option_name", None)
    if wrong is None or usage.ctx is None:
        return ""
    from ...synonyms import argument_of

    options = (option for parameter in usage.ctx.command.params for option in parameter.opts)
    known = [option[2:].replace("-", "_") for option in options if option.startswith("--")]
    name = argument_of(wrong.lstrip("-").replace("-", "_"), known, "prediction").removeprefix("write ").removesuffix("=")
    return f"; write --{name.replace('_', '-')}" if name in known else ""


def _has_working_folder() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


app = typer.Typer(name="fusedstep", cls=_Group, help=HELP, **STYLE)
for _run in (backends, train, predict, export, find_lr, search, compare, example):
    app.command(_run.__name__.replace("_", "-"), cls=Command)(command(_run))


def _version(wanted: bool) -> None:
    if wanted:
        from ... import __version__

        print(f"fusedstep {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: Debug = False,
) -> None:
    del version, debug
