"""Options are declared once: as fields of a dataclass, or as an annotation that several commands use."""

from __future__ import annotations

import shlex
from dataclasses import FrozenInstanceError, dataclass, fields
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Annotated, get_args, get_type_hints

import pytest
import typer
from typer.models import ParameterInfo
from typer.testing import CliRunner

from fusedstep.framework import cli
from fusedstep.framework.cli.application import app
from fusedstep.framework.cli.data_options import DataOptions
from fusedstep.framework.cli.declared import Panel, changed, command, command_line
from fusedstep.framework.cli.find_lr_command import FindLrOptions
from fusedstep.framework.cli.later import LATER
from fusedstep.framework.cli.search_command import SearchOptions
from fusedstep.framework.cli.train_options import TrainOptions
from fusedstep.framework.tables.reading import load


@dataclass(frozen=True)
class Options:
    """Of a command that is not there."""

    source: Annotated[str, typer.Argument()]
    rows: Annotated[int, Panel("Data"), typer.Option(help="How many.")] = 3
    to_file: Annotated[Path | None, typer.Option("--to-file", "-t")] = None
    quiet: Annotated[bool, typer.Option("--quiet")] = False
    rate: Annotated[float, typer.Option()] = 0.5


def calling(run):
    single = typer.Typer()
    single.command("run")(command(run))
    return lambda *arguments: CliRunner().invoke(single, arguments)


def test_a_command_gets_its_options_as_one_object_and_shows_them_in_their_panels():
    got = []

    def run(options: Options) -> None:
        """Does nothing."""
        got.append(options)

    call = calling(run)
    assert call("here", "--rows", "4", "-t", "x").exit_code == 0
    assert call("here", "--debug").exit_code == 0
    assert got == [Options("here", 4, Path("x")), Options("here")]
    with pytest.raises(FrozenInstanceError):
        got[0].rows = 5
    shown = call("--help").output
    assert "Does nothing." in shown
    assert shown.index("--to-file") < shown.index("─ Data ─") < shown.index("How many.")


def test_a_command_may_have_its_options_one_by_one():
    got = []

    def run(rows: Annotated[int, typer.Option()] = 3) -> None:
        got.append(rows)

    assert calling(run)("--rows", "4", "--debug").exit_code == 0
    assert got == [4]


def test_what_is_not_at_its_default_is_a_command_line_again():
    options = Options("a b", to_file=Path("x"), quiet=True, rate=0.123456)
    assert changed(options) == {"--to-file": Path("x"), "--quiet": True, "--rate": 0.123456}
    line = command_line("run", options)
    assert line == "fusedstep run 'a b' --to-file x --quiet --rate 0.1235"
    got = []

    def run(options: Options) -> None:
        got.append(options)

    assert calling(run)(*shlex.split(line)[2:]).exit_code == 0
    assert got == [Options("a b", to_file=Path("x"), quiet=True, rate=0.1235)]


def test_no_option_is_declared_twice():
    names = sorted(path.stem.removesuffix("_command") for path in Path(cli.__file__).parent.glob("*_command.py"))
    assert len(names) == len(app.registered_commands)
    functions = [getattr(import_module(f"{cli.__name__}.{name}_command"), name) for name in names]
    functions += [getattr(import_module(f"fusedstep.{module}"), name) for name, (module, _) in LATER.items()]
    kinds = {get_type_hints(function).get("options", function) for function in functions}
    declaring = {base for kind in kinds for base in getattr(kind, "__mro__", (kind,)) if base is not object}
    declared: dict[str, set[int]] = {}
    for one in declaring:
        hints = get_type_hints(one, include_extras=True)
        for name in one.__annotations__:
            for note in get_args(hints[name])[1:]:
                if isinstance(note, ParameterInfo):
                    declared.setdefault(note.help, set()).add(id(note))
    assert len(declared) > 50
    assert [text for text, notes in declared.items() if len(notes) > 1] == []


def test_the_options_of_data_are_the_arguments_of_load():
    given = {field.name for field in fields(DataOptions)}
    assert given == set(signature(load).parameters) - {"stream"}
    for options in (TrainOptions, SearchOptions, FindLrOptions):
        assert issubclass(options, DataOptions)
        assert not given & set(options.__annotations__)
