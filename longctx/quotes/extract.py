"""Summaries made of sentences of the text itself, section by section, without a model.

`longctx.quotes.outline` decides on the sections, `longctx.quotes.coverage` on the worth of a sentence.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from longctx.quotes.candidates import FEWEST_WORDS, MOST_WORDS, Candidate, candidates
from longctx.quotes.coverage import STRETCH, Coverage
from longctx.quotes.outline import Section, outline
from longctx.text.source import Document
from longctx.text.span import Quote

SLACK = 0.03  # of the words asked for
LAST_CHOICES = 2 * STRETCH  # words: with fewer to go, the last sentence is chosen to fit
WINDOW = 8192  # sentences of a section that are compared at once
KEPT = 1000  # words at least, of each window of a section that has several


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The sentences chosen from one section of the text, in reading order.

    The score of a sentence is what it added, per word, to those chosen before it.
    """

    title: str
    sentences: list[Quote]


def summarize_extractive(documents: Sequence[Document], asked: int) -> list[Excerpt]:
    """Choose sentences of `asked` words, to 3 %, to stand for the text, from each section by its length.

    Sections follow the headings, or the files, or are equal slices; see `outline`. `candidates` are compared
    by `Coverage`. A section without any is left out. A text with fewer words gives fewer.
    """
    sections = outline(documents, max(1, round(asked / STRETCH)))
    share = asked / max(1, sum(section.size for section in sections))
    said = Counter[str]()
    parts = [_Part(section, share * section.size, said) for section in sections]
    _Choice([part for part in parts if part.coverage.candidates], asked).run()
    return [Excerpt(part.section.title, part.quotes()) for part in parts if part.chosen]


class _Part:
    """A section, what may be chosen from it, and what was."""

    def __init__(self, section: Section, share: float, said: Counter[str]) -> None:
        self.section, self.share = section, share
        self.coverage = Coverage(_held(candidates(section), share), share, said)
        self.chosen: dict[int, float] = {}  # number of a candidate -> its worth
        self.words = 0.0

    def take(self, longest: float, shortest: float = 0) -> float:
        """Choose the best sentence of that many words; return its length, or 0 without one."""
        if (best := self.coverage.best(longest, shortest)) is None:
            return 0
        worth, number = best
        self.coverage.take(number)
        self.chosen[number] = worth
        length = self.coverage.candidates[number].length
        self.words += length
        return length

    def quotes(self) -> list[Quote]:
        """Return the chosen sentences in reading order."""
        every = self.coverage.candidates
        return [replace(every[number].quote, score=self.chosen[number]) for number in sorted(self.chosen)]


def _held(sentences: Iterator[Candidate], share: float) -> list[Candidate]:
    """Return the candidates; of a section with very many, the best of each window, to bound memory."""
    held: list[Candidate] = []
    window = list(islice(sentences, WINDOW))
    while following := list(islice(sentences, WINDOW)):
        held += _best(window, max(KEPT, 4 * share))
        window = following
    return held + (_best(window, max(KEPT, 4 * share)) if held else window)


def _best(window: list[Candidate], asked: float) -> list[Candidate]:
    coverage, numbers = Coverage(window, asked, Counter()), list[int]()
    while asked > 0 and (best := coverage.best(asked)):
        coverage.take(best[1])
        numbers.append(best[1])
        asked -= window[best[1]].length
    return [window[number] for number in sorted(numbers)]


class _Choice:
    """Chooses sentences from several parts until their words are as many as asked for."""

    def __init__(self, parts: Sequence[_Part], asked: int) -> None:
        self.parts, self.left, self.slack = parts, float(asked), asked * SLACK

    def run(self) -> None:
        """Give each part a sentence while there is room, then its share; the last are the best that fit."""
        if len(self.parts) > 1:
            for part in sorted(self.parts, key=lambda part: -part.share):
                limits = (max(part.share, STRETCH), 2 * STRETCH, MOST_WORDS)
                any(self._take(part, longest) for longest in limits)
        carried = 0.0
        for part in self.parts:
            carried += part.share - part.words
            while carried > 0 and (taken := self._take(part, min(carried, self.left - LAST_CHOICES))):
                carried -= taken
        while self.left > self.slack and (self._take_last() or self._take_best(self.left - FEWEST_WORDS)):
            pass
        if self.left > self.slack:
            self._take_best(self.left + self.slack)

    def _take(self, part: _Part, longest: float, shortest: float = 0) -> float:
        taken = part.take(min(longest, self.left + self.slack), shortest)
        self.left -= taken
        return taken

    def _take_last(self) -> float:
        """Choose a sentence that fills what is left, if that is little."""
        few = self.left <= LAST_CHOICES
        return self._take_best(self.left + self.slack, self.left - self.slack) if few else 0

    def _take_best(self, longest: float, shortest: float = 0) -> float:
        """Choose the best sentence of any part that is so long."""
        best = [
            (found[0], -n)
            for n, part in enumerate(self.parts)
            if (found := part.coverage.best(longest, shortest))
        ]
        return self._take(self.parts[-max(best)[1]], longest, shortest) if best else 0
