"""The plain text that a format is turned into, while it is written: bounded, marked with places."""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from longctx.formats.limits import Allowance
from longctx.text.places import Cells, Numbers, Parts, Stretch

At = Callable[[int, int, str], object]  # is told how far a conversion is: so many, of so many, of what
PAGE = "p. "
LONGEST_LABEL = 60


class Draft:
    r"""A text in the making, in UTF-8, lines ended by \n; what was left out is counted by its kind.

    `mark` begins a named part, a page or a sheet with the line that comes next. `at` is told how far the
    conversion is.
    """

    def __init__(self, path: Path, allowance: Allowance, scratch: Callable[[], Path], at: At) -> None:
        self.path, self.allowance, self._scratch, self.at = path, allowance, scratch, at
        self._file = path.open("wb")
        self.size = 0
        self.line = 1
        self._last = "\n"  # an empty draft stands at the beginning of a line
        self.left_out: Counter[str] = Counter()
        self.attached: list[tuple[str, Path]] = []
        self._starts = array("Q")
        self._labels: list[str] = []
        self._numbers = array("Q")
        self._unit: str | None = None
        self._rows: array[int] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, text: str) -> None:
        """Add text, which may hold line ends of any kind."""
        if not text:
            return
        if "\r" in text:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        raw = text.encode("utf-8", "replace")
        self.allowance.take(len(raw))
        self._file.write(raw)
        self.size += len(raw)
        self.line += text.count("\n")
        self._last = (self._last + text[-2:])[-2:]

    def fresh_line(self) -> None:
        """Go on at the beginning of a line."""
        if not self._last.endswith("\n"):
            self.write("\n")

    def paragraph(self, text: str, number: int | None = None, *, close: bool = False) -> None:
        """Add a paragraph, parted by an empty line from what stands before it unless it is to stand close."""
        if text := text.strip("\n").rstrip():
            self.fresh_line()
            if self.size and self._last != "\n\n" and not close:
                self.write("\n")
            if number is not None:
                self.number(number)
            self.write(f"{text}\n")

    def mark(self, label: str) -> None:
        """Begin a part with this name: lines are counted from here."""
        self.fresh_line()
        if self.size and self._last != "\n\n":
            self.write("\n")
        label = " ".join(label.split())
        short = label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 3].rstrip() + "..."
        self._starts.append(self.line)
        self._labels.append(short)

    def number(self, number: int, unit: str = "") -> None:
        """Let what follows stand on this page, or on this line of the source."""
        self._unit = unit
        if not self._numbers or self._starts[-1] < self.line:
            self._starts.append(self.line)
            self._numbers.append(number)

    def row(self, row: int) -> None:
        """Let the line that comes next be this row of the sheet that was marked last."""
        if self._rows is None:
            self._rows = array("L")
        self._rows.extend([0] * (self.line - 1 - len(self._rows)))
        self._rows.append(row)

    def attach(self, name: str, blocks: Iterable[bytes]) -> None:
        """Keep a file that came with the text, to be read beside it."""
        self.allowance.take_file()
        path = self._scratch()
        with path.open("wb") as file:
            for block in blocks:
                self.allowance.take(len(block))
                file.write(block)
        self.attached.append((name, path))

    def place(self) -> Callable[[Stretch], str] | None:
        """Return how places of this text are named; None if by its lines."""
        if self._rows is not None:
            return Cells(self.path, self._starts, self._labels, self._rows)
        if self._unit is not None:
            return Numbers(self._starts, self._numbers, self._unit)
        return Parts(self._starts, self._labels) if self._labels else None

    def label(self) -> str:
        """Return the part that is being written, or ""."""
        return self._labels[-1] if self._labels else ""
