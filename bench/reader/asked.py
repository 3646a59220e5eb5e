"""What the reader says of the passages, and what is known of each answer."""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from bench.reader.collect import Row
from bench.reader.questions import holds_place, is_right, one_line
from bench.reader.spans import Reader, Said
from longctx.quotes.second_look import Look
from longctx.quotes.sentences import split_sentences
from longctx.quotes.stems import Stems
from longctx.tasks import verifier
from longctx.tasks.verifier import Copied

AROUND = 200  # characters on each side of an answer that its features are computed from
STEMS = Stems()


def answer(row: Row, reader: Reader) -> Row:
    """Let the reader answer from each passage of a question."""
    texts = [passage["text"] for passage in row.passages]
    if texts:
        began = time.perf_counter()
        said = reader.ask(row.ask, texts)
        row.seconds = round(time.perf_counter() - began, 3)
        row.said = [_known(row, number, one) for number, one in enumerate(said)]
    return row


def _known(row: Row, number: int, said: Said) -> dict[str, Any]:
    """Return an answer's words, whether they are right, its sentence, and its features."""
    passage, question = row.passages[number], row.question
    text = passage["text"]
    shown = text[said.start : said.end]
    look = Look.at(row.ask, passage["rarity"], STEMS.of)
    before, after = text[max(0, said.start - AROUND) : said.start], text[said.end : said.end + AROUND]
    first, mean = math.exp(said.first), math.exp(said.total / max(1, said.tokens))
    copied = Copied(row.ask, before, shown, after, first, mean, 1.0, False, True, look)
    sentence = sentence_at(text, said.start)
    found = {name: round(value, 4) for name, value in verifier.features(copied).items()} if shown else {}
    numbers = {key: round(one, 3) if isinstance(one, float) else one for key, one in asdict(said).items()}
    return numbers | {
        "text": one_line(shown),
        "right": is_right(shown, question),
        "sentence": sentence,
        "sentence_right": holds_place(sentence, question),
        "passage_right": holds_place(text, question),
        "features": found,
    }


def sentence_at(text: str, place: int) -> str:
    """Return the sentence of a text that a character stands in."""
    at = 0
    for sentence in split_sentences(text):
        at += len(sentence)
        if place < at:
            return one_line(sentence)
    return ""


def one_by_one(rows: Sequence[Row], reader: Reader, file: Any) -> None:
    """Answer all, and write each as soon as it is there."""
    for row in rows:
        file.write(answer(row, reader).store())
        file.flush()
