"""The benchmark of natural questions: its places are true, and its judge cannot be talked round."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench.first_minutes import SETS, Question, judge, load, one_line, place

QUESTIONS = load(None)
LATER = [one for chosen in list(SETS)[1:] for one in load(None, chosen)]


def quote(text: str) -> dict[str, Any]:
    return {"path": "a.txt", "first_line": 1, "quote": text}


def values(answer: str = "", source: str = "", evidence: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "how": "found" if answer else "not found",
        "answer": answer,
        "source": quote(source) if source else None,
        "confidence": None,
        "parts": [],
        "evidence": [quote(one) for one in evidence],
    }


def test_there_are_enough_questions_of_each_kind() -> None:
    """If this fails, the shares that are reported mean nothing."""
    kinds = Counter(question.kind for question in QUESTIONS)
    assert sum(kinds.values()) >= 200
    assert kinds["exact"] >= 40
    assert 0.2 < kinds["absent"] / sum(kinds.values()) < 0.3


@pytest.mark.parametrize("question", [q for q in QUESTIONS if q.at], ids=lambda q: q.ask)
def test_the_place_of_an_answer_is_in_one_line_of_its_texts(question: Question) -> None:
    """If this fails, a right quote is counted as a miss, or a wrong one as right."""
    assert place(question)


def test_each_place_of_the_later_sets_is_in_one_line_of_its_texts() -> None:
    """If this fails, a right quote is counted as a miss, or a wrong one as right."""
    assert len(LATER) >= 300
    assert not [question.ask for question in LATER if question.at and not place(question)]


def test_all_of_several_answers_must_be_shown() -> None:
    """If this fails, one of two settings passes for both."""
    asked = Question("exact", "timeout?", (Path("a.ini"),), ("25s",), "timeout = 25s", ("25s", "40s"))
    assert not judge(asked, values("25s", "timeout = 25s"), 0.0).right
    assert judge(asked, values("25s 40s", "timeout = 25s"), 0.0).right


def test_entities_of_pages_are_compared_as_the_signs_they_mean() -> None:
    """If this fails, a right quote of a web page is counted as a miss."""
    asked = Question("exact", "password?", (Path("a.html"),), ("må&t",), "m&aring;&amp;t")
    assert judge(asked, values("må&t", "Password: må&t"), 0.0).first


@pytest.fixture
def rent() -> Question:
    return Question("natural", "rent?", (Path("a.txt"),), ("1,140",), "pay 1,140 euros")


def test_a_right_answer_counts_only_when_it_is_shown_as_found(rent: Question) -> None:
    """If this fails, a tool that shows everything as an answer scores well."""
    shown = judge(rent, values("1,140", "They pay 1,140 euros a month."), 0.0)
    assert (shown.found, shown.right, shown.first, shown.in_three) == (True, True, True, True)
    quoted = judge(rent, values(evidence=("They\npay 1,140 euros",)), 0.0)
    assert (quoted.found, quoted.right, quoted.first, quoted.in_three) == (False, False, False, True)


@pytest.mark.parametrize("answer", ["140", "11,140", "1,1405", "2,280"])
def test_a_piece_of_the_answer_is_wrong(rent: Question, answer: str) -> None:
    """If this fails, cut numbers are counted as right."""
    outcome = judge(rent, values(answer, "pay 1,140 euros"), 0.0)
    assert outcome.found
    assert not outcome.right


def test_only_three_quotes_count(rent: Question) -> None:
    """If this fails, a tool that quotes the whole text finds every place."""
    assert not judge(rent, values(evidence=("a", "b", "c", "pay 1,140 euros")), 0.0).in_three


def test_any_answer_to_a_question_without_one_is_wrong() -> None:
    """If this fails, made-up answers cost nothing."""
    outcome = judge(Question("absent", "where is the pool?", (Path("a.txt"),)), values("behind", "x"), 0.0)
    assert outcome.found
    assert not outcome.right


def test_a_definition_is_right_by_its_line_or_its_place() -> None:
    """If this fails, `path:line` is counted as a wrong answer."""
    question = next(q for q in QUESTIONS if q.ask == "where is PriceRing defined?")
    where = place(question)
    assert where
    assert judge(question, values(f"shop/{where[0].name}:{where[1]}"), 0.0).right
    assert judge(question, values("pub struct PriceRing {", "pub struct PriceRing {"), 0.0).right
    assert not judge(question, values("impl PriceRing {", "impl PriceRing {"), 0.0).right
    assert one_line(question.at) == "pub struct PriceRing"
