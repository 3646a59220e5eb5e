"""Cells of tables: Markdown, CSV, TSV, and tables of other formats, whose cells are parted by tabs."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence

from longctx.quotes.exact.asked import Asked
from longctx.quotes.exact.fact import Exact, looks_right
from longctx.quotes.exact.lines import Line
from longctx.quotes.exact.words import cover, stem, stems
from longctx.quotes.prose import common_words

_TITLES = ("dr", "mr", "mrs", "ms", "prof", "sir")
_COMMON = frozenset(map(stem, (*common_words(), *_TITLES)))
_PERSON = frozenset(map(stem, ("name", "person", "who", "contact", "member", "employee")))
_FULL_NAME = re.compile(
    r"(?:[A-ZÀ-Þ][\w.'’-]* ){1,3}[A-ZÀ-Þ][a-zà-ÿ'’-]+$"
)  # whom a table without a head for names is of
_RULE = re.compile(r"\|?[\s:|-]+\|?$")


def cells(asked: Asked, lines: Iterable[Line], name: str) -> Iterator[Exact]:
    """Yield the cells that a question asks for by the name of a row and the head of a column.

    A row is named by any of its cells whose words are all in the question; the words that are left have to be
    those of a head. Words of the file's name and of the heading above may be in the question too.
    """
    heads: list[str] = []
    around = name
    for line in lines:
        row = _row(line.text, name)
        if len(row) < 2:
            heads = []
            if line.text.startswith("#"):
                around = f"{name} {line.text}"
            continue
        if not heads:
            heads = row
        elif not _RULE.match(line.text) and len(row) <= len(heads):
            yield from _asked_for(asked, heads, row, around, line)


def _row(text: str, name: str) -> list[str]:
    if text.lstrip().startswith("|"):
        return [cell.strip().strip("`*") for cell in text.strip().strip("|").split("|")]
    if "\t" in text:
        return [cell.strip() for cell in text.split("\t")]
    if name.lower().endswith(".csv"):
        separator = ";" if text.count(";") > text.count(",") else ","
        return [cell.strip() for cell in next(csv.reader([text], delimiter=separator), [])]
    return []


def _asked_for(
    asked: Asked, heads: Sequence[str], row: Sequence[str], around: str, line: Line
) -> Iterator[Exact]:
    for i, cell in enumerate(row):
        forms = stems(cell)
        named, used = cover(asked.terms, forms)
        unsaid = {form for j, form in enumerate(forms) if j not in used}
        if not forms or unsaid - _COMMON or not named & asked.required:
            continue
        rest = asked.required - named - cover(asked.terms, stems(around))[0]
        left = asked.required - named
        fitting = [_fits(asked, left, rest, head) for head in heads]
        if asked.wanted == "name" and not rest:  # "who is the driver?"
            names = [j for j, head in enumerate(heads) if _PERSON & set(stems(head))]
            names = names or ([0] if _FULL_NAME.match(row[0]) else [])
            fitting = [0 if j in names else one for j, one in enumerate(fitting)]
        best = min((one for j, one in enumerate(fitting) if one is not None and j != i), default=None)
        for j, value in enumerate(row):
            if j != i and best is not None and fitting[j] == best and looks_right(asked, value):
                yield Exact(value, line.quote())
        if best is not None:
            return


def _fits(asked: Asked, left: set[int], rest: set[int], head: str) -> int | None:
    """Return how many words of a head are not asked for; None if it is another column."""
    forms = stems(head.split("(", maxsplit=1)[0]) or stems(head)
    covered, used = cover(asked.terms, forms)
    if not covered & (left or set(range(len(asked.terms)))) or rest - covered:
        return None
    return len(forms) - len(used)
