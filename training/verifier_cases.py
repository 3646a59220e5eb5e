"""Texts and questions that the verifier is fitted on: facts, gaps, programs, settings, natural questions.

Every text belongs to one of three parts, and no text, book or article is in two. Key words are those that
the bundled model never saw in training. Knows nothing of tokens.
"""

import json
import lzma
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from training import gaps, programs
from training.facts import ATTRIBUTES, FAMILIES, FactMaker
from training.haystack import Prose, code_pieces, log_pieces, prose_ends, prose_pieces
from training.words import LISTS, Words

PARTS = ("train", "train", "train", "develop", "test")
FACTS = 14  # in a text of them
_KEYS = [
    "timeout",
    "retries",
    "port",
    "host",
    "workers",
    "level",
    "region",
    "bucket",
    "batch_size",
    "interval",
]
_OWNERS = ["server", "database", "cache", "queue", "worker", "mailer", "scheduler", "proxy"]


@dataclass(frozen=True)
class Asked:
    """A question about a text, and the answers that are right; none if it does not hold one.

    Attributes:
        exact: only the whole answer is right; otherwise words of it, or around it, are too.
    """

    question: str
    answers: tuple[str, ...]
    exact: bool = True


@dataclass(frozen=True)
class Case:
    """A text, its questions, and the part that it belongs to."""

    group: str
    part: str
    text: str
    asked: tuple[Asked, ...]


def cases(books: Path, natural: Path, code: Path, scale: float = 1.0) -> Iterator[Case]:
    """Yield all cases, the same ones each time.

    Args:
        books: a folder of plain prose. natural: rows in SQuAD's fields. code: a folder of programs.
        scale: the share of the texts that are made.
    """
    rows = _rows(natural)
    for kind, makes, count in (
        ("facts", _facts, 100),
        ("gaps", _gaps, 40),
        ("programs", _programs, 25),
        ("settings", _settings, 100),
        ("names", _names, 40),
        ("natural", _natural, 90),
        ("elsewhere", _elsewhere, 40),
    ):
        for number in range(int(count * scale)):
            rng = Random(f"{kind} {number}")
            part = PARTS[number % len(PARTS)]
            maker = Maker(rng, part, _split(books, part), _split(code, part), rows)
            text, asked = makes(maker)
            if text and asked:
                yield Case(kind, part, text, tuple(asked))


@dataclass
class Maker:
    """What a text is made from."""

    rng: Random
    part: str
    books: Prose
    code: Prose
    rows: dict[str, list[dict[str, object]]]

    def words(self) -> Words:
        """Return a source of key words that the model has not learned."""
        return Words(self.rng, self.books.texts[0], held_out=True)

    def prose(self, least: int = 3_000, most: int = 24_000) -> str:
        """Take a stretch of a book, of so many characters."""
        return self.books.stretch(self.rng, self.rng.randint(least, most))


Made = tuple[str, list[Asked]]
_read: dict[tuple[Path, str], Prose] = {}


def _split(folder: Path, part: str) -> Prose:
    """Return the works of a folder that belong to a part."""
    if (folder, part) not in _read:
        files = sorted(path for ending in ("txt", "py") for path in folder.rglob(f"*.{ending}"))
        own = [path for number, path in enumerate(files) if PARTS[number % len(PARTS)] == part]
        _read[folder, part] = Prose([path.read_text(encoding="utf-8", errors="replace") for path in own])
    return _read[folder, part]


def _rows(path: Path) -> dict[str, list[dict[str, object]]]:
    """Return the rows of natural questions by their article."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        found: dict[str, list[dict[str, object]]] = {}
        for line in file:
            row = json.loads(line)
            found.setdefault(row["title"], []).append(row)
    return found


def _facts(make: Maker) -> Made:
    """Hide facts in prose, a program or a log; ask for them, for others like them, and for absent ones."""
    rng = make.rng
    maker = FactMaker(rng, make.words(), lambda _: "", 0.0, unseen=rng.random() < 0.4, open_share=0.3)
    facts = [maker.make(rng.choice(list(FAMILIES))) for _ in range(FACTS)]
    several = maker.several(rng.randint(2, 4), rng.choice(["number", "word"])) if rng.random() < 0.4 else []
    kind = rng.random()
    size = rng.randint(2_000, 30_000)
    pieces = (
        prose_pieces(rng, make.books.stretch(rng, size)) if kind < 0.7
        else code_pieces(rng, make.words(), size) if kind < 0.85
        else log_pieces(rng, make.words(), size)
    )  # fmt: skip
    for fact in [*facts, *several]:
        line = "\n" if fact.line or kind >= 0.7 else " "
        pieces.insert(rng.randrange(len(pieces) + 1), line * fact.line + fact.statement.rstrip("\n") + line)
    asked = [Asked(rng.choice(fact.questions), (fact.value,)) for fact in facts]
    others = [maker.make(rng.choice(list(FAMILIES))) for _ in range(FACTS // 2)]
    others += [maker.rival(fact) for fact in facts[: FACTS // 2]]
    asked += [Asked(rng.choice(fact.questions), ()) for fact in others]
    if several:
        asked.append(Asked(several[0].questions[0], tuple(fact.value for fact in several)))
    return "".join(pieces), asked


def _gaps(make: Maker) -> Made:
    """Ask for words left out of a book's sentences; of half of them the sentence is in another book."""
    rng, text, other = make.rng, make.prose(), make.prose()
    asked = []
    for number in range(18):
        source = other if number % 3 == 2 else text
        if gap := gaps.draw(rng, source, prose_ends(source)):
            question = gaps.ask(rng, gap, unseen=rng.random() < 0.5)
            asked.append(Asked(question, (gap.word,) if source is text else (), exact=False))
    return text, asked


def _programs(make: Maker) -> Made:
    """Ask about names of program text, and about names that it only uses or does not have."""
    rng, text, other = make.rng, make.code.stretch(make.rng, 14_000), make.code.stretch(make.rng, 8_000)
    asked = []
    for number in range(18):
        unseen = rng.random() < 0.4
        if number % 3 == 2:
            if absent := programs.absent(rng, text, other):
                asked.append(Asked(absent, ()))
        elif named := programs.draw(rng, text, 0, len(text)):
            asked.append(Asked(programs.ask(rng, named, unseen=unseen), (named.answer.strip(),)))
    return text, asked


def _settings(make: Maker) -> Made:
    """Write a configuration, a table or a list of properties, and ask for values in plain words."""
    rng = make.rng
    owners = rng.sample(_OWNERS, 4) if rng.random() < 0.5 else [make.words().name() for _ in range(5)]
    keys = rng.sample([*_KEYS, *LISTS["colors"][:2], *(make.words().noun() for _ in range(6))], 6)
    values = {(owner, key): _value(make) for owner in owners for key in keys if rng.random() < 0.8}
    lines, form = [], rng.choice(["ini", "dotted", "table", "prose", "markdown"])
    for owner in owners:
        has = [(key, values[owner, key]) for key in keys if (owner, key) in values]
        if form in ("table", "markdown"):
            joint = " | " if form == "markdown" else "\t"
            cells = joint.join([owner, *(values.get((owner, key), "-") for key in keys)])
            lines.append(f"| {cells} |" if form == "markdown" else cells)
        elif form == "prose":
            lines += [f"The {owner} has a {key.replace('_', ' ')} of {value}." for key, value in has]
            rng.shuffle(lines)
        else:
            lines += [f"[{owner}]"] if form == "ini" else []
            lines += [
                f"{key} = {value}" if form == "ini" else f"{owner}.{key}: {value}" for key, value in has
            ]
    if form in ("table", "markdown"):
        joint = " | " if form == "markdown" else "\t"
        lines.insert(0, joint.join(["name", *keys]))
    about = make.prose(200, 3_000) if rng.random() < 0.5 else ""
    wordings = (
        "What is the {k} of {o}?",
        "What {k} does the {o} have?",
        "Which {k} does {o} use?",
        "{o} {k}?",
    )
    asked = []
    for owner, key in [(rng.choice(owners), rng.choice(keys)) for _ in range(9)]:
        question = rng.choice(wordings).format(k=key.replace("_", " "), o=owner)
        answers = (values[owner, key],) if (owner, key) in values else ()
        asked.append(Asked(question, answers))
    for key in rng.sample(_KEYS, 3):
        held = tuple({values[owner, key] for owner in owners if (owner, key) in values})
        asked.append(Asked(f"What is the {key.replace('_', ' ')}?", held))
    return about + "\n\n" + "\n".join(lines) + "\n", asked


def _value(make: Maker) -> str:
    rng = make.rng
    draw: list[Callable[[], str]] = [
        lambda: str(rng.randrange(10 ** rng.randint(1, 5))),
        lambda: f"{rng.randrange(1, 90)}s",
        lambda: f"{rng.randrange(1, 900)}.{rng.randrange(100):02}",
        lambda: make.words().noun(),
        lambda: f"{make.words().noun()}.example.org",
        lambda: rng.choice(LISTS["colors"]),
    ]
    return rng.choice(draw)()


def _names(make: Maker) -> Made:
    """Ask what a text does not say of people and places that it names, and of others what was put in."""
    rng = make.rng
    text = make.prose() if rng.random() < 0.6 else make.prose(300, 1_500)
    maker = FactMaker(rng, Words(rng, text, held_out=True), lambda _: "", 0.0, open_share=0.5)
    asked, pieces = [], prose_pieces(rng, text)
    for _ in range(6):
        fact = maker.make("attribute")
        pieces.insert(rng.randrange(len(pieces) + 1), fact.statement + " ")
        asked.append(Asked(rng.choice(fact.questions), (fact.value,)))
        other = rng.choice([attribute for attribute in ATTRIBUTES if attribute != fact.extra])
        asked.append(Asked(f"What is the {other} of {fact.key}?", ()))
    names = sorted(set(re.findall(r"(?<=[a-z,] )[A-Z][a-z]{3,10}(?: [A-Z][a-z]+)?(?![\w'-])", text)))
    names = rng.sample(names, min(len(names), 10))
    forms = (
        "Who is {n}?",
        "Where is {n}?",
        "What is the {a} of {n}?",
        "What {a} does {n} have?",
        "What is {n}?",
    )
    for name in names:
        question = rng.choice(forms).format(n=name, a=rng.choice(list(ATTRIBUTES)))
        asked.append(Asked(question, ()))
    return "".join(pieces), asked


def _natural(make: Maker) -> Made:
    """Ask people's questions about an article of an encyclopedia, or about one paragraph of it."""
    rng, rows = make.rng, make.rows[_article(make)]
    contexts = list(dict.fromkeys(str(row["context"]) for row in rows))
    first = rng.randrange(len(contexts))
    chosen = contexts[first : first + rng.choice([1, 2, 10, 40])]
    within = [row for row in rows if row["context"] in chosen]
    asked = [_natural_question(row) for row in rng.sample(within, min(len(within), 24))]
    return "\n\n".join(chosen), asked


def _elsewhere(make: Maker) -> Made:
    """Ask people's questions about a text that cannot answer them."""
    rng, rows = make.rng, make.rows[_article(make)]
    text = make.prose() if rng.random() < 0.6 else make.code.stretch(rng, 9_000)
    return text, [Asked(str(row["question"]), ()) for row in rng.sample(rows, min(len(rows), 16))]


def _article(make: Maker) -> str:
    own = [title for number, title in enumerate(sorted(make.rows)) if PARTS[number % len(PARTS)] == make.part]
    return make.rng.choice(own)


def _natural_question(row: dict[str, object]) -> Asked:
    golds = row["answers"]
    assert isinstance(golds, list)
    return Asked(str(row["question"]), tuple(dict.fromkeys(gold["text"] for gold in golds)), exact=False)
