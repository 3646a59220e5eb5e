"""The words of a question and of a name, brought to one form: "mem_limit" answers for "memory limit"."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

_WORD = re.compile(r"[^\W\d_]+|\d+")
_HUMPS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_ENDING = re.compile(r"(?<=..)(?:ing|ed|er|or|(?<=[ct])ion|e)$")
# How programmers shorten words, how people spell them, and the forms of verbs that no ending tells.
_WHOLE_TABLE = """
addr address | auth authentication | cfg config | configuration config | conn connection | db database
desc description | dest destination | dev development | dir directory | env environment | img image
lang language | len length | lib library | max maximum | mem memory | min minimum | msg message | no number
nr number | num number | pass password | passwd password | pwd password | prod production | pw password
qty quantity | repo repository | req request | src source | temp temperature | tel phone | telephone phone
tmp temporary | usr user | vol volume | colour color | licence license | e-mail email | mail email
folder directory | biggest maximum | highest maximum | largest maximum | most maximum | longest maximum
smallest minimum | lowest minimum | shortest minimum | called name | named name | sec seconds | secs seconds
param parameter | tz timezone | postgres postgresql | pg postgresql | k8s kubernetes | ver version
ext extension
amt amount | cnt count | freq frequency | pct percent | percentage percent | programme program | int integer
str string | ttl lifetime | info information | avg average | dept department | mgr manager | kept keep
sent send | built build | wrote write | written write | ran run | began begin | begun begin | took take
taken take | paid pay | bought buy | sold sell | held hold | made make | met meet | won win | lost lose
chose choose | chosen choose | drove drive | driven drive | gave give | given give | led lead | stole steal
stolen steal | taught teach | spoke speak | spoken speak | broke break | broken break | born birth
died die | dead die | grew grow | grown grow | flew fly | flown fly | fell fall | fallen fall | rang ring
sang sing | sung sing | knew know | known know
"""
_WHOLE = dict(one.split() for line in _WHOLE_TABLE.strip().splitlines() for one in line.split(" | "))
# What a person asks with -> what a key or the head of a column may be called.
_ALSO_TABLE = """
long: length duration time period | high: height | tall: height | deep: depth | wide: width
heavy: weight mass | old: age | big: size | large: size | fast: speed | often: interval frequency
loud: noise volume | cost: price rate fee charge | costs: price rate fee charge | price: cost
phone: mobile | begin: start | end: finish | sent: date | written: date | wrote: from author | folder: path
earn: salary wage pay | earns: salary wage pay | port: listen expose | live: city town address
lives: city town address | pieces: quantity | attempts: retry try | minutes: minimum | arrive: arrival
arrives: arrival | depart: departure | leaves: departure | retries: attempt try | tries: attempt retry
purge: delete remove | delete: purge remove | deleted: purge remove | removed: purge delete
expire: lifetime expiry | expires: lifetime expiry | username: user login | due: deadline | deadline: due
makes: manufacturer maker brand | made: manufacturer maker brand | boss: manager supervisor
locale: language | language: locale | customer: client buyer | client: customer | buyer: customer
threads: worker | initial: default | extra: further additional | additional: extra further | weigh: weight
weighs: weight | born: birthday birth | interval: period frequency | url: link | buy: item product article
order: item product article | bought: item product article | ordered: item product article
amount: total sum | hostname: host | server: host | host: server | mean: meaning description
"""
_ALSO = dict(one.split(": ") for line in _ALSO_TABLE.strip().splitlines() for one in line.split(" | "))
_PLAIN = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "ß": "ss", "æ": "ae", "œ": "oe", "ı": "i"})
_HIGH = re.compile("[\u0300-\U0010ffff]+")  # no accent that stands for itself is below
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
        carries: it only carries the question, as "kept" in "How long are logs kept?"; a name may hold it.
    """

    word: str
    forms: frozenset[str]
    light: bool = False
    carries: bool = False


def words(name: str) -> tuple[str, ...]:
    """Return the lower-case words of a name, however joined: max_retries, maxRetries, "max retries"."""
    found: list[str] = []
    for word in _WORD.findall(name):
        found += (
            _HUMPS.findall(word) if word.isascii() and not word.islower() and not word.isdigit() else [word]
        )
    return tuple(word.lower() for word in found)


def plain(text: str) -> str:
    """Return text in small letters, without accents."""
    lower = text.lower()
    if lower.isascii():
        return lower
    apart = unicodedata.normalize("NFD", lower.translate(_PLAIN))
    return _HIGH.sub(_without_marks, apart)


def _without_marks(run: re.Match[str]) -> str:
    return "".join(sign for sign in run[0] if not unicodedata.combining(sign))


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """Return what "owner", "owns" and "owned" have in common; not a word of its own."""
    word = _WHOLE.get(word, word)
    word = plain(word)
    if not word.isalpha() or len(word) < 4 or word.endswith("ss"):
        return word
    word = re.sub(r"ie[sd]$|(?<=...)iers?$", "y", word)
    cut = word.removesuffix("s")
    for _ in range(2 if cut.endswith("ered") else 1):  # jittered, jitter
        cut = _ENDING.sub("", cut, count=1) if len(cut) > 3 else cut
        if len(cut) > 3 and cut[-1] == cut[-2] and cut[-1] not in "lsz":
            cut = cut[:-1]
    return re.sub(r"[yi]$", "i", cut)


@lru_cache(maxsize=50_000)
def stems(name: str) -> tuple[str, ...]:
    """Return the stems of a name's words."""
    return tuple(map(stem, words(name)))


def term(word: str, *, light: bool = False, carries: bool = False) -> Term:
    """Return a word of a question with all stems that stand for it."""
    lower = word.lower()
    forms = frozenset(map(stem, (lower, *_ALSO.get(lower, "").split())))
    return Term(lower, forms, light or carries, carries)


def short_forms(word: str) -> set[str]:
    """Return how programmers shorten a word."""
    return {short for short, whole in _WHOLE.items() if stem(whole) == stem(word)}


def known_as(asked: Term) -> set[str]:
    """Return the stems that stand for a word of a question, and the short forms that programmers write."""
    return {
        asked.word,
        *asked.forms,
        *(short for short, whole in _WHOLE.items() if stem(whole) in asked.forms),
    }


def places(asked: Sequence[Term], name: Sequence[str]) -> list[list[int]]:
    """Return, for each word of a question, where it stands in a name, given as stems.

    "time out" is timeout, "wifi" is Wi-Fi, "longest line" is MAXLINE, and "postgres" begins PostgreSQL.
    """
    at: dict[str, list[int]] = {}
    for j, form in enumerate(name):
        at.setdefault(form, []).append(j)
    pairs: dict[str, int] = {}
    for j, (one, other) in enumerate(pairwise(name)):
        # The stem of a first part may lack an e.
        pairs |= dict.fromkeys({stem(one + other), stem(f"{one}e{other}")} - {one, other}, j)
    found: list[list[int]] = [[] for _ in asked]
    for i, term_ in enumerate(asked):
        found[i] += [j for form in term_.forms for j in at.get(form, ())]
        found[i] += [pairs[form] + more for form in term_.forms if form in pairs for more in (0, 1)]
        if i + 1 < len(asked):
            joined = [j for form in _joined(term_, asked[i + 1]) for j in at.get(form, ())]
            found[i] += joined
            found[i + 1] += joined
    return found


@lru_cache(maxsize=1000)
def _joined(one: Term, other: Term) -> frozenset[str]:
    """Return the stems of two words of a question written as one, the first perhaps shortened."""
    shortened = {stem(first + other.word) for first in known_as(one)}
    joined = shortened | {stem(one.word + last) for last in known_as(other)}
    return frozenset(
        joined - one.forms - other.forms
    )  # "price red" is no "pricered", whose stem is that of a price


def cover(asked: Sequence[Term], name: Sequence[str]) -> tuple[set[int], set[int]]:
    """Return which words of a question stand in a name, given as stems, and which of the name's they are."""
    found = places(asked, name)
    return {i for i, one in enumerate(found) if one}, {j for one in found for j in one}
