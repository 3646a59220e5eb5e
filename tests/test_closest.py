"""The closest sentence: found in every kind of prose, never in program text."""

import pytest

from longctx.quotes.prose import is_code

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
