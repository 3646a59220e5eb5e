"""The reader: a small encoder that points at the words of a passage that answer a question, or at none.

It reads a few passages, each with the question. How likely its surest words are right is a logistic
regression on what is known of them; `python -m bench.reader` fits its weights, which ship beside the model.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import longctx
from longctx.quotes.closest import ends_within, sentences
from longctx.quotes.index import PassageIndex
from longctx.quotes.passages import passages as cut
from longctx.quotes.related import widened
from longctx.quotes.stems import is_foreign_latin
from longctx.tasks import verifier
from longctx.tasks.questions import one_by_one
from longctx.tasks.results import Answer
from longctx.tasks.spans import Said, load
from longctx.tasks.verifier import Copied
from longctx.text.offsets import byte_after, line_ends
from longctx.text.span import Quote, Span, line_around

FOLDER = Path(longctx.__file__).parent / "models" / "reader"
CALIBRATION = FOLDER / "calibration.json"
PASSAGES = 8  # that are read
LONGEST = 1000  # characters of a passage; what the index has joined is taken apart again
LAST_LATIN = "\u0250"
NEAR = 0.3  # how likely words must be for their sentence to be shown first; by hand, dev gave 0.23
AROUND = 200  # characters on each side of an answer that its features are computed from
LEXICAL = ("share in sentence", "names missing", "kind differs")


@dataclass(frozen=True)
class Proposal:
    """The surest words of one passage.

    Attributes:
        features: what the probability that they are right is computed from, by name.
    """

    passage: Quote
    said: Said
    features: Mapping[str, float]

    @property
    def text(self) -> str:
        """The words."""
        return self.passage.text[self.said.start : self.said.end]

    @property
    def probability(self) -> float:
        """How likely they are to be right, between 0 and 1."""
        fitted = calibration()
        score = fitted["bias"] + sum(fitted["weights"][name] * value for name, value in self.features.items())
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, score))))

    def answer(self) -> Answer | None:
        """Return the words as an answer, if they are likely enough to be right."""
        if self.probability < calibration()["threshold"]:
            return None
        text = " ".join(self.text.split())
        return Answer("read", text, source=self.source(), by="reader", confidence=self.probability)

    def sentence(self) -> Quote | None:
        """Return the sentence, or the row, that the words begin in, unless they are unlikely to be right."""
        if self.probability < NEAR:
            return None
        span, before = self.passage.span, self.passage.text[: self.said.start]
        at = byte_after(span.document, span.byte_start, before)
        return next(one for one in sentences(self.passage) if one.span.byte_end > at)

    def source(self) -> Quote:
        """Return the line that the words stand in."""
        span, before = self.passage.span, self.passage.text[: self.said.start]
        start = byte_after(span.document, span.byte_start, before)
        end = byte_after(span.document, start, self.text)
        first = span.first_line + line_ends(before, len(before))
        last = first + line_ends(self.text, len(self.text))
        return line_around(Span(span.document, start, end, first, last))


def surest(index: PassageIndex, question: str) -> Proposal | None:
    """Return the words that are likeliest to be right, if there are any and one thing is asked about."""
    if len(one_by_one(question)) > 1:
        return None
    return max(proposals(index, question), key=lambda one: one.probability, default=None)


def proposals(index: PassageIndex, question: str) -> list[Proposal]:
    """Return the surest words of each passage that the reader reads: the best English ones."""
    wanted = widened(index, question, index.search(question, PASSAGES), PASSAGES)[:PASSAGES]
    pieces = [piece for quote in wanted for piece in _pieces(quote) if _is_english(piece.text)]
    if not pieces:
        return []
    pieces = pieces[: 2 * PASSAGES]
    said = load(FOLDER).ask(question, [piece.text for piece in pieces])
    found = []
    for number, (piece, one) in enumerate(zip(pieces, said, strict=True)):
        if one.end and not ends_within(piece.text[one.start : one.end]):
            others = [(other, pieces[i]) for i, other in enumerate(said) if i != number and other.end]
            found.append(Proposal(piece, one, _features(index, question, number, piece, one, others)))
    return found


def _is_english(text: str) -> bool:
    """Tell whether a passage may be English: of Latin letters, and not plainly in another language."""
    letters = [character for character in text if character.isalpha()]
    latin = sum(character < LAST_LATIN for character in letters)
    return bool(letters) and latin >= 0.9 * len(letters) and not is_foreign_latin(text)


def _pieces(quote: Quote) -> list[Quote]:
    return [quote] if len(quote.text) <= LONGEST else list(cut(quote.span.document, quote.span))


def _features(
    index: PassageIndex,
    question: str,
    number: int,
    passage: Quote,
    said: Said,
    others: Sequence[tuple[Said, Quote]],
) -> dict[str, float]:
    text = passage.text[said.start : said.end]
    told = [(one, quote.text[one.start : one.end].lower()) for one, quote in others]
    different = max((one.margin for one, words in told if words != text.lower()), default=-10.0)
    look = index.look(question, passage.span.document)
    before, after = passage.text[max(0, said.start - AROUND) : said.start], passage.text[said.end :][:AROUND]
    copied = Copied(question, before, text, after, 1.0, 1.0, 1.0, False, True, look)
    lexical = verifier.features(copied)
    return {
        "margin": _within(said.margin, 12.0),
        "first": said.first,
        "lead in passage": _within(said.lead, 10.0),
        "lead over passages": _within(said.margin - different, 12.0),
        "size": math.log2(1 + index.count) / 10,
        "rank": 1 / (1 + number),
        **{name: lexical[name] for name in LEXICAL},
    }


def _within(value: float, most: float) -> float:
    return max(-most, min(most, value))


@cache
def calibration() -> dict[str, Any]:
    """Return what was fitted: a bias, a weight for each feature, and the threshold."""
    fitted: dict[str, Any] = json.loads(CALIBRATION.read_text(encoding="utf-8"))
    return fitted
