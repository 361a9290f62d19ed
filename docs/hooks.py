"""What mkdocs does beside rendering: links for `fs.Name` and to source files, figures of examples, reports of benchmarks.

Code blocks stay as they are (see mkdocs.yml); a page on which one was not recognised is an error.
"""

from __future__ import annotations

import atexit
import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "docs" / "figures"
SOURCES = tempfile.TemporaryDirectory(prefix="fusedstep-docs-")
atexit.register(SOURCES.cleanup)
REPORTS = "benchmarks/results"
BLOCK = re.compile(r"(^```.*?^```$)", re.M | re.S)
NAME = re.compile(r"(?<!\[)`fs\.(\w+(?:\.\w+)*)`")
CONTINUED = re.compile(r"^(```python) continued$", re.M)
SHADOWED = {"backends": "backends.backends", "memory_map": "framework.sources.memory_map.memory_map"}
"""Functions that have the name of a folder or module on their way, and where the reference finds them."""
SOURCE = re.compile(r"\]\(\.\./((?:backends|framework|kernels)/[\w/]+\.py)\)")
"""A link from a page that is in no folder to a source file. The site has a copy as text, which browsers show."""
EXAMPLE = re.compile(r"^## `(\S+)`.*$", re.M)


@event_priority(100)
def on_config(config: Any, **_: Any) -> None:
    """Shows a copy of the package to the reference.

    The root of the repository is the package, so a search for its modules would walk through virtual environments as well.
    """
    package = Path(SOURCES.name) / "fusedstep"
    shutil.rmtree(package, ignore_errors=True)
    package.mkdir()
    for entry in ROOT.iterdir():
        if entry.suffix in (".py", ".pyi"):
            shutil.copy(entry, package)
        elif (entry / "__init__.py").is_file():
            shutil.copytree(entry, package / entry.name, ignore=shutil.ignore_patterns("__pycache__", "results"))
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [SOURCES.name]


def notebook_page(text: str, name: str) -> str:
    """A notebook as a page of Markdown: its text, its code, and the last run's outputs as HTML or text."""
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "text/html" in data:
                lines = "".join(data["text/html"]).splitlines()
                parts.append("<div>" + "\n".join(line for line in lines if line.strip()) + "</div>")
            else:
                parts.append("```text\n" + "".join(data.get("text/plain", output.get("text", ""))).rstrip() + "\n```")
    parts.insert(1, f"[Download this notebook]({name}.ipynb)")
    return "\n\n".join(parts) + "\n"


def on_files(files: Any, config: Any, **_: Any) -> Any:
    """Adds pages of the notebooks, and what pages link to below the folder that it has in the repository: reports, sources."""
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        page = notebook_page(path.read_text(encoding="utf-8"), path.stem)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=page))
    for path in sorted((ROOT / REPORTS).glob("cpu-*")):
        if path.suffix in (".md", ".png"):
            files.append(File.generated(config, f"{REPORTS}/{path.name}", abs_src_path=str(path)))
    pages = "".join(page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md")))
    for name in sorted(set(SOURCE.findall(pages))):
        files.append(File.generated(config, f"{name}.txt", abs_src_path=str(ROOT / name)))
    return files


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
    markdown = markdown.replace(f"](../{REPORTS}/", f"]({REPORTS}/")
    markdown = SOURCE.sub(r"](\1.txt)", markdown)
    parts = BLOCK.split(CONTINUED.sub(r"\1", markdown))
    return "".join(p if p.startswith("```") else NAME.sub(link, p) for p in parts)


def link(name: re.Match[str]) -> str:
    """A link to the entry of a public name in the reference."""
    return f"[`fs.{name[1]}`][fusedstep.{SHADOWED.get(name[1], name[1])}]"


def on_page_content(html: str, page: Any, **_: Any) -> None:
    """Called by mkdocs for every page that was rendered."""
    if "```" in html:
        raise PluginError(f"{page.file.src_uri}: a code block was shown as text; see how its first line is written")
