"""The inputs of an ONNX graph, one for each column or a matrix of all, and the nodes that encode them as in framework/tables.

Numbers and dates are computed in float64 and then rounded to float32, as they are in training.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ....errors import ExportError
from ...tables.column_codings import CLIP, MICROSECONDS_A_DAY, PERIODS, DateCoding, NumberCoding, TextCoding
from ..coded_network import ColumnInputs, MatrixInput
from .graph import TEXT_OPSET, Graph

ROWS = "rows"
"""The name of the number of rows, which varies."""
MATRIX = "x"
"""The name of an input of all columns."""
MISSING_DATE = int(np.iinfo(np.int64).min)
"""What NumPy makes of NaT as an integer."""
_BLANK = r"[\s\x0b\x1c-\x1f\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]*"
"""Text that is missing, as `str.isspace` and the empty text."""


def input_names(inputs: ColumnInputs | MatrixInput) -> list[str]:
    """Names of the inputs, in order."""
    return [MATRIX] if isinstance(inputs, MatrixInput) else [name for name, _ in inputs.codings]


def encoded(graph: Graph, inputs: ColumnInputs | MatrixInput) -> str:
    """[rows, width] float32: what the network takes, of new inputs.

    Raises: ExportError for a column that an input cannot have the name of, or whose text ONNX cannot represent.
    """
    if isinstance(inputs, MatrixInput):
        x = graph.input(MATRIX, "float32", ROWS, "columns" if inputs.columns is None else inputs.columns)
        return _numbers(graph, x, inputs.codings) if inputs.codings else x
    parts: list[str] = []
    for name, coding in inputs.codings:
        if not name:
            raise ExportError("expected columns with names, because the inputs of an ONNX model have them; got ''; rename it")
        if isinstance(coding, NumberCoding):
            parts += _number(graph, graph.input(name, "float64", ROWS), coding)
        elif isinstance(coding, DateCoding):
            parts += _date(graph, graph.input(name, "int64", ROWS), coding)
        elif name in inputs.booleans:
            parts += _categories(graph, _boolean(graph, graph.input(name, "float64", ROWS), coding), coding)
        else:
            parts += _categories(graph, _text(graph, name, coding, inputs.blank_is_missing), coding)
    return parts[0] if len(parts) == 1 else graph.add("Concat", *parts, axis=1)


def _column(graph: Graph, value: str) -> str:
    """[rows] as [rows, 1] float32."""
    return graph.cast(graph.add("Unsqueeze", value, graph.constant([1], "int64")), "float32")


def _number(graph: Graph, value: str, coding: NumberCoding) -> list[str]:
    missing = graph.add("IsNaN", value)
    filled = graph.add("Where", missing, graph.constant(coding.fill, "float64"), value)
    scaled = _scaled(graph, filled, coding.center, coding.scale, coding.clip)
    return [_column(graph, scaled), *([_column(graph, missing)] if coding.indicator else [])]


def _numbers(graph: Graph, x: str, codings: tuple[NumberCoding, ...]) -> str:
    """As `_number`, of all columns of a matrix at once: the numbers side by side, each with its indicator behind it."""
    wide = graph.cast(x, "float64")
    missing = graph.add("IsNaN", wide)
    fill, center, scale = (np.array([getattr(one, part) for one in codings]) for part in ("fill", "center", "scale"))
    filled = graph.add("Where", missing, graph.constant(fill), wide)
    scaled = graph.cast(_scaled(graph, filled, center, scale, codings[0].clip), "float32")
    if not any(coding.indicator for coding in codings):
        return scaled
    order = [k + behind for k, one in enumerate(codings) for behind in ((0, len(codings)) if one.indicator else (0,))]
    both = graph.add("Concat", scaled, graph.cast(missing, "float32"), axis=1)
    return graph.add("Gather", both, graph.constant(order, "int64"), axis=1)


def _scaled(graph: Graph, value: str, center: Any, scale: Any, clip: bool) -> str:
    """The formula of `NumberCoding`; √(1 + v²) with v = u/3 as m √(1/m² + (v/m)²), m = max(1, |v|), as squares overflow."""
    shifted = graph.add("Sub", value, graph.constant(center, "float64"))
    u = graph.add("Div", shifted, graph.constant(scale, "float64"))
    if not clip:
        return u
    one = graph.constant(1.0, "float64")
    v = graph.add("Div", u, graph.constant(CLIP, "float64"))
    m = graph.add("Max", graph.add("Abs", v), one)
    small, large = graph.add("Div", one, m), graph.add("Div", v, m)
    squares = graph.add("Add", graph.add("Mul", small, small), graph.add("Mul", large, large))
    return graph.add("Div", graph.add("Div", u, m), graph.add("Sqrt", squares))


def _text(graph: Graph, name: str, coding: TextCoding, blank_is_missing: bool) -> str:
    """The number of the category of each row of a new input, -1 for none."""
    if None in coding.categories and "" in coding.categories:
        raise ExportError(
            f"column {name!r}: expected one category for missing text, because ONNX has only the empty text for it; got "
            "missing and the empty text as different ones; replace one by the other and train again"
        )
    text = graph.input(name, "object", ROWS)
    if blank_is_missing:  # as where text is read from files
        if graph.opset < TEXT_OPSET:
            raise ExportError(
                f"column {name!r}: expected opset {TEXT_OPSET} or newer, whose operators find blank text; got {graph.opset}; "
                "leave opset out"
            )
        blank = graph.add("RegexFullMatch", text, pattern=_BLANK)
        text = graph.add("Where", blank, graph.constant("", "object"), text)
    numbers = {category or "": number for category, number in coding.numbered.items()} or {"": -1}  # one key is needed
    return graph.encode(text, numbers, -1)


def _boolean(graph: Graph, value: str, coding: TextCoding) -> str:
    """As `_text`, of booleans of which some were missing in training: 0, 1 and NaN."""
    number = graph.constant(-1, "int64")
    is_category: dict[str | None, str] = {None: graph.add("IsNaN", value)}
    for truth, written in (("false", 0.0), ("true", 1.0)):
        is_category[truth] = graph.add("Equal", value, graph.constant(written, "float64"))
    for category, chosen in is_category.items():
        if category in coding.numbered:
            number = graph.add("Where", chosen, graph.constant(coding.numbered[category], "int64"), number)
    return number


def _categories(graph: Graph, number: str, coding: TextCoding) -> list[str]:
    """Codes, or a column of 0 and 1 for each category, of the numbers of categories."""
    if coding.codes:
        return [_column(graph, graph.add("Add", number, graph.constant(1, "int64")))]
    if not coding.categories:
        return []
    each = graph.constant(np.arange(len(coding.categories)), "int64")
    row = graph.add("Unsqueeze", number, graph.constant([1], "int64"))
    return [graph.cast(graph.add("Equal", row, each), "float32")]


def _date(graph: Graph, moment: str, coding: DateCoding) -> list[str]:
    """As `DateCoding`, of microseconds since 1970."""

    def whole(number: int) -> str:
        return graph.constant(number, "int64")

    missing = graph.add("Equal", moment, whole(MISSING_DATE))
    moment = graph.add("Where", missing, whole(round(coding.days.fill * MICROSECONDS_A_DAY)), moment)
    in_day = graph.add("Mod", moment, whole(MICROSECONDS_A_DAY))
    day = graph.add("Div", graph.add("Sub", moment, in_day), whole(MICROSECONDS_A_DAY))
    exact = graph.add("Div", graph.cast(moment, "float64"), graph.constant(float(MICROSECONDS_A_DAY), "float64"))
    parts = [_column(graph, _scaled(graph, exact, coding.days.center, coding.days.scale, coding.days.clip))]
    if coding.days.indicator:
        parts.append(_column(graph, missing))
    year, month, day_of_month = _calendar(graph, day)
    if coding.year is not None:
        wide = graph.cast(year, "float64")
        parts.append(_column(graph, _scaled(graph, wide, coding.year.center, coding.year.scale, coding.year.clip)))
    values = {
        "month": month,
        "day": day_of_month,
        "weekday": graph.add("Mod", graph.add("Add", day, whole(3)), whole(7)),
    }
    for part in coding.parts:
        if part == "hour":
            value = graph.add("Mul", graph.cast(in_day, "float64"), graph.constant(24.0 / MICROSECONDS_A_DAY, "float64"))
        else:
            value = graph.cast(values[part], "float64")
        angle = graph.add("Mul", value, graph.constant(2.0 * np.pi / PERIODS[part], "float64"))
        ahead = graph.add("Add", angle, graph.constant(np.pi / 2.0, "float64"))  # runtimes lack a cosine in float64
        parts += [_column(graph, graph.add("Sin", one)) for one in (angle, ahead)]
    return parts


def _calendar(graph: Graph, day: str) -> tuple[str, str, str]:
    """(year, month from 0, day of the month from 0) of days since 1970.

    In years that begin in March, so that a leap day is the last one. Source: Hinnant, "chrono-compatible low-level date
    algorithms", 2014, civil_from_days.
    """

    def number(value: int) -> str:
        return graph.constant(value, "int64")

    def plus(a: str, b: str) -> str:
        return graph.add("Add", a, b)

    def minus(a: str, b: str) -> str:
        return graph.add("Sub", a, b)

    def per(a: str, divisor: int) -> str:
        return graph.add("Div", a, number(divisor))

    days = plus(day, number(719_468))  # since 1 March of the year 0
    in_era = graph.add("Mod", days, number(146_097))
    era = per(minus(days, in_era), 146_097)
    leaps = minus(plus(per(in_era, 1_460), per(in_era, 146_096)), per(in_era, 36_524))
    year_of_era = per(minus(in_era, leaps), 365)
    before = minus(plus(graph.add("Mul", year_of_era, number(365)), per(year_of_era, 4)), per(year_of_era, 100))
    in_year = minus(in_era, before)
    march_month = per(plus(graph.add("Mul", in_year, number(5)), number(2)), 153)
    first = per(plus(graph.add("Mul", march_month, number(153)), number(2)), 5)
    month = graph.add("Mod", plus(march_month, number(2)), number(12))
    early = graph.cast(graph.add("Less", month, number(2)), "int64")
    year = plus(plus(year_of_era, graph.add("Mul", era, number(400))), early)
    return year, month, minus(in_year, first)
