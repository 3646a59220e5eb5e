"""Tables whose columns are aligned with spaces, as ps, df, kubectl and docker print them."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from longctx.quotes.exact.lines import Line

FEWEST = 3  # columns
MOST = 2000  # lines of a table
_GAP = re.compile(r"(?<=\S) {2,}(?=\S)")
_RULE = re.compile(r"[\s|:+=-]+$")
_DIGIT = re.compile(r"(?<!\S)[\d.,:-]*\d[\d.,:-]*(?!\S)")  # a head is no number
_HEAD = re.compile(r"[A-ZÀ-Þ%#]|(?:on|of|in)$")  # a word of the heads that are parted by one space alone
_SENTENCE = re.compile(r"[.;!]$")


@dataclass(frozen=True)
class Table:
    """The heads of a table, and its rows: each a line and its cells, some of them empty."""

    heads: list[str]
    rows: list[tuple[Line, list[str]]]


def looks_aligned(text: str) -> bool:
    """Tell whether a line may be one of such a table: parted by at least two gaps."""
    return len(_GAP.findall(text)) >= FEWEST - 1 and not text.lstrip().startswith("|")


def table(lines: Sequence[Line]) -> Table | None:
    """Return the table that lines one below the other make, the first of heads; None if they are none."""
    lines = [line for line in lines if not _RULE.match(line.text)][:MOST]
    if len(lines) < 2:
        return None
    head, rows = lines[0].text, [line.text for line in lines[1:]]
    tokens = head.split()
    capital = head.upper() == head and len(tokens) >= FEWEST
    if not (capital or looks_aligned(head)) or _DIGIT.search(head) or _SENTENCE.search(head):
        return None
    named = all(_HEAD.match(token) for token in tokens)
    for cut in (_by_place(head, rows), _by_count(tokens, rows) if named else None):
        if cut and len(cut[0]) >= FEWEST and all(sum(map(bool, cells)) > 1 for cells in cut):
            return Table(cut[0], list(zip(lines[1:], cut[1:], strict=True)))
    return None


def _by_place(head: str, rows: Sequence[str]) -> list[list[str]] | None:
    """Cut lines where all are blank; None if two columns are not parted so."""
    width = max(map(len, (head, *rows)))
    used = [any(text[i : i + 1].strip() for text in (head, *rows)) for i in range(width)]
    starts = [i for i in range(width) if used[i] and (i == 0 or not used[i - 1])]
    kept: list[int] = []
    for start, end in zip(starts, [*starts[1:], width], strict=True):
        # What has no head goes on with what stands before it, and so does a head that has no cells.
        if not kept or (head[start:end].strip() and any(text[start:end].strip() for text in rows)):
            kept.append(start)
    cut = [
        [text[start:end].strip() for start, end in zip(kept, [*kept[1:], None], strict=True)]
        for text in (head, *rows)
    ]
    return None if _run_together(cut) else cut


def _run_together(cut: Sequence[Sequence[str]]) -> bool:
    """Tell whether a column is two: its head has several words, and so has each of its cells."""
    return any(
        len(column[0].split()) > 1 and all(len(cell.split()) > 1 for cell in column[1:])
        for column in zip(*cut, strict=True)
    )


def _by_count(heads: Sequence[str], rows: Sequence[str]) -> list[list[str]] | None:
    """Cut lines into as many words as there are heads, the last of which may be two: "Mounted on"."""
    for names in ([*heads], [*heads[:-2], " ".join(heads[-2:])]):
        cut = [text.split(None, len(names) - 1) for text in rows]
        if all(len(cells) == len(names) for cells in cut):
            return [names, *cut]
    return None


def groups(lines: Iterable[Line], marked: Callable[[Line], bool]) -> Iterator[list[Line]]:
    """Yield lines that may make up a table together, and each other line alone.

    Args:
        marked: tells lines whose cells are parted otherwise.
    """
    together: list[Line] = []
    for line in lines:
        goes_on = together and line.number == together[-1].number + 1 and len(together) < MOST
        if together and not (goes_on and _may_be_row(line, marked)):
            yield together
            together = []
        if _may_be_row(line, marked):
            together.append(line)
        else:
            yield [line]
    if together:
        yield together


def _may_be_row(line: Line, marked: Callable[[Line], bool]) -> bool:
    text = line.text
    return bool(_GAP.search(text) or (text.strip() and _RULE.match(text))) and not marked(line)
