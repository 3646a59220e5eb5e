"""What a sentence states of the thing that is asked for: "the API uses port 8085", "her direct line is 3"."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from longctx.quotes.exact.asked import Asked, mentions
from longctx.quotes.exact.contacts import contact, contact_kind
from longctx.quotes.exact.fact import Exact
from longctx.quotes.exact.lines import Line
from longctx.quotes.exact.sentences import clauses, denies, end_of_words, line_at, sentences
from longctx.quotes.exact.words import cover, stem, stems
from longctx.quotes.prose import common_words

Found = tuple[str, int] | None
# The noun of "which port does", "what is the order number of", "port of the".
_THING = (
    r"(?P<noun>(?!(?:an?|the|at|in|on|is|it|this|that|there|were|was|are)\b)[^\W\d][\w-]*(?: [\w-]+){0,2}?)"
)
_NOUN = (
    re.compile(
        rf"(?:(?:on|at|to|under|in|by|with) )?(?:which|what) {_THING}"
        r"(?= (?:is|are|was|were|does|do|did|has|have|had|can|must|should|will|of|for|in|on|at)\b|\W*$)",
        re.IGNORECASE,
    ),
    re.compile(
        rf"what(?:'s|’s| is| are| was| were) (?:(?:the|our|my|your|its) )?(?:[\w-]+['’]s )?{_THING}"
        r"(?= (?:of|for|in|on|at|from)\b|\W*$)",
        re.IGNORECASE,
    ),
    re.compile(rf"(?:the )?{_THING}(?= of\b)", re.IGNORECASE),
)
_NUMBERING = frozenset(("number", "code", "id", "no"))  # "order 5" has the order number 5
_DECIMAL = re.compile(r"\d+\.\d+")
_DECIMALS = re.compile(
    r"^what(?:'s|’s| is| was)|\bof\b|\b(?:versions?|release|firmware|section|rate|level)\b", re.IGNORECASE
)
_YEAR = re.compile(r"1[5-9]\d\d|20\d\d")
_UNYEARLY = re.compile(r"\b(?:port|number|code|id|room|model|year|pin)s?\b", re.IGNORECASE)
_CODE = (
    r"[`\"]?(?P<value>(?:[A-Z]{2,3} (?=\d))?(?=[\w./:+-]*\d)(?!\d+(?:st|nd|rd|th)\b)[\w+-][\w./:+,-]*(?<=\w)"
    r"(?: \d[\d.,]*(?<=\d))*%?)"
)
_CURRENCY = (
    r"(?:[$€£¥]|(?:euros?|dollars?|pounds?|cents?|francs?|rupees?|yen|won|kroner|kr|zł|Kč|lei|[A-Z]{3})\b)"
)
_MONEY = rf"(?:[$€£¥] ?\d(?:[\d,.]*\d)?|\d(?:[\d,. ]*\d)? ?{_CURRENCY})"
_COSTS = frozenset(map(stem, ("cost", "price", "fee", "charge")))
_PATH = re.compile(
    r"(?a:(?<![\w/])[`\"']?(?P<path>(?:https?:/|~|\.{1,2}|[A-Z]:)?[/\\][\w.~/\\-]*\w/?))(?!\w)[`\"']?"
)
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|June?|July?|Aug|Sep|Oct|Nov|Dec)[a-z]*"
_CLOCK = r"\d{1,2}[:.]\d\d(?: ?[ap]\.?m\.?)?"
_DATE = (
    r"(?<![\w.,/-])(?:\d{4}-\d\d-\d\d"
    rf"|\d{{1,2}}(?:st|nd|rd|th)? {_MONTH}(?:,? \d{{4}})?"
    rf"|{_MONTH} \d{{1,2}}(?:, \d{{4}})?"
    rf"|(?:{_MONTH} )?[12]\d{{3}})"
    r"(?![\w/]|[-–.,]\d)"
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
_PAST = re.compile(r"\b(?:did|was|were|had|has|have)\b")
_OPEN = re.compile(r"\b(?:will|shall|would|could|should|might|may|planned|supposed|if)\b")  # not done yet
_ORDERED = re.compile(r"\b(?:first|last)\b", re.IGNORECASE)
_COMMON = frozenset(map(stem, common_words()))
_LONGEST = 8  # words of a value


def stated(asked: Asked, lines: Iterable[Line]) -> Iterator[Exact]:
    """Yield what sentences state of the thing that is asked for, and of that alone."""
    if denies(asked.text):
        return
    kind = contact_kind(asked)
    for text, starts in sentences(lines):
        if not mentions(asked, text.lower(), outright=not kind):
            continue
        found = contact(asked, text, *kind) if kind else _possessed(asked, text) or _in_clause(asked, text)
        if found and (kind or not _torn(*found, starts)):
            yield Exact(found[0], line_at(found[1], starts).quote())


def _torn(value: str, at: int, starts: Sequence[tuple[int, Line]]) -> bool:
    """Tell whether a number runs on over the end of a line: more likely two."""
    return any(at < start < at + len(value) and value[start - at].isdigit() for start, _ in starts)


def _in_clause(asked: Asked, text: str) -> Found:
    for at, clause in clauses(text):
        if asked.required - cover(asked.terms, stems(clause))[0] or denies(clause):
            continue
        if _contrary(asked.text, clause) or (_PAST.search(asked.text) and _OPEN.search(clause)):
            continue
        for relation in _RELATIONS:
            if found := relation(asked, clause):
                return found[0], at + found[1]
    return None


def _contrary(question: str, clause: str) -> bool:
    """Tell whether a clause is of the first where the last is asked for, or the other way round."""
    asked, said = (set(map(str.lower, _ORDERED.findall(text))) for text in (question, clause))
    return len(asked) == len(said) == 1 and asked != said


def _numbered(asked: Asked, text: str) -> Found:
    """Find the number or code right after the noun that is asked for: "port 8085", "order number KS-20"."""
    noun = next((found["noun"] for form in _NOUN if (found := form.match(asked.text))), "")
    if not noun or asked.wanted == "time":
        return None
    said = noun.split()
    of_any = not asked.required - cover(asked.terms, stems(noun))[0]
    known = frozenset().union(*(one.forms for one in asked.terms)) | _COMMON
    for names in (said, said[:-1] if said[-1].lower() in _NUMBERING else []):
        joined = r"[ -]".join(map(re.escape, names))
        of = r"(?P<of> of (?:the |an? )?(?:[\w'-]+ ){0,4}?)?"
        form = rf"(?<!\w){joined}s?{of}(?: ?(?:is|are|was|no\.|number|:|=))?:? ?{_CODE}(?!\w)"
        there = list(re.finditer(form, text, re.IGNORECASE)) if names else []
        if len({one["value"] for one in there}) != 1:
            continue
        if of_any or known.issuperset(stems(there[0]["of"] or "")):
            value = there[0]["value"]
            one_of_many = value.endswith("%") and text.count("%") > 1
            if _DECIMAL.fullmatch(value) and not _DECIMALS.search(asked.text):
                return None  # a measurement: "battery 11.6 V"
            when = _YEAR.fullmatch(value) and not _UNYEARLY.search(noun)
            return None if one_of_many or when else (value, there[0].start("value"))
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
    if asked.wanted != "time" or len(asked.required) < 2 or len(re.findall(rf"{_DATE}|{_CLOCK}", text)) != 1:
        return None
    end = end_of_words(asked.terms[-1:], text)
    if asked.required - cover(asked.terms, stems(text[: max(end, 0)]))[0]:
        return None  # "in 1984, after A, B was built" tells nothing of A
    for word in re.finditer(r"(?P<whose>[^\W_]+),? (?:which|who|that)\b", text[:end]):
        if not cover(asked.terms, stems(word["whose"]))[0]:
            return None  # "A outdid B, which was built in 1984", nor does that
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
    found = [one for one in having if stem(one["noun"].lower()) in asked.terms[0].forms]
    if len(found) != 1 or asked.required - {0} - cover(asked.terms, stems(text[: found[0].start()]))[0]:
        return None
    return found[0]["value"], found[0].start("value")


def _titled(asked: Asked, text: str) -> Found:
    """Find the name that stands beside a role: "the manager, Ann Lee,", "Ann Lee is the manager"."""
    if asked.wanted != "name" or not re.match(r"who (?:is|was|are) (?:the|our|your) [a-z]", asked.text, re.I):
        return None
    role = r"[ -]".join(rf"(?i:{re.escape(one.word)})" for one in asked.terms)
    be = "was" if re.match("who was", asked.text, re.I) else "is"
    forms = (
        rf"\b[Tt]he {role}(?:,| {be}|:)? {_NAME}(?=[,.;)]| {be}\b|$)",
        rf"{_NAME}(?:,| {be}) (?:the|our) {role}(?! (?:of|at|for|in|to)\b)\b",
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
        if _others(asked, text[: found.start()]):
            continue  # who is meant by "her" is not certain
        if there and len(held) == len(forms) and whose and whose <= before:
            value = found["value"].strip()
            said = len(value.split()) <= _LONGEST and _SIGNIFICANT.search(value)
            return (value, found.start("value")) if said else None
    return None


def _others(asked: Asked, text: str) -> bool:
    """Tell whether a text names another person or thing than the question does."""
    names = [found[0] for found in re.finditer(r"(?<=[\w,;:)] )(?<!called )(?<!named )[A-Z][\w'’-]+", text)]
    return any(not cover(asked.terms, stems(name))[0] for name in names)


_RELATIONS: tuple[Callable[[Asked, str], Found], ...] = (
    _numbered,
    _priced,
    _placed,
    _dated,
    _counted,
    _titled,
)
