"""What the words of a question ask for, part by part, and which of several answers is given."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from documents import Write

from longctx.chat import Chat
from longctx.errors import OptionError
from longctx.progress import Usage
from longctx.quotes.candidates import candidates, length
from longctx.quotes.stems import _cut_foreign
from longctx.sampling import Sampling
from longctx.tasks import many
from longctx.tasks.parts import Finder, _best, _named
from longctx.tasks.prompt import Prompt
from longctx.tasks.questions import asked_noun, asks_for_all, keys, names, one_by_one, suits_finder
from longctx.tasks.results import Part
from longctx.text.source import Document
from longctx.text.span import Quote, Span
from longctx.text.stretches import whole
from longctx.writing import Piece


@pytest.mark.parametrize(
    ("question", "found", "named", "noun", "suits"),
    [
        ("What is the code for amber-lamp?", "amber-lamp", "amber-lamp", "code", True),
        ("What is MAX_RETRIES?", "MAX_RETRIES", "MAX_RETRIES MAX_RETRIES", "", True),
        ("What is the secret code of Doctor Brown?", "", "Doctor Brown", "code", True),
        ("Who is Sherlock Holmes?", "", "Sherlock Holmes", "", False),
        ("When is v2.1 or parseConfig due?", "v2.1 parseConfig", "v2.1 parseConfig", "", True),
        ("What does the USA pay in 1999?", "USA 1999", "USA 1999 USA", "", False),
        ("Where is K7-R2P?", "K7-R2P", "K7-R2P K7", "", True),
        ("The lamp is __ metres high.", "", "", "", True),
        ("which river rose?", "", "", "rose", False),
    ],
)
def test_a_question_is_suited_by_its_names(
    question: str, found: str, named: str, noun: str, suits: bool
) -> None:
    """If this fails a model that copies is asked what it cannot answer, or not asked what it can."""
    assert " ".join(keys(question)) == found
    assert set(" ".join(names(question)).split()) == set(named.split())
    assert asked_noun(question) == noun
    assert suits_finder(question) == suits


@pytest.mark.parametrize(
    ("question", "items"),
    [
        ("What are the codes for a-1, b-2 and c-3?", ["a-1", "b-2", "c-3"]),
        ("Who met Ann and Bob?", ["Ann", "Bob"]),
        ("Who met Ann, Bob, and Cy Lee there?", ["Ann", "Bob", "Cy Lee"]),
        ("What is x-1, y-2?", ["x-1", "y-2"]),
        ("What is the code for a-1?", [""]),
        ("What is a-1 and a-1?", [""]),
        ("Ann and Bob met whom?", [""]),
        ("The codes of a-1 and b-2 are __.", [""]),
        ("What is salt and pepper?", [""]),
    ],
)
def test_a_list_is_asked_one_by_one(question: str, items: list[str]) -> None:
    """If this fails of three keys one is answered, or a question loses its words."""
    found = one_by_one(question)
    assert list(found) == items
    if items == [""]:
        assert found[""] == question
    else:
        begin, end = (
            question[: question.index(items[0])],
            question[question.index(items[-1]) + len(items[-1]) :],
        )
        assert list(found.values()) == [f"{begin}{item}{end}" for item in items]


def test_who_wants_all_answers_says_so() -> None:
    """If this fails one number is told where all were wanted."""
    assert asks_for_all("What are ALL the numbers?")
    assert asks_for_all("every one of them")
    assert not asks_for_all("What is the tallest wall?")


def part(text: str, confidence: float | None, line: str, document: Document) -> Part:
    return Part("", text, Quote(Span(document, 0, 1, 1, 1), line), confidence)


def test_of_several_parts_the_surest_answers_and_lines_that_name_as_much(write: Write) -> None:
    """If this fails a later part drives out a surer answer, or a second value of a key is hidden."""
    document = write("a.txt", "x")
    sure = part("5", 0.9, "The code for amber-lamp is 5.", document)
    unsure = part("6", 0.6, "The code for copper-lamp is 6.", document)
    second = part("7", 0.5, "AMBER-LAMP has the code 7 too.", document)
    again = part("5", 0.4, "The code for amber-lamp is 5, again.", document)
    none = part("8", None, "no", document)
    question = "What is the code for amber-lamp?"
    assert _named(sure, question) == {"amber-lamp"}
    assert _named(unsure, question) == set()
    assert [one.text for one in _best([unsure, none, sure, second, again], question)] == ["5", "7"]
    assert [one.text for one in _best([none, unsure], question)] == ["6"]
    assert [one.text for one in _best([unsure, sure, again], f"all: {question}")] == ["6", "5"]
    assert [one.text for one in _best([unsure, sure], "what is it?")] == ["5"]
    assert _best([], question) == []


def test_a_text_is_read_in_one_piece_if_it_fits() -> None:
    """If this fails a text that fits is read in parts, or one that does not ends the command."""
    engine: Any = None
    assert Finder(engine, 1, tokens=5, exact=True, room=5).in_one_piece
    assert not Finder(engine, 1, tokens=6, exact=True, room=5).in_one_piece


def test_a_prompt_before_the_text_is_the_same_for_all_questions() -> None:
    """If this fails many questions read the text again each, or answer as if another had been asked."""
    same: Any = lambda question: SimpleNamespace(before=[1, 2], after=question)  # noqa: E731
    assert many.read_before(same) == [1, 2]
    other: Any = lambda question: SimpleNamespace(before=[question])  # noqa: E731
    with pytest.raises(OptionError, match="put it behind"):
        many.read_before(other)


def test_answers_come_in_the_order_of_their_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails an answer is given to another question, or its thoughts are part of it."""
    pieces = [
        *((1, Piece("no", 5, None, None)), (0, Piece("six", 6, None, None))),
        *((1, Piece("on ", 7, None, None)), (1, Piece("", None, None, "stop"))),
        *(
            (2, Piece(" at", 8, None, None)),
            (0, Piece("ty", 9, None, "length")),
            (2, Piece("e", 1, None, "stop")),
        ),
    ]

    def written(session: object, prompts: list[list[int]], sampling: Sampling) -> Iterator[tuple[int, Piece]]:
        assert prompts == [[10], [11], [12]]
        yield from pieces

    monkeypatch.setattr(many, "write_together", written)
    reading: Any = SimpleNamespace(session=None, usage=Usage())
    opening: Any = {name: Prompt([], [10 + at]) for at, name in enumerate("abc")}.__getitem__
    found = list(many.write_all(reading, "abc", opening, Sampling(), Chat()))
    assert [(one.text, one.finish) for one in found] == [
        ("sixty", "length"),
        ("noon", "stop"),
        ("ate", "stop"),
    ]
    assert reading.usage.tokens_written == 6


def told(write: Write, text: str) -> list[tuple[str, bool, bool]]:
    found = candidates(SimpleNamespace(spans=[whole(write("a.md", text))]))  # type: ignore[arg-type]
    return [(one.quote.text, one.opens, one.speech) for one in found]


def test_sentences_of_running_text_are_candidates(write: Write) -> None:
    """If this fails a summary quotes headings, code, fragments or half a conversation."""
    text = (
        "# The river of the north\n\nThe river rose over the old quay. Nobody came.\n\n"
        "```\nThis is no sentence of the text.\n```\n\nTHE WHOLE LINE IS IN CAPITALS HERE.\n\n"
        "Bring a lamp to the quay at night.\n"
    )
    assert told(write, text) == [
        ("The river rose over the old quay.", True, False),
        ("Bring a lamp to the quay at night.", True, False),
    ]


def test_speech_goes_on_until_its_mark(write: Write) -> None:
    """If this fails what somebody says passes for what the text says."""
    text = (
        "He spoke of the river for long. “The river rose in the night. It took the old quay with it.” "
        "Nobody had seen it coming at all.\n"
    )
    assert [speech for _, _, speech in told(write, text)] == [False, True, True, False]


def test_words_are_counted_as_readers_do() -> None:
    """If this fails a summary of Chinese is forty times too long."""
    assert length("one two  three") == 3
    assert length("") == 0
    assert length("河流改道") == 1 + 2


@pytest.mark.parametrize(
    ("word", "stem"),
    [("Быстрая", "быстр"), ("дом", "дом"), ("والكتاب", "كتاب"), ("كِتَاب", "كتاب")],
)
def test_words_of_other_scripts_are_cut(word: str, stem: str) -> None:
    """If this fails a question in Russian or Arabic finds only the very same form of a word."""
    assert _cut_foreign(word).startswith(stem[:3])
