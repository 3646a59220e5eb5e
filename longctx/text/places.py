"""How a person is led to a place of a text that is not the file itself: a chapter, a page, a cell.

A format marks lines of the text it makes. `Document.place` is one of the classes here, or None where a line
of the text is a line of the file.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from longctx.regular import open_regular


class Stretch(Protocol):
    """Some bytes of a text, and the lines they stand in; lines count from 1."""

    @property
    def byte_start(self) -> int: ...  # noqa: D102
    @property
    def byte_end(self) -> int: ...  # noqa: D102
    @property
    def first_line(self) -> int: ...  # noqa: D102
    @property
    def last_line(self) -> int: ...  # noqa: D102


def lines(first: int, last: int) -> str:
    """Write a range of lines, pages or whatever is counted."""
    return f"{first}-{last}" if last > first else f"{first}"


@dataclass(frozen=True)
class Parts:
    """Lines counted within named parts: `#chapter 3:12`. Before the first part they count from the start."""

    starts: Sequence[int]  # the first line of each part, ascending
    labels: Sequence[str]

    def __call__(self, stretch: Stretch) -> str:
        """Name the part and the lines in it; and where it ends, if that is another part."""
        part, first = self._within(stretch.first_line)
        other, last = self._within(stretch.last_line)
        label = f"#{self.labels[part]}" if part >= 0 else ""
        if other == part:
            return f"{label}:{lines(first, last)}"
        return f"{label}:{first} to #{self.labels[other]}:{last}"

    def _within(self, line: int) -> tuple[int, int]:
        part = bisect_right(self.starts, line) - 1
        return part, line - self.starts[part] + 1 if part >= 0 else line


@dataclass(frozen=True)
class Numbers:
    """Lines that carry a number of their own: a page (`:p. 7`), or a line of the source (`:12`)."""

    starts: Sequence[int]  # the first line of the text that stands at each number, ascending
    numbers: Sequence[int]
    unit: str = ""

    def __call__(self, stretch: Stretch) -> str:
        """Name the numbers of the first and of the last line."""
        first, last = self._at(stretch.first_line), self._at(stretch.last_line)
        return f":{self.unit}{lines(first, last)}"

    def _at(self, line: int) -> int:
        return self.numbers[max(bisect_right(self.starts, line) - 1, 0)]


@dataclass(frozen=True)
class Cells:
    r"""Rows of sheets, one a line, cells parted by tabs: `:Sheet1!B14`. The text is read to count tabs."""

    path: Path
    starts: Sequence[int]  # the first line of each sheet
    sheets: Sequence[str]
    rows: Sequence[int]  # the row of each line, from the first line on; 0 between sheets

    def __call__(self, stretch: Stretch) -> str:
        """Name the cell, or the first and the last one."""
        sheet = self.sheets[max(bisect_right(self.starts, stretch.first_line) - 1, 0)]
        first = self._cell(stretch.first_line, stretch.byte_start)
        ends = max(stretch.byte_end - 1, stretch.byte_start)  # perhaps with the end of the line
        last = self._cell(stretch.last_line, ends)
        return f":{sheet}!{first}" + (f":{last}" if last != first else "")

    def _cell(self, line: int, byte: int) -> str:
        row = self.rows[min(line, len(self.rows)) - 1]
        return f"{column(_tabs_before(self.path, byte))}{max(row, 1)}"


def column(index: int) -> str:
    """Return the letters of a column: 0 is A, 26 is AA."""
    letters = ""
    index += 1
    while index:
        index, letter = divmod(index - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return letters


def _tabs_before(path: Path, byte: int, reach: int = 1 << 16) -> int:
    """Count the tabs between the beginning of the line, if it is within `reach`, and the byte."""
    with open_regular(path) as file:
        start = max(byte - reach, 0)
        file.seek(start)
        before = file.read(byte - start)
    return before[before.rfind(b"\n") + 1 :].count(b"\t")
