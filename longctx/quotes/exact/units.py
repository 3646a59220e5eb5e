"""Sentences, items and lines of a text, each with what it may leave unsaid. Knows no questions."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from longctx.quotes.exact.lines import Line
from longctx.quotes.exact.sentences import sentences
from longctx.quotes.exact.words import UNITS, stem
from longctx.quotes.prose import common_words
from longctx.structure.log_lines import TIME

_TOKEN = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?|\d+")
_POSSESSIVE = re.compile(r"['’]s$")
_PRONOUN = re.compile(r"(?:[-*+] +)?(?:It|They|He|She|This|These|Its|Their|His|Her)\b")
_NO_END = re.compile(r"[.!?:,;]\W*$")
_ITEM = re.compile(r"\s*[-*+•>] ")
_ROW = re.compile(r"\S {2,}\S.*\S {3,}\S|\S {3,}\S.*\S {2,}\S|\t.*\t")  # three columns and more
_STAMP = re.compile(
    r"\[?\d{1,4}[./-]\d{1,2}[./-]\d{1,4},? +\d{1,2}:\d\d(?::\d\d)?\]?\s|\[\d{1,2}:\d\d(?::\d\d)?\]"
)
_NUMBER_ALONE = re.compile(r"\W*(?:\d+|[A-Z])(?:\.\d+)*[.)]?\W*")
LONGEST_HEADING = 6  # words


@dataclass(frozen=True)
class Unit:
    """A sentence, an item or a line.

    Attributes:
        starts: where each line of the text begins in it. above: the heading. before: the sentence before.
        first: it stands right below its heading. same_line: the sentence before stands on the same line.
    """

    text: str
    starts: Sequence[tuple[int, Line]]
    above: str = ""
    before: str = ""
    first: bool = False
    same_line: bool = False

    @cached_property
    def tokens(self) -> list[re.Match[str]]:
        """Its words and numbers."""
        return list(_TOKEN.finditer(self.text))

    @cached_property
    def forms(self) -> list[str]:
        """The stems of its words."""
        return [stem(_POSSESSIVE.sub("", one[0].lower())) for one in self.tokens]

    @cached_property
    def stamp(self) -> int:
        """Where the time ends with which a line of a log or a chat begins; 0 without one."""
        found = _STAMP.match(self.text) or TIME.match(self.text)
        return found.end() if found else 0

    @property
    def context(self) -> list[str]:
        """The stems of the words that it may leave unsaid."""
        goes_on = self.same_line or _PRONOUN.match(self.text)
        return self.title + _stems(self.before if goes_on else "")

    @property
    def title(self) -> list[str]:
        """The stems of its heading."""
        return _stems(self.above)

    def held(self, start: int, end: int) -> range:
        """Return which of its words stand in a part of it."""
        inside = [j for j, one in enumerate(self.tokens) if one.start() < end and one.end() > start]
        return range(inside[0], inside[-1] + 1) if inside else range(0)


def _stems(text: str) -> list[str]:
    return [stem(one.lower()) for one in _TOKEN.findall(text)]


def units(lines: Iterable[Line]) -> Iterator[Unit]:
    """Yield the sentences of a text under their headings; rows of tables are left out."""
    above = before = ""
    last, first = -1, False
    for text, starts in sentences(lines):
        if text.lstrip().startswith("|") or _ROW.search(text):
            continue
        number = starts[0][1].number if starts else last
        heading = _is_heading(text, before)
        if heading and not _NUMBER_ALONE.fullmatch(text):
            above = text
        yield Unit(
            text,
            starts,
            "" if heading else above,
            before if number - last <= 1 else "",
            first,
            number == last and not heading,
        )
        before, last, first = text, number, heading


def _is_heading(text: str, before: str) -> bool:
    """Tell a heading: "## Fees", "3. Fees", "FEES", or the word with which a numbered paragraph begins."""
    count = len(_TOKEN.findall(text))
    if text.lstrip().startswith("#"):
        return True
    if count > LONGEST_HEADING or ": " in text or "(" in text or _ITEM.match(text) or TIME.match(text):
        return False
    if not _NO_END.search(text.strip()):
        return not text[:1].islower()
    return count <= 3 and bool(_NUMBER_ALONE.fullmatch(before)) and text.rstrip().endswith(".")


def tells(word: str) -> bool:
    """Tell whether a word says what a text is about."""
    lower = word.lower()
    return lower not in common_words() and lower not in UNITS and not (len(lower) == 1 and lower.isalpha())


def tells_anything(text: str) -> bool:
    """Tell whether any word of a text does."""
    return any(map(tells, _TOKEN.findall(text)))
