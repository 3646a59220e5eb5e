"""The sentences of a text that a summary may quote. Ranks nothing."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from longctx.quotes.docstring import about
from longctx.quotes.outline import Section, is_program
from longctx.quotes.passages import paragraphs, placed
from longctx.quotes.prose import END_OF_SENTENCE, heading_level, is_prose, unspaced_characters
from longctx.quotes.sentences import split_sentences
from longctx.text.span import Quote, Span

FEWEST_WORDS, MOST_WORDS = 5, 80

_NO_SENTENCE = re.compile(r"[|>\-*•+]|.*(?:\.\s?\.\s?\.\s?\.|·\s?·|_{3,}|</?\w)", re.DOTALL)
_FENCE = re.compile(r"^\s*(?:```|~~~)", re.MULTILINE)  # around code in Markdown
_SPEECH = re.compile(r"[\"'“‘„«»「『—–-]")
_OPENS = re.compile(r"(?<!\w)[\"'“‘„«「『](?=\w)")
_CLOSES = re.compile(r"(?<=[\w.,;!?…—-])[\"'”’»」』](?!\w)")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sentence that may be chosen.

    Attributes:
        quote: the sentence.
        length: its words, as a reader counts them.
        opens: it begins a paragraph.
        speech: it begins with or within somebody's words.
    """

    quote: Quote
    length: float
    opens: bool
    speech: bool


def candidates(section: Section) -> Iterator[Candidate]:
    """Yield the sentences of running text with 5 to 80 words, and what programs say of themselves."""
    for span in section.spans:
        if not is_program(span.document):
            yield from _from_prose(span)
        elif span.byte_start == span.document.start:
            for sentence in about(span.document):
                yield Candidate(sentence, length(sentence.text), opens=True, speech=False)


def length(text: str) -> float:
    """Count words as a reader does; two characters of a script without word spaces are about one."""
    return len(text.split()) + unspaced_characters(text) / 2


def _from_prose(stretch: Span) -> Iterator[Candidate]:
    fenced = False
    for paragraph in paragraphs(stretch.document, stretch):
        fences = len(_FENCE.findall(paragraph.text))
        if fenced or fences:
            fenced ^= fences % 2 == 1
            continue
        if heading_level(paragraph.text) is not None or not is_prose(paragraph.text):
            continue
        span, cut = paragraph.span, split_sentences(paragraph.text)
        quotes_open = 0
        for sentence in placed(cut, span.document, span.byte_start, span.first_line):
            text = sentence.text
            if _is_telling(text):
                opens = sentence.span.byte_start == span.byte_start
                yield Candidate(sentence, length(text), opens, quotes_open > 0 or bool(_SPEECH.match(text)))
            quotes_open = max(0, quotes_open + len(_OPENS.findall(text)) - len(_CLOSES.findall(text)))


def _is_telling(text: str) -> bool:
    """Leave out fragments, endless sentences, headings, lists, tables and lines of a table of contents."""
    if text.isupper() or not END_OF_SENTENCE.search(text) or _NO_SENTENCE.match(text) or not is_prose(text):
        return False
    return FEWEST_WORDS <= length(text) <= MOST_WORDS
