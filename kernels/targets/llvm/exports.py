"""Functions of whole numbers, compiled under their own names from one source text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .compiler import Module
from .machine import functions


def exported(text: str, names: Mapping[str, Any], symbols: tuple[str, ...], settings: str = "") -> dict[str, int]:
    """The addresses of some functions of a source text.

    Args: names – what the text refers to; symbols – the functions; settings – values among `names` that the text does not show
        and that differ between systems.
    """

    def assembly(unique: Callable[[str], str]) -> str:
        module = Module(text, names)
        for symbol in symbols:
            module.export(unique(symbol), symbol)
        return module.assembly

    return functions(symbols[0], f"{settings}\n{text}", symbols, assembly)
