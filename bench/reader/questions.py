"""The questions: what people type about a text, what is right, and where it stands."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
BOOKS = "books/"
PARTS = ("dev", "test", "fresh")
SPARE = 12  # words that an answer may hold beside an accepted one


@dataclass(frozen=True)
class Question:
    """A question about one text.

    Attributes:
        part: one of PARTS. text: its file.
        answers: any of them is right; empty where the text has none.
        at: words of the sentence that answers it.
    """

    part: str
    text: str
    ask: str
    answers: tuple[str, ...] = ()
    at: str = ""


def load(part: str, books: Path | None = None) -> Iterator[Question]:
    """Yield the questions of a part; those about books only where their folder is given."""
    for text in tomllib.loads((HERE / f"{part}.toml").read_text(encoding="utf-8"))["text"]:
        if text["file"].startswith(BOOKS) and books is None:
            continue
        for ask, answers, at in text["there"]:
            yield Question(part, text["file"], ask, tuple(answers), at)
        for ask in text["absent"]:
            yield Question(part, text["file"], ask)


def path(text: str, books: Path | None) -> Path:
    """Return where a text lies."""
    if text.startswith(BOOKS):
        assert books is not None, "books are left out where their folder is not given"
        return books / text.removeprefix(BOOKS)
    return HERE / "texts" / text


@cache
def _accepted(answer: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(one_line(answer))}(?!\w)", re.IGNORECASE)


def is_right(shown: str, question: Question) -> bool:
    """Tell whether words hold an accepted answer and little else."""
    said = one_line(shown)
    return any(
        _accepted(answer).search(said) and len(said.split()) <= len(answer.split()) + SPARE
        for answer in question.answers
    )


def holds_place(quote: str, question: Question) -> bool:
    """Tell whether a quote holds the sentence that answers a question."""
    return bool(question.at) and question.at in one_line(quote)


def one_line(text: str) -> str:
    """Return text with single spaces for white space."""
    return " ".join(text.split())
