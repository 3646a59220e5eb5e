"""How likely it is that copied words answer a question: a logistic regression on what is known about them.

`python -m training.verifier` fits its weights, which ship beside the model as `verifier.json`. Nothing here
needs a model: the attention of its pointer heads comes as numbers.
"""

import json
import math
import re
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from typing import Any

from longctx.hub import BUNDLED
from longctx.quotes.kinds import asked_kind, is_of_kind
from longctx.quotes.prose import common_words
from longctx.quotes.second_look import WORD, Look
from longctx.tasks.questions import asked_noun, asks_for_all, keys, names

WEIGHTS = BUNDLED / "verifier.json"
BESIDE = 8  # words from a value to the noun that is asked for
LONGEST_RUN = 6  # words before a value that the question repeats

_BOUNDARY = re.compile(r"[\r\n]+|[.!?][\"'”’)]*\s+")
_LINKS = re.compile(r"(?:\b(?:is|was|are|were|be|as|to|called|named|became)|[:=(|,])[\"'\s]*\Z")
_NO_FACT = re.compile(
    r"\s*(?:why|how(?! (?:many|much|old|long))|is|are|was|were|do|does|did|can|could|has|have|should|will"
    r"|would)\b",
    re.IGNORECASE,
)
_ASKS_CODE = re.compile(
    r"\b(?:defin\w+|declar\w+|arguments?|parameters?|signature|call(?:ed)?|function|passed|take|expect)\b"
)
_STAMP = re.compile(r"\W*\d[\d\W]*\d")  # a line of a log begins with one
_GOES_ON = re.compile(r"[.,:/'’-]?\w")


@dataclass(frozen=True)
class Copied:
    """Words that a model copied out of a text to answer a question.

    Attributes:
        before, after: the text around the words, some hundred characters.
        first: the pointer heads' attention at the first token. mean: along the whole answer, token by token.
        straight: the share of the answer's tokens that were copied one behind the other.
        refused: the model said "not found" first, and was made to say what it looked at.
        alone: it read one passage, not the whole text.
        look: the question's words and their rarity.
    """

    question: str
    before: str
    text: str
    after: str
    first: float
    mean: float
    straight: float
    refused: bool
    alone: bool
    look: Look


def features(copied: Copied) -> dict[str, float]:
    """Return what the probability is computed from, by name; each is about 0 to 1."""
    question, text, look = copied.question, copied.text, copied.look
    head, tail = _BOUNDARY.split(copied.before)[-1], _BOUNDARY.split(copied.after)[0]
    sentence, around = f"{head} | {tail}", f"{copied.before} | {copied.after}"
    held, near = look.held(sentence), look.held(around)
    named = list(dict.fromkeys(names(question)))
    kind, gap = asked_kind(question), "__" in question
    told = _telling(sentence)
    own = [word for word in told if look.held(word)]
    answer = WORD.findall(text)
    found = {
        "first": copied.first,
        "mean": copied.mean,
        "certainty": -math.log10(1.001 - copied.mean) / 3,
        "straight": copied.straight,
        "refused": copied.refused,
        "alone": copied.alone,
        "all": asks_for_all(question),
        "share in sentence": look.share(held),
        "share around": look.share(near),
        "rarest in sentence": bool(held) and _rarest(look) in held,
        "share in answer": look.share(look.held(text)),
        "sentence is question": len(own) / len(told) if told else 0.0,
        "names": bool(named),
        "names missing": min(2, sum(name.lower() not in f"{around} {text}".lower() for name in named)) / 2,
        "names elsewhere": min(2, sum(name.lower() not in sentence.lower() for name in named)) / 2,
        "noun beside": _noun_beside(question, head, tail, look),
        "no noun": not asked_noun(question),
        "another noun": _another_noun(question, around, look),
        "linked": bool(_LINKS.search(head)),
        "words between": _between(head, look) / 5,
        "repeated before": _run(question, head) / LONGEST_RUN,
        "gap": gap,
        "kind fits": kind is not None and any(is_of_kind(kind, word, begins=False) for word in answer),
        "kind differs": kind is not None and not any(is_of_kind(kind, word, begins=False) for word in answer),
        "no fact asked": bool(_NO_FACT.match(question)) and not gap,
        "names alone": bool(named) and not _besides(question, named),
        "code fits": bool(_ASKS_CODE.search(question)) and (head[-1:] == "(" or text[:1] == "("),
        "code differs": bool(_ASKS_CODE.search(question)) and not (head[-1:] == "(" or text[:1] == "("),
        "log": bool(_STAMP.match(head)),
        "length": math.log2(1 + len(answer)) / 4,
        "cut": _is_cut(copied),
        "common words": all(word.lower() in common_words() for word in answer),
    }  # fmt: skip
    found = {name: float(value) for name, value in found.items()}
    plain = found["share in sentence"] * found["sentence is question"]
    return found | {
        "plain statement": plain,
        "certain and plain": found["certainty"] * plain,
        "certain and named": found["certainty"] * (bool(named) - found["names elsewhere"]),
    }


def probability(copied: Copied) -> float:
    """Return how likely it is that the words answer the question, between 0 and 1."""
    fitted = weights()
    found = features(copied)
    score = fitted["bias"] + sum(weight * found[name] for name, weight in fitted["weights"].items())
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, score))))


def threshold() -> float:
    """Return the probability from which on an answer is shown."""
    return float(weights()["threshold"])


@cache
def weights() -> dict[str, Any]:
    """Return what was fitted: a bias, a weight for each feature, and the threshold."""
    fitted: dict[str, Any] = json.loads(WEIGHTS.read_text(encoding="utf-8"))
    return fitted


def _telling(text: str) -> list[str]:
    return [word for word in WORD.findall(text) if word.lower() not in common_words()]


def _rarest(look: Look) -> str:
    return max(look.rarity, key=lambda form: look.rarity[form])


def _noun_beside(question: str, head: str, tail: str, look: Look) -> bool:
    """Tell whether the noun that is asked for stands near the value, in its sentence."""
    noun = asked_noun(question)
    near = [*WORD.findall(head)[-BESIDE:], *WORD.findall(tail)[:BESIDE]]
    form = look.forms([noun])[noun] if noun else ""
    return bool(form) and form in look.forms(near).values()


def _another_noun(question: str, around: str, look: Look) -> bool:
    """Tell whether the age of somebody is asked for, and nothing around the value speaks of an age.

    Of settings, whose names are keys, one asks for "the value", which stands nowhere.
    """
    noun = asked_noun(question)
    if not noun or keys(question) or not re.search(rf"\b{re.escape(noun)} (?:of|for)\b", question):
        return False
    return look.forms([noun])[noun] not in look.forms(WORD.findall(around)).values()


def _between(head: str, look: Look) -> int:
    """Count the telling words between the question's last word before the value and the value, up to 5."""
    behind = takewhile(lambda word: not look.held(word), reversed(_telling(head)))
    return min(5, sum(1 for _ in behind))


def _run(question: str, head: str) -> int:
    """Count the words right before the value that stand in the question in the same order."""
    asked = " ".join(WORD.findall(question.lower()))
    said = [word.lower() for word in WORD.findall(head)]
    longest = 0
    for count in range(1, min(LONGEST_RUN, len(said)) + 1):
        if f" {' '.join(said[-count:])} " not in f" {asked} ":
            break
        longest = count
    return longest


def _besides(question: str, named: list[str]) -> list[str]:
    """Return the telling words of a question besides its names: none in "Who is Sherlock Holmes?"."""
    own = {word.lower() for name in named for word in WORD.findall(name)}
    return [word for word in _telling(question) if word.lower() not in own]


def _is_cut(copied: Copied) -> bool:
    """Tell whether the words begin or end inside a word, a number or a path."""
    before = copied.before[-1:].isalnum() and copied.text[:1].isalnum()
    return before or (copied.text[-1:].isalnum() and bool(_GOES_ON.match(copied.after)))
