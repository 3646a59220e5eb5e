"""What a question asks for: its telling words, and what its answer must look like. Knows no texts."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from longctx.quotes.exact.values import Kind, wanted_kind
from longctx.quotes.exact.words import UNITS, Term, known_as, short_forms, stem, term, words
from longctx.quotes.prose import common_words

Wanted = Literal["", "state", "name", "time", "number", "place", "version"]

# Verbs and nouns that a person needs for a question and a text does not need for its answer.
LONGEST = 200  # characters of a question
_FILLER_WORDS = (
    "use uses used using need needs needed require requires required run runs running do does did get"
    " gets got"
    " make makes made take takes took give gives given tell show list find found goes went come comes please"
    " stand stands mean means meant kept keep stored store lie lies located live lives pinned install"
    " installed"
    " expect expected read reads hold holds held call say says said write writes listen listens set put"
    " work works place placed ask asked sent send stay stays sits"
    " allow allowed sit belong belongs contain contains look like want wants become exactly currently"
    " now actually"
    ""
)
_LIGHT_WORDS = (
    "value values setting settings key option options variable constant field parameter property default"
    " current"
    " number row cell column entry line command config configuration configured total address time allowed"
    " people persons environment version first last latest earliest name initial policy part level"
    " type rate amount sum date adress paper article document text page"
)
# Of these a key may hold more than the question says: requires-python, default_currency.
_UNSAID = "use is enable requires required default value number current the our my amount total"
# What the looks of a value may answer for alone.
_IMPLIED = (
    "start started begin began turn turned happen happened occur switched fail error phone"
    " telephone tel mobile email website url homepage link size length count minimum"
)
_FILLER = frozenset(_FILLER_WORDS.split())
_LIGHT = frozenset(_LIGHT_WORDS.split())
UNSAID = frozenset(map(stem, _UNSAID.split()))
IMPLIED = frozenset(map(stem, _IMPLIED.split()))
_ARTICLES = frozenset(("the", "a", "an", "our", "my", "your", "of", "for"))
_ASKING = frozenset(("many", "much", "how", "project", "app"))
_WHOLE = frozenset(("project", "app"))  # whose times are not those of anything in them
_STATES = frozenset(
    ("enabled", "enable", "disabled", "disable", "on", "off", "active", "allowed", "mode", "turned", "use")
)
_DONE = re.compile(
    r"\b(?:is|are|was|were) (\w+ed|sent|built|kept|held|chosen|paid|given)\W*$"
)  # "Which tag is deployed?"
_REFUSED = re.compile(
    r"(?:what (?:do|can|should|must|may|would|could|shall|happens|if|for) ?(?:i|you|we|one"
    r"|they)?\b(?!es)|why|can|could|may|should|shall|must|do|did|will|would|has|have|had|how (?:do"
    r"|does|did|can"
    r"|is|are|to))\b|what (?:does|did) .+ do (?:to|with|about)\b"
)
_WANTED: tuple[tuple[Wanted, str], ...] = (
    ("state", r"^(?:is|are|does)\b"),
    ("version", r"\bversions?\b"),
    (
        "time",
        r"^(?:since |until |by |from )?when\b|^(?:at |on )?(?:what|which) (?:time(?! ?zone)|date"
        r"|day|year|month)\b",
    ),
    ("number", r"^how (?!come)\w+|\b(?:number(?! ?\d)|many|much)\b"),
    ("name", r"^(?:by |to |from )?(?:who|whom|whose)\b"),
    ("place", r"^(?:from |to )?where\b"),
)
# A name that only a program could have: MAX_RETRIES, database.timeout, readTimeout.
_CODED = re.compile(
    r"(?<![\w.])[\w-]+(?:[._][\w-]+)+\w|\b[a-z]+[A-Z]\w*|\b[A-Z][a-z]+[A-Z]\w*|\b[A-Z][A-Z\d]{2,}\b|\b_\w+"
)
# What must stand in a text as it is asked for: T3 is no 3, and --days no days.
_NUMBERED = re.compile(r"(?<![\w.-])(?:--[a-z][\w-]+|(?:[A-Z]+\d+|\d+(?:\.\d+)+)(?![\w-]|\.\w))")
_SOMEBODY = re.compile(r"\b(?:he|she|they)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question taken apart.

    Attributes:
        terms: its telling words in order. wanted: what its answer must look like.
        needles: of each word that only words answer, how these may begin; a text must hold one of each.
        implied: the same of words that the looks of a value may answer for.
        kind: how its answer looks in a sentence.
        coded: names in it that only a program could have. dotted: the words of one with dots, as a path.
    """

    text: str
    terms: tuple[Term, ...]
    wanted: Wanted
    coded: tuple[str, ...]
    dotted: tuple[str, ...]
    needles: tuple[tuple[str, ...], ...]
    implied: tuple[tuple[str, ...], ...]
    kind: Kind | None = None

    @property
    def implied_by_looks(self) -> set[int]:
        """Return the places of the words that a value of the kind that is asked for answers by its looks."""
        implied = self.kind.implied if self.kind else frozenset()
        return {i for i, one in enumerate(self.terms) if one.forms & implied}

    @property
    def required(self) -> set[int]:
        """Return the places of the words that must be answered; all, if none is telling."""
        telling = {i for i, one in enumerate(self.terms) if not one.light}
        return telling or {i for i, one in enumerate(self.terms) if not one.carries}


def parse(question: str) -> Asked | None:
    """Return what a question asks for; None for one that no key, cell or line can answer."""
    text = " ".join(question.split())
    lower = text.lower()
    if _REFUSED.match(lower) or len(text) > LONGEST:
        return None
    coded = tuple(dict.fromkeys(found[0] for found in _CODED.finditer(text)))
    wanted: Wanted = next((wanted for wanted, form in _WANTED if re.search(form, lower)), "")
    terms = tuple(_terms(text, wanted, {word for name in coded for word in words(name)}))
    if all(one.carries for one in terms):
        return None
    dotted = next((words(name) for name in coded if re.search(r"\w\.\w", name)), ())
    asked = Asked(text, terms, wanted, coded, dotted, (), ())
    required = [terms[i] for i in sorted(asked.required)]
    if [one.word for one in required] in (["long"], ["often"], ["big"], ["large"], ["fast"]):
        return None  # "how long does it keep?" names nothing
    if len(required) == 1 and required[0].forms & IMPLIED and _SOMEBODY.search(text):
        return None  # nor does "when does she begin?"
    kind = wanted_kind(text)
    by_looks = IMPLIED | kind.implied if kind else IMPLIED
    needles = tuple(
        (*_beginnings(terms[i]), *_shortened(terms, i))
        for i in sorted(asked.required)
        if not terms[i].forms & by_looks
    )
    needles += tuple((name.lower(),) for name in _NUMBERED.findall(text))
    implied = tuple(_beginnings(one) for one in required if one.forms & IMPLIED)
    return replace(asked, needles=needles, implied=implied, kind=kind)


def _terms(text: str, wanted: Wanted, named: set[str]) -> Iterator[Term]:
    """Yield the telling words of a question: no common ones, and no verbs that only carry it.

    "Read" carries "Which file is read?", but not "the read timeout"; with a capital a word is a name.
    """
    light = _LIGHT | ({"name"} if re.search(r"\bname of\b", text) else set())
    light |= _STATES if wanted == "state" else set()
    adjective = (
        found[1].lower() if (found := re.match(r"how ((?!many\b|much\b)\w+)", text, re.IGNORECASE)) else ""
    )
    text = re.sub(
        r"\bat (least|most)\b", lambda found: {"least": "minimum", "most": "maximum"}[found[1]], text
    )
    tokens = re.sub(r"['’]s\b", "", text).split()
    titled = sum(token[0].isupper() for token in tokens[1:]) > len(tokens) * 2 / 3
    done = found[1] if (found := _DONE.search(text)) and wanted in ("", "version", "number") else ""
    before = ""
    for at, token in enumerate(tokens):
        proper = at > 0 and not titled and bool(re.match(r"\W*[A-Z][a-z]", token))
        for word in words(token):
            verb = word in _FILLER and not (before in _ARTICLES or (not before and len(tokens) > 1))
            carries = (
                (word in _ASKING and not (wanted == "time" and word in _WHOLE))
                or (word in UNITS and before == "in")
                or verb
                or word == done
                or (word == "go" and wanted != "version")
                or (word in common_words() and not proper)
            )
            if word in named or word == adjective or proper or not carries:
                yield term(word, light=word in light and word not in named)
            elif word in _FILLER or word == done:
                yield term(word, carries=True)
            before = word


def _shortened(terms: Sequence[Term], at: int) -> set[str]:
    """Return how programmers write a word together with its neighbour: tz for "time zone"."""
    pairs = [terms[i].word + terms[i + 1].word for i in (at - 1, at) if 0 <= i < len(terms) - 1]
    return {short for pair in pairs for short in short_forms(pair)}


def _beginnings(one: Term) -> tuple[str, ...]:
    return tuple(form[: 4 if len(form) > 4 else 2] for form in known_as(one))


def mentions(asked: Asked, lower: str, *, outright: bool = False) -> bool:
    """Tell whether a text, in lower case, may hold all that a question names.

    Args:
        outright: also what the looks of a value may answer for.
    """
    needles = asked.needles + asked.implied if outright else asked.needles
    return all(any(one in lower for one in term) for term in needles)
