"""What a person sees on a terminal, and what a program gets."""

import sys

import click
import pytest

from longctx.styles import ELLIPSIS, KEPT, PLAIN, Style, for_stdout

PERSON = Style(True, "When do the ferries leave?", "a/b/")


def test_a_program_gets_the_text_as_it_is() -> None:
    """Scripts would have to take colours and cut lines apart."""
    long = "ferry " * 200
    assert (PLAIN.strong("x"), PLAIN.place("a/b/c:1"), PLAIN.quoted(long)) == ("x", "a/b/c:1", long)


def test_words_of_the_question_are_marked_whatever_their_ending() -> None:
    """A long passage would have to be read whole to see why it is shown."""
    shown = PERSON.quoted("The ferry leaves; ferries do.")
    assert click.unstyle(shown) == "The ferry leaves; ferries do."
    assert "\x1b[4mleaves\x1b[0m" in shown
    assert "\x1b[4mferries\x1b[0m" in shown
    assert "\x1b[4mdo" not in shown


def test_a_long_line_is_shortened_around_a_match_and_says_so() -> None:
    """A log's line of a thousand signs would push the match off the screen, or be cut silently."""
    shown = click.unstyle(PERSON.quoted("word " * 200 + "the ferries leave " + "word " * 200))
    assert "ferries leave" in shown
    assert shown.startswith(ELLIPSIS)
    assert shown.endswith(ELLIPSIS)
    assert len(shown) <= KEPT + 2 * len(ELLIPSIS) + 2
    assert PERSON.quoted("x" * 1000).endswith(f"x {ELLIPSIS}")


def test_only_a_terminal_gets_a_style(monkeypatch: pytest.MonkeyPatch) -> None:
    """Colours would end up in pipes, and in terminals of people who want none."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert for_stdout("q", ["a/b/c.py", "a/b/d/e.py", "a/b/f.py"]).below == "a/b/"
    assert for_stdout("q", ["a/b/c.py"]).below == for_stdout("q", ["ab/c", "a/d"]).below == ""
    monkeypatch.setenv("NO_COLOR", "1")
    assert for_stdout("q", []) is PLAIN
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    assert for_stdout("q", []) is PLAIN
