"""Questions made from any prose without labels: a word is left out of a sentence and asked for.

Knows nothing of tokens. A word is found again by what stands before it, so at least three words do.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from training.words import LISTS, WORDINGS

FORMS: dict[str, list[str]] = WORDINGS["gaps"]
LEAST_BEFORE = 3  # words of the sentence before the gap
WORDS = range(6, 26)  # in a sentence that is asked about
LONGEST = 220  # characters of it
_WORD = re.compile(r"(?<=\s)(?:[^\W\d_]{3,}|\d+)(?![\w'’-])")
_NAME_ON = re.compile(r"(?: [A-Z][^\W\d_]+)+(?![\w'’-])")  # the rest of a name of several words
_PLACE_BEFORE = re.compile(r"\b(?:in|at|from|to|near|of)$")


@dataclass(frozen=True)
class Gap:
    """A word or a whole name of a text, the character where it stands, its sentence before and after it."""

    word: str
    start: int
    left: str
    right: str


def draw(rng: Random, text: str, ends: Sequence[int]) -> Gap | None:
    """Leave a word out of one of the sentences between `ends`; names and numbers come most often.

    Returns:
        None when the sentence drawn is no prose, or too short or too long.
    """
    if len(ends) < 2:
        return None
    i = rng.randrange(len(ends) - 1)
    sentence = text[ends[i] : ends[i + 1]]
    if len(sentence.split()) not in WORDS or len(sentence) > LONGEST:
        return None
    found = [m for m in _WORD.finditer(sentence) if len(sentence[: m.start()].split()) >= LEAST_BEFORE]
    if not found:
        return None
    telling = [m for m in found if m.group()[0].isupper() or m.group()[0].isdigit()]
    gap = rng.choice(telling if telling and rng.random() < 0.5 else found)
    name = gap.group()[0].isupper() and _NAME_ON.match(sentence, gap.end())
    end = name.end() if name and rng.random() < 0.7 else gap.end()
    left, right = sentence[: gap.start()], sentence[end:]
    blank = " " if right[:1].isspace() else ""  # layout of the text is not that of a question
    word, start = sentence[gap.start() : end], ends[i] + gap.start()
    return Gap(word, start, " ".join(left.split()), blank + " ".join(right.split()))


def ask(rng: Random, gap: Gap, *, form: str = "", unseen: bool = False) -> str:
    """Ask for the word: with its whole sentence, with what stands before it, or as an echo ("He met whom?").

    The last wording of each list is held out.

    Args:
        form: "whole", "left" or "echo"; drawn when empty.
        unseen: use the held-out wording.
    """
    form = form or rng.choices(["whole", "left", "echo"], [5, 3, 3])[0]
    left = gap.left if form == "whole" else _shortened(rng, gap.left)
    wordings = FORMS[form][-1:] if unseen else FORMS[form][:-1]
    wording = rng.choice(wordings)
    return wording.format(left=left, right=gap.right, asked=_asked(rng, gap))


def _shortened(rng: Random, left: str) -> str:
    words = left.split()[-rng.randint(LEAST_BEFORE + 1, 12) :]
    if len(words) > 5 and rng.random() < 0.3:
        del words[rng.randrange(len(words) - 3)]
    return " ".join(words)


def _asked(rng: Random, gap: Gap) -> str:
    word = gap.word.split()[0]
    if word.isdigit():
        return rng.choice(["which year", "when"] if len(word) == 4 else ["how many", "which number"])
    if word in LISTS["months"]:
        return "when"
    if word[0].isupper():
        return (
            "where" if _PLACE_BEFORE.search(gap.left) and rng.random() < 0.5 else rng.choice(["who", "whom"])
        )
    return rng.choice(["what", "what", "which word"])
