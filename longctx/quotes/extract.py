"""Summaries made of sentences of the text itself, section by section, without a model.

Only one window of sentences is held at a time. `longctx.quotes.outline` decides on the sections.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from longctx.quotes.lexrank import centrality
from longctx.quotes.outline import HEAD, Section, is_program, outline
from longctx.quotes.passages import paragraphs, placed
from longctx.quotes.prose import (
    COMMENT,
    LINE,
    common_words,
    heading_level,
    is_prose,
    unspaced_characters,
    words,
)
from longctx.quotes.sentences import split_sentences
from longctx.text.offsets import byte_after, line_ends
from longctx.text.source import Document
from longctx.text.span import Quote, Span

FEWEST_WORDS, MOST_WORDS = 5, 80
TELLING_WORDS = (
    8  # no stop words; a sentence with fewer scores less, for it is like everything: "Yes," said he
)
COMPARED = 300  # sentences compared with each other at a time
KEPT = 30  # best sentences of a window, compared with those of the others
SPEECH_WEIGHT = 0.5  # in a story, speech tells less than narration
SAME = 0.6  # two sentences that share this much of their words say the same
FROM_COMMENT = 3
LONGEST_LINE = 300

_ENDS = re.compile(r"[.!?…。！？｡؟।][\"'”’»)\]」』*_]*$")
_NO_SENTENCE = re.compile(r"[|>\-*•+]|.*(?:\.\s?\.\s?\.\s?\.|·\s?·|_{3,}|</?\w)", re.DOTALL)
_SPEECH = re.compile(r"[\"'“‘„«»「『—–-]")
_LICENCE = re.compile(r"copyright|licen[cs]e|SPDX|-\*-", re.IGNORECASE)
_COMMENT_LINE = re.compile(r"^[ \t]*(?:[#;*]+|//+|--+)?[ \t]*(?P<text>\w[^\r\n]*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The sentences chosen from one section of the text, in reading order.

    The score of 1 is the average of the sentences compared with it; 0 is a line that stands in for sentences.
    """

    title: str
    sentences: list[Quote]


def summarize_extractive(documents: Sequence[Document], sentences: int) -> list[Excerpt]:
    """Choose about `count` sentences to stand for the text, from each section by its length.

    Sections follow the headings, or the files, or are equal slices; see `outline`. Every sentence of running
    text with 5 to 80 words is considered: each is compared with the others of its window of 300 (LexRank),
    then the best of all windows with each other, since the comparison costs the square of their number.
    Source code is represented by the docstring or comment at its top. A section without any of these gives
    its first line.
    """
    sections = outline(documents, max(1, sentences))
    chosen: list[frozenset[str]] = []
    excerpts = []
    for section, quota in zip(sections, _quotas([s.size for s in sections], sentences), strict=True):
        picked = _distinct(_ranked(candidates(section), quota), quota, chosen) or _first_line(section)
        if picked:
            order = {span.document: number for number, span in enumerate(section.spans)}
            picked.sort(key=lambda s: (order[s.span.document], s.span.byte_start))
            excerpts.append(Excerpt(section.title, picked))
    return excerpts


def _quotas(sizes: Sequence[int], count: int) -> list[int]:
    """Divide `count` by size, at least one each."""
    total = max(1, sum(sizes))
    shares = [size * count / total for size in sizes]
    quotas = [max(1, int(share)) for share in shares]
    by_remainder = sorted(range(len(sizes)), key=lambda n: (int(shares[n]) - shares[n], n))
    for number in islice(by_remainder, max(0, count - sum(quotas))):
        quotas[number] += shares[number] >= 1
    while sum(quotas) > max(count, len(quotas)):  # small sections got one each
        quotas[max(range(len(quotas)), key=lambda n: (quotas[n] > 1, quotas[n] - shares[n]))] -= 1
    return quotas


def candidates(section: Section) -> Iterator[Quote]:
    """Yield the candidate sentences of a section."""
    for span in section.spans:
        yield from _from_comment(span) if is_program(span.document) else _from_prose(span)


def _from_prose(stretch: Span) -> Iterator[Quote]:
    for paragraph in paragraphs(stretch.document, stretch):
        if heading_level(paragraph.text) is None and is_prose(paragraph.text):
            span, cut = paragraph.span, split_sentences(paragraph.text)
            yield from filter(_is_telling, placed(cut, span.document, span.byte_start, span.first_line))


def _from_comment(stretch: Span) -> Iterator[Quote]:
    """Yield the first sentences of a program's docstring, or the first line of its comment."""
    document = stretch.document
    beginning = next(document.blocks(HEAD), "") if stretch.byte_start == document.start else ""
    comments = (comment for comment in COMMENT.finditer(beginning) if not _LICENCE.search(comment[0]))
    if (found := next(comments, None)) is None:
        return
    group = found.lastgroup or 0

    def at(start: int, texts: Iterable[str]) -> Iterator[Quote]:
        byte = byte_after(document, document.start, beginning[:start])
        return placed(texts, document, byte, 1 + line_ends(beginning, start))

    said: list[Quote] = []
    if group in ("double", "single"):
        sentences = at(found.start(group), split_sentences(found[group]))
        said = [s for s in sentences if _ENDS.search(s.text) and "\n\n" not in s.text]
    if not said and (line := _COMMENT_LINE.search(found[group])):
        said = list(at(found.start(group) + line.start("text"), [line["text"]]))
    yield from said[:FROM_COMMENT]


def _is_telling(sentence: Quote) -> bool:
    """Leave out fragments, endless sentences, headings, lists, tables and lines of a table of contents."""
    text = sentence.text
    if text.isupper() or not _ENDS.search(text) or _NO_SENTENCE.match(text) or not is_prose(text):
        return False
    # Two characters of a script without word spaces are about one word.
    return FEWEST_WORDS <= len(words(text)) - unspaced_characters(text) / 2 <= MOST_WORDS


def _ranked(sentences: Iterator[Quote], quota: int) -> list[Quote]:
    """Return the most central sentences, best first."""
    kept = max(KEPT, 2 * quota)
    windows, best = 0, list[Quote]()
    while window := list(islice(sentences, COMPARED)):
        windows += 1
        best += _central(window)[:kept]
        if len(best) > 2 * kept + COMPARED:
            best = _central(best)[:kept]
    return _central(best) if windows > 1 else best


def _central(sentences: Sequence[Quote]) -> list[Quote]:
    """Score sentences; return them most central first."""
    common = common_words()  # other languages rely on word frequency
    said = [[word for word in words(s.text.lower()) if word not in common] for s in sentences]
    scored = []
    for sentence, telling, score in zip(sentences, said, centrality(said).tolist(), strict=True):
        spoken = SPEECH_WEIGHT if _SPEECH.match(sentence.text) else 1
        weight = min(1, len(set(telling)) / TELLING_WORDS) * spoken
        scored.append(replace(sentence, score=score * weight))
    return sorted(scored, key=lambda sentence: -(sentence.score or 0.0))


def _distinct(ranked: Iterable[Quote], quota: int, chosen: list[frozenset[str]]) -> list[Quote]:
    """Pick the best sentences that do not repeat `chosen`, and add their words to it."""
    picked: list[Quote] = []
    for sentence in ranked:
        said = frozenset(words(sentence.text.lower()))
        if len(picked) < quota and all(len(said & other) < SAME * len(said | other) for other in chosen):
            picked.append(sentence)
            chosen.append(said)
    return picked


def _first_line(section: Section) -> list[Quote]:
    for paragraph in paragraphs(section.spans[0].document, section.spans[0]):
        text = LINE.findall(paragraph.text)[0][:LONGEST_LINE].rstrip()
        span = paragraph.span
        end = byte_after(span.document, span.byte_start, text)
        return [Quote(replace(span, byte_end=end, last_line=span.first_line), text, 0.0)]
    return []
