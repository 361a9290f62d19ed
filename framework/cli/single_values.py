"""The command class of every command: it refuses an option of one value that is given twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

from typer.core import TyperCommand, TyperOption

from ...errors import HyperparameterError


class Command(TyperCommand):
    """A command of which no option is ignored: of `--group a --group b`, the first would be."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the arguments; HyperparameterError for an option of one value that occurs twice."""
        given = list(args)
        rest: list[str] = super().parse_args(ctx, args)
        _, _, order = self.make_parser(ctx).parse_args(args=given)
        single = [one for one in order if isinstance(one, TyperOption) and not (one.multiple or one.is_flag)]
        for parameter, count in Counter(single).items():
            if count > 1:
                raise HyperparameterError(f"{parameter.opts[0]}: expected one value, got {count}; give the option once")
        return rest
