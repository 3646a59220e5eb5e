"""What a sentence states of the thing that is asked for: "the API uses port 8085", "her direct line is 3"."""

import re
from collections.abc import Callable, Iterable, Sequence

from longctx.quotes.exact.asked import Asked, mentions
from longctx.quotes.exact.attached import FARTHEST, agrees, attached
from longctx.quotes.exact.contacts import contact, contact_kind
from longctx.quotes.exact.copula import defined
from longctx.quotes.exact.fact import Exact
from longctx.quotes.exact.lines import Line
from longctx.quotes.exact.sentences import clauses, denies, line_at
from longctx.quotes.exact.units import Unit, units
from longctx.quotes.exact.values import kind
from longctx.quotes.exact.words import cover, plain, stem, stems
from longctx.quotes.prose import common_words

Found = tuple[str, int] | None
# The noun of "which port does", "what is the order number of", "port of the".
_THING = (
    r"(?P<noun>(?!(?:an?|the|at|in|on|is|it|this|that|there|were|was|are)\b)[^\W\d][\w-]*(?: [\w-]+){0,2}?)"
)
_NOUN = (
    re.compile(
        rf"(?:(?:on|at|to|under|in|by|with) )?(?:which|what) {_THING}"
        r"(?= (?:is|are|was|were|does|do|did|has|have|had|can|must|should|will|of|for|in|on|at"
        r"|goes?|runs?|stops?|leaves?)\b|\W*$)",
        re.IGNORECASE,
    ),
    re.compile(
        rf"what(?:'s|’s| is| are| was| were) (?:(?:the|our|my|your|its) )?(?:[\w-]+['’]s )?{_THING}"
        r"(?= (?:of|for|in|on|at|from)\b|\W*$)",
        re.IGNORECASE,
    ),
    re.compile(rf"(?:the )?{_THING}(?= (?:of|for|on|in|at)\b)", re.IGNORECASE),
    re.compile(
        r"(?!(?:who|what|which|when|where|how|why|is|are|does?|did|can)\b)(?:[\w-]+ )*?"
        r"(?P<noun>[\w-]+ (?:number|no|id|code)|[\w-]+)\W*$",
        re.IGNORECASE,
    ),
)
_NUMBERING = frozenset(("number", "code", "id", "no"))  # "order 5" has the order number 5
_NUMBER_LAST = re.compile(r" no\W*$")  # "licence no" denies nothing
_DECIMAL = re.compile(r"\d+\.\d+")
_DECIMALS = re.compile(
    r"^what(?:'s|’s| is| was)|\bof\b|\b(?:versions?|release|firmware|section|rate|level)\b", re.IGNORECASE
)
_YEAR = re.compile(r"1[5-9]\d\d|20\d\d")
_UNYEARLY = re.compile(r"\b(?:port|number|code|id|room|model|year|pin)s?\b", re.IGNORECASE)
_CODE = (
    r"[`\"]?(?P<value>(?:[A-Z]{2,3} (?=\d))?(?=[\w./:+-]*\d)(?!\d+(?:st|nd|rd|th)\b)[\w+-][\w./:+,-]*(?<=\w)"
    r"(?: \d[\d.,]*(?<=\d))*%?|(?<=[`\"])[^\s`\"]+(?=[`\"]))"
)
_PATH = re.compile(
    r"(?a:(?<![\w/])[`\"']?(?P<path>(?:https?:/|~|\.{1,2}|[A-Z]:)?[/\\][\w.~/\\-]*\w/?))(?!\w)[`\"']?"
)
_THERE = re.compile(
    r"(?:\b(?:in|at|to|into|under|from|on|is|are|was|see)(?: the (?:file|folder|directory))?|:) $"
)
_OWN = re.compile(
    r"\b(?:her|his|its|their) (?P<noun>[\w-]+(?: [\w-]+){0,2}?) (?:is|are|was)"
    r" (?P<value>[^,;()]+?)(?=[,;()]|\.? *$)"
)
_SIGNIFICANT = re.compile(r"[\dA-Z@/`\"“]")  # "is 33", "is Ann"; but not "is waiting"
_COMMON = frozenset(map(stem, common_words()))
_LONGEST = 8  # words of a value
MOST_VALUES = 2  # that are shown, where sentences give several


def stated(asked: Asked, lines: Iterable[Line]) -> list[Exact]:
    """Return what sentences state of the thing that is asked for, and of that alone."""
    if denies(_NUMBER_LAST.sub("", asked.text)):
        return []
    contacts = contact_kind(asked)
    every = list(units(lines))
    return (
        _contacts(asked, *contacts, every) if contacts else _attached(asked, every) or _related(asked, every)
    )


def _contacts(
    asked: Asked, words: frozenset[str], form: re.Pattern[str], every: Iterable[Unit]
) -> list[Exact]:
    found = [
        Exact(one[0], line_at(one[1], unit.starts).quote())
        for unit in every
        if mentions(asked, plain(unit.text)) and (one := contact(asked, unit.text, words, form))
    ]
    # Who names nobody wants the only number that there is.
    return found if asked.needles or len({one.text for one in found}) == 1 else []


def _attached(asked: Asked, every: Iterable[Unit]) -> list[Exact]:
    """Return the values that stand closest to what is asked for; nothing if several stand equally close."""
    by_distance: dict[int, list[Exact]] = {}
    for unit in every:
        if not mentions(asked, plain(f"{unit.text} {unit.above} {unit.before}")):
            continue
        one = attached(asked, unit) or defined(asked, unit)
        if one and not _torn(one.value, one.at, unit.starts):
            said = Exact(one.value, line_at(one.at, unit.starts).quote())
            by_distance.setdefault(one.apart, []).append(said)
    least = min(by_distance, default=0)
    # One more word between is no less sure: both are shown.
    best = by_distance.get(least, []) + by_distance.get(least + 1, [])
    return best if len(best) <= (MOST_VALUES if least < FARTHEST else 1) else []


def _related(asked: Asked, every: Iterable[Unit]) -> list[Exact]:
    found: list[Exact] = []
    for unit in every:
        if mentions(asked, plain(unit.text), outright=True):
            one = _possessed(asked, unit.text) or _in_clause(asked, unit.text)
            if one and not _torn(*one, unit.starts):
                found.append(Exact(one[0], line_at(one[1], unit.starts).quote()))
    return found


def _torn(value: str, at: int, starts: Sequence[tuple[int, Line]]) -> bool:
    """Tell whether a number runs on over the end of a line: more likely two."""
    return any(at < start < at + len(value) and value[start - at].isdigit() for start, _ in starts)


def _in_clause(asked: Asked, text: str) -> Found:
    for at, clause in clauses(text):
        if asked.required - cover(asked.terms, stems(clause))[0] or denies(clause):
            continue
        if not agrees(asked.text, clause):
            continue
        for relation in _RELATIONS:
            if found := relation(asked, clause):
                return found[0], at + found[1]
    return None


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
            at = there[0].start("value")
            measured = next((one[0] for one in kind("amount").find(text) if one.start() == at), "")
            return None if one_of_many or when else (max(value, measured, key=len), at)
    return None


def _placed(asked: Asked, text: str) -> Found:
    """Find the path of a clause, the only one, if it says that something is there."""
    found = list(_PATH.finditer(text)) if asked.wanted == "place" else []
    there = len(found) == 1 and _THERE.search(text[: found[0].start()])
    return (found[0]["path"], found[0].start("path")) if there else None


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


_RELATIONS: tuple[Callable[[Asked, str], Found], ...] = (_numbered, _placed)
