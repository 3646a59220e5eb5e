"""Phone numbers and addresses that a sentence gives for a person or a place."""

import re

from longctx.quotes.exact.asked import Asked
from longctx.quotes.exact.sentences import end_of_words
from longctx.quotes.exact.words import cover, stem, stems

_PHONE = (
    r"(?<![\w.,:-])(?!(?:19|20)\d\d[-./ ]\d\d\b)(?=(?:\D?\d){6})"  # no date, six digits or more
    r"(?:\+\d{1,3}[ ./-]?)?(?:\(0?\d{1,5}\)[ -]?)?\d(?:[ ./-]?\d){4,13}(?![\w,:]\w)"
)
_EMAIL = r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
_URL = r"https?://[^\s<>\"')\]]+[^\s<>\"')\].,;]"
_CONTACT = (
    (frozenset(map(stem, ("phone", "mobile"))), re.compile(_PHONE)),
    (frozenset({stem("email")}), re.compile(_EMAIL)),
    (frozenset(map(stem, ("website", "url", "homepage", "link"))), re.compile(_URL)),
)
_LABEL = re.compile(r"\b(?:fax|phone|telephone|tel|landline|office|mobile|cell|call|ring|number)\b")
_MOBILE = re.compile(r"\b(?:mobile|cell)", re.IGNORECASE)
_CAPITAL = re.compile(r"(?<![.!?:] )\b[A-Z][\w'’.-]*(?: [A-Z][\w'’-]+)+")  # a name of two words or more
_ROLE = re.compile(r"\b(?:the|a|an) ([A-Z][\w'’-]+)")  # "the Owner", who is somebody else
_SOMEBODYS = re.compile(r"\b(?:her|his|their|its|your|my)\b", re.IGNORECASE)
_FARTHEST = 120  # characters between a name and what it has


def contact_kind(asked: Asked) -> tuple[frozenset[str], re.Pattern[str]] | None:
    """Return the words of the kind of address that is asked for, and its form."""
    if asked.wanted == "name":
        return None
    return next((kind for kind in _CONTACT if any(one.forms & kind[0] for one in asked.terms)), None)


def contact(asked: Asked, text: str, words: frozenset[str], kind: re.Pattern[str]) -> tuple[str, int] | None:
    """Return the first such value after the name that is asked for, if no other name stands between."""
    names = [one for one in asked.terms if not one.light and not one.forms & words]
    values = list(kind.finditer(text))
    if (
        not names
        and not _SOMEBODYS.search(asked.text)
        and not asked.required - {i for i, one in enumerate(asked.terms) if one.forms & words}
    ):
        told = len(values) == 1 and (kind.pattern != _PHONE or _LABEL.search(text.lower()))
        return (values[0][0], values[0].start()) if told else None  # "phone?"
    if not names or not values:
        return None
    for value in values:
        inside, _ = cover(names, stems(value[0]))
        if kind.pattern == _EMAIL and len(inside) == len(names):
            return value[0], value.start()
    end = end_of_words(names, text)
    after = [
        value for value in values if value.start() >= end >= 0 and _labelled(asked, text[end : value.start()])
    ]
    if not after or after[0].start() - end > _FARTHEST:
        return None
    between = text[end : after[0].start()]
    if _CAPITAL.search(between) or any(not _LABEL.fullmatch(one.lower()) for one in _ROLE.findall(between)):
        return None
    return after[0][0], after[0].start()


def _labelled(asked: Asked, before: str) -> bool:
    """Tell whether the last label before a number names the kind asked for: a mobile is not any phone."""
    label = (["", *_LABEL.findall(before.lower())])[-1]
    if label == "fax":
        return bool(re.search(r"\bfax", asked.text, re.IGNORECASE))
    return not _MOBILE.search(asked.text) or not label or bool(_MOBILE.match(label))
