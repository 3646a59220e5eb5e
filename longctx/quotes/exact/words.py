"""The words of a question and of a name, brought to one form: "mem_limit" answers for "memory limit"."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

_WORD = re.compile(r"[^\W\d_]+|\d+")
_HUMPS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_ENDING = re.compile(r"(?<=..)(?:ing|ed|er|or|(?<=[ct])ion|e)$")
# How programmers shorten words.
_WHOLE = {
    **{
        "addr": "address",
        "auth": "authentication",
        "cfg": "config",
        "configuration": "config",
        "conn": "connection",
    },
    **{
        "db": "database",
        "desc": "description",
        "dest": "destination",
        "dev": "development",
        "dir": "directory",
    },
    **{
        "env": "environment",
        "img": "image",
        "lang": "language",
        "len": "length",
        "lib": "library",
        "max": "maximum",
    },
    **{"mem": "memory", "min": "minimum", "msg": "message", "no": "number", "nr": "number", "num": "number"},
    **{"pass": "password", "passwd": "password", "pwd": "password", "prod": "production", "pw": "password"},
    **{"qty": "quantity", "repo": "repository", "req": "request", "src": "source", "temp": "temperature"},
    **{"tel": "phone", "telephone": "phone", "tmp": "temporary", "usr": "user", "vol": "volume"},
    **{"colour": "color", "licence": "license", "e-mail": "email", "mail": "email", "folder": "directory"},
    **{
        "biggest": "maximum",
        "highest": "maximum",
        "largest": "maximum",
        "most": "maximum",
        "smallest": "minimum",
    },
    **{"called": "name", "named": "name", "sec": "seconds", "secs": "seconds", "param": "parameter"},
}
# What a person asks with -> what a key or the head of a column may be called.
_ALSO = {
    "long": "length duration time period",
    "high": "height",
    "tall": "height",
    "deep": "depth",
    "wide": "width",
    "heavy": "weight mass",
    "old": "age",
    "big": "size",
    "large": "size",
    "fast": "speed",
    "often": "interval frequency",
    "loud": "noise volume",
    "cost": "price rate fee charge",
    "costs": "price rate fee charge",
    "price": "cost",
    "phone": "mobile",
    "begin": "start",
    "end": "finish",
    "sent": "date",
    "written": "date",
    "wrote": "from author",
    "folder": "path",
    "earn": "salary wage pay",
    "earns": "salary wage pay",
    "port": "listen expose",
}
_UNIT_WORDS = (
    "seconds second secs sec s ms millis milliseconds minutes minute hours hour days day months years"
    " bytes kb mb"
    " gb mib kib gib cm mm m km kg g hz percent pct count total"
)
UNITS = frozenset(_UNIT_WORDS.split())


@dataclass(frozen=True, slots=True)
class Term:
    """A word of a question.

    Attributes:
        forms: the stems that stand for it. light: it may go unanswered, as "value" in "the value of X".
    """

    word: str
    forms: frozenset[str]
    light: bool = False


def words(name: str) -> tuple[str, ...]:
    """Return the lower-case words of a name, however joined: max_retries, maxRetries, "max retries"."""
    found: list[str] = []
    for word in _WORD.findall(name):
        found += (
            _HUMPS.findall(word) if word.isascii() and not word.islower() and not word.isdigit() else [word]
        )
    return tuple(word.lower() for word in found)


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """Return what "owner", "owns" and "owned" have in common; not a word of its own."""
    word = _WHOLE.get(word, word)
    if not word.isalpha() or len(word) < 4 or word.endswith("ss"):
        return word
    word = re.sub(r"ie[sd]$|(?<=...)iers?$", "y", word)
    cut = word.removesuffix("s")
    cut = _ENDING.sub("", cut, count=1) if len(cut) > 3 else cut
    if len(cut) > 3 and cut[-1] == cut[-2] and cut[-1] not in "lsz":
        cut = cut[:-1]
    return re.sub(r"[yi]$", "i", cut)


@lru_cache(maxsize=50_000)
def stems(name: str) -> tuple[str, ...]:
    """Return the stems of a name's words."""
    return tuple(map(stem, words(name)))


def term(word: str, *, light: bool = False) -> Term:
    """Return a word of a question with all stems that stand for it."""
    lower = word.lower()
    return Term(lower, frozenset(map(stem, (lower, *_ALSO.get(lower, "").split()))), light)


def known_as(asked: Term) -> set[str]:
    """Return the stems that stand for a word of a question, and the short forms that programmers write."""
    return {*asked.forms, *(short for short, whole in _WHOLE.items() if stem(whole) in asked.forms)}


def cover(asked: Sequence[Term], name: Sequence[str]) -> tuple[set[int], set[int]]:
    """Return which words of a question stand in a name, given as stems, and which of the name's they are.

    "time out" is timeout, and "wifi" is Wi-Fi.
    """
    places: dict[str, list[int]] = {}
    for j, form in enumerate(name):
        places.setdefault(form, []).append(j)
    pairs = {stem(one + other): j for j, (one, other) in enumerate(pairwise(name))} if len(name) > 1 else {}
    of_question: set[int] = set()
    of_name: set[int] = set()
    for i, one in enumerate(asked):
        found = [j for form in one.forms for j in places.get(form, ())]
        found += [pairs[form] + more for form in one.forms if form in pairs for more in (0, 1)]
        joined = places.get(stem(one.word + asked[i + 1].word), ()) if i + 1 < len(asked) else ()
        if found or joined:
            of_question |= {i, i + 1} if joined else {i}
            of_name.update(found, joined)
    return of_question, of_name
