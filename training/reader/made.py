"""Invented documents and questions about them, from made.toml, made2.toml and words.toml.

A document says some of the facts of its kind; asked for the others, the right answer is none.
"""

import json
import random
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.reader.batches import Example

HERE = Path(__file__).parent
LISTS: dict[str, Any] = tomllib.loads((HERE / "words.toml").read_text(encoding="utf-8"))
FILES = [tomllib.loads((HERE / name).read_text(encoding="utf-8")) for name in ("made.toml", "made2.toml")]
DOCUMENTS: list[dict[str, Any]] = [form for file in FILES for form in file["document"]]
VALUES: dict[str, str] = {name: kind for file in FILES for name, kind in file["values"].items()}
HOLE = re.compile(r"\{(\w+)\}")
KINDS: dict[str, list[str]] = LISTS["kinds"]
WORDS: dict[str, list[str]] = {name: words for name, words in LISTS.items() if name != "kinds"}
NUMBERS: dict[str, tuple[str, int, int]] = {
    "few": ("", 2, 30),
    "many": ("", 2, 9999),
    "comma": (",", 1000, 99_999),
    "digit": ("", 0, 8),
    "two": ("02", 1, 12),
    "minute": ("02", 0, 59),
    "hour": ("", 0, 23),
    "long": ("", 10_000, 65_000),
    "years": ("", 1840, 2030),
}


def value(kind: str, dice: random.Random) -> str:
    """Return an invented value of a kind, in one of the ways that people write it."""
    if kind in NUMBERS:
        form, first, last = NUMBERS[kind]
        return format(dice.randint(first, last), form)
    if kind in WORDS:
        return dice.choice(WORDS[kind])
    return HOLE.sub(lambda hole: value(hole[1], dice), dice.choice(KINDS[kind]))


def documents(count: int, dice: random.Random) -> Iterator[Example]:
    """Yield that many questions, half of them without an answer."""
    while count > 0:
        for example in document(dice.choice(DOCUMENTS), dice)[:count]:
            count -= 1
            yield example


def document(form: dict[str, Any], dice: random.Random) -> list[Example]:
    """Return some questions about one document: of facts that it tells, and as many of others."""
    facts = list(form["facts"])
    dice.shuffle(facts)
    told = facts[: dice.randrange(3, min(8, len(facts)))]
    untold = facts[len(told) :]
    names = {name for fact in told for says in fact[1] for name in [*HOLE.findall(says), *fact[0]]}
    values = {name: value(VALUES[name], dice) for name in sorted(names)}
    passage = render(dice.choice(form["render"]), told, values, dice)
    kind = f"made, {form['name']}"
    examples = []
    for names_of, _, asks in dice.sample(told, 2):
        which = dice.randrange(len(names_of))
        answer = values[names_of[which]]
        if answer in passage:
            examples.append(Example(asked(asks[which], dice), passage, answer, kind))
    for _, _, asks in dice.sample(untold, min(2, len(untold))):
        examples.append(Example(asked(dice.choice(asks), dice), passage, None, f"{kind}, untold"))
    dice.shuffle(examples)
    return examples


def asked(ways: list[str], dice: random.Random) -> str:
    """Return one of the ways to ask, sometimes typed in haste."""
    question = dice.choice(ways)
    if dice.random() < 0.15:
        question = question.lower().rstrip("?")
    return question


def render(style: str, told: list[Any], values: dict[str, str], dice: random.Random) -> str:
    """Write facts in a style."""
    if style in {"yaml", "ini", "env", "json"}:
        return settings(style, {fact[1][0]: values[fact[0][0]] for fact in told}, dice)
    said = [HOLE.sub(lambda hole: values[hole[1]], dice.choice(fact[1])) for fact in told]
    if style == "log":
        minute, lines = dice.randrange(50), []
        for line in said:
            minute += dice.randrange(2)
            lines.append(f"2026-03-14 09:{minute:02}:{dice.randrange(60):02} {line}")
        return "\n".join(sorted(lines))
    if style == "talk":
        one, other = dice.sample(WORDS["first"], 2)
        return "\n".join(f"{(one, other)[i % 2]}: {line}" for i, line in enumerate(said))
    if style == "list":
        mark = dice.choice(("- ", "* ", "{}. ", "({}) ", "§ {} "))
        return "\n".join(mark.format(i) + line for i, line in enumerate(said, 1))
    if style == "fields":
        names = [name for fact in told for name in fact[0]]
        return "\n".join(f"{name.capitalize()}: {values[name]}" for name in names)
    return {"prose": " ", "lines": "\n\n", "code": "\n\n"}[style].join(said)


def settings(style: str, pairs: dict[str, str], dice: random.Random) -> str:
    """Write names and values as a settings file."""
    section = dice.choice(("server", "main", "app", "service"))
    if style == "json":
        return json.dumps({section: pairs}, indent=2, ensure_ascii=False)
    if style == "env":
        return "\n".join(f"{section.upper()}_{name.upper()}={value}" for name, value in pairs.items())
    if style == "ini":
        return f"[{section}]\n" + "\n".join(f"{name} = {value}" for name, value in pairs.items())
    return f"{section}:\n" + "\n".join(f"  {name}: {value}" for name, value in pairs.items())
