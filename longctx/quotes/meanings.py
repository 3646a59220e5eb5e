"""How near words are in meaning, by a table of vectors that `training/meanings.py` made from a model.

A word is looked up by its stem. The table knows English words only; of others, of names and of most
abbreviations nothing is near. Nothing here needs torch or numpy.
"""

from functools import cache, lru_cache
from itertools import islice
from operator import mul
from pathlib import Path

from longctx.quotes.exact.words import stem

WIDTH = 96  # numbers of a vector, one signed byte each; a vector is 127 long
LENGTH = 127 * 127
WORDS = Path(__file__).with_name("meanings.txt")  # a stem a line, and its commonest word, if another
VECTORS = Path(__file__).with_name("meanings.bin")
SIGNS = 38  # that differ at most between words whose vectors are compared: those of near words are fewer


@lru_cache(maxsize=100_000)
def nearness(one: str, other: str) -> float:
    """Return how near two words are by their stems, from -1 to 1; 0 if the table lacks one of them."""
    rows, vectors = _table()
    if one not in rows or other not in rows:
        return 0.0
    a, b = rows[one] * WIDTH, rows[other] * WIDTH
    return int(sum(map(mul, vectors[a : a + WIDTH], vectors[b : b + WIDTH]))) / LENGTH


def knows(form: str) -> bool:
    """Tell whether the table holds a stem."""
    return form in _table()[0]


def near(word: str, least: float, most: int) -> list[str]:
    """Return the words nearest to a word in meaning, the nearest first, and none that shares its stem."""
    rows, _ = _table()
    own = stem(word)
    if own not in rows:
        return []
    signs = _signs()
    sought = signs[rows[own]]
    likely = (other for other, row in rows.items() if (signs[row] ^ sought).bit_count() <= SIGNS)
    found = sorted(((nearness(own, other), other) for other in likely if other != own), reverse=True)
    return [_words()[rows[other]] for score, other in islice(found, most) if score >= least]


@cache
def _words() -> list[str]:
    return [line.split(" ")[-1] for line in WORDS.read_text(encoding="utf-8").splitlines()]


@cache
def _table() -> tuple[dict[str, int], memoryview]:
    """Return the row of each stem, and the vectors one behind the other."""
    lines = WORDS.read_text(encoding="utf-8").splitlines()
    rows = {line.partition(" ")[0]: row for row, line in enumerate(lines)}
    return rows, memoryview(VECTORS.read_bytes()).cast("b")


@cache
def _signs() -> list[int]:
    """Return the signs of each vector as the bits of a number: near vectors differ in few."""
    data = VECTORS.read_bytes()
    bits = data.translate(bytes(0x30 + (byte >> 7) for byte in range(256)))
    return [int(bits[at : at + WIDTH], 2) for at in range(0, len(bits), WIDTH)]
