"""Lists of changes: when a version came, and which one brought what."""

import pytest
from documents import Write

from longctx.quotes.exact.look_up import look_up
from longctx.text.source import Document

CHANGES = """\
# Changes

## [2.1.0] - 2024-03-08
### Added
- import of tide tables
  from CSV
- a log of the imports
### Removed
- the dark mode

## 2.0.3 (2024-02-01)
- Fixed: a crash of the export (#7)
- Added: offline maps

Version 1.9
- Added: the export
- Added: a log
"""


def told(question: str, document: Document) -> list[tuple[str, str]]:
    return [(one.text, str(one.source.span)) for one in look_up(question, [document])]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("when was 2.0.3 released?", ("2024-02-01", "a.md:11")),
        ("When did version 2.1.0 come out?", ("2024-03-08", "a.md:3")),
        ("in which version did the tide tables import come?", ("2.1.0", "a.md:3")),
        ("Which version fixed the export crash?", ("2.0.3", "a.md:11")),
        ("since which version are there offline maps", ("2.0.3", "a.md:11")),
        ("in which version did the export come?", ("1.9", "a.md:15")),
        ("which release removed dark mode?", ("2.1.0", "a.md:3")),
    ],
)
def test_a_list_of_changes_tells_when_and_where(question: str, answer: tuple[str, str], write: Write) -> None:
    """Who asks since when a program can do something would be given a passage to read."""
    assert told(question, write("a.md", CHANGES)) == [answer]


@pytest.mark.parametrize(
    "question",
    [
        "when was 1.9 released?",  # without a date
        "when was 2.0 released?",  # another one
        "which version added dark mode?",  # it was removed
        "which version added a log?",  # two of them
        "which version added the import of star charts?",
    ],
)
def test_another_version_or_change_is_not_given(question: str, write: Write) -> None:
    """A change that never came would be given the version of one that sounds like it."""
    assert told(question, write("a.md", CHANGES)) == []
