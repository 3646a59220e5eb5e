"""Passages for a question whose own words are not in the text: "how heavy" where it says "weighs"."""

from collections.abc import Sequence
from dataclasses import replace

from longctx.quotes.index import PassageIndex
from longctx.quotes.meanings import near
from longctx.quotes.prose import common_words, words
from longctx.text.span import Quote

LEAST = 0.5  # how near in meaning a word has to be; at 0.6 fewer answers are among the first three passages
MOST = 8  # words for one of the question's


def widened(index: PassageIndex, question: str, found: Sequence[Quote], limit: int) -> list[Quote]:
    """Return the passages found, and up to `limit` in all more that hold related words, of score 0.

    Of a short text, passages from the start follow.
    """
    wider = list(found)
    if len(wider) >= limit:
        return wider
    more = " ".join(related(question))
    others = index.search(more, limit) if more else []
    for other in (*others, *index.beginning(limit)):
        if len(wider) < limit and not any(_overlap(one, other) for one in wider):
            wider.append(replace(other, score=0.0))
    return wider


def _overlap(one: Quote, other: Quote) -> bool:
    a, b = one.span, other.span
    return a.document is b.document and a.byte_start < b.byte_end and b.byte_start < a.byte_end


def related(question: str) -> list[str]:
    """Return the words that may stand in a text for those of a question, without the question's own."""
    asked = dict.fromkeys(word.lower() for word in words(question))
    telling = (word for word in asked if word not in common_words())
    found = dict.fromkeys(other for word in telling for other in near(word, LEAST, MOST))
    return [word for word in found if word not in asked and word not in common_words()]
