"""Sentences of a text whose lines are wrapped, with the line in which each word stands."""

import re
from collections.abc import Iterable, Iterator, Sequence

from longctx.quotes.exact.lines import Line
from longctx.quotes.exact.words import Term, stem

_HEADER = re.compile(r"[A-Z][\w -]{1,30}: \S|[-*] ")
_END = re.compile(r"(?<!\b[A-Z])(?<!\bDr)(?<!\bMr)(?<!\bSt)(?<!\btel)(?<!\bno)[.!?][\"')]* (?=[A-Z\"(])")
_CLAUSE = re.compile(r"; |, (?:and|but|while|whereas) ")
LONGEST = 2000  # characters that are kept while no paragraph ends


def sentences(lines: Iterable[Line]) -> Iterator[tuple[str, list[tuple[int, Line]]]]:
    """Yield paragraphs' sentences on one line each, with where each line of the text begins in them."""
    text = ""
    starts: list[tuple[int, Line]] = []
    for line in [*lines, None]:
        body = line.text.strip().replace("\xa0", " ") if line else ""
        if text and _HEADER.match(body):
            yield from _cut(text, starts)
            text, starts = "", []
        if line and body:
            starts.append((len(text), line))
            text += body + " "
            if len(text) < LONGEST:
                continue
        yield from _cut(text, starts)
        text, starts = "", []


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
