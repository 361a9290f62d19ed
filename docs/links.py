"""Makes every `fs.Name` in running text a link to its place in the reference; code blocks stay as they are (see mkdocs.yml)."""

from __future__ import annotations

import re
from typing import Any

BLOCK = re.compile(r"(^```.*?^```$)", re.M | re.S)
NAME = re.compile(r"(?<!\[)`fs\.(\w+(?:\.\w+)*)`")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for every page."""
    parts = BLOCK.split(markdown)
    return "".join(p if p.startswith("```") else NAME.sub(r"[`fs.\1`][fusedstep.\1]", p) for p in parts)
