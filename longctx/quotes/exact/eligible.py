"""Values of a sentence that may answer a question: no words that only look like values of the kind."""

import re
from collections.abc import Iterator

from longctx.quotes.exact.asked import Asked
from longctx.quotes.exact.units import Unit, tells_anything
from longctx.quotes.exact.values import Kind
from longctx.quotes.exact.words import stems

_COMPARED = re.compile(
    r"\W*(?:more|less|fewer|higher|lower|longer|shorter|cheaper|later|earlier|older|younger|before"
    r"|after|ago)\b"
)
_SIZES = ("money", "amount", "size")
_AWAY = re.compile(
    r" \w+ (?:ahead|before|after|later|earlier|ago)\b"
)  # "three weeks ahead" counts no weeks of it
_THE = re.compile(r"\b(?:an?|the|this|that|its|our|my|your|their|his|her) $", re.IGNORECASE)
_NO_NAME = re.compile(
    r"(?:In|On|At|By|For|From|The|An?|This|That|Since|After|Before|During|As|When|While|If)\b"
    r"|(?:January|February|March|April|May|June|July|August|September|October|November|December"
    r"|Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)$"
)
_LEVELS = frozenset(
    ["TRACE", "DEBUG", "INFO", "NOTICE", "WARN", "WARNING", "ERROR", "FATAL", "CRITICAL", "PANIC"]
)
_DATED = re.compile(r"(?:1[5-9]\d\d|20\d\d|\d{1,2}\.\d{1,2}\.(?:\d{4}|\d\d))$")


def eligible(asked: Asked, kind: Kind, unit: Unit) -> Iterator[re.Match[str]]:
    """Yield the values of a kind, but for the stamp, what is compared, and what the question says itself."""
    for value in kind.find(unit.text):
        if value.start() < unit.stamp:
            continue
        compared = _COMPARED.match(unit.text, value.end()) if kind.name in _SIZES else None
        if kind.name == "count":
            compared = _AWAY.match(unit.text, value.end())
        other = (kind.name == "name" and not _may_be_name(value, unit)) or (
            kind.name == "amount" and _DATED.match(value[0])
        )
        if not compared and not other and not _is_asked(asked, value[0]):
            yield value


def _is_asked(asked: Asked, value: str) -> bool:
    """Tell whether a value only repeats the question: "Send" for "to whom is it sent?"."""
    own = stems(value)
    return value.lower() in asked.text.lower() or (bool(own) and set(own) <= set(stems(asked.text)))


def _may_be_name(value: re.Match[str], unit: Unit) -> bool:
    """Tell a name from another word with a capital: a month, or an adjective."""
    if not tells_anything(value[0]) or _NO_NAME.match(value[0]):
        return False
    if " " in value[0] or value[0] in _LEVELS:
        return not value[0].isupper()
    return not _THE.search(unit.text[: value.start()])
