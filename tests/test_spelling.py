"""Questions with a slip of the finger are looked up as they were meant."""

import pytest
from documents import Write

from longctx.quotes.exact.look_up import look_up
from longctx.text.source import Document


def told(question: str, document: Document) -> list[tuple[str, str]]:
    return [(one.text, str(one.source.span)) for one in look_up(question, [document])]


@pytest.mark.parametrize("slip", ["databse path", "databasse path", "datebase path", "dtaabase path"])
def test_a_misspelt_word_is_put_right(slip: str, write: Write) -> None:
    """Who types in a hurry would be told that the text says nothing."""
    settings = write("a.yaml", "database:\n  path: /srv/readings.db\ncache:\n  path: /tmp\n")
    assert told(slip, settings) == [("/srv/readings.db", "a.yaml:2")]


@pytest.mark.parametrize(
    "question",
    [
        "path of Datebase",  # a name may be another's
        "what is DATEBASE_PATH?",
        "datebase.path",
        "path of the dattebase",
    ],
)
def test_no_other_word_is_taken_for_a_slip(question: str, write: Write) -> None:
    """Who asks for something that is not there would be told of something that is spelt alike."""
    assert told(question, write("a.yaml", "database:\n  path: /srv/readings.db\n")) == []
    assert (
        told("what is the port?", write("b.yaml", "post: 5\n")) == []
    )  # an English word is none that was misspelt


def test_a_slip_that_may_mean_two_words_means_none(write: Write) -> None:
    """The tool would guess which of two settings was meant."""
    assert told("zpart", write("a.yaml", "zpert: 1\nzpirt: 2\n")) == []


def test_in_a_long_text_no_slip_is_looked_for(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question that has no answer would go through all words of a long log."""
    settings = write("a.yaml", "database:\n  path: /srv/readings.db\n")
    assert told("databse path", settings)
    monkeypatch.setattr("longctx.quotes.exact.spelling.LARGEST", 10)
    assert told("databse path", settings) == []
