"""What an example gives back: findings (a number, and what theory says of it), a verdict in words, and a figure to draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..export.output_paths import PathLike


@dataclass(frozen=True)
class Finding:
    """One line of the table of findings.

    Attributes: what – was measured, in words; value – the number; expected – in words; holds – whether it came so; form –
        how the number is written, a format specification.
    """

    what: str
    value: float
    expected: str
    holds: bool
    form: str = ".4g"

    @property
    def shown(self) -> str:
        """The number as text."""
        return format(self.value, self.form)


@dataclass(frozen=True)
class Result:
    """What an experiment showed.

    Attributes: findings; verdict – what is to be learned, in a sentence or two; draw – writes the figure to a path (.png, .svg,
        .pdf) or, given None, only returns it.
    """

    findings: Sequence[Finding]
    verdict: str
    draw: Callable[[PathLike | None], Any] = field(repr=False)

    @property
    def holds(self) -> bool:
        """Whether every finding came as expected."""
        return all(finding.holds for finding in self.findings)

    def __getitem__(self, what: str) -> float:
        """The number of the finding whose words begin so."""
        found = [finding.value for finding in self.findings if finding.what.startswith(what)]
        if len(found) != 1:
            raise KeyError(f"expected the beginning of one of {[f.what for f in self.findings]}; got {what!r}")
        return found[0]
