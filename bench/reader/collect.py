"""What the tool says of each question without the reader, and what the reader says of each passage."""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any
from unittest import mock

import longctx
from bench.reader.questions import Question, holds_place, is_right, one_line, path
from longctx.quotes.index import PassageIndex
from longctx.quotes.sentences import split_sentences
from longctx.tasks import ask, reader
from longctx.tasks.reader import Proposal
from longctx.text.source import gather

SHOWN = 3  # passages


@dataclass
class Row:
    """One question.

    Attributes:
        tool: what is shown as found without the reader; empty if nothing is. tool_right: and it is right.
        first_right: the sentence first shown, found or closest, holds the place. in_three: one of the first
            passages does. is_read: one of those that the reader reads does.
        said: the surest words of each passage that the reader reads, best passage first.
        seconds: of the reader, for all of them.
    """

    part: str
    text: str
    ask: str
    answers: list[str]
    at: str
    tool: str = ""
    tool_right: bool = False
    first_right: bool = False
    in_three: bool = False
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


def ask_tool(questions: Iterable[Question], books: Path | None) -> Iterator[Row]:
    """Ask the tool all questions, as if there was no reader; those about one text follow each other."""
    with mock.patch.object(reader, "read", return_value=None):
        for text, own in groupby(questions, key=attrgetter("text")):
            with longctx.read(str(path(text, books)), store=False) as book:
                for question in own:
                    yield _row(question, book)


def _row(question: Question, book: longctx.Book) -> Row:
    answer = book.ask(question.ask, passages=SHOWN)
    row = Row(question.part, question.text, question.ask, list(question.answers), question.at)
    if answer.how == "found":
        row.tool, row.tool_right = one_line(answer.text), is_right(answer.text, question)
    first = answer.source if answer.how == "found" else answer.closest
    row.first_right = holds_place(one_line(first.text) if first else "", question)
    row.in_three = any(holds_place(quote.text, question) for quote in answer.evidence[:SHOWN])
    return row


def read(rows: Iterable[Row], books: Path | None) -> Iterator[Row]:
    """Let the reader answer all questions."""
    for text, own in groupby(rows, key=attrgetter("text")):
        corpus = gather([str(path(text, books))])
        with PassageIndex() as index:
            for _ in ask.fill(index, corpus):
                pass
            for row in own:
                began = time.perf_counter()
                found = reader.proposals(index, row.ask)
                row.seconds = round(time.perf_counter() - began, 3)
                row.said = [_known(row.question, one) for one in found]
                yield row


def _known(question: Question, one: Proposal) -> dict[str, Any]:
    """Return words that the reader points at, whether they are right, their sentence, and their features."""
    sentence = sentence_at(one.passage.text, one.said.start)
    return {
        "text": one_line(one.text),
        "right": is_right(one.text, question),
        "margin": round(one.said.margin, 3),
        "sentence": sentence,
        "sentence_right": holds_place(sentence, question),
        "passage_right": holds_place(one.passage.text, question),
        "features": {name: round(value, 4) for name, value in one.features.items()},
    }


def sentence_at(text: str, place: int) -> str:
    """Return the sentence of a text that a character stands in."""
    at = 0
    for sentence in split_sentences(text):
        at += len(sentence)
        if place < at:
            return one_line(sentence)
    return ""
