"""Questions over prose, made from sentences of a plain form: who, what, where, when, why, how many."""

import json
import lzma
import random
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from training.reader.labelled import Asked, pieces

FORMS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
VERBS: dict[str, str] = dict(pair.split("/") for pair in FORMS["verbs"])
TITLES, STARTERS = frozenset(FORMS["titles"]), frozenset(FORMS["starters"])
PARTS = {"PAST": "|".join(VERBS), **FORMS["parts"]}
RULES = [
    (
        re.compile(re.sub("|".join(PARTS), lambda part: PARTS[part[0]], rule["form"])),
        rule["ask"],
        rule["answer"],
    )
    for rule in FORMS["rules"]
]


def books(path: Path) -> Iterator[tuple[str, str]]:
    """Yield titles and texts of a shard of prose."""
    with lzma.open(path, "rt", encoding="utf-8") as rows:
        for row in map(json.loads, rows):
            yield row["title"], row["text"]


def questions(title: str, text: str, most: int, dice: random.Random) -> list[Asked]:
    """Return up to `most` questions about a book, no more than a third of one rule."""
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    usual = {
        name for name, count in Counter(re.findall(r"(?<=[a-z,] )[A-Z][a-z]+", text)).items() if count > 4
    }
    places = [i for i, paragraph in enumerate(paragraphs) if len(paragraph) > 60]
    dice.shuffle(places)
    made: list[Asked] = []
    counts: Counter[int] = Counter()
    for i in places[: most * 60]:
        found = ask(paragraphs[i], usual, counts, max(1, most // 3))
        if found and len(made) < most:
            question, answer, start = found
            before = " ".join(paragraphs[max(0, i - 2) : i])[-500:]
            context = f"{before} {paragraphs[i]} {' '.join(paragraphs[i + 1 : i + 3])[:500]}"
            made.append(Asked(question, title, context, answer, len(before) + 1 + start, "prose"))
    return made


def ask(paragraph: str, usual: set[str], counts: Counter[int], most: int) -> tuple[str, str, int] | None:
    """Return a question about a paragraph, its answer and where that begins."""
    begin = 0
    for sentence in pieces(paragraph):
        for number, (form, wording, answer) in enumerate(RULES):
            match = form.search(sentence) if counts[number] < most else None
            if match is None or not named(match, usual):
                continue
            groups = {name: text or "" for name, text in match.groupdict().items()}
            question = wording.format(**groups, b=VERBS.get(groups.get("v", ""), ""))
            if question == "Who said that?":
                quoted = re.findall(r"[“\"]([^”\"“]{12,})", sentence[: match.start()] + '"')
                if not quoted:
                    continue
                question = f"Who said “{' '.join(quoted[0].split()[:8]).strip(' ,.;')}”?"
            elif question == "At what time?":
                clause = sentence[: match.start()].strip(' ,;“"').split(";")[-1]
                if not 15 < len(clause) < 80:
                    continue
                question = f"At what time was it: {clause}?"
            counts[number] += 1
            return question, groups[answer], begin + match.start(answer)
        begin += len(sentence)
    return None


def named(match: re.Match[str], usual: set[str]) -> bool:
    """Return whether what stands for a name is one."""
    name = match.groupdict().get("n")
    if name is None:
        name = match["r"] if match["r"][:1].isupper() else None
    if name is None:
        return True
    words = name.replace(".", "").split()
    return words[0] not in STARTERS and words[-1] in usual - TITLES
