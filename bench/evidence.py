"""How often the passages shown hold the answer, and the closest sentence too; no model is asked.

    python -m bench.evidence /path/to/*.jsonl.xz [--questions 700]

Each file holds rows in SQuAD's fields (context, question, answers with answer_start or start). Its
contexts make one document. A passage counts if it holds the whole span of an answer.
"""

import argparse
import json
import lzma
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any

from longctx.quotes.closest import closest
from longctx.quotes.index import PassageIndex
from longctx.quotes.passages import passages
from longctx.text.source import Document
from longctx.text.span import Span

SHOWN = 3


@dataclass(frozen=True)
class Asked:
    """A question, and the bytes of its answers in the document; none if the text does not say."""

    text: str
    answers: list[tuple[int, int]]

    def within(self, span: Span) -> bool:
        """Tell whether a span holds a whole answer."""
        return any(span.byte_start <= start and end <= span.byte_end for start, end in self.answers)


@contextmanager
def joined(rows: list[dict[str, Any]]) -> Iterator[tuple[Document, list[Asked]]]:
    """Write the contexts as one document; yield it and its questions with the places of their answers."""
    contexts = list(dict.fromkeys(row["context"] for row in rows))
    starts, byte = {}, 0
    for context in contexts:
        starts[context] = byte
        byte += len(f"{context}\n\n".encode())
    questions = []
    for row in rows:
        context, places = row["context"], []
        for answer in row["answers"]:
            start = starts[context] + len(context[: _start(answer)].encode())
            places.append((start, start + len(answer["text"].encode())))
        questions.append(Asked(row["question"], places))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "text.txt")
        path.write_bytes("".join(f"{context}\n\n" for context in contexts).encode())
        yield Document("text.txt", path, 0, path.stat().st_size, "utf-8"), questions


def _start(answer: dict[str, Any]) -> int:
    return int(answer["answer_start"] if "answer_start" in answer else answer["start"])


def measure(path: Path, most: int) -> dict[str, Any]:
    """Ask the questions of one file."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    found: Counter[str] = Counter()
    with joined(rows) as (document, questions), PassageIndex() as index:
        started = perf_counter()
        for passage in passages(document):
            index.add(passage)
        index.search("", 1)
        indexing = perf_counter() - started
        answered = [one for one in questions if one.answers]
        Random(0).shuffle(answered)
        started = perf_counter()
        for asked in answered[:most]:
            shown = index.search(asked.text, SHOWN)
            holds = [asked.within(quote.span) for quote in shown]
            sentence = closest(index, asked.text, shown)
            found["sentence"] += sentence is not None and asked.within(sentence.span)
            found["questions"] += 1
            found["first"] += holds[:1] == [True]
            found["three"] += any(holds)
        seconds = perf_counter() - started
    of = found["questions"]
    return {
        "set": path.name.removesuffix(".jsonl.xz"),
        "questions": of,
        "hit@1": round(100 * found["first"] / of, 1),
        "hit@3": round(100 * found["three"] / of, 1),
        "closest sentence": round(100 * found["sentence"] / of, 1),
        "ms a question": round(1000 * seconds / of, 1),
        "indexing": round(indexing, 2),
    }


def main() -> None:
    """Measure each file and print one JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--questions", type=int, default=100_000, help="of each file, at most")
    args = parser.parse_args()
    for path in args.files:
        print(json.dumps(measure(path, args.questions)), flush=True)


if __name__ == "__main__":
    main()
