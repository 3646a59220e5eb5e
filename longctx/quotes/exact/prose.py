"""What a sentence states of the thing that is asked for: "the API uses port 8085", "her direct line is 3"."""

import re
from collections.abc import Callable, Iterable, Iterator

from longctx.quotes.exact.asked import Asked, mentions
from longctx.quotes.exact.contacts import contact, contact_kind
from longctx.quotes.exact.fact import Exact
from longctx.quotes.exact.lines import Line
from longctx.quotes.exact.sentences import clauses, end_of_words, line_at, sentences
from longctx.quotes.exact.words import cover, stem, stems

Found = tuple[str, int] | None
_WHICH = re.compile(r"(?:(?:on|at|to|under) )?(?:which|what)\b|[\w -]+ of ", re.IGNORECASE)
_NOUN = re.compile(
    r"(?:(?:\w+ )?(?:which|what)(?:'s| is| are| was| were)?(?: the| our| my)? )?(?P<noun>[\w -]+)",
    re.IGNORECASE,
)
_CODE = r"[`\"]?(?P<value>(?=[\w./:+-]*\d)[\w+-][\w./:+-]*(?<=\w)(?: \d[\d.,]*(?<=\d))*%?)"
_CURRENCY = (
    r"(?:[$€£¥]|(?:euros?|dollars?|pounds?|cents?|francs?|rupees?|yen|won|kroner|kr|zł|Kč|lei|[A-Z]{3})\b)"
)
_MONEY = rf"(?:[$€£¥] ?\d(?:[\d,.]*\d)?|\d(?:[\d,. ]*\d)? ?{_CURRENCY})"
_COSTS = frozenset(map(stem, ("cost", "price", "fee", "charge")))
_PATH = re.compile(r"(?<![\w/])[`\"']?(?P<path>(?:https?:/|~|\.{1,2}|[A-Z]:)?[/\\][\w.~/\\-]*\w/?)[`\"']?")
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|June?|July?|Aug|Sep|Oct|Nov|Dec)[a-z]*"
_CLOCK = r"\d{1,2}[:.]\d\d(?: ?[ap]\.?m\.?)?"
_DATE = (
    rf"(?:\d{{4}}-\d\d-\d\d|\d{{1,2}}(?:st|nd|rd|th)? {_MONTH}(?:,? \d{{4}})?|{_MONTH} \d{{1,2}}(?:,"
    rf" \d{{4}})?|(?:{_MONTH} )?[12]\d{{3}})"
)
_NAME = (
    r"(?P<name>(?:(?:Dr|Mr|Mrs|Ms|Prof)\.? )?[A-Z][\w'’-]+(?: (?:(?:van|von|de|der|af|al|bin|da|di)"
    r" )*[A-Z][\w'’.-]+){1,3})"
)
_OWN = re.compile(
    r"\b(?:her|his|its|their) (?P<noun>[\w-]+(?: [\w-]+){0,2}?) (?:is|are|was)"
    r" (?P<value>[^,;()]+?)(?=[,;()]|\.? *$)"
)
_SIGNIFICANT = re.compile(r"[\dA-Z@/`\"“]")  # "is 33", "is Ann"; but not "is waiting"
_LONGEST = 8  # words of a value


def stated(asked: Asked, lines: Iterable[Line]) -> Iterator[Exact]:
    """Yield what sentences state of the thing that is asked for, and of that alone."""
    kind = contact_kind(asked)
    for text, starts in sentences(lines):
        if not mentions(asked, text.lower(), outright=not kind):
            continue
        found = contact(asked, text, *kind) if kind else _possessed(asked, text) or _in_clause(asked, text)
        if found:
            yield Exact(found[0], line_at(found[1], starts).quote())


def _in_clause(asked: Asked, text: str) -> Found:
    for at, clause in clauses(text):
        if asked.required - cover(asked.terms, stems(clause))[0]:
            continue
        for relation in _RELATIONS:
            if found := relation(asked, clause):
                return found[0], at + found[1]
    return None


def _numbered(asked: Asked, text: str) -> Found:
    """Find the number or code right after the noun that is asked for: "port 8085", "order number KS-20"."""
    noun = _NOUN.match(asked.text)
    if not noun or not _WHICH.match(asked.text) or asked.wanted == "time":
        return None
    said = noun["noun"].split()
    for size in range(min(3, len(said)), 0, -1):
        if said[size - 1].lower() in ("is", "the", "of"):
            continue
        joined = r"[ -]".join(map(re.escape, said[:size]))
        rest = r"(?: of (?:the |an? )?(?:[\w'-]+ ){0,4}?)?"
        form = rf"(?<!\w){joined}s?{rest}(?: ?(?:is|are|was|no\.|number|:|=))?:? ?{_CODE}(?!\w)"
        if found := re.search(form, text, re.IGNORECASE):
            return found["value"], found.start("value")
    return None


def _priced(asked: Asked, text: str) -> Found:
    """Find the price right after "X costs"."""
    names = [one for one in asked.terms if not one.light and not one.forms & _COSTS]
    end = end_of_words(names, text) if names and len(names) < len(asked.terms) else -1
    verb = r"(?:(?: \w+){0,2}?| [^,;]{0,60} and) (?:costs?|is priced at|is charged at)"
    found = re.compile(rf"{verb} (?:\w+ ){{0,2}}?(?P<value>{_MONEY})").match(text, end) if end >= 0 else None
    return (found["value"], found.start("value")) if found else None


def _placed(asked: Asked, text: str) -> Found:
    """Find the path of a clause, the only one, where the question begins with "where"."""
    found = list(_PATH.finditer(text)) if asked.wanted == "place" else []
    return (found[0]["path"], found[0].start("path")) if len(found) == 1 else None


def _dated(asked: Asked, text: str) -> Found:
    """Find the date right after the verb with which a question ends, in a clause without another."""
    if asked.wanted != "time" or len(re.findall(rf"{_DATE}|{_CLOCK}", text)) != 1:
        return None
    end = end_of_words(asked.terms[-1:], text)
    said = rf" (?:(?:in|on|at|by|since|for|from) )?(?:the )?(?P<value>{_DATE}|{_CLOCK})"
    found = re.compile(said).match(text, end) if end >= 0 else None
    return (found["value"], found.start("value")) if found else None


def _counted(asked: Asked, text: str) -> Found:
    """Find how many of a thing there are, where a clause says that something has them."""
    if not re.match(r"how many\b", asked.text, re.IGNORECASE):
        return None
    having = re.finditer(
        r"\b(?:has|have|had|holds?|with|there (?:are|were)) (?P<value>\d[\d,.]*) (?P<noun>\w+)", text
    )
    found = next((one for one in having if stem(one["noun"].lower()) in asked.terms[0].forms), None)
    return (found["value"], found.start("value")) if found else None


def _titled(asked: Asked, text: str) -> Found:
    """Find the name that stands beside a role: "the manager, Ann Lee,", "Ann Lee is the manager"."""
    if asked.wanted != "name" or not re.match(r"who (?:is|was|are) (?:the|our|your) [a-z]", asked.text, re.I):
        return None
    role = r"[ -]".join(rf"(?i:{re.escape(one.word)})" for one in asked.terms)
    forms = (
        rf"\b[Tt]he {role}(?:,| is| was|:)? {_NAME}(?=[,.;)]| is\b| was\b|$)",
        rf"{_NAME}(?:,| is| was) (?:the|our) {role}\b",
    )
    found = next((found for form in forms if (found := re.search(form, text))), None)
    return (found["name"], found.start("name")) if found else None


def _possessed(asked: Asked, text: str) -> Found:
    """Find what a sentence says of someone's thing: "Ann is in; her direct line is 33"."""
    for found in _OWN.finditer(text):
        forms = stems(found["noun"])
        there, held = cover(asked.terms, forms)
        before, _ = cover(asked.terms, stems(text[: found.start()]))
        whose = asked.required - there
        if there and len(held) == len(forms) and whose and whose <= before:
            value = found["value"].strip()
            said = len(value.split()) <= _LONGEST and _SIGNIFICANT.search(value)
            return (value, found.start("value")) if said else None
    return None


_RELATIONS: tuple[Callable[[Asked, str], Found], ...] = (
    _numbered,
    _priced,
    _placed,
    _dated,
    _counted,
    _titled,
)
