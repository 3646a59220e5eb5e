"""What the tool says of each question today, and the passages it shows: all that the reader then needs."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import longctx
from bench.reader.questions import Question, holds_place, is_right, one_line, path
from longctx.quotes.closest import closest
from longctx.quotes.index import PassageIndex
from longctx.quotes.passages import passages
from longctx.tasks import ask
from longctx.text.source import gather
from longctx.text.span import Quote

PASSAGES = 3
LONGEST = 1000  # characters of a prompt's passage; what the index has joined is taken apart again


@dataclass
class Row:
    """One question.

    Attributes:
        tool: what is shown as found today; empty if nothing is. tool_right: and it is right.
        near: the sentence shown first where nothing is found. first_right: the sentence first shown, found or
            closest, holds the place. in_three: one of the passages does.
        passages: what the reader reads, best first: text, sentences, the rarity of the question's words.
        said: what the reader says of each.
        seconds: of the reader, for all of them.
    """

    part: str
    text: str
    ask: str
    answers: list[str]
    at: str
    tool: str = ""
    tool_right: bool = False
    near: str = ""
    first_right: bool = False
    in_three: bool = False
    passages: list[dict[str, Any]] = field(default_factory=list)
    said: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def question(self) -> Question:
        """The question."""
        return Question(self.part, self.text, self.ask, tuple(self.answers), self.at)

    @classmethod
    def load(cls, line: str) -> "Row":
        """Return a stored row."""
        return cls(**json.loads(line))

    def store(self) -> str:
        """Return the row as a line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"


def collect(questions: Iterable[Question], books: Path | None) -> Iterator[Row]:
    """Ask the tool all questions; those about one text follow each other."""
    by_text: dict[str, list[Question]] = {}
    for question in questions:
        by_text.setdefault(question.text, []).append(question)
    for text, own in by_text.items():
        file = str(path(text, books))
        with longctx.read(file, store=False) as book, PassageIndex() as index:
            for _ in ask.fill(index, gather([file])):
                pass
            for question in own:
                yield _row(question, book, index)


def _row(question: Question, book: longctx.Book, index: PassageIndex) -> Row:
    answer = book.ask(question.ask, passages=PASSAGES)
    row = Row(question.part, question.text, question.ask, list(question.answers), question.at)
    if answer.how == "found":
        row.tool, row.tool_right = one_line(answer.text), is_right(answer.text, question)
    first = answer.source if answer.how == "found" else answer.closest
    row.near = one_line(first.text) if first else ""
    row.first_right = holds_place(row.near, question)
    row.in_three = any(holds_place(quote.text, question) for quote in answer.evidence[:PASSAGES])
    pieces = [piece for quote in answer.evidence[:PASSAGES] for piece in _pieces(quote)]
    row.passages = [_known(question, index, piece) for piece in pieces]
    return row


def _pieces(quote: Quote) -> Iterator[Quote]:
    """Yield a passage, or what it was joined from; the context that was widened to is left out."""
    if len(quote.text) <= LONGEST:
        yield quote
    else:
        yield from passages(quote.span.document, quote.span)


def _known(question: Question, index: PassageIndex, piece: Quote) -> dict[str, Any]:
    look = index.look(question.ask, piece.span.document)
    near = closest(index, question.ask, [piece])
    return {
        "text": piece.text,
        "rarity": dict(look.rarity),
        "closeness": round(look.closeness(piece.text), 4),
        "near": one_line(near.text) if near else "",
        "near_score": round(near.score or 0.0, 4) if near else 0.0,
    }
