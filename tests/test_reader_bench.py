"""The evaluation of the reader: true questions, and figures that are those of the command."""

from pathlib import Path

import pytest

from bench.reader.collect import Row
from bench.reader.probability import fit, left_out
from bench.reader.questions import BOOKS, HERE, PARTS, Question, is_right, load, one_line
from bench.reader.verdict import calibrate, counts
from longctx.tasks.reader import calibration

PASSAGE = "The rent is 40 a month, and the house is old."


def test_there_are_enough_questions_and_half_have_no_answer() -> None:
    """If this fails, the shares that are reported mean nothing."""
    every = [one for part in PARTS for one in load(part, Path(BOOKS))]
    assert len(every) >= 500
    assert len({(one.text, one.ask) for one in every}) == len(every)
    assert 0.45 < sum(not one.answers for one in every) / len(every) < 0.55


def test_no_text_is_in_both_parts() -> None:
    """If this fails, a threshold was chosen on a text that figures are reported on."""
    parts = [{one.text for one in load(part, Path(BOOKS))} for part in PARTS]
    assert len(set.union(*parts)) == sum(map(len, parts))
    written = {file.name for file in (HERE / "texts").iterdir()}
    assert written == {text for part in parts for text in part if not text.startswith(BOOKS)}


@pytest.mark.parametrize("part", PARTS)
def test_answers_and_their_places_stand_in_the_short_texts(part: str) -> None:
    """If this fails, a right answer is counted as wrong."""
    for one in load(part):
        text = one_line((HERE / "texts" / one.text).read_text(encoding="utf-8"))
        assert text.count(one.at) == 1 or not one.at, one.at
        assert all(answer.lower() in text.lower() for answer in one.answers), one.ask


def test_a_whole_passage_is_no_answer() -> None:
    """If this fails, a reader that repeats what it was given is always right."""
    asked = Question("dev", "a.txt", "rent?", ("40",))
    assert is_right("The rent is 40", asked)
    assert not is_right("The rent is 400", asked)
    assert not is_right(f"{PASSAGE} {PASSAGE}", asked)


def rows(count: int) -> list[Row]:
    """Questions of three texts whose surest answers are right."""
    made = []
    for number in range(count):
        right = number % 3 == 0
        said = {"text": f"a{number}", "margin": 3.0 if right else -3.0, "right": right, "sentence": "a"}
        said |= {"features": {"probability": 0.9 if right else 0.1, "rank": 0.5}}
        row = Row("dev", f"{number % 4}.txt", f"{number}?", ["a"] if right else [], "at")
        row.said = [said]
        made.append(row)
    return made


def test_what_is_surer_and_right_gets_the_higher_probability() -> None:
    """If this fails, a threshold shows the wrong answers and hides the right ones."""
    made = rows(400)
    fitted = fit(made)
    assert fitted(made[0].said[0]) > 0.8
    assert fitted(made[1].said[0]) < 0.2
    best = left_out(made)
    told = counts(made, best, 0.5)
    assert told["shown right"]["share"] == told["unanswerable refused"]["share"] == 1.0
    assert calibrate(made)["threshold"] > fitted(made[1].said[0])
    assert counts(made, best, 0.0)["unanswerable refused"]["count"] == 0


def test_what_is_fitted_is_all_that_the_command_asks_for() -> None:
    """If this fails, the first question after another fit ends in a KeyError."""
    assert calibrate(rows(400)).keys() == calibration().keys()


def test_what_the_tool_finds_goes_first() -> None:
    """If this fails, the figures with the reader are not those of the command."""
    (row,) = rows(1)
    row.tool, row.tool_right = "wrong", False
    assert counts([row], left_out([row, *rows(8)])[:1], 0.0)["shown right"]["count"] == 0
