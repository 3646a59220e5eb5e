"""Tables of WikiTableQuestions, and questions about single cells of them."""

import random
from collections import Counter
from pathlib import Path

from training.reader.batches import Example
from training.reader.labelled import as_commas, as_pipes, as_records, as_tabs

ASKS = (
    "What is the {column} of {key}?",
    "{key} {column}",
    "{column} of {key}?",
    "Which {column} does {key} have?",
    "what {column} is listed for {key}",
    "{key}: {column}?",
    "What does the table say under {column} for {key}?",
)
BACK = (
    "Which {name} has {value} as {column}?",
    "{column} {value}: which {name}?",
    "Whose {column} is {value}?",
)


def cells(folder: Path, count: int, validation: bool, dice: random.Random) -> list[Example]:
    """Return `count` questions about cells of tables; of half of them the row or the column is not shown."""
    paths = sorted((folder / "csv").rglob("*.tsv"))
    paths = [path for i, path in enumerate(paths) if (i % 12 == 0) == validation]
    made: list[Example] = []
    while len(made) < count:
        text = dice.choice(paths).read_text(encoding="utf-8")
        lines = [line.replace("\\n", " ").replace("\\p", "|").split("\t") for line in text.splitlines()]
        example = asked([[cell.strip() for cell in line] for line in lines], dice)
        if example and len(example.passage) < 900:
            made.append(example)
    return made


def asked(table: list[list[str]], dice: random.Random) -> Example | None:
    """Return a question about a cell of some rows of a table, or None for a table without good names."""
    head, *rows = table
    if len(rows) < 3 or len(head) < 2 or not all(head) or len(set(head)) < len(head):
        return None
    rows = [row for row in rows if len(row) == len(head)]
    at = dice.randrange(max(1, len(rows) - 3))
    rows = rows[at : at + dice.randrange(3, 9)]
    if len(rows) < 3:
        return None
    key = next((i for i in range(min(3, len(head))) if named(rows, i)), None)
    columns = [i for i in range(len(head)) if i != key]
    if key is None:
        return None
    row, column = dice.choice(rows), dice.choice(columns)
    answer, name, tell = row[column], row[key], dice.choice(ASKS)
    if dice.random() < 0.2 and Counter(each[column] for each in rows)[answer] == 1:
        question, answer = dice.choice(BACK).format(name=head[key], value=answer, column=head[column]), name
        hidden = rows if dice.random() < 0.5 else [each for each in rows if each is not row]
    else:
        question = tell.format(column=head[column], key=name)
        hidden = rows if dice.random() < 0.5 else [each for each in rows if each is not row]
    if (
        not 1 < len(answer) < 60
        or answer in {"--", "N/A", "None"}
        or (hidden is not rows and len(hidden) < 2)
    ):
        return None
    if hidden is not rows and dice.random() < 0.4 and answer != name:
        kept = [i for i in range(len(head)) if i != column]
        head, hidden = [head[i] for i in kept], [[each[i] for i in kept] for each in rows]
    passage = dice.choice((as_pipes, as_commas, as_records, as_tabs))(head, hidden)
    if hidden is rows:
        return Example(question, passage, answer, "cells") if answer in passage else None
    return Example(question, passage, None, "cells, hidden")


def named(rows: list[list[str]], column: int) -> bool:
    """Return whether a column tells the rows apart by words."""
    cells = [row[column] for row in rows]
    return len(set(cells)) == len(cells) and all(
        3 < len(cell) < 50 and not cell[:1].isdigit() for cell in cells
    )
