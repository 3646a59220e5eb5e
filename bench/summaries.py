"""What share of the key points of a text its extractive summary covers, beside plainer choices.

    python -m bench.summaries DATA

DATA holds books/on-the-origin-of-species.txt, whose chapters begin with lists of their points, and
qa/squad2-dev-10-articles.jsonl.xz, whose questions say what readers found worth asking. The list of points is
no part of the text that is summarised. Of each text WORDS words are chosen. Two shares are printed: of the
telling words of the points that stand in the summary, and of the points whose evidence lies within NEAR
characters of a chosen sentence. The evidence of a question is its answer; of a point, the sentence that
shares most with it.
"""

import argparse
import json
import lzma
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from random import Random

from longctx.quotes.candidates import Candidate, candidates, length
from longctx.quotes.extract import summarize_extractive
from longctx.quotes.outline import Section
from longctx.quotes.prose import common_words, words
from longctx.text.source import Document
from longctx.text.span import Quote, Span

WORDS, NEAR, SEEDS = 300, 200, 5
CHAPTER = re.compile(r"(?m)^\d+\. [A-Z,;: -]+\.$")


@dataclass(frozen=True)
class Point:
    """A thing that a summary should tell: its telling words, and the bytes of its evidence."""

    telling: frozenset[str]
    start: int
    end: int


def telling_words(text: str) -> frozenset[str]:
    """Return the words of a text that say something about its subject."""
    return frozenset(words(text.lower())) - common_words()


def sentences(document: Document) -> list[Candidate]:
    """Return all sentences that a summary could quote."""
    whole = Span(document, document.start, document.end, 1, 1)
    return list(candidates(Section("", 0, (whole,))))


def saved(folder: Path, name: str, text: str) -> Document:
    """Write a text and return its document."""
    path = folder / name
    path.write_bytes(text.encode())
    return Document(name, path, 0, path.stat().st_size, "utf-8")


def chapters(book: Path, folder: Path) -> Iterator[tuple[Document, list[Point]]]:
    """Yield the chapters of a book, each with the points that its first paragraph lists."""
    for number, chapter in enumerate(CHAPTER.split(book.read_text(encoding="utf-8"))[1:]):
        listed, body = chapter.strip().split("\n\n", 1)
        document = saved(folder, f"chapter-{number}", body)
        said = [(telling_words(one.quote.text), one.quote.span) for one in sentences(document)]
        points = []
        for telling in map(telling_words, listed.split(". ")):
            shared, span = max(
                ((len(telling & heard), span) for heard, span in said), key=lambda pair: pair[0]
            )
            if shared:
                points.append(Point(telling, span.byte_start, span.byte_end))
        yield document, points


def articles(rows: Path, folder: Path) -> Iterator[tuple[Document, list[Point]]]:
    """Yield the articles of a SQuAD file, each with its answers."""
    with lzma.open(rows, "rt", encoding="utf-8") as lines:
        asked = [json.loads(line) for line in lines]
    for title, group in groupby(asked, key=lambda row: row["title"]):
        contexts: dict[str, int] = {}
        points, size = [], 0
        for row in group:
            context = row["context"]
            if context not in contexts:
                contexts[context] = size
                size += len(context.encode()) + 2
            for answer in row["answers"][:1]:
                start = contexts[context] + len(context[: answer["start"]].encode())
                text = answer["text"]
                points.append(Point(telling_words(text), start, start + len(text.encode())))
        yield saved(folder, title, "\n\n".join(contexts)), points


def coverage(document: Document, seed: int) -> list[Quote]:
    """Choose as `longctx summarize` does."""
    return [one for excerpt in summarize_extractive([document], WORDS) for one in excerpt.sentences]


def lead(document: Document, seed: int) -> list[Quote]:
    """Choose the first sentences."""
    return cut(sentences(document))


def random(document: Document, seed: int) -> list[Quote]:
    """Choose sentences by chance."""
    return cut(Random(seed).sample(every := sentences(document), len(every)))


def cut(order: Sequence[Candidate]) -> list[Quote]:
    """Take sentences while they fit the words."""
    left, taken = float(WORDS), []
    for one in order:
        if one.length <= left:
            taken.append(one.quote)
            left -= one.length
    return taken


def scores(chosen: list[Quote], points: list[Point]) -> tuple[float, float]:
    """Return the shares of the points' words and of their evidence that the sentences cover."""
    said = telling_words(" ".join(one.text for one in chosen))
    asked = frozenset(word for point in points for word in point.telling)
    spans = [(one.span.byte_start - NEAR, one.span.byte_end + NEAR) for one in chosen]
    near = sum(any(point.start < end and start < point.end for start, end in spans) for point in points)
    return len(said & asked) / len(asked), near / len(points)


def main() -> None:
    """Print a table for both sets."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    with tempfile.TemporaryDirectory() as folder:
        sets = {
            "Origin of Species, by chapters": list(
                chapters(data / "books" / "on-the-origin-of-species.txt", Path(folder))
            ),
            "SQuAD 2.0 dev, by articles": list(
                articles(data / "qa" / "squad2-dev-10-articles.jsonl.xz", Path(folder))
            ),
        }
        print(f"| {WORDS} words | chosen by | words | evidence | length | seconds a text |")
        print("|---|---|---|---|---|---|")
        for name, texts in sets.items():
            for method in (coverage, lead, random):
                report(name, texts, method)


def report(
    name: str, texts: list[tuple[Document, list[Point]]], method: Callable[[Document, int], list[Quote]]
) -> None:
    """Print the row of one method."""
    found, lengths, started = [], [], time.perf_counter()
    seeds = SEEDS if method is random else 1
    for seed in range(seeds):
        for document, points in texts:
            chosen = method(document, seed)
            lengths.append(sum(length(one.text) for one in chosen))
            found.append(scores(chosen, points))
    seconds = (time.perf_counter() - started) / len(found)
    by_words, by_evidence = (100 * statistics.mean(column) for column in zip(*found, strict=True))
    print(
        f"| {name} | {method.__name__} | {by_words:.1f} | {by_evidence:.1f}"
        f" | {min(lengths):.0f}-{max(lengths):.0f} | {seconds:.2f} |"
    )


if __name__ == "__main__":
    main()
