"""What mkdocs does to every page: `fs.Name` becomes a link to the reference, and examples of the gallery get their figures.

Code blocks stay as they are (see mkdocs.yml).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

FIGURES = Path(__file__).resolve().parent / "figures"
BLOCK = re.compile(r"(^```.*?^```$)", re.M | re.S)
NAME = re.compile(r"(?<!\[)`fs\.(\w+(?:\.\w+)*)`")
EXAMPLE = re.compile(r"^## `(\S+)`.*$", re.M)


def with_figure(heading: re.Match[str]) -> str:
    """The heading of an example, and below it its figure, or how to make it."""
    name = heading[1]
    if (FIGURES / f"{name}.png").is_file():
        return f"{heading[0]}\n\n![Figure of the example {name}](figures/{name}.png)"
    return f"{heading[0]}\n\n*The figure is not there yet: `python docs/make_figures.py {name}` makes it.*"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by mkdocs for every page."""
    if page.file.src_uri == "gallery.md":
        markdown = EXAMPLE.sub(with_figure, markdown)
    parts = BLOCK.split(markdown)
    return "".join(p if p.startswith("```") else NAME.sub(r"[`fs.\1`][fusedstep.\1]", p) for p in parts)
