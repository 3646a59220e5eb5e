"""Slips in the words of a question: "databse" is put right where the text says "database"."""

import re
from collections.abc import Iterable, Iterator
from itertools import islice, product, takewhile

from longctx.quotes.exact.asked import Asked
from longctx.quotes.exact.words import Term, words
from longctx.quotes.meanings import knows
from longctx.text.source import Document

SHORTEST = 4  # letters of a word that is taken for misspelt, or meant
SURE = 6  # letters of a word that may stand for another as long; "httpx" is not "http"
MOST = 4  # questions that are tried
LARGEST = 1 << 20  # bytes of documents whose words are gone through
_NAME = re.compile(r"[^\W\d_]{4,}")


def respelt(asked: Asked, documents: Iterable[Document]) -> Iterator[str]:
    """Yield the question with each telling word that no text holds put right; nothing if one cannot be."""
    documents = list(documents)
    if sum(one.end - one.start for one in documents) > LARGEST:
        return
    wrong = [one for i in sorted(asked.required) if _may_be_slip(one := asked.terms[i], asked)]
    if not wrong:
        return
    names = {name for one in documents for block in one.blocks() for name in _NAME.findall(block)}
    held = {word for name in names for word in words(name)}
    wrong = [one for one in wrong if one.word not in held]
    meant = [sorted(word for word in held if _one_slip(one.word, word)) for one in wrong]
    for chosen in islice(product(*meant) if wrong else (), MOST):
        question = asked.text
        for one, word in zip(wrong, chosen, strict=True):
            question = re.sub(rf"\b{one.word}\b", word, question)
        yield question


def _may_be_slip(one: Term, asked: Asked) -> bool:
    """Tell whether a word may be misspelt: no English one, in small letters, and no part of a longer name."""
    plain = one.word.isalpha() and re.search(rf"(?<![\w.-]){one.word}(?![\w.-]\w)", asked.text)
    return bool(plain) and len(one.word) >= SHORTEST and not any(knows(form) for form in one.forms)


def _one_slip(one: str, other: str) -> bool:
    """Tell whether words differ by a letter left out, added or put for another, or by two swapped."""
    longer = len(other) - len(one)
    if one[0] != other[0] or one == other or abs(longer) > 1 or (longer < 1 and len(one) < SURE):
        return False
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
    a, b = one[same:], other[same:]
    return a[1:] == b or a == b[1:] or a[1:] == b[1:] or (a[1::-1] + a[2:] == b and len(a) > 1)
