"""What is told of a file that is no prose, for every kind the same: facts in groups, with places to open."""

import sys
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from longctx.text.document import Document
from longctx.text.span import Span

LONGEST = 160  # characters of a line, a value or a name that are shown
LARGEST_FLOAT = sys.float_info.max


class NoStructure(Exception):
    """A file cannot be summarised; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of a summary, and where to look; `place` is empty where the whole file is meant."""

    text: str
    place: str = ""


@dataclass(slots=True)
class Group:
    """Facts of one sort, the most telling first; `more` counts those that were not kept."""

    title: str
    facts: list[Fact]
    more: int = 0


@dataclass(slots=True)
class Structure:
    """What a file holds.

    Attributes:
        kind: "log", "table", "JSON" ...
        name: of the file or folder.
        headline: all of it in one line.
        groups: the facts, for people and for programs.
        values: the numbers behind them, for programs.
    """

    kind: str
    name: str
    headline: str
    groups: list[Group] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)


def place(document: Document, line: int) -> str:
    """Name a line as a citation does."""
    return str(Span(document, document.start, document.start, line, line))


def shortened(text: str) -> str:
    """Put a text on one line of at most LONGEST characters, and mark where it was cut."""
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else text[: LONGEST - 6].rstrip() + " [...]"


def plural(count: int, noun: str) -> str:
    """Write a count with its noun."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def amount(number: float) -> str:
    """Write a number as people do: years without a comma, large ones without a fraction."""
    if abs(number) > LARGEST_FLOAT:  # as numbers in JSON may be
        return f"{Decimal(number):.4g}"
    if abs(number) >= 1e15 or 0 < abs(number) < 1e-4:
        return f"{number:.4g}"
    if float(number).is_integer():
        return f"{int(number):,}" if abs(number) >= 10_000 else f"{int(number)}"
    return f"{number:,.0f}" if abs(number) >= 9_999.5 else f"{number:.4g}"  # which would write 1e+04


def text_of(structure: Structure, words: int) -> str:
    """Write a structure in about `words` words: the first facts of each group, then the next, while they fit.

    What is left out is counted.
    """
    left = words - _words(structure.headline)
    shown = [0] * len(structure.groups)
    waiting = [n for n, group in enumerate(structure.groups) if group.facts]
    while waiting:
        for number in list(waiting):
            group = structure.groups[number]
            fact = group.facts[shown[number]]
            cost = _words(fact.text) + 1 + (0 if shown[number] else _words(group.title))
            if fits := cost <= left:
                shown[number] += 1
                left -= cost
            if not fits or shown[number] == len(group.facts):
                waiting.remove(number)
    lines = [structure.headline]
    for group, count in zip(structure.groups, shown, strict=True):
        hidden = len(group.facts) - count + group.more
        if count:
            lines += ["", f"{group.title}:"]
            lines += [f"  {f.text} [{f.place}]" if f.place else f"  {f.text}" for f in group.facts[:count]]
            lines += [f"  and {hidden:,} more"] * bool(hidden)
        elif hidden:
            lines += ["", f"{group.title}: {hidden:,}, not shown at this length"]
    return "\n".join(lines)


def _words(text: str) -> int:
    return len(text.split())
