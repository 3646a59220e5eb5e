"""What the model is not made for: gaps in sentences of unseen books, and natural questions. Beside BM25.

    python -m training.natural --models models/bundled --books DIR --questions xquad-en.jsonl.xz --out FILE.md

BM25 shows the best sentence and is right when the answer stands in it. The model is right when it copies the
answer out (exact), and its pointer when the answer stands in the sentence that it points at.
"""

import argparse
import json
import lzma
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import torch
from tokenizers import Tokenizer

from longctx.models.weights import load_model
from training.data import BEFORE
from training.data import frame as question
from training.gaps import ask, draw
from training.haystack import Prose, prose_ends
from training.reader import Reader
from training.tables import cell

CONTEXTS, QUESTIONS = 120, 250
GAPS, BOOK = 20, 60_000  # gaps in each document, and its characters
PAGE, LONG = 3_000, 540_000  # characters of a page, and of 128k tokens
CLOZE = "Which word is missing in this sentence: {sentence}"
KINDS = {"whole": "sentence with a gap", "echo": "echo question"}
_NAME = re.compile(r"[A-Z]\w*(?: [A-Z]\w*)+")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Document:
    """A text, the character at which each of its sentences begins, and what is asked about it."""

    text: str
    starts: list[int]
    asked: list[tuple[str, list[str]]]  # question, answers that count

    def sentence(self, character: int) -> int:
        """Return the number of the sentence that holds a character."""
        return sum(start <= character for start in self.starts) - 1

    def sentences(self) -> list[str]:
        """Return all sentences."""
        ends = [*self.starts[1:], len(self.text)]
        return [self.text[start:end] for start, end in zip(self.starts, ends, strict=True)]


def words(text: str) -> list[str]:
    """Split into lower-case words."""
    return [word.lower() for word in _WORD.findall(text)]


class BM25:
    """Ranks sentences by shared words (Robertson and Zaragoza 2009; k1 1.2, b 0.75)."""

    def __init__(self, sentences: list[str]) -> None:
        self.counts = [Counter(words(sentence)) for sentence in sentences]
        self.lengths = [sum(count.values()) for count in self.counts]
        self.mean = sum(self.lengths) / len(self.lengths)
        held = Counter(word for count in self.counts for word in count)
        self.rarity = {w: math.log(1 + (len(sentences) - n + 0.5) / (n + 0.5)) for w, n in held.items()}

    def best(self, asked: str) -> int:
        """Return the number of the best sentence."""

        def score(i: int) -> float:
            count, size = self.counts[i], 1.2 * (0.25 + 0.75 * self.lengths[i] / self.mean)
            return sum(self.rarity.get(w, 0) * count[w] * 2.2 / (count[w] + size) for w in set(words(asked)))

        return max(range(len(self.counts)), key=score)


def rows(path: Path) -> list[dict[str, Any]]:
    """Read a SQuAD-like file."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def alone(path: Path) -> list[Document]:
    """Take every context of a SQuAD-like file with its own questions, up to as many as are asked of all."""
    by_context: dict[str, Document] = {}
    for row in rows(path)[:QUESTIONS]:
        text: str = row["context"]
        document = by_context.setdefault(text, Document(text, [0, *prose_ends(text)], []))
        document.asked.append((row["question"], [gold["text"] for gold in row["answers"]]))
    return list(by_context.values())


def natural(path: Path) -> list[Document]:
    """Join contexts of a SQuAD-like file into one document and take questions about them."""
    found = rows(path)
    contexts = list(dict.fromkeys(row["context"] for row in found))[:CONTEXTS]
    chosen = [row for row in found if row["context"] in set(contexts)]
    Random(0).shuffle(chosen)
    asked = [(row["question"], [gold["text"] for gold in row["answers"]]) for row in chosen[:QUESTIONS]]
    text = "\n\n".join(contexts)
    return [Document(text, [0, *prose_ends(text)], asked)]


def cloze(prose: Prose) -> Iterator[Document]:
    """Take a stretch of every book and leave out one word of some sentences."""
    for number, text in enumerate(prose.texts):
        rng = Random(number)
        begin = rng.randrange(max(1, len(text) - BOOK))
        taken = " ".join(text[begin : begin + BOOK].split())
        document = Document(taken, [0, *prose_ends(taken)], [])
        long = [s for s in document.sentences() if 8 <= len(s.split()) <= 25]
        for sentence in rng.sample(long, min(GAPS, len(long))):
            gaps = [
                found for found in _WORD.finditer(sentence) if len(found.group()) > 4 and found.start() > 20
            ]
            if gaps:
                gap = rng.choice(gaps)
                asked = f"{sentence[: gap.start()]}____{sentence[gap.end() :]}".strip()
                document.asked.append((CLOZE.format(sentence=asked), [gap.group()]))
        yield document


def telling(prose: Prose, characters: int, form: str) -> Iterator[Document]:
    """Ask for names and numbers of a stretch of every book in wordings that training never saw.

    Of a name of several words, as in "said who?", its first word or all of them are right.
    """
    for number, text in enumerate(prose.texts):
        rng = Random(f"{number} {characters}")
        begin = rng.randrange(max(1, len(text) - characters))
        taken = text[begin : begin + characters]
        document = Document(taken, [0, *prose_ends(taken)], [])
        for _ in range(50 * GAPS):
            gap = draw(rng, taken, document.starts)
            if gap and (gap.word[0].isupper() or gap.word.isdigit()) and len(document.asked) < GAPS // 2:
                name = _NAME.match(taken, gap.start)
                golds = [gap.word, *([name.group()] if name else [])]
                document.asked.append((ask(rng, gap, form=form, unseen=True), golds))
        yield document


def overlap(told: str, golds: list[str]) -> float:
    """Return the best F1 of words (Rajpurkar et al. 2016)."""

    def one(gold: str) -> float:
        a, b = Counter(words(told)), Counter(words(gold))
        shared = sum((a & b).values())
        return 2 * shared / (sum(a.values()) + sum(b.values())) if shared else 0.0

    return max(map(one, golds))


@dataclass
class Marks:
    """Per question: the answer is exact, its F1, and the sentence shown or pointed at holds the answer."""

    exact: list[bool] = field(default_factory=list)
    f1: list[float] = field(default_factory=list)
    shown: list[bool] = field(default_factory=list)


def measure(reader: Reader | None, documents: list[Document]) -> Marks:
    """Ask everything of a model, or of BM25 without one."""
    marks = Marks()
    for document in documents:
        sentences = document.sentences()
        if reader is None:
            ranking = BM25(sentences)
            places = [ranking.best(asked) for asked, _ in document.asked]
        else:
            encoding = reader.tokenizer.encode(document.text)
            before = reader.tokenizer.encode(BEFORE).ids
            state = reader.read(before + encoding.ids)
            places = []
            for asked, golds in document.asked:
                reply = reader.answer(state, question(asked))
                marks.exact.append(words(reply.text) in [words(gold) for gold in golds])
                marks.f1.append(overlap(reply.text, golds))
                at = reply.place - len(before)
                inside = 0 <= at < len(encoding.ids)
                places.append(document.sentence(encoding.offsets[at][0]) if inside else -1)
        for place, (_, golds) in zip(places, document.asked, strict=True):
            found = sentences[place].lower() if place >= 0 else ""
            marks.shown.append(any(gold.lower() in found for gold in golds))
    return marks


def sets(books: Path, questions: Path) -> dict[str, list[Document]]:
    """Make every set: gaps on a page, in a chapter, in a book; questions, alone and joined."""
    prose, joined = Prose.load(books), natural(questions)
    made = {"gaps in 15k tokens": list(cloze(prose))}
    for size, characters in (("one page", PAGE), ("128k tokens", LONG)):
        for form, kind in KINDS.items():
            made[f"names and numbers, {kind}, {size}"] = list(telling(prose, characters, form))
    made["XQuAD, 120 paragraphs joined"] = joined
    made["XQuAD, its paragraph alone"] = alone(questions)
    return made


def main() -> None:
    """Measure BM25 and every model, and write one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, nargs="+", required=True)
    parser.add_argument(
        "--books", type=Path, required=True, help="folder with *.txt that training did not read"
    )
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = ["| set | who | exact answer | F1 | answer in the sentence shown |", "|---|---|---|---|---|"]
    readers: dict[str, Reader | None] = {"BM25, best sentence": None}
    for folder in args.models:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        readers[str(folder)] = Reader(load_model(folder, torch.float32, torch.device("cpu")), tokenizer)
    with torch.inference_mode():
        for title, documents in sets(args.books, args.questions).items():
            for name, reader in readers.items():
                marks = measure(reader, documents)
                f1 = f"{sum(marks.f1) / len(marks.f1):.3f}" if marks.f1 else ""
                lines.append(f"| {title} | {name} | {cell(marks.exact)} | {f1} | {cell(marks.shown)} |")
                args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
