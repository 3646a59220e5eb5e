"""What a question's words ask for: one key or several, one answer or all.

A model that copies one fact at a time is asked for each key alone, and again until it finds no more.
"""

import re
from itertools import takewhile

from longctx.quotes.prose import common_words
from longctx.quotes.second_look import WORD

# What people name things by in code, logs and tables: amber-lamp, MAX_RETRIES, K7-R2P, v2.1, parseConfig.
_KEY = re.compile(r"(?<![\w.-])(?:\w+(?:[-_.]\w+)+|\w*\d\w*|[A-Z]{3,}|[a-z]+[A-Z]\w*)(?![\w-])")
_CODE = re.compile(
    r"(?<![\w.-])(?=[A-Z0-9-]*\d)(?=[A-Z0-9-]*[A-Z])[A-Z0-9]+(?:-[A-Z0-9]+)*(?![\w-])"
)  # K7-R2P
_PROPER = re.compile(r"(?<=[\w,;:] )[A-Z]\w+")  # a capital where no sentence begins
_NAME = r"(?:[A-Z][\w'’]+(?:\.? [A-Z][\w'’]+)*)"
_ITEM = rf"(?:{_KEY.pattern}|{_NAME})"
_LIST = re.compile(rf"(?<!^)\b{_ITEM}(?:, {_ITEM})*,? and {_ITEM}|(?<!^)\b{_ITEM}(?:, {_ITEM})+")
_JOINT = re.compile(r", and | and |, ")
_ALL = re.compile(r"\b(?:all|every|each)\b", re.IGNORECASE)

_ASKED = re.compile(r"\b(?:what|which)(?:['’]s)?\s+((?:[\w'’-]+\s+)*[\w'’-]+)", re.IGNORECASE)


def keys(question: str) -> list[str]:
    """Return the words of a question that can only be names: with digits, joiners or inner capitals."""
    return _KEY.findall(question)


def suits_finder(question: str) -> bool:
    """Tell whether a question is of a form that a model which copies was made for.

    It names a key that only a name can be (amber-lamp, MAX_RETRIES), leaves a gap, or asks for something of
    somebody: "What is the code of Doctor Brown?" Of 311 questions of the last form, apart from those fitted
    on, 56 were answered rightly and 1 wrongly; other questions are seldom answered.
    """
    joined = (key for key in keys(question) if (not key.isdigit() and not key.isupper()) or "_" in key)
    keyed = "__" in question or any(True for _ in joined) or bool(_CODE.search(question))
    return keyed or bool(asked_noun(question) and _PROPER.search(question))


def asked_noun(question: str) -> str:
    """Return what a question asks for: "code" of "What is the secret code of Doctor Brown?"; or nothing."""
    if not (asked := _ASKED.search(question)):
        return ""
    said = WORD.findall(asked[1])
    while said and said[0].lower() in common_words():
        said.pop(0)
    run = list(takewhile(lambda word: word.lower() not in common_words() and not word[0].isupper(), said))
    return run[-1] if run else ""


def names(question: str) -> list[str]:
    """Return the keys of a question and its other capitalised words, except the first."""
    return keys(question) + _PROPER.findall(question)


def asks_for_all(question: str) -> bool:
    """Tell whether the question wants every answer, as in "What are all the numbers for X?"."""
    return bool(_ALL.search(question))


def one_by_one(question: str) -> dict[str, str]:
    """Return a question for each key of a list, by key: "... for a-1, b-2 and c-3?" gives three.

    Only keys and capitalised names make a list; a question without a list stays whole, under "".
    """
    found = None if "__" in question else _LIST.search(question)  # a sentence with a gap stays whole
    items = dict.fromkeys(_JOINT.split(found.group())) if found else {}
    if not found or len(items) < 2:
        return {"": question}
    before, after = question[: found.start()], question[found.end() :]
    return {item: before + item + after for item in items}
