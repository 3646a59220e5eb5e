"""Rows of tables: Markdown, CSV, TSV, aligned with spaces, lines of a web server's log, and records."""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice

from longctx.quotes.exact import aligned
from longctx.quotes.exact.fact import Fact
from longctx.quotes.exact.lines import Line
from longctx.quotes.exact.words import stems
from longctx.text.span import Quote

MOST_FACTS = 20_000  # of a file that are put together to records
LARGEST = 40  # facts of a record
_RULE = re.compile(r"\|?[\s:|+=-]+\|?$")
_TITLE = re.compile(r"#|(?=\S)(?:[^\s.:;,]+ ?){1,6}$")
_GAP = re.compile(r"\s{2,}")
_NO_HEADS = re.compile(r"\d|[.;!]$")
_REQUEST = re.compile(
    r"(?P<ip>\S+) \S+ (?P<user>\S+) \[(?P<time>[^\]]+)\] \"(?P<method>[A-Z]+) (?P<path>\S+)[^\"]*\""
    r" (?P<status>\d{3})"
    r" (?P<size>\S+)(?: \"(?P<referrer>[^\"]*)\" \"(?P<agent>[^\"]*)\")?"
)
_REQUEST_HEADS = (
    "ip client host", "user", "time", "method", "path url file", "status code", "size bytes", "referrer",
    "user agent",
)  # fmt: skip
_REQUESTING = "request asked requested got fetched downloaded uploaded visited accessed called opened"
REQUEST_WORDS = f" {' '.join(_REQUEST_HEADS)} {_REQUESTING} client"


@dataclass(frozen=True)
class Row:
    """A row of a table, or an object with its keys.

    Attributes:
        around: what stands around the table. partly: part of a cell may name the row.
        listed: cells that name nothing.
    """

    heads: Sequence[str]
    cells: Sequence[str]
    around: str
    quote: Callable[[int], Quote]
    partly: bool = False
    listed: frozenset[int] = frozenset()

    @cached_property
    def names(self) -> list[tuple[str, ...]]:
        """The stems of the heads; a unit in brackets is none of them."""
        return [stems(head.split("(", maxsplit=1)[0]) or stems(head) for head in self.heads]


def is_request(text: str) -> bool:
    """Tell whether a text begins with a line of a web server's log."""
    return bool(_REQUEST.match(text))


def records(facts: Iterable[Fact], around: str) -> Iterator[Row]:
    """Yield the objects and blocks of a structured file as rows, whose heads are the keys."""
    groups: dict[tuple[int, ...], list[Fact]] = {}
    for fact in islice(facts, MOST_FACTS):
        for size in range(2, len(fact.group) + 1):
            groups.setdefault(fact.group[:size], []).append(fact)
    for held in sorted(groups.values(), key=len):
        places = {fact.path: fact.group for fact in held}
        several = any(places[fact.path] != fact.group for fact in held)  # objects: their record is no larger
        if 1 < len(held) <= LARGEST and not several:
            depth = min(len(fact.path) for fact in held) - 1
            own = [fact.path[depth:] for fact in held]
            about = f"{around} {' '.join(held[0].path[:depth])}"
            listed = frozenset(j for j, fact in enumerate(held) if fact.listed)
            yield Row(
                list(map(" ".join, own)),
                [one.value for one in held],
                about,
                partial(_of_fact, held),
                listed=listed,
            )


def _of_fact(held: Sequence[Fact], at: int) -> Quote:
    return held[at].quote()


def _of_line(line: Line) -> Callable[[int], Quote]:
    return lambda _: line.quote()


def rows(lines: Iterable[Line], name: str) -> Iterator[Row]:
    """Yield the rows of tables, without the one that holds the heads."""
    rest = _Reader(name, name)
    for group in aligned.groups(lines, lambda line: _is_marked(line.text, name) or is_request(line.text)):
        if table := aligned.table(group):
            rest.heads = []
            for line, cells in table.rows:
                yield Row(table.heads, cells, rest.around, _of_line(line), partly=True)
        else:
            for line in group:
                yield from rest.take(line)


@dataclass
class _Reader:
    """Reads rows line by line: the name of the file, what stands around the table, and its heads."""

    name: str
    around: str
    heads: Sequence[str] = ()

    def take(self, line: Line) -> Iterator[Row]:
        """Yield the row that a line is, if it is one."""
        if found := _REQUEST.match(line.text):
            yield Row(_REQUEST_HEADS, [cell or "" for cell in found.groups()], _REQUESTING, _of_line(line))
            return
        row = _row(line.text, self.name)
        if len(row) < 2:
            self.heads = []
            if _TITLE.match(line.text):
                self.around = f"{self.name} {line.text}"
            return
        spaced = bool(_GAP.search(line.text)) and not _is_marked(line.text, self.name)
        if not self.heads or (spaced and len(row) != len(self.heads)):
            headless = spaced and bool(_NO_HEADS.search(line.text.rstrip()))
            self.heads = [""] * len(row) if headless else row
            if not headless:
                return
        if not _RULE.match(line.text) and len(row) <= len(self.heads):
            yield Row(self.heads, row, self.around, _of_line(line), partly=not spaced)


def _is_marked(text: str, name: str) -> bool:
    return text.lstrip().startswith("|") or "\t" in text or name.lower().endswith(".csv")


def _row(text: str, name: str) -> list[str]:
    if text.lstrip().startswith("|"):
        return [cell.strip().strip("`*") for cell in text.strip().strip("|").split("|")]
    if "\t" in text:
        return [cell.strip() for cell in text.split("\t")]
    if name.lower().endswith(".csv"):
        separator = ";" if text.count(";") > text.count(",") else ","
        return [cell.strip() for cell in next(csv.reader([text], delimiter=separator), [])]
    spaced = _GAP.split(text.strip())
    return spaced if len(spaced) > 2 else []
