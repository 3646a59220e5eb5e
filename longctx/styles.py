"""How a person sees an answer on a terminal: weights, marked words, short lines. Knows no results."""

import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import click

from longctx.quotes.prose import common_words, words

LINE, KEPT = 400, 320  # characters of a line that is shown whole, and of a longer one around a match
ELLIPSIS = "[...]"
_SHORT_WORD = 4  # letters; of longer words, endings differ


@dataclass(frozen=True)
class Style:
    """How text is shown; plain where a program may read it.

    Attributes:
        on: a person looks at a terminal that shows colours. question: its telling words are marked.
        below: the folder that holds all documents that are shown; left out of their places.
    """

    on: bool = False
    question: str = ""
    below: str = ""

    def strong(self, text: str) -> str:
        """Return an answer."""
        return click.style(text, bold=True) if self.on and text else text

    def faint(self, text: str) -> str:
        """Return what is said about an answer."""
        return click.style(text, dim=True) if self.on and text else text

    def place(self, text: str) -> str:
        """Return where something stands."""
        return self.faint(text.removeprefix(self.below))

    def quoted(self, text: str) -> str:
        """Return words of a text, with those of the question marked."""
        if not self.on:
            return text
        return "\n".join(self._marked(self._shortened(line)) for line in text.split("\n"))

    def _marked(self, line: str) -> str:
        if not self._word:
            return line
        return self._word.sub(lambda found: click.style(found[0], underline=True), line)

    def _shortened(self, line: str) -> str:
        """Return a long line's part around the first word of the question, its ends marked."""
        if len(line) <= LINE:
            return line
        found = self._word.search(line) if self._word else None
        start = max(0, min((found.start() if found else 0) - KEPT // 4, len(line) - KEPT))
        end = start + KEPT
        if end < len(line):
            end = max(line.rfind(" ", start, end), start + KEPT // 2)
        if start:  # at a word, if one begins before the match
            start = line.find(" ", start, start + KEPT // 4) + 1 or start
        return f"{ELLIPSIS} " * bool(start) + line[start:end].strip() + f" {ELLIPSIS}" * (end < len(line))

    @cached_property
    def _word(self) -> re.Pattern[str] | None:
        telling = {word.lower() for word in words(self.question)} - common_words()
        forms = (
            re.escape(word)
            if len(word) <= _SHORT_WORD
            else rf"{re.escape(word[: max(_SHORT_WORD, len(word) - 2)])}\w*"
            for word in sorted(telling, key=len, reverse=True)
        )
        pattern = "|".join(forms)
        return re.compile(rf"(?<![^\W_])(?:{pattern})(?![^\W_])", re.IGNORECASE) if pattern else None


PLAIN = Style()


def for_stdout(question: str, documents: Iterable[str]) -> Style:
    """Return the style for standard output; plain in a pipe, with NO_COLOR, or on a terminal that is dumb.

    Args:
        documents: the names of those that are shown.
    """
    if (
        not sys.stdout
        or not sys.stdout.isatty()
        or os.environ.get("NO_COLOR")
        or os.environ.get("TERM") == "dumb"
    ):
        return PLAIN
    return Style(True, question, _folder(set(documents)))


def _folder(names: set[str]) -> str:
    """Return the folder that all names begin with, if there are several names; else nothing."""
    if len(names) < 2:
        return ""
    first, last = (name.split("/")[:-1] for name in (min(names), max(names)))
    same = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), None)
    shared = first[: min(len(first), len(last)) if same is None else same]
    return "".join(f"{part}/" for part in shared)
