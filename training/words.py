"""Words, names and values from which facts are made. Knows nothing of tokens or of how a fact is told.

A key word belongs to the held-out share when its checksum says so; training never uses those as keys.
"""

import re
import tomllib
import uuid
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

WORDINGS: dict[str, Any] = tomllib.loads(Path(__file__).with_name("wordings.toml").read_text("utf-8"))
LISTS: dict[str, list[str]] = {name: text.split() for name, text in WORDINGS["words"].items()}
PHRASES: dict[str, list[str]] = WORDINGS["phrases"]

_LOWER = re.compile(r"(?<![\w'-])[a-z]{5,11}(?![\w'-])")
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]{3,10}(?![\w'-])")
_SENTENCE = re.compile(r"(?<![\w'-])[A-Za-z][a-z]*(?: [a-zA-Z]{1,12}){4,13}(?![\w'-])")
_PHRASE = re.compile(r"(?<![\w'-])[a-z]{2,}(?: [a-z]+){1,7}(?![\w'-])")


def is_held_out(word: str) -> bool:
    """Say whether a key word is kept for evaluation (one in eight)."""
    return zlib.crc32(word.lower().encode()) % 8 == 0


class Words:
    """Draws words from fixed lists and from running text, on the training or the held-out side."""

    def __init__(self, rng: Random, text: str, held_out: bool = False) -> None:
        self.rng = rng
        self.text = text
        self.held_out = held_out

    def allowed(self, word: str) -> bool:
        """Keep training keys and evaluation keys apart."""
        return is_held_out(word) == self.held_out

    def key_word(self, source: str | None = None) -> str:
        """Draw a word for a key from its own side of the split: from a list, or from the text."""
        for _ in range(100):
            word = self.rng.choice(LISTS[source]) if source else self.from_text(_LOWER, "harbor")
            if self.allowed(word):
                return word
        return self.rng.choice([word for word in LISTS["nouns"] if self.allowed(word)])

    def from_text(self, pattern: re.Pattern[str], otherwise: str) -> str:
        """Find the next match after a random place of the running text."""
        start = self.rng.randrange(max(1, len(self.text) - 400))
        found = pattern.search(self.text, start, start + 400)
        return found.group() if found else otherwise

    def noun(self) -> str:
        """Draw a noun, or any lower-case word of the text."""
        return self.key_word("nouns") if self.rng.random() < 0.6 else self.key_word()

    def adjective(self) -> str:
        """Draw an adjective, or any lower-case word of the text."""
        return self.key_word("adjectives") if self.rng.random() < 0.6 else self.key_word()

    def name(self) -> str:
        """Draw a proper name: listed, found in the text, or invented."""
        while True:
            pick = self.rng.random()
            if pick < 0.4:
                word = self.rng.choice(LISTS["surnames"])
            else:
                word = "".join(self.rng.choices(LISTS["syllables"], k=self.rng.randint(2, 3))).capitalize()
                word = self.from_text(_NAME, word) if pick < 0.7 else word
            if self.allowed(word):
                return word

    def person(self) -> str:
        """Draw a first name and a family name."""
        return f"{self.rng.choice(LISTS['first_names'])} {self.name()}"

    def phrase(self) -> str:
        """Take two to eight consecutive lower-case words of the text."""
        return self.from_text(_PHRASE, "the long way home")

    def sentence(self) -> str:
        """Take five to fourteen consecutive words of the text, with nothing but spaces between."""
        return self.from_text(_SENTENCE, "The door was open, and nobody came in")


def filled(wording: str, any_word: Callable[[], str]) -> str:
    """Put any words where a wording leaves them open: {w}, or {W} for one with a capital."""
    while "{w}" in wording:
        wording = wording.replace("{w}", any_word(), 1)
    return wording.replace("{W}", any_word().capitalize())


def number(rng: Random, low: int = 5, high: int = 8) -> str:
    """Draw a number by its count of digits."""
    digits = rng.randint(low, high)
    return str(rng.randrange(10 ** (digits - 1), 10**digits))


def identifier(rng: Random) -> str:
    """Draw a version 4 UUID from the given generator."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def stutter(rng: Random, text: str) -> str:
    """Repeat neighbouring signs in some texts: of two equal ones a copy easily drops one."""
    if rng.random() > 0.25:
        return text
    signs = list(text)
    for i in range(1, len(signs)):
        if signs[i].isalnum() and signs[i - 1].isalnum() and rng.random() < 0.3:
            signs[i] = signs[i - 1]
    return "".join(signs)


def code(rng: Random) -> str:
    """Draw a short code such as K7-R2P or zf93-ab."""
    letters = "ABCDEFGHJKLMNPQRSTUVWXYZ" if rng.random() < 0.7 else "abcdefghjkmnpqrstuvwxyz"
    signs = rng.choice(PHRASES["codes"])
    return "".join(
        rng.choice(letters) if sign == "L" else str(rng.randrange(10)) if sign == "#" else sign
        for sign in signs
    )


def date(rng: Random) -> str:
    """Draw a date in one of three spellings."""
    day, month, year = rng.randint(1, 28), rng.choice(LISTS["months"]), rng.randint(1720, 2040)
    iso = f"{year}-{LISTS['months'].index(month) + 1:02}-{day:02}"
    return rng.choice([f"{day} {month} {year}", f"{month} {day}, {year}", iso])


def clock(rng: Random) -> str:
    """Draw a time of day."""
    return f"{rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02}"


def amount(rng: Random) -> str:
    """Draw a small quantity with its unit."""
    unit = rng.choice(LISTS["units"])
    return f"{rng.randint(2, 9999)} {unit}"


def activity(rng: Random, words: Words) -> str:
    """Invent something to do, as in "feed the swans by the old bridge"."""
    first = f"{rng.choice(LISTS['verbs'])} {rng.choice(PHRASES['articles'])} {words.noun()}"
    place = rng.choice(PHRASES["where"])
    where = f"{place} {rng.choice([words.adjective() + ' ', ''])}{words.noun()}"
    when = rng.choice(PHRASES["when"])
    verb = rng.choice(LISTS["verbs"])
    second = rng.choice(["", f" and {verb} {words.phrase().split(' ')[0]} {words.noun()}"])
    return f"{first}{second} {where}{when}"
