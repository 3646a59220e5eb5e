"""The kind of thing that an English question asks for, and where such things stand in a text."""

import re
from typing import Literal

from longctx.quotes.prose import common_words

Kind = Literal["number", "time", "name"]

_MONTHS = (
    "january february march april may june july august september october november december"
    " monday tuesday wednesday thursday friday saturday sunday"
)
_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    " seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand"
    " million millions billion dozen half third quarter twice"
)
_TIMES = (
    "century centuries decade decades year years summer winter spring autumn morning evening noon midnight"
    " today"
)
_NUMBER_WORDS = frozenset(_NUMBERS.split())
_TIME_WORDS = frozenset(f"{_MONTHS} {_TIMES}".split())

_ASKS: tuple[tuple[Kind, str], ...] = (
    (
        "time",
        r"when\b|since when|(?:what|which|in|on|by|at|of) (?:\w+ ){0,2}"
        r"(?:year|date|day|month|century|decade|time|era|period)s?\b|how long ago",
    ),
    (
        "number",
        r"how (?:many|much|old|long|far|tall|high|large|big|deep|wide|often|fast|heavy)\b"
        r"|(?:what|which|the) (?:\w+ ){0,3}(?:number|percent|percentage|population|price|cost|amount|age|size"
        r"|rate|total|length|height|weight|area|temperature|distance|salary|score|share|proportion)\b",
    ),
    (
        "name",
        r"who\b|whom\b|whose\b|where\b|(?:what|which) (?:\w+ ){0,2}(?:name|country|city|state|person|company"
        r"|team|town|river|university|king|president|author|group|league|organi[sz]ation|school|player|language)\b",
    ),
)
_KINDS: list[tuple[Kind, re.Pattern[str]]] = [
    (kind, re.compile(rf"\b(?:{asks})", re.IGNORECASE)) for kind, asks in _ASKS
]


def asked_kind(question: str) -> Kind | None:
    """Return what an English question asks for, or None where its words do not say."""
    for kind, pattern in _KINDS:
        if pattern.search(question):
            return kind
    return None


def is_of_kind(kind: Kind, word: str, *, begins: bool) -> bool:
    """Tell whether a word may be a number, a time or a name.

    Args:
        begins: the word begins a sentence, where a capital says nothing.
    """
    lower = word.lower()
    if kind == "number":
        return any(sign.isdigit() for sign in word) or lower in _NUMBER_WORDS
    if kind == "time":
        return any(sign.isdigit() for sign in word) or lower in _TIME_WORDS
    return word[0].isupper() and not begins and lower not in common_words()
