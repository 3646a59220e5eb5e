"""What a sentence says that a thing is, in so many words: "The deposit is EUR 50"."""

import re

from longctx.quotes.exact.asked import Asked
from longctx.quotes.exact.attached import Found, agrees
from longctx.quotes.exact.sentences import denies
from longctx.quotes.exact.units import Unit, tells
from longctx.quotes.exact.words import cover, places, stems

_IS = re.compile(
    r"(?:\W{0,2} (?:is|are|was|were|be|stays?|remains?|equals?|amounts? to|comes? to)(?: at| set to)?"
    r"(?: about| only| still| always| now)*|\W{0,3}[:=]) +(?P<value>[^,;()]+?)(?=[,;()]|[.!?]*\s*$)"
)
_AT = re.compile(
    r"(?:in|at|on|under|behind|near|below|above|beside|inside|next|between|opposite|with)\b|[/~]"
)
_DONE = re.compile(r"(?:[a-z]+ed|known|made|sold|held|built|kept|found|given|taken|written|born)\b")
_LONGEST = 8  # words of a value that is of no kind


def defined(asked: Asked, unit: Unit) -> Found | None:
    """Return what a sentence says a thing is, of which every word is asked for: "The deposit is EUR 50"."""
    if denies(unit.text) or not agrees(asked.text, unit.text):
        return None
    there = places(asked.terms, unit.forms)
    if any(not there[i] for i in asked.required):
        return _below(asked, unit)
    asked_for = {j for one in there for j in one}
    low = min(j for i in asked.required for j in there[i])
    for value in _IS.finditer(unit.text):
        before = [j for j, one in enumerate(unit.tokens) if one.end() <= value.start()]
        inside = set(unit.held(value.start("value"), value.end("value")))
        if low not in before or any(not inside.union(before) & set(there[i]) for i in asked.required):
            continue
        # The first word has a capital anyhow, and may be "The" or a number.
        other = [j for j in before if j > 0 and j not in asked_for and tells(unit.tokens[j][0])]
        said = value["value"].strip()
        short = 0 < len(said.split()) <= _LONGEST and re.search(r"[\dA-Z@/`\"“]", said)
        return (
            Found(said.strip('`"“”*'), value.start("value"), 0)
            if not other and short and _suits(asked, said)
            else None
        )
    return None


def _below(asked: Asked, unit: Unit) -> Found | None:
    """Return a few words right below a heading that is all that is asked for."""
    words = re.findall(r"[^\W_]+", unit.above)
    covered, used = cover(asked.terms, unit.context)
    everything = {i for i, one in enumerate(asked.terms) if not one.carries}
    said = unit.text.strip(" .\n*-")
    if not unit.first or everything - covered or len(said.split()) > _LONGEST or not _suits(asked, said):
        return None
    unsaid = [word for j, word in enumerate(words) if j not in used and tells(word) and not word.isdigit()]
    return None if unsaid else Found(said, unit.text.find(said), 1)


def _suits(asked: Asked, value: str) -> bool:
    """Tell whether a value is of the kind that is asked for; a bare number may be a sum or a size."""
    if asked.wanted == "place":
        return bool(_AT.match(value)) and not re.search(r"\d", value)
    if _DONE.match(value) or set(stems(value.split(maxsplit=1)[0])) & set(stems(asked.text)):
        return False
    if asked.kind is None:
        return True
    if asked.wanted == "name" and value.isupper():
        return False  # a heading
    number = asked.kind.name in ("money", "amount", "size", "count") and value[0].isdigit()
    return number or next(asked.kind.find(value), None) is not None
