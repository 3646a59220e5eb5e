"""What a sentence says of what is asked for: the value beside its words, of the kind that is wanted."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from longctx.quotes.exact.asked import Asked
from longctx.quotes.exact.eligible import eligible
from longctx.quotes.exact.sentences import denies
from longctx.quotes.exact.units import Unit, tells, tells_anything
from longctx.quotes.exact.values import Kind
from longctx.quotes.exact.words import cover, places, stem

FARTHEST = 20  # more than any words between
MOST_IN_LOG = 6  # the same in a line of a log, which tells of one thing
MOST_BETWEEN = 3  # telling words not asked for, among those from the first one asked for to the value
MOST_BESIDE = 2  # words to the value that it belongs to, where there are several: "ends on 31 May"
MOST_AWAY = 14  # words from the value to the farthest one that is asked for
_SUBJECT_GAP = re.compile(r"[\s,]*(?:(?:has|have|had|also|then|now|always|usually|will|is|was) )*$")
_ROLE_GAP = re.compile(r"[\s,:(*_–-]*(?:(?:is|was|named|called|as|the|our|still|again) )*[(]?$")
_ROLE = re.compile(r"who(?:'s|’s| is| was| are| were) (?:the|our|your|their)\b|(?!who\b)", re.IGNORECASE)
# "Who did Ann inspire", "who was Ann ranked above": the name beside is hardly the one that is asked for.
_OF_ANOTHER = re.compile(
    r"who (?:did|does|do)\b|who\b.*\b(?:above|below|over|with|against|to|from|of|in|on|at)\W*$", re.IGNORECASE
)
_BY = re.compile(r"\bby (?:the )?$")
# "assistant to Ann, criticized": not Ann.
_GOVERNED = re.compile(r"\b(?:to|of|with|for|from|in|at|on|under|against|near|than) $", re.IGNORECASE)
_BY_ASKED = re.compile(r"by whom|who (?:is|was|are|were) .*\bby\b", re.IGNORECASE)
_CODE_GAP = re.compile(r"[\s:#,=(]*(?:is|are|no\.?|number|id|of)?(?: is)?[\s:#(]*$", re.IGNORECASE)
_NAME_GOES_ON = re.compile(r"(?: &| [A-Z][\w.]*)*")
_OF = re.compile(r" of (?:the |an? )?(?P<of>[^\W_])")
_KEEPING = frozenset(map(stem, ("keep", "hold", "stay", "store")))
_PARTED = re.compile(r"[;!?]|\b(?:if|unless|while|whereas)\b")
_RELATIVE = re.compile(r"(?P<whose>[^\W_]+),? (?:which|who|that)\b")  # "A outdid B, which was built in 1984"
_ONE_OF = re.compile(r"\bone of (?:the|our|my|your|its|his|her|their)\b", re.IGNORECASE)
_PAST = re.compile(r"\b(?:did|was|were|had)\b")
_OPEN = re.compile(
    r"\b(?:will|shall|would|could|should|might|may|planned|supposed|if|[Nn]ext)\b"
)  # not done yet
_OPPOSED = tuple(
    frozenset(words.split())
    for words in ("first last", "this last next previous", "old new", "minimum maximum", "before after")
)


@dataclass(frozen=True)
class Found:
    """A value, where it begins in its unit, and how many words that were not asked for stand between."""

    value: str
    at: int
    apart: int


def attached(asked: Asked, unit: Unit) -> Found | None:
    """Return the value of the kind that is asked for, beside all that it is asked of; None if not certain."""
    kind = asked.kind
    if kind is None or unit.text.lstrip().startswith("#") or not agrees(asked.text, unit.text):
        return None
    there = places(asked.terms, unit.forms)
    needed = {i for i in asked.required if not asked.terms[i].forms & kind.implied} or asked.required
    missing = {i for i in needed if not there[i]}
    if missing and missing - cover(asked.terms, unit.context if len(missing) == 1 else unit.title)[0]:
        return None
    carried = {i for i, one in enumerate(asked.terms) if one.carries and there[i]}
    if any(one.forms & _KEEPING and not there[i] for i, one in enumerate(asked.terms)):
        return None  # "how long is it kept" asks for no other time
    values = list(eligible(asked, kind, unit))
    if missing == needed and not carried:  # "4. Fees ... 4 %" for "percentage of the fees"
        alone = len(values) == 1 and needed != asked.required and unit.text.rstrip()[-1:] in ".!"
        alone = alone and unit.first and not missing - cover(asked.terms, unit.title)[0]
        return Found(values[0][0].strip(" ,"), values[0].start(), FARTHEST) if alone else None
    elliptic = missing == needed
    wanted = carried if elliptic else needed - missing
    found = [
        Found(value[0].strip(" ,"), value.start(), near.apart)
        for value in values
        if (near := _Near.of(asked, kind, unit, value, there, wanted))
        and near.apart <= near.most_apart(len(values))
        and not (missing and near.of_another)
        and near.fits(asked, kind, elliptic=elliptic)
    ]
    best = min(found, key=lambda one: one.apart, default=None)
    return best if best and sum(one.apart == best.apart for one in found) == 1 else None


def agrees(question: str, text: str) -> bool:
    """Tell whether a text may answer: not with what will be, the last for the first, or one of many."""
    open_ = bool(_PAST.search(question) and _OPEN.search(text))
    return not open_ and not contrary(question, text) and not _ONE_OF.search(text)


def contrary(question: str, clause: str) -> bool:
    """Tell whether a clause is of the first where the last is asked for, or the other way round."""
    asked, said = (set(re.findall(r"[a-z]+", text.lower())) for text in (question, clause))
    return any(one & asked and one & said and not one & asked & said for one in _OPPOSED)


@dataclass(frozen=True)
class _Near:
    """A value and the words nearest to it that are asked for, one for each.

    Attributes:
        chosen: those words, as numbers of the unit's. many: a sentence may well hold several such values.
        between: telling words among them that are not asked for.
        noun: the words that stand for the first one of the question. known: all words that are asked for.
    """

    unit: Unit
    value: re.Match[str]
    chosen: frozenset[int]
    inside: range
    between: Sequence[int]
    noun: Sequence[int]
    known: frozenset[int]
    many: bool

    @classmethod
    def of(
        cls,
        asked: Asked,
        kind: Kind,
        unit: Unit,
        value: re.Match[str],
        there: Sequence[Sequence[int]],
        wanted: set[int],
    ) -> "_Near | None":
        """Return them; None if the value belongs to something else, or is denied."""
        inside = unit.held(value.start(), value.end())
        noun = next((there[i] for i, one in enumerate(asked.terms) if not one.light), ())
        chosen: set[int] = set()
        for i in wanted:
            outside = [j for j in there[i] if j not in inside]
            if not outside:
                return None
            after = -99 if kind.name == "count" and there[i] == noun else 0  # behind its number
            chosen.add(
                min(
                    outside,
                    key=lambda j: inside[0] - j if j < inside[0] else after + 2 * (j - inside[-1]),
                )
            )
        if _crossed(asked, kind, unit, value, chosen, inside):
            return None
        low, high = min(chosen | {inside[0]}), max(chosen | {inside[-1]})
        rivals = {j for one in _rivals(asked, kind, unit, value) for j in unit.held(one.start(), one.end())}
        known = {j for one in there for j in one} | set(inside) | rivals
        between = [j for j in range(low, high + 1) if j not in known and tells(unit.tokens[j][0])]
        many = kind.name in ("name", "count", "code")
        return cls(unit, value, frozenset(chosen), inside, between, noun, frozenset(known), many)

    @property
    def apart(self) -> int:
        """How many other words stand between, but for the rest of a name; FARTHEST with another name."""
        end = max((self.unit.tokens[j].end() for j in self.chosen if j < self.inside[0]), default=0)
        rest = _NAME_GOES_ON.match(self.unit.text, end)
        goes_on = rest.end() if rest and end else 0
        others = [j for j in self.between if not end <= self.unit.tokens[j].start() < goes_on]
        named = [j for j in others if j > 0 and self.unit.tokens[j][0][0].isupper()]
        return FARTHEST if named and not self.unit.stamp else len(others)

    def most_apart(self, values: int) -> int:
        """Return how many other words may stand between, if the unit has so many values of the kind."""
        if any(abs(j - self.inside[0]) > MOST_AWAY for j in self.chosen):
            return -1
        if self.unit.stamp:
            return MOST_IN_LOG
        beside = any(0 < self.inside[0] - j <= MOST_BESIDE for j in self.chosen)
        return MOST_BETWEEN if values == 1 or self.many or beside else 0

    @property
    def of_another(self) -> bool:
        """Whether a sentence that leaves unsaid what is asked for has another subject, or says more of it."""
        words = [j for j in range(self.inside[0]) if j not in self.known]
        return bool(self.between) or any(tells(self.unit.tokens[j][0]) for j in words)

    @property
    def gap_before(self) -> str | None:
        """What stands between the nearest word before the value and the value."""
        before = [self.unit.tokens[j].end() for j in self.chosen if j < self.inside[0]]
        return self.unit.text[max(before) : self.value.start()] if before else None

    @property
    def gap_after(self) -> str | None:
        """What stands between the value and the nearest word after it."""
        after = [self.unit.tokens[j].start() for j in self.chosen if j > self.inside[-1]]
        return self.unit.text[self.value.end() : min(after)] if after else None

    def fits(self, asked: Asked, kind: Kind, *, elliptic: bool) -> bool:
        """Tell whether the value stands where such values stand."""
        before, after = self.gap_before, self.gap_after
        if kind.name == "count":
            return self._counts() or (elliptic and before is not None and not before.strip())
        if kind.name == "name":
            return self._is_named(asked)
        if kind.name == "code":
            return before is not None and bool(_CODE_GAP.fullmatch(before))
        if kind.name == "amount":
            if after is not None and after.startswith(" of the "):
                return False  # "400 ml of the water" is part of it
            rest = _NAME_GOES_ON.match(before)[0] if before else ""  # type: ignore[index]
            own = {self.unit.tokens[j].start() for j in self.between}
            return any(
                gap is not None and "," not in gap[len(rest) :] and not self._tell(gap, own, at)
                for gap, at in (
                    (before, self.value.start() - len(before or "") + len(rest)),
                    (after, self.value.end()),
                )
            )
        return True

    def _tell(self, gap: str, own: set[int], at: int) -> bool:
        return any(at <= start < at + len(gap) for start in own) and bool(gap)

    def _counts(self) -> bool:
        """Tell whether the value stands right before what is counted."""
        starts = [self.unit.tokens[j].start() for j in self.noun if j > self.inside[-1]]
        gaps = [self.unit.text[self.value.end() : start] for start in starts]
        return any(len(gap.split()) <= 2 and not re.search(r"[,.;:]", gap) for gap in gaps)

    def _is_named(self, asked: Asked) -> bool:
        """Tell whether a name stands where the one who does it stands, or beside a role."""
        before, after = self.gap_before, self.gap_after
        if _OF_ANOTHER.match(asked.text):
            return False
        by = before is not None and bool(_BY.search(before)) and len(before.split()) <= 5
        if _BY_ASKED.match(asked.text):
            return by
        if _ROLE.match(asked.text):
            return any(gap is not None and bool(_ROLE_GAP.match(gap)) for gap in (before, after))
        if by or after in (" (", ". ("):
            return True
        does = not asked.terms[0].carries  # "who gets the plot" names no deed that can be told
        governed = _GOVERNED.search(self.unit.text[: self.value.start()])
        return does and not governed and after is not None and bool(_SUBJECT_GAP.match(after))


def _of_other(asked: Asked, unit: Unit, noun: int, inside: range) -> bool:
    """Tell whether a word is one of something else: "period of notice" for "probation period"."""
    found = _OF.match(unit.text, unit.tokens[noun].end())
    if not found:
        return False
    of = next((j for j, one in enumerate(unit.tokens) if one.start() == found.start("of")), inside[0])
    return of not in inside and not cover(asked.terms, [unit.forms[of]])[0] and tells(unit.tokens[of][0])


def _rivals(asked: Asked, kind: Kind, unit: Unit, value: re.Match[str]) -> list[re.Match[str]]:
    """Return the other values of the kind, but for those of the question."""
    others = [one for one in kind.find(unit.text) if one.start() not in (value.start(), *range(unit.stamp))]
    return [one for one in others if one[0].lower() not in asked.text.lower() and tells_anything(one[0])]


def _crossed(
    asked: Asked, kind: Kind, unit: Unit, value: re.Match[str], chosen: set[int], inside: range
) -> bool:
    """Tell whether something parts a value from the words that are asked for, or they are denied."""
    text, tokens = unit.text, unit.tokens
    start = min(value.start(), *(tokens[j].start() for j in chosen))
    end = max(value.end(), *(tokens[j].end() for j in chosen))
    near = max((tokens[j].end() for j in chosen if j < inside[0]), default=value.start())
    behind = min((tokens[j].start() for j in chosen if j > inside[-1]), default=value.end())
    whose = [one["whose"] for one in _RELATIVE.finditer(text, start, end)]
    noun = max((j for j in chosen if j < inside[0]), default=-1)
    return (
        any(stem(word.lower()) not in {unit.forms[j] for j in chosen} for word in whose)
        or (noun >= 0 and _of_other(asked, unit, noun, inside))
        or bool(_PARTED.search(text[start:end]))
        or denies(text[:end])
        or bool(re.search(r"\band\b", text[value.end() : end]))
        or max(text.count(", ", near, value.start()), text.count(", ", value.end(), behind)) > 1
        or any(
            near <= one.start() < value.start() or value.end() <= one.start() < behind
            for one in _rivals(asked, kind, unit, value)
        )
    )
