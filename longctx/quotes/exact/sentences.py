"""Sentences of a text whose lines are wrapped, with the line in which each word stands."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise

from longctx.quotes.exact.lines import Line
from longctx.quotes.exact.words import Term, stem
from longctx.structure.log_lines import TIME

_HEADER = re.compile(r"[A-Z][\w -]{1,30}: \S|[-*] ")
_END = re.compile(r"(?<!\b[A-Z])(?<!\bDr)(?<!\bMr)(?<!\bSt)(?<!\btel)(?<!\bno)[.!?][\"')]* (?=[A-Z\"(])")
_CLAUSE = re.compile(r"; |, (?:and|but|while|whereas) ")
# "No more than 5" denies nothing, nor does "no. 5" or "no. WF-20".
_DENIED = re.compile(
    r"\b(?:not|never|neither|nor|cannot|without|unlike|except|instead of|rather than"
    r"|no(?!\. ?(?=[\w/-]*\d)[A-Z\d]| (?:more|less|later|earlier|fewer) than\b))\b|n['’]t\b",
    re.IGNORECASE,
)
_ROW = re.compile(r"\S(?: {3,}|\t)\S")  # of a table whose columns are aligned
LONGEST = 2000  # characters that are kept while no paragraph ends


def denies(text: str) -> bool:
    """Tell whether a text says that something is not so."""
    return bool(_DENIED.search(text))


def sentences(lines: Iterable[Line]) -> Iterator[tuple[str, list[tuple[int, Line]]]]:
    """Yield paragraphs' sentences on one line each, with where each line of the text begins in them."""
    group: list[tuple[str, Line]] = []
    size = 0
    for line in chain(lines, [None]):
        body = line.text.strip().replace("\xa0", " ") if line else ""
        if group and (not body or _HEADER.match(body) or size >= LONGEST):
            yield from _of_group(group)
            group, size = [], 0
        if line and body:
            group.append((body, line))
            size += len(body) + 1


def _of_group(group: Sequence[tuple[str, Line]]) -> Iterator[tuple[str, list[tuple[int, Line]]]]:
    """Yield the sentences of lines in a row; a line that was not merely wrapped ends one."""
    width = max(len(line.text.rstrip()) for _, line in group)
    text, starts = group[0][0] + " ", [(0, group[0][1])]
    for (body, line), (after, next_line) in pairwise(group):
        if _ends(body, line, after, next_line, width):
            yield from _cut(text, starts)
            text, starts = "", []
        starts.append((len(text), next_line))
        text += after + " "
    yield from _cut(text, starts)


def _ends(body: str, line: Line, after: str, next_line: Line, width: int) -> bool:
    """Tell whether the next line says something of its own: of a log, of a list, or from elsewhere."""
    if next_line.number != line.number + 1 or TIME.match(after) or _ROW.search(body) or _ROW.search(after):
        return True
    fits = len(line.text.rstrip()) + 1 + len(after.split(maxsplit=1)[0]) <= width
    return fits and not after[0].islower() and body[-1] not in ",-"


def _cut(text: str, starts: list[tuple[int, Line]]) -> Iterator[tuple[str, list[tuple[int, Line]]]]:
    at = 0
    for end in [*(found.end() for found in _END.finditer(text)), len(text)]:
        if text[at:end].strip():
            yield text[at:end], [(start - at, line) for start, line in starts]
        at = end


def clauses(text: str) -> Iterator[tuple[int, str]]:
    """Yield the parts of a sentence that say one thing each, with where they begin."""
    at = 0
    for end in _CLAUSE.finditer(text):
        yield at, text[at : end.start()]
        at = end.end()
    yield at, text[at:]


def line_at(at: int, starts: Sequence[tuple[int, Line]]) -> Line:
    """Return the line that holds a place of a sentence."""
    return [line for start, line in starts if start <= at][-1]


def end_of_words(names: Sequence[Term], text: str) -> int:
    """Return where the last of the words ends that stand in a row in a text; -1 if they do not."""
    tokens = [(found.end(), stem(found[0].lower())) for found in re.finditer(r"[^\W_]+", text)]
    size = len(names)
    for at in range(len(tokens) - size + 1):
        if all(tokens[at + i][1] in one.forms for i, one in enumerate(names)):
            return tokens[at + size - 1][0]
    return -1
