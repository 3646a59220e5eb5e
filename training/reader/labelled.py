"""Questions that people asked, with their answers: SQuAD's form, fairy tales, tables.

Every answer stands word for word in its passage. README.md names sources and licences.
"""

import csv
import io
import json
import lzma
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from training.reader.batches import Example

SENTENCE_END = re.compile(r"(?<=[.!?][\"'”’)])\s+|(?<=[.!?])\s+(?=[\"'“‘(]?[A-Z0-9])")
COUNTED = re.compile(
    r"\b(how many|how much|how long|total|number of|difference|most|least|more|less|fewer|last|first|next"
    r"|previous|after|before|below|above|only|same|besides|other|average|consecutive|longest|shortest|highest|lowest"
    r"|older|oldest|both|or|than|higher|lower|top|bottom|final|latest|earliest|not|never)\b|est\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Asked:
    """A question with the whole text it was asked about, the article or story it is from, and its answer.

    Attributes:
        start: where the answer begins in the context; of an unanswerable question None.
    """

    question: str
    title: str
    context: str
    answer: str | None
    start: int | None
    kind: str


def squad(path: Path) -> Iterator[Asked]:
    """Read questions in SQuAD's form, answerable and not; of several answers the shortest is taken."""
    with lzma.open(path, "rt", encoding="utf-8") as rows:
        for row in map(json.loads, rows):
            best = min(row["answers"], key=lambda answer: len(answer["text"]), default=None)
            if row.get("is_impossible") or best is None:
                yield Asked(row["question"], row["title"], row["context"], None, None, "encyclopedia, trap")
                continue
            text, start = best["text"], best["start"]
            if row["context"][start : start + len(text)] == text:
                yield Asked(row["question"], row["title"], row["context"], text, start, "encyclopedia")


def fairy_tales(folder: Path) -> Iterator[Asked]:
    """Read FairytaleQA, the questions whose answer stands in its section."""
    for path in sorted((folder / "data-by-origin/questions").rglob("*-questions.csv")):
        if "grimm" in str(path):  # of a book that the evaluation may ask about
            continue
        name = path.name.replace("-questions", "-story")
        with (folder / "data-by-origin/section-stories" / path.parent.name / name).open() as rows:
            sections = {row["section"]: " ".join(row["text"].split()) for row in csv.DictReader(rows)}
        with path.open() as rows:
            for row in csv.DictReader(rows):
                context = sections.get(row["cor_section"], "")
                for answer in (row[f"answer{i}"] or "" for i in range(1, 7)):
                    found = place(" ".join(answer.split()).rstrip("."), context)
                    if found is not None and row["question"]:
                        text = context[found[0] : found[1]]
                        yield Asked(row["question"], path.name, context, text, found[0], "story")
                        break


def searched(path: Path) -> Iterator[Asked]:
    """Read QED's rows: what people typed into a search engine, with a paragraph that answers it."""
    with path.open(encoding="utf-8") as rows:
        for row in map(json.loads, rows):
            found = [span[0] for span in row["original_nq_answers"] if len(span) == 1]
            context, at = unspaced(row["paragraph_text"])
            best = min(found, key=lambda span: span["end"] - span["start"], default=None)
            if best is None:
                continue
            start, end = at[best["start"]], at[best["end"]]
            text = context[start:end].strip()
            if text:
                start = context.index(text, start)
                yield Asked(row["question_text"], row["title_text"], context, text, start, "searched")


def unspaced(text: str) -> tuple[str, list[int]]:
    """Return a text without the spaces that stand before marks, and where each character has gone."""
    kept, at = list[str](), list[int]()
    gone = {match.start() for match in re.finditer(r" (?=[.,;:!?)%]|'s\b|n't\b)|(?<=\() ", text)}
    for place, character in enumerate(text):
        at.append(len(kept))
        if place not in gone:
            kept.append(character)
    return "".join(kept), [*at, len(kept)]


def place(answer: str, context: str) -> tuple[int, int] | None:
    """Return where an answer stands alone and only once, in any case of letters."""
    if not answer or len(answer) > 80:
        return None
    found = list(re.finditer(rf"(?<!\w){re.escape(answer)}(?!\w)", context, re.IGNORECASE))
    return found[0].span() if len(found) == 1 else None


def window(asked: Asked, dice: random.Random) -> str:
    """Return sentences of the context, the answer's among them: 200 to 850 characters if there are."""
    sentences = pieces(asked.context)
    if asked.start is None:
        return (
            asked.context
            if len(asked.context) <= 700
            else grown(sentences, dice.randrange(len(sentences)), dice)
        )
    begin = 0
    for index, sentence in enumerate(sentences):
        begin += len(sentence)
        if asked.start < begin:
            return grown(sentences, index, dice)
    return asked.context


def without(asked: Asked, dice: random.Random) -> str | None:
    """Return a window of the context without the sentence that answers, if nothing else in it does."""
    assert asked.answer is not None and asked.start is not None
    kept, begin = list[str](), 0
    for sentence in pieces(asked.context):
        if not begin <= asked.start < begin + len(sentence):
            kept.append(sentence)
        begin += len(sentence)
    if not kept or asked.answer.lower() in "".join(kept).lower():
        return None
    return grown(kept, dice.randrange(len(kept)), dice)


def pieces(text: str) -> list[str]:
    """Cut a text into sentences; joined, they are the text."""
    ends = [match.end() for match in SENTENCE_END.finditer(text)]
    return [text[i:j] for i, j in zip([0, *ends], [*ends, len(text)], strict=True) if j > i]


def grown(sentences: list[str], at: int, dice: random.Random) -> str:
    """Return the sentence with neighbours on both sides, up to a length drawn for it."""
    room, first, last = dice.choice((200, 300, 450, 600, 850)), at, at
    size = len(sentences[at])
    while size < room and (first > 0 or last + 1 < len(sentences)):
        before = first > 0 and (last + 1 == len(sentences) or dice.random() < 0.5)
        size += len(sentences[first - 1 if before else last + 1])
        if size > 1000:
            break
        first, last = (first - 1, last) if before else (first, last + 1)
    return "".join(sentences[first : last + 1]).strip()


def tables(folder: Path, dice: random.Random) -> Iterator[Example]:
    """Read WikiTableQuestions that look something up: the answer is one cell, and its row is named.

    Every second one is asked of the table without that row.
    """
    with (folder / "data/training.tsv").open(encoding="utf-8") as rows:
        for row in csv.DictReader(rows, delimiter="\t", quoting=csv.QUOTE_NONE):
            path = folder / row["context"].replace(".csv", ".tsv")
            if "|" in row["targetValue"] or COUNTED.search(row["utterance"]) or not path.exists():
                continue
            example = looked_up(row["utterance"], row["targetValue"], path.read_text(encoding="utf-8"), dice)
            if example:
                yield example


def looked_up(question: str, answer: str, text: str, dice: random.Random) -> Example | None:
    """Return a question about a window of the table's rows, if the row can be told by the question."""
    head, *rows = [
        [cell.replace("\\n", " ").strip() for cell in line.split("\t")] for line in text.splitlines()
    ]
    at = [i for i, row in enumerate(rows) if answer in row]
    asked = question.lower()
    if len(at) != 1 or sum(row.count(answer) for row in rows) != 1:
        return None
    named = [cell for cell in rows[at[0]] if len(cell) > 2 and cell != answer and cell.lower() in asked]
    if not named or any(cell in row for cell in named[:1] for i, row in enumerate(rows) if i != at[0]):
        return None
    write = dice.choice((as_pipes, as_commas, as_records, as_tabs))
    missing = dice.random() < 0.5
    first = max(0, at[0] - dice.randrange(8))
    kept = [row for i, row in enumerate(rows[first:], first) if not (missing and i == at[0])]
    while len(write(head, kept)) > 700 and len(kept) > 1:
        kept.pop(0 if not missing and kept[-1] == rows[at[0]] else -1)
    passage = write(head, kept)
    if len(passage) > 900 or (answer in passage) == missing:
        return None
    return Example(question, passage, None if missing else answer, "table, row gone" if missing else "table")


def as_pipes(head: list[str], rows: list[list[str]]) -> str:
    """Write a table as Markdown does."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def as_tabs(head: list[str], rows: list[list[str]]) -> str:
    """Write a table with tabs."""
    return "\n".join("\t".join(line) for line in [head, *rows])


def as_commas(head: list[str], rows: list[list[str]]) -> str:
    """Write a table as CSV."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([head, *rows])
    return file.getvalue().strip()


def as_records(head: list[str], rows: list[list[str]]) -> str:
    """Write each row as lines of a name and a value."""
    return "\n\n".join(
        "\n".join(f"{name}: {cell}" for name, cell in zip(head, row, strict=False) if cell) for row in rows
    )
