"""The closest sentence: found in every kind of prose, never in program text."""

from pathlib import Path

import pytest

import longctx
from longctx.quotes.prose import is_code
from longctx.render import answer_text

MINUTES = "# Minutes, 12 May\nPresent: Ana Ruiz (chair), Tom Okafor.\nNext meeting: 9 June, 18:00, room B.\n"


@pytest.mark.parametrize(
    "text",
    [
        MINUTES,
        MINUTES.replace("\n", "\r\n"),
        "# Usage\n\nInstall the package, then run it once a day.\n",
        "## How it works\nThe text is read once. Then it is asked.\n",
    ],
)
def test_a_heading_of_markdown_is_no_comment(text: str) -> None:
    """If this fails no sentence of a page of notes, or of a README, is ever the closest to a question."""
    assert not is_code(text)


@pytest.mark.parametrize(
    "text",
    [
        "# Licensed under the MIT licence.\n# See LICENSE.\nset -e\ncp a b\n",
        "#!/bin/sh\nset -e\n",
        "# made by hand\nname = [1, 2]\nports = {8080}\n",
        "/* The main loop. */\nwhile (x) { y += 1; }\n",
        "import os\n\nprint(os.name)\n",
    ],
)
def test_program_text_is_told_from_prose(text: str) -> None:
    """If this fails a line of a program is cut at its full stops and called a sentence."""
    assert is_code(text)


@pytest.mark.parametrize(
    ("name", "text", "question", "told"),
    [
        (
            "a.md",
            "# The mill\n\nIt burned down in 1871.\n",
            "Who burned the mill?",
            "It burned down in 1871.",
        ),
        ("a.md", "# The mill\nThe mill stood here.\n", "Who saw the mill?", "The mill stood here."),
        ("a.txt", "Dear Ann,\n\nthe oven came.\n\nYours\n", "Who has the oven?", "the oven came."),
        ("a.md", "- Bread\n- Rye flour\n- Yeast\n", "Which flour?", "- Rye flour"),
        ("a.csv", "day,what\n1,bread\n2,taxi\n3,tea\n", "How much was the taxi?", "2,taxi"),
        (
            "a.srt",
            "1\n00:00:01,000 --> 00:00:04,000\nGo.\n\n2\n00:00:05,000 --> 00:00:08,000\nThe map\nfell.\n",
            "Where is the map?",
            "2\n00:00:05,000 --> 00:00:08,000\nThe map\nfell.",
        ),
    ],
)
def test_it_is_one_sentence_item_or_row(
    tmp_path: Path, name: str, text: str, question: str, told: str
) -> None:
    """If this fails headings, greetings, or a whole table are quoted as the closest sentence."""
    (tmp_path / name).write_text(text)
    with longctx.read(tmp_path / name) as book:
        found = book.ask(question).closest
    assert found is not None
    assert found.text == found.span.text() == told


def test_words_that_stand_there_are_not_denied(tmp_path: Path) -> None:
    """If this fails you believe that a text does not speak of what it does, or see no line of a program."""
    (tmp_path / "a.py").write_text("def boil(kettle):\n    return kettle.water * [100]\n")
    with longctx.read(tmp_path) as book:
        held, strange = (book.ask(f"Who owns the {one}?", passages=0) for one in ("kettle", "zeppelin"))
    assert "def boil(kettle):" in answer_text(held, streamed=False)
    assert answer_text(strange, streamed=False) == "[no telling word of the question stands in the text]"
