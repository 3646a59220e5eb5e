"""The sentence closest to a question. It is the closest place, never "the answer": that may not be there.

On 1,871 questions of ten articles the sentence holds the whole answer in about three of four; but it looks
just as close for many a question that the text does not answer.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from longctx.quotes.index import PassageIndex
from longctx.quotes.passages import placed
from longctx.quotes.prose import LINE, heading_level, humps, is_code
from longctx.quotes.sentences import split_sentences
from longctx.text.span import Quote

BEFORE, KIND = 0.4, 0.15

# Kinds of text (longctx.formats.kinds) whose lines are rows, and those of blocks between blank lines.
_ROWS = ("csv", "tsv", "jsonl", "settings")
_SUBTITLES = ("srt", "vtt")
# No sentence goes on across a blank line, a heading, or into an item, a field, a row or a dated line.
_APART = re.compile(
    r"(?m:^#{1,6}[ \t][^\r\n]*)(?>\r\n|\r|\n)|(?>\r\n|\r|\n)(?:[ \t]*(?>\r\n|\r|\n)"
    r"|(?=[ \t]*(?:[-*+•|][ \t]|#{1,6}[ \t]|[A-Z][\w-]*:[ \t]|\d{4}-\d\d-\d\d"
    r"|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d)))"
)


def closest(index: PassageIndex, question: str, passages: Sequence[Quote]) -> Quote | None:
    """Return the sentence of the passages that has most of a question's words, weighed by their rarity.

    Words of the sentence before, and those of a heading, count less; a number, a time or a name counts if
    such is asked for. Of a table, a program or a log it is a line. None if no word of the question is there.
    """
    best: Quote | None = None
    for passage in passages:
        look = index.look(question, passage.span.document)
        before: frozenset[str] = frozenset()
        by_line = _is_by_line(passage)
        for sentence in sentences(passage):
            held = look.held(f"{sentence.text} {humps(sentence.text)}")
            share, more = look.share(held), look.share(before - held)
            if not by_line and heading_level(sentence.text):
                score = BEFORE * share  # it names what is told, and does not tell it
            else:
                score = share + BEFORE * more + KIND * (1 + share) * look.has_kind(sentence.text)
            if held and (best is None or score > (best.score or 0.0)):
                best = replace(sentence, score=score)
            before = held
    return best


def _is_by_line(passage: Quote) -> bool:
    kind = passage.span.document.kind
    return kind in _ROWS or (kind not in _SUBTITLES and is_code(passage.text))


def sentences(passage: Quote) -> Iterator[Quote]:
    """Yield the sentences of a passage, or the lines of a table, a program or a log; joined, they are it."""
    span = passage.span
    cut = LINE.findall(passage.text) if _is_by_line(passage) else _cut(passage.text)
    return placed(cut, span.document, span.byte_start, span.first_line)


def ends_within(words: str) -> bool:
    """Tell whether words of a passage go on across a blank line or the end of an item: no sentence does."""
    return _APART.search(words) is not None


def _cut(text: str) -> Iterator[str]:
    """Cut a text into sentences, headings and items; joined, they are the text."""
    start = 0
    for end in (*(apart.end() for apart in _APART.finditer(text)), len(text)):
        yield from split_sentences(text[start:end])
        start = end
