"""Which of the old encodings of Cyrillic letters a few lines are in. Knows no files."""

import re
from collections.abc import Iterable

NAMES = ("cp1251", "koi8_r", "cp866", "iso8859_5")
LEAST_CASED = 0.9  # of the words: in a wrong encoding, large letters stand inside of words, or signs
LEAST_COMMON = 0.6  # of the letters: about 0.75 in Russian, Ukrainian and Bulgarian
_COMMON = frozenset("оеаинтсрвлкмд")
_WORD = re.compile(r"[^\W\d_]+")
_OTHER = re.compile(r"[^\x00-\x7f\w«»“”„…–—№\xa0]")  # signs that such texts seldom have
_CASED = re.compile(r"[Ѐ-Я]?[а-џ]+|[Ѐ-Я]+")


def likely(sample: bytes, names: Iterable[str]) -> str:
    """Return the one of several encodings in which a sample is well-spelt Cyrillic; empty if in none."""
    best, name = max(
        ((_share(sample.decode(name, "replace")), name) for name in sorted(names)), default=(0.0, "")
    )
    return name if best >= LEAST_COMMON else ""


def _share(text: str) -> float:
    """Return the share of common letters; 0 for what no one writes."""
    words = [word for word in _WORD.findall(text) if not word.isascii()]
    cased = sum(_CASED.fullmatch(word) is not None for word in words)
    if not words or cased < LEAST_CASED * len(words) or len(_OTHER.findall(text)) > len(words):
        return 0.0
    letters = "".join(words).lower()
    return sum(letter in _COMMON for letter in letters) / len(letters)
