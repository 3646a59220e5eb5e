"""Answers that the bundled model copies: their words, their place, and how sure longctx is of them."""

from dataclasses import replace
from pathlib import Path

import pytest

from longctx.engine import Engine
from longctx.hub import BUNDLED
from longctx.quotes.passages import passages
from longctx.reading import Reading
from longctx.tasks import lookup
from longctx.tasks.frame import read_template
from longctx.tasks.prompt import Prompt, build_prompt
from longctx.tasks.verifier import probability
from longctx.text.document import Document

QUIET = "On day 3 the river was quiet, and nobody came to the mill.\n"
FACT = "One of the special magic numbers for {key} is: {number}.\n"
ASKED = "What is the special magic number for {} mentioned in the provided text?"
EVERY = "What are all the special magic numbers for {} mentioned in the provided text?"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load(BUNDLED, "cpu", "float32")


def prompt(engine: Engine, question: str) -> Prompt:
    return build_prompt(engine.tokenizer, BUNDLED, read_template(None, "lookup.md"), question=question)


def read(engine: Engine, path: Path, text: str) -> Reading:
    path.write_text(text)
    document = Document(path.name, path, 0, path.stat().st_size, "utf-8")
    reading = Reading(engine, [document], prompt(engine, "?").before, 2048)
    assert list(reading.read())
    return reading


def test_the_place_of_an_answer_holds_all_its_words_and_no_more(engine: Engine, tmp_path: Path) -> None:
    """Asked for all answers, the next would be looked for in what is left of the one before."""
    key, number = "amber-lamp", "5391284"
    reading = read(engine, tmp_path / "mill.txt", QUIET * 4 + FACT.format(key=key, number=number) + QUIET)
    question = ASKED.format(key)
    found = lookup.propose(reading, question, prompt(engine, question).after)
    assert found
    spans = [reading.locate(found.position + turn) for turn in range(found.tokens)]
    assert "".join(span.text() for span in spans if span).strip() == found.text == number
    assert found.source.text + "\n" == FACT.format(key=key, number=number)
    assert str(found.source.span) == "mill.txt:5"


def test_what_the_text_does_not_say_is_not_found(engine: Engine, tmp_path: Path) -> None:
    """A question that the text does not answer would end in a traceback."""
    reading = read(engine, tmp_path / "mill.txt", QUIET)
    for question in (ASKED.format("amber-lamp"), "Who is the keeper of the mill?", "Why?"):
        answer = lookup.answer(reading, question, lambda asked: prompt(engine, asked))
        assert answer
        assert (answer.how, answer.source) == ("not found", None)


def test_an_answer_of_a_passage_read_alone_is_judged_as_that(engine: Engine, tmp_path: Path) -> None:
    """A false answer is likelier in a passage read alone; it would be shown as if the whole had been read."""
    reading = read(engine, tmp_path / "mill.txt", QUIET * 4 + FACT.format(key="amber-lamp", number=5391284))
    question = ASKED.format("amber-lamp")
    after = prompt(engine, question).after
    whole = lookup.propose(reading, question, after)
    document = Document("mill.txt", tmp_path / "mill.txt", 0, (tmp_path / "mill.txt").stat().st_size, "utf-8")
    alone = next(lookup.propose_closer(reading, list(passages(document)), question, after))
    assert whole
    assert (whole.copied.alone, alone.copied.alone) == (False, True)
    assert probability(replace(whole.copied, alone=True)) != whole.probability
    assert lookup.look_up(reading, question, after).confidence == whole.probability


def test_all_answers_are_found_once_each_and_the_reading_stays(engine: Engine, tmp_path: Path) -> None:
    """Of several values some would be left out or told twice, or the next question find none of them."""
    numbers = ["5391284", "1734620", "8052917"]
    facts = [FACT.format(key="amber-lamp", number=number) for number in numbers]
    reading = read(engine, tmp_path / "mill.txt", QUIET.join([*facts, ""]))
    question = EVERY.format("amber-lamp")
    after = prompt(engine, question).after
    for _ in range(2):
        found = list(lookup.look_up_all(reading, question, after))
        assert sorted(part.text for part in found) == sorted(numbers)
        for part in found:
            assert part.source
            assert part.text in part.source.text
            assert part.source.span.first_line == 2 * numbers.index(part.text) + 1


def test_each_key_of_a_question_has_its_answer_or_is_said_to_have_none(
    engine: Engine, tmp_path: Path
) -> None:
    """One key's value would be shown for another, or a key without a value silently left out."""
    text = QUIET * 2 + FACT.format(key="amber-lamp", number=5391284) + QUIET
    reading = read(engine, tmp_path / "mill.txt", text)
    question = (
        "What are the special magic numbers for amber-lamp and misty-tower mentioned in the provided text?"
    )
    answer = lookup.answer(reading, question, lambda asked: prompt(engine, asked))
    assert answer
    assert answer.how == "found"
    assert answer.text.splitlines() == ["amber-lamp: 5391284", "misty-tower: not found"]
    assert [part.source is None for part in answer.parts] == [False, True]
    assert str(answer.source and answer.source.span) == "mill.txt:3"
