r"""Make the reader's training and validation questions from their sources.

    python -m training.reader.data --qa QA --prose PROSE --fairy-tales DIR --tables DIR \
        --searched FILE --out OUT

Articles and stories of the validation questions are not in the training questions.
"""

import argparse
import json
import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

from training.reader.batches import Example
from training.reader.labelled import (
    Asked,
    fairy_tales,
    grown,
    pieces,
    searched,
    squad,
    tables,
    window,
    without,
)
from training.reader.made import documents
from training.reader.prose import books, questions
from training.reader.tables import cells

SHARES = {"encyclopedia": 19600, "asked": 2400, "story": 9000, "prose": 2600, "made": 10000, "cells": 2400}
VALIDATION = 900
SMALL = frozenset(
    re.findall(r"\w+", "a an the is are was were do does did of to in on at for by it that this be")
)
WORD = re.compile(r"\w+")


class Elsewhere:
    """Finds, for a question, the passage of other texts that fits its words best and lacks the answer."""

    def __init__(self, asked: list[Asked], dice: random.Random) -> None:
        contexts = dict.fromkeys((each.title, each.context) for each in asked)
        self.passages = [
            (title, context, grown(pieces(context), dice.randrange(len(pieces(context))), dice))
            for title, context in contexts
        ]
        self.words: dict[str, list[int]] = defaultdict(list)
        for index, (_, _, passage) in enumerate(self.passages):
            for word in set(stems(passage)):
                self.words[word].append(index)

    def find(self, asked: Asked, dice: random.Random) -> str | None:
        """Return one of the three best passages, of the same article if there are any."""
        scores: Counter[int] = Counter()
        for word in set(stems(asked.question)):
            places = self.words.get(word, [])
            if len(places) < len(self.passages) / 5:
                for place in places:
                    scores[place] += math.log(len(self.passages) / len(places))  # type: ignore[assignment]
        answer = (asked.answer or "").lower()
        kept = []
        for place, _ in scores.most_common(40):
            _, context, passage = self.passages[place]
            if context != asked.context and answer not in passage.lower():
                kept.append(passage)
        return dice.choice(kept[:3]) if kept else None


def stems(text: str) -> list[str]:
    """Return a text's words, cut so that forms of a word agree."""
    return [word[:6] for word in WORD.findall(text.lower())]


def answerable_or_not(asked: list[Asked], count: int, dice: random.Random) -> list[Example]:
    """Return up to `count` questions, half without an answer: each asked where it is answered, and elsewhere.

    Traps (asked of their own paragraph, which lacks the answer) take the place of others without an answer.
    """
    elsewhere = Elsewhere(asked, dice)
    present = [each for each in asked if each.answer is not None]
    traps = [each for each in asked if each.answer is None]
    present = dice.sample(present, min(len(present), count // 2))
    made = [Example(each.question, window(each, dice), None, each.kind) for each in traps[: count // 2]]
    missing = len(present) - len(made)
    for number, each in enumerate(present):
        passage = window(each, dice)
        if each.answer and each.answer in passage:
            made.append(Example(each.question, passage, each.answer, each.kind))
        if number >= missing:
            continue
        gone = without(each, dice) if dice.random() < 0.5 else None
        other = None if gone else elsewhere.find(each, dice)
        if gone or other:
            how = "sentence gone" if gone else "elsewhere"
            made.append(Example(each.question, gone or other or "", None, f"{each.kind}, {how}"))
    return [replace(each, question=typed(each.question, dice)) for each in made]


def typed(question: str, dice: random.Random) -> str:
    """Return a question as it is, or as people type it: without capitals and marks, or key words alone."""
    drawn = dice.random()
    if drawn > 0.35:
        return question
    words = question.rstrip("? ").split()
    if drawn < 0.12:
        words = [word for word in words if word.lower() not in SMALL] or words
    return " ".join(words).lower() if drawn < 0.3 else " ".join(words)


def among(examples: Iterable[Example], fill: list[str], dice: random.Random) -> list[Example]:
    """Put half of the short passages among other prose: more to look through, the same answer."""
    made = []
    for example in examples:
        if dice.random() < 0.5:
            parts = [example.passage, dice.choice(fill)]
            dice.shuffle(parts)
            made.append(replace(example, passage="\n\n".join(parts)))
        else:
            made.append(example)
    return made


def held_out(title: str) -> bool:
    """Return whether an article, story or book is kept for validation: about one in twelve."""
    return sum(title.encode()) % 12 == 0


def build(arguments: argparse.Namespace, validation: bool, seed: int) -> list[Example]:
    """Return the questions of one side."""
    dice = random.Random(f"{seed} {validation}")
    part = VALIDATION / sum(SHARES.values()) if validation else 1.0
    counts = {name: round(count * part) for name, count in SHARES.items()}
    files = ("squad2-dev-10-articles", "squadshifts-new-wiki")
    wiki = [each for name in files for each in squad(arguments.qa / f"{name}.jsonl.xz")]
    shelf = [book for book in books(arguments.prose) if held_out(book[0]) == validation]
    novel = [each for title, text in shelf for each in questions(title, text, 60, dice)]
    sides = {
        "encyclopedia": wiki,
        "asked": list(searched(arguments.searched)),
        "story": list(fairy_tales(arguments.fairy_tales)),
        "prose": novel,
    }
    made: list[Example] = []
    for name, asked in sides.items():
        chosen = [each for each in asked if held_out(each.title) == validation]
        made += answerable_or_not(chosen, counts[name], dice)
    fill = [example.passage for example in made if len(example.passage) < 600]
    made += among(documents(counts["made"], dice), fill, dice)
    made += list(tables(arguments.tables, dice)) if not validation else []
    made += cells(arguments.tables, counts["cells"], validation, dice)
    dice.shuffle(made)
    return made


def main() -> None:
    """Write train.jsonl and validation.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("qa", "prose", "fairy-tales", "tables", "searched", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, validation in (("train", False), ("validation", True)):
        examples = build(arguments, validation, arguments.seed)
        with (arguments.out / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for example in examples:
                print(json.dumps(asdict(example), ensure_ascii=False), file=file)
        print(name, len(examples), Counter(example.kind for example in examples).most_common())


if __name__ == "__main__":
    main()
