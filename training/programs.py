"""Questions about real program text: where a name is defined, what a function takes, the value of a constant.

Knows nothing of tokens. As for invented facts, the answer to "Where is NAME defined?" is what stands behind
the name: the line that is quoted with it says where.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from training.words import WORDINGS, filled

# The family of the questions, how often it is drawn, and where name and answer stand.
PATTERNS = {
    "defined": (5, re.compile(r"^[ \t]*(?:async )?(?:def|class) (\w{4,})([(:][^\n]{0,120})$", re.M)),
    "arguments": (2, re.compile(r"^[ \t]*(?:async )?def (\w{4,})\((?:(?:self|cls),)?( ?[^()\n]+)\)", re.M)),
    "code": (
        4,
        re.compile(
            r"^[ \t]*(?:self\.)?(\w{4,})(?:: [\w\[\], |.]+)? =( (?:-?[\d_.]+|0x\w+|\"[^\"\n]{1,60}\""
            r"|'[^'\n]{1,60}'|True|False|None))(?=$|  #)",
            re.M,
        ),
    ),
}
QUESTIONS: dict[str, list[str]] = {
    family: [question for relation in WORDINGS[family][:1] for question in relation["questions"]]
    for family in PATTERNS
}
_CALLED = re.compile(r"\b(\w{4,})\(")


@dataclass(frozen=True)
class Named:
    """Something told of a name: its family, the answer, and the character where the answer starts."""

    family: str
    name: str
    answer: str
    start: int


def told(text: str) -> list[Named]:
    """List what program text says of the names that it defines or sets exactly once."""
    found = [
        Named(family, match[1], match[2], match.start(2))
        for family, (_, pattern) in PATTERNS.items()
        for match in pattern.finditer(text)
    ]
    count = Counter((each.family, each.name) for each in found)
    return [each for each in found if count[each.family, each.name] == 1]


def draw(rng: Random, text: str, start: int, end: int) -> Named | None:
    """Choose something told between two characters of the text."""
    within = [each for each in told(text) if start <= each.start and each.start + len(each.answer) < end]
    if not within:
        return None
    return rng.choices(within, [PATTERNS[each.family][0] for each in within])[0]


def absent(rng: Random, text: str, other: str, any_word: Callable[[], str] | None = None) -> str | None:
    """Ask for the definition of a name that the text only uses, or for what another text tells of a name."""
    defined = {match[1] for match in PATTERNS["defined"][1].finditer(text)}
    used = sorted({match[1] for match in _CALLED.finditer(text)} - defined)
    if used and rng.random() < 0.5:
        return ask(rng, Named("defined", rng.choice(used), "", 0), any_word)
    elsewhere = [each for each in told(other) if each.name not in text]
    return ask(rng, rng.choice(elsewhere), any_word) if elsewhere else None


def ask(rng: Random, named: Named, any_word: Callable[[], str] | None = None, *, unseen: bool = False) -> str:
    """Put the question; the last wording of each family is held out.

    Args:
        any_word: fills the wordings with any words; without it they are not used.
        unseen: use the held-out wording.
    """
    wordings = QUESTIONS[named.family]
    wordings = wordings[-1:] if unseen else wordings[:-1]
    if not any_word:
        wordings = [wording for wording in wordings if "{w}" not in wording.lower()]
    asked = rng.choice(wordings)
    return (filled(asked, any_word) if any_word else asked).format(k=named.name)
