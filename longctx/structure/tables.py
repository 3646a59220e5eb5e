"""Tables of CSV and TSV: columns, types, ranges, the commonest values."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from longctx.structure.facts import Fact, Group, Structure, amount, place, plural, shortened
from longctx.structure.frequent import Frequent
from longctx.structure.lines import head, lines
from longctx.text.document import Document

MARKS = "\t,;|"
SUFFIXES = (".csv", ".tsv", ".tab")
LOOKED_AT = 40  # rows that tell a table from other text
SAME = 0.9  # of them have as many cells
MOST_COLUMNS = 100
DIFFERENT = 200  # values of a column that are counted
TOP = 3
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][-+]?\d+)?%?")
_COMMA_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:\.\d{3})+|\d+)?(?:,\d+)?%?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?")
_TRUTH = frozenset(("true", "false", "yes", "no"))


def mark_of(document: Document) -> str | None:
    """Return the mark between the cells of a table; None for text that is no table.

    Without a name that says so, three rows of three cells are the least, and prose is no table.
    """
    beginning = head(document, LOOKED_AT)
    named = Path(document.name).suffix.lower() in SUFFIXES or document.kind in ("csv", "tsv")
    best, most = None, 1 if named else 2
    for mark in MARKS:
        widths = [len(row) for row in _rows(beginning, mark)]
        if len(widths) < (2 if named else 3):
            continue
        width = max(set(widths), key=widths.count)
        if width > most and widths.count(width) >= SAME * len(widths):
            best, most = mark, width
    if best and not named and _is_running_text(beginning, best):
        return None
    return best


def _is_running_text(beginning: list[str], mark: str) -> bool:
    """Tell sentences with as many commas by the spaces after them."""
    marks = sum(line.count(mark) for line in beginning)
    return mark in ",;" and sum(line.count(mark + " ") for line in beginning) > 0.5 * marks


def _rows(texts: Iterator[str] | list[str], mark: str) -> list[list[str]]:
    try:
        return list(csv.reader((text + "\n" for text in texts), delimiter=mark))
    except csv.Error:
        return []


class _Column:
    """What is counted of one column."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.filled = self.numbers = self.dates = self.truths = self.whole = 0
        self.values = Frequent(DIFFERENT)
        self.least: float | None = None
        self.largest: float | None = None
        self.total = 0.0
        self.first_date = self.last_date = ""
        self.odd: tuple[int, str] | None = None  # the first value that is no number

    def add(self, value: str, line: int, comma: bool) -> None:
        value = value.strip()
        if not value:
            return
        self.filled += 1
        self.values.add(shortened(value), line)
        number = number_of(value, comma)
        if number is not None:
            self.numbers += 1
            self.whole += number.is_integer() and value.lstrip("+-").isdigit()
            self.total += number
            self.least = number if self.least is None else min(self.least, number)
            self.largest = number if self.largest is None else max(self.largest, number)
            return
        self.odd = self.odd or (line, shortened(value))
        if _DATE.fullmatch(value):
            self.dates += 1
            self.first_date = min(self.first_date or value, value)
            self.last_date = max(self.last_date, value)
        else:
            self.truths += value.lower() in _TRUTH

    @property
    def kind(self) -> str:
        """The type of nearly all values."""
        number = "whole number" if self.whole == self.numbers else "number"
        for kind, count in ((number, self.numbers), ("date", self.dates)):
            if self.filled and count >= SAME * self.filled:
                return kind
        return ("yes or no" if self.truths == self.filled else "text") if self.filled else "empty"


def number_of(value: str, comma: bool) -> float | None:
    """Read a number, with a decimal comma where that is usual; None for other text."""
    if not (value[-1:].isdigit() or value[-1:] == "%") or not value.isascii():
        return None
    if comma and _COMMA_NUMBER.fullmatch(value):
        value = value.replace(".", "").replace(",", ".")
    elif not _NUMBER.fullmatch(value):
        return None
    try:
        return float(value.replace(",", "").rstrip("%"))
    except ValueError:
        return None


def summarise_table(document: Document) -> Structure:
    """Read a table once; what is remembered of a column does not grow with its rows."""
    mark = mark_of(document) or ","
    columns: list[_Column] = []
    rows, other_widths, trouble = 0, 0, ""
    reader = csv.reader((line + "\n" for line in lines(document)), delimiter=mark)
    line = document.first_line
    try:
        for row in reader:
            if not row or not any(cell.strip() for cell in row):
                line = document.first_line + reader.line_num
                continue
            if not columns:
                header = is_header(row)
                names = [shortened(cell) if header else "" for cell in row]
                columns = [_Column(name or f"column {n}") for n, name in enumerate(names, 1)]
                width = len(row)
            else:
                header = False
            if not header:
                rows += 1
                other_widths += len(row) != width
                for column, cell in zip(columns[:MOST_COLUMNS], row, strict=False):
                    column.add(cell, line, comma=mark == ";")
            line = document.first_line + reader.line_num
    except csv.Error as error:
        trouble = f"{document.name}, line {line}: {error}; rows from there on are not counted"
    kinds = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars"}
    headline = (
        f"{document.name}: a table of {plural(rows, 'row')} and {plural(len(columns), 'column')},"
        f" separated by {kinds[mark]}"
    )
    facts = [Fact(_told(column, rows), _odd_place(column, document)) for column in columns[:MOST_COLUMNS]]
    notes = [trouble] * bool(trouble)
    if other_widths:
        notes.append(f"{plural(other_widths, 'row')} with more or fewer cells than the first")
    groups = [Group("To look at", [Fact(note) for note in notes])] if notes else []
    groups.append(Group("Columns", facts, max(0, len(columns) - MOST_COLUMNS)))
    values = {"rows": rows, "columns": [_values(column, rows) for column in columns[:MOST_COLUMNS]]}
    return Structure("table", document.name, headline, groups, values)


def is_header(row: list[str]) -> bool:
    """Take a first row for names if none of its cells is a number or a date, and no two are the same."""
    cells = [cell.strip() for cell in row if cell.strip()]
    plain = not any(number_of(cell, False) is not None or _DATE.fullmatch(cell) for cell in cells)
    return plain and len(set(cells)) == len(cells) and 2 * len(cells) > len(row)


def _told(column: _Column, rows: int) -> str:
    """Describe a column in a line."""
    parts = [column.kind]
    if column.kind in ("whole number", "number") and column.least is not None and column.largest is not None:
        mean = column.total / column.numbers
        parts.append(f"{amount(column.least)} to {amount(column.largest)}, mean {amount(mean)}")
        if column.odd:
            parts.append(f"{column.filled - column.numbers:,} others such as {column.odd[1]!r}")
    elif column.kind == "date":
        parts.append(f"{column.first_date} to {column.last_date}")
    elif column.filled:
        top = column.values.most(TOP)
        different = f"over {DIFFERENT:,}" if column.values.missed else f"{len(column.values):,}"
        if column.values.missed == 0 and len(column.values) == column.filled > TOP:
            parts.append(f"all different, such as {', '.join(key for key, _, _ in top)}")
        elif top and top[0][1] > 1:
            often = ", ".join(f"{key} ({count:,})" for key, count, _ in top)
            parts.append(f"{different} different, most often {often}")
        else:
            parts.append(f"{different} different, such as {', '.join(key for key, _, _ in top)}")
    if column.filled < rows and column.filled:
        parts.append(f"{rows - column.filled:,} empty")
    return f"{column.name}: {'; '.join(parts)}"


def _odd_place(column: _Column, document: Document) -> str:
    numeric = column.kind in ("whole number", "number")
    return place(document, column.odd[0]) if numeric and column.odd else ""


def _values(column: _Column, rows: int) -> dict[str, object]:
    return {
        "name": column.name,
        "type": column.kind,
        "empty": rows - column.filled,
        "minimum": column.least if column.numbers else column.first_date or None,
        "maximum": column.largest if column.numbers else column.last_date or None,
        "mean": column.total / column.numbers if column.numbers else None,
        "top": [{"value": key, "count": count} for key, count, _ in column.values.most(TOP)],
    }
