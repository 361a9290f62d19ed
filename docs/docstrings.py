"""Lays out the docstrings of this project as Markdown for the site: one paragraph or list for Args, Returns, and so on.

A griffe extension (see mkdocs.yml). In the source the sections are running text, "name – meaning; name – meaning".
"""

from __future__ import annotations

import re
from itertools import takewhile
from textwrap import dedent
from typing import Any

import griffe

LISTS = ("Args", "Attributes", "Parameters")
HEAD = re.compile(rf"({'|'.join(LISTS)}|Returns|Raises|Targets|Same as|Differs from|Source|Order in a step): ")
NAME = re.compile(r"^(?:((?:an? )?[\w, \[\]()]+?)( – )|([a-z_]\w*(?:, [a-z_]\w*)*)(?=\.?$))")


def escaped(text: str) -> str:
    """The text with what Markdown would take for a mark, outside `code`."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(p if p.startswith("`") else re.sub(r"([*_\[\]])", r"\\\1", p).replace("<", "&lt;") for p in parts)


def items(text: str) -> list[str]:
    """The entries of a list: each begins after a semicolon, with names and a dash, or is a name alone."""
    found: list[str] = []
    for part in text.split("; "):
        if found and not NAME.match(part):
            found[-1] += "; " + part
        else:
            found.append(part)
    return found


def laid_out(text: str) -> str:
    """The Markdown of a docstring."""
    blocks: list[str] = []
    for block in re.split(r"\n\s*\n", dedent(text).strip("\n")):
        lines = block.splitlines()
        doctest = lines[0].startswith(">>> ")
        code = lines if doctest else list(takewhile(lambda line: line.startswith("    "), lines))
        if code:
            blocks.append("```python\n" + dedent("\n".join(code)) + "\n```")
        paragraphs: list[str] = []
        for line in lines[len(code) :]:
            fresh = HEAD.match(line) or not paragraphs
            paragraphs = [*paragraphs, line] if fresh else [*paragraphs[:-1], f"{paragraphs[-1]} {line.strip()}"]
        for paragraph in paragraphs:
            head = HEAD.match(paragraph)
            if head is None:
                blocks.append(escaped(paragraph))
                continue
            rest = paragraph[head.end() :]
            if head[1] in LISTS:
                blocks.append(f"**{head[1]}**")
                entries = [NAME.sub(lambda m: f"`{m[1] or m[3]}`{m[2] or ''}", e, count=1) for e in items(rest)]
                blocks.append("\n".join(f"- {escaped(entry)}" for entry in entries))
            else:
                blocks.append(f"**{head[1]}:** {escaped(rest)}")
    return "\n\n".join(blocks)


class Docstrings(griffe.Extension):
    """Rewrites every docstring before it is shown."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called once for every object that was read."""
        if obj.docstring is not None:
            obj.docstring.value = laid_out(obj.docstring.value)
