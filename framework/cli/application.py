"""The application: its commands, its help, and how errors reach the terminal.

Errors of this package become one line on stderr and exit code 2; what the commands do is in their own files.
"""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ...errors import FusedstepError
from .backends_command import backends
from .compare_command import compare
from .options import DEBUG_KEY, Debug
from .predict_command import predict
from .train_command import train

HELP = """Train multi-layer perceptrons, on a CPU or a CUDA GPU with the same commands and the same numbers.

**Start here**

- `fusedstep train digits` trains on a bundled data set
- `fusedstep train people.csv --target income` trains on your own table
- `fusedstep predict people.safetensors new.csv -o answers.csv` uses what was trained
- `fusedstep COMMAND --help` explains a command

The backend is the best one that works here; `FUSEDSTEP_BACKEND=NAME` or `--backend NAME` chooses another.
"""

_SILENT = logging.NullHandler()


class _Group(TyperGroup):
    """Turns errors made for users into one line and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command."""
        # Falling back is told by the commands themselves, in one place and in fewer words.
        logging.getLogger("fusedstep").addHandler(_SILENT)
        try:
            return super().invoke(ctx)
        except FusedstepError as error:
            message = str(error)
            _show_traceback(ctx)
        except KeyboardInterrupt:
            message = "stopped from the keyboard; no file was written; run the command again to start over"
            _show_traceback(ctx)
        print("error: " + " ".join(message.splitlines()), file=sys.stderr)
        raise typer.Exit(2)


def _show_traceback(ctx: Any) -> None:
    if ctx.meta.get(DEBUG_KEY):
        traceback.print_exc()


app = typer.Typer(
    name="fusedstep",
    cls=_Group,
    help=HELP,
    rich_markup_mode="markdown",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(backends)
app.command()(train)
app.command()(predict)
app.command()(compare)


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
