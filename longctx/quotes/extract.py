"""Summaries made of sentences of the text itself, section by section, without a model.

Only one window of sentences is held at a time. Which sections there are, `longctx.quotes.outline` decides.
"""

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import log
from typing import TYPE_CHECKING

from longctx.quotes.outline import HEAD, Part, Piece, is_program, outline
from longctx.quotes.passages import Passage, paragraphs, placed
from longctx.quotes.prose import (
    COMMENT,
    LINE,
    heading_level,
    is_prose,
    split_sentences,
    unspaced_characters,
    words,
)
from longctx.text.offsets import byte_after, line_ends
from longctx.text.source import Document

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

FEWEST_WORDS, MOST_WORDS = 5, 80
TELLING_WORDS = (
    8  # no stop words; a sentence with fewer scores less, for it is like everything: "Yes," said he
)
WINDOW = 300  # sentences compared with each other at a time
KEPT = 30  # of a window, to be compared with the best of the others
PRECISION = 1e-4  # of the scores
SPEECH_WEIGHT = 0.5  # what somebody says in a story tells less than what is told
SIMILAR = 0.1  # the threshold of the LexRank paper
SAME = 0.6  # share of common words from which two sentences say the same
FROM_COMMENT = 3
LONGEST_LINE = 300

_ENDS = re.compile(r"[.!?…。！？｡؟।][\"'”’»)\]」』*_]*$")
_NO_SENTENCE = re.compile(r"[|>\-*•+]|.*(?:\.\s?\.\s?\.\s?\.|·\s?·|_{3,}|</?\w)", re.DOTALL)
_SPEECH = re.compile(r"[\"'“‘„«»「『—–-]")
_LICENCE = re.compile(r"copyright|licen[cs]e|SPDX|-\*-", re.IGNORECASE)
_COMMENT_LINE = re.compile(r"^[ \t]*(?:[#;*]+|//+|--+)?[ \t]*(?P<text>\w[^\r\n]*)", re.MULTILINE)


_Scored = tuple[float, Passage]


@dataclass(frozen=True, slots=True)
class Sentence:
    """A verbatim sentence, its place (bytes of `document.path`, lines from 1) and how central it is.

    1 is the average of the sentences compared with it; 0 is a line that stands in for missing sentences.
    """

    text: str
    document: Document
    byte_start: int
    byte_end: int
    line: int
    score: float


@dataclass(frozen=True, slots=True)
class Section:
    """The sentences chosen from one part of the text, in reading order, out of the `considered` ones.

    The part begins at `line` of `document`; it may go on into the documents after it.
    """

    title: str
    document: Document
    line: int
    sentences: list[Sentence]
    considered: int


def summarize_extractive(documents: Sequence[Document], sentences: int) -> list[Section]:
    """Choose about that many sentences to stand for the whole text, from each section by its length.

    Sections follow the headings, or the files, or are equal slices; see `outline`. Every sentence of running
    text with 5 to 80 words is considered: each is compared with the others of its window of 300 (LexRank),
    then the best of all windows with each other, since the comparison costs the square of their number.
    Of source code only the docstring or comment at the top is considered. A section that has nothing of the
    kind gives its first line.
    """
    parts = outline(documents, max(1, sentences))
    chosen: list[frozenset[str]] = []
    sections = []
    for part, quota in zip(parts, _quotas([part.size for part in parts], sentences), strict=True):
        considered, ranked = _ranked(_candidates(part), quota)
        picked = _distinct(ranked, quota, chosen) or _first_line(part)
        if picked:
            order = {piece.document: number for number, piece in enumerate(part.pieces)}
            picked.sort(key=lambda s: (order[s.document], s.byte_start))
            first = part.pieces[0]
            sections.append(Section(part.title, first.document, first.line, picked, considered))
    return sections


def _quotas(sizes: Sequence[int], count: int) -> list[int]:
    """Divide `count` by size, at least one each."""
    total = max(1, sum(sizes))
    shares = [size * count / total for size in sizes]
    quotas = [max(1, int(share)) for share in shares]
    by_remainder = sorted(range(len(sizes)), key=lambda n: (int(shares[n]) - shares[n], n))
    for number in islice(by_remainder, max(0, count - sum(quotas))):
        quotas[number] += shares[number] >= 1
    return quotas


def _candidates(part: Part) -> Iterator[Passage]:
    for piece in part.pieces:
        yield from _from_comment(piece) if is_program(piece.document) else _from_prose(piece)


def _from_prose(piece: Piece) -> Iterator[Passage]:
    stretch = replace(piece.document, start=piece.byte_start, end=piece.byte_end)
    for paragraph in paragraphs(stretch):
        if heading_level(paragraph.text) is None and is_prose(paragraph.text):
            line = piece.line + paragraph.first_line - 1
            cut = split_sentences(paragraph.text)
            yield from filter(_is_telling, placed(piece.document, cut, paragraph.byte_start, line))


def _from_comment(piece: Piece) -> Iterator[Passage]:
    """Yield the first sentences of the docstring a program begins with, or of its comment line by line."""
    document = piece.document
    if piece.byte_start != document.start:
        return
    beginning = next(document.blocks(HEAD), "")
    comments = (comment for comment in COMMENT.finditer(beginning) if not _LICENCE.search(comment[0]))
    found = next(comments, None)
    if not found:
        return
    start, end = found.span(found.lastgroup or 0)
    spans = _sentence_spans(beginning[start:end]) if found.lastgroup in ("double", "single") else []
    spans = spans or [line.span("text") for line in _COMMENT_LINE.finditer(beginning[start:end])][:1]
    for first, last in spans[:FROM_COMMENT]:
        text = beginning[start + first : start + last].rstrip()
        byte = byte_after(document, document.start, beginning[: start + first])
        line = 1 + line_ends(beginning, start + first)
        yield Passage(document, byte, byte_after(document, byte, text), line, line + line_ends(text), text)


def _sentence_spans(text: str) -> list[tuple[int, int]]:
    spans, end = [], 0
    for sentence in split_sentences(text):
        start = end + len(sentence) - len(sentence.lstrip())
        end += len(sentence)
        if _ENDS.search(sentence.rstrip()) and "\n\n" not in sentence.strip():
            spans.append((start, end))
    return spans


def _is_telling(sentence: Passage) -> bool:
    """Leave out fragments, endless sentences, headings, lists, tables and lines of a table of contents."""
    text = sentence.text
    if text.isupper() or not _ENDS.search(text) or _NO_SENTENCE.match(text) or not is_prose(text):
        return False
    # Two characters of a script without word spaces are about one word.
    return FEWEST_WORDS <= len(words(text)) - unspaced_characters(text) / 2 <= MOST_WORDS


def _ranked(candidates: Iterator[Passage], quota: int) -> tuple[int, list[Sentence]]:
    """Count the candidates and return the best of them, best first."""
    kept = max(KEPT, 2 * quota)
    considered, best = 0, list[_Scored]()
    while window := list(islice(candidates, WINDOW)):
        considered += len(window)
        best += _central(window)[:kept]
        if len(best) > 2 * kept + WINDOW:
            best = _central([passage for _, passage in best])[:kept]
    if considered > WINDOW:
        best = _central([passage for _, passage in best])
    return considered, [
        Sentence(p.text, p.document, p.byte_start, p.byte_end, p.first_line, score) for score, p in best
    ]


def _central(candidates: Sequence[Passage]) -> list[_Scored]:
    """Score sentences by LexRank: central is what is similar to many that are central."""
    with warnings.catch_warnings():
        # What sumy imports may warn of its own syntax and of deprecations in what it imports.
        warnings.simplefilter("ignore")
        from sumy.summarizers.lex_rank import LexRankSummarizer
        from sumy.utils import get_stop_words

    common = get_stop_words("english")  # in other languages their frequency has to do
    said = [[word for word in words(c.text.lower()) if word not in common] for c in candidates]
    scores = LexRankSummarizer.power_method(similarities(said), PRECISION)
    scores /= scores.mean()
    for number, (candidate, telling) in enumerate(zip(candidates, said, strict=True)):
        scores[number] *= min(1, len(set(telling)) / TELLING_WORDS)
        if _SPEECH.match(candidate.text):
            scores[number] *= SPEECH_WEIGHT
    return sorted(zip(scores.tolist(), candidates, strict=True), key=lambda scored: -scored[0])


def similarities(texts: Sequence[Sequence[str]]) -> "NDArray[float64]":
    """Return the matrix that sumy's LexRank walks on: who is similar to whom, each row adding up to 1.

    sumy computes it pair by pair in Python, which takes 50 times as long for 300 sentences.
    """
    import numpy

    counts = [Counter(text) for text in texts]
    having = Counter(word for count in counts for word in count)
    column = {word: number for number, word in enumerate(having)}
    weights = numpy.zeros((len(texts), len(column)))  # (sentence, word): tf * idf as in sumy
    for row, count in enumerate(counts):
        most = max(count.values(), default=1)
        for word, times in count.items():
            weights[row, column[word]] = times / most * log(len(texts) / (1 + having[word]))
    lengths = numpy.linalg.norm(weights, axis=1, keepdims=True)
    weights /= numpy.where(lengths > 0, lengths, 1)
    similar = (weights @ weights.T > SIMILAR).astype(numpy.float64)
    numpy.fill_diagonal(similar, 1)  # also where no word tells anything, as in two equal sentences
    matrix: NDArray[float64] = similar / similar.sum(axis=1, keepdims=True)
    return matrix


def _distinct(ranked: Iterable[Sentence], quota: int, chosen: list[frozenset[str]]) -> list[Sentence]:
    """Pick the best sentences that do not say again what is in `chosen`, to which theirs are added."""
    picked: list[Sentence] = []
    for sentence in ranked:
        said = frozenset(words(sentence.text.lower()))
        if len(picked) < quota and all(len(said & other) < SAME * len(said | other) for other in chosen):
            picked.append(sentence)
            chosen.append(said)
    return picked


def _first_line(part: Part) -> list[Sentence]:
    piece = part.pieces[0]
    stretch = replace(piece.document, start=piece.byte_start, end=piece.byte_end)
    for first in paragraphs(stretch):
        text = LINE.findall(first.text)[0][:LONGEST_LINE].rstrip()
        end = byte_after(piece.document, first.byte_start, text)
        line = piece.line + first.first_line - 1
        return [Sentence(text, piece.document, first.byte_start, end, line, 0.0)]
    return []
