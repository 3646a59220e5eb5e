"""What tasks yield: text as it is written, and a result at the end."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from longctx.progress import Usage

if TYPE_CHECKING:
    from longctx.structure.facts import Structure
    from longctx.text.span import Quote


@dataclass(frozen=True)
class Text:
    """A piece of the answer, as soon as it is written."""

    text: str


@dataclass(frozen=True)
class Thought:
    """A piece of what the model thinks before it answers, to be shown apart from the answer."""

    text: str


@dataclass(frozen=True)
class Part:
    """One of several answers to a question.

    Attributes:
        key: the thing in the question that it is for; empty if there is only one.
        text: the answer; empty when there is none.
        source, confidence: as in Answer.
    """

    key: str
    text: str
    source: "Quote | None"
    confidence: float | None


@dataclass(frozen=True)
class Quotation:
    """Words that an answer quotes, and where they stand in the documents; None where they do not."""

    text: str
    place: "Quote | None"


@dataclass(frozen=True)
class Written:
    """The summary of one section of a long text."""

    title: str
    text: str


@dataclass
class Answer:
    """The result of `ask` and `summarize`.

    Attributes:
        how: "generated" by the model from its state; "found" in the text; "read" in it by the small reader,
            which is less certain; "not found", though the model read
            the text; "closest", if no model read it; "extracted" sentences of the text; or "counted" in
            files of a known structure, with sentences of the others.
        by: what found it: "look-up", exact and without a model, "reader", or "model", even
            if that found nothing.
        text: the answer; empty when there is none.
        closest: the sentence closest to the question, which need not answer it.
        source: the line that a found answer stands in.
        confidence: of words that a model copied or the reader points at, the probability that they answer
            the question.
        parts: the answers one by one, if the question asks for several; source is the first one's.
        evidence: passages that match the question best, or the sentences of an extracted summary.
        matched: a passage holds words of the question, shown or not; None where that was not looked at.
        finish: "length" when the answer was cut at the token limit.
        thinking: what the model thought before it answered.
        tokens_in_all, passages_read: what there was to read where only some passages were read; `estimated`
            when its tokens were not counted.
        sections: of a long text, summarised one by one while it was read; `text` is then about the whole.
        structures: what logs, tables, programs and the like hold.
        quotations: what a generated answer quotes, looked up in the documents.
    """

    how: Literal["generated", "found", "read", "not found", "closest", "extracted", "counted"]
    text: str
    source: "Quote | None" = None
    by: Literal["look-up", "reader", "model"] | None = None
    closest: "Quote | None" = None
    confidence: float | None = None
    parts: list[Part] = field(default_factory=list)
    evidence: list["Quote"] = field(default_factory=list)
    matched: bool | None = None
    finish: str | None = None
    thinking: str = ""
    tokens_in_all: int | None = None
    passages_read: int | None = None
    estimated: bool = False
    sections: list[Written] = field(default_factory=list)
    structures: list["Structure"] = field(default_factory=list)
    quotations: list[Quotation] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True)
class Trial:
    """One question about one text.

    Attributes:
        tokens: in the whole prompt, as the model read it.
        correct: the expected value is contained in the answer, case ignored (RULER's rule).
        pointed: the pointer heads looked at the needle; None for models without them.
    """

    length: int
    depth: float
    tokens: int
    expected: str
    answer: str
    correct: bool
    pointed: bool | None
    seconds: float


@dataclass
class Report:
    """All trials, and the settings that make them comparable."""

    kind: str
    haystack: str
    digest: str
    seed: int
    repeated: int
    trials: list[Trial] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)

    def share(self, length: int | None = None, depth: float | None = None) -> tuple[int, int]:
        """Return the numbers of right trials and of all trials (at a length, at a depth)."""
        chosen = [t for t in self.trials if length in (None, t.length) and depth in (None, t.depth)]
        return sum(t.correct for t in chosen), len(chosen)


def wilson(right: int, of: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927)."""
    if not of:
        return 0.0, 1.0
    z = 1.959964
    share, spread = right / of, 1 + z * z / of
    centre = (share + z * z / (2 * of)) / spread
    half = z / spread * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return max(0.0, centre - half), min(1.0, centre + half)
