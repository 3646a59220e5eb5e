"""Measure an exported model on facts hidden in books that training never read.

    python -m training.evaluate --model models/bundled --books DIR --out runs/eval.json --lengths 4096 65536

Keys come from the held-out share of words. "single" is one RULER needle in the document, asked in RULER's own
form and as a question; "mixed" are 40 facts of all kinds in one document; "unseen" are 40 facts in
wordings that training never saw; "absent" are questions about keys that are not there.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer

from longctx.models.hybrid import HybridModel
from longctx.models.state import State
from longctx.models.weights import load_model
from training.facts import Fact, FactMaker
from training.haystack import Prose
from training.words import Words

CHUNK = 2048
LONGEST_ANSWER = 64
MIXED_FAMILIES = ["magic", "attribute", "code", "people", "place", "log"]
UNSEEN_FAMILIES = ["magic", "attribute"]
BLOCK = 200_000  # characters tokenized at once


@dataclass(frozen=True)
class Result:
    """One question: what was asked for, what came, and whether the pointer was on the fact."""

    task: str
    family: str
    tokens: int
    depth: float
    value: str
    answer: str
    pointed: bool

    @property
    def right(self) -> bool:
        """Say whether the whole value came and nothing else."""
        return self.answer == self.value


class Reader:
    """Answers questions from one reading of one document, as the program does."""

    def __init__(self, model: HybridModel, tokenizer: Tokenizer) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.newline = tokenizer.encode("\n").ids[0]

    def read(self, ids: list[int]) -> State:
        """Stream a document into a new state."""
        state = self.model.new_state()
        for start in range(0, len(ids), CHUNK):
            self.model.read(torch.tensor([ids[start : start + CHUNK]]), state)
        return state

    def answer(self, state: State, prompt: str) -> tuple[str, int]:
        """Answer from a fork of the state; also say at which token the pointer heads look first."""
        state = state.fork()
        ids = self.tokenizer.encode(prompt).ids
        self.model.read(torch.tensor([ids[:-1]]), state)
        attended: list[torch.Tensor] = []
        hidden = self.model(torch.tensor([ids[-1:]]), state, attended)
        heads = list(self.model.config.pointer_heads)
        place = int(attended[-1][0, heads].mean(0).argmax())
        written: list[int] = []
        while len(written) < LONGEST_ANSWER:
            token = int(self.model.logits(hidden[:, -1]).argmax())
            if token == self.newline or token in self.model.config.stop_ids:
                break
            written.append(token)
            hidden = self.model(torch.tensor([[token]]), state)
        return self.tokenizer.decode(written).strip(), place


class Haystack:
    """Token ids of running text from the books, cut where a sentence ends."""

    def __init__(self, prose: Prose, tokenizer: Tokenizer) -> None:
        self.text = "\n\n".join(prose.texts)
        self.tokenizer = tokenizer
        self.stop = tokenizer.encode(".").ids[0]

    def ids(self, rng: Random, count: int) -> list[int]:
        """Take `count` tokens from a random place, going round at the end."""
        found: list[int] = []
        place = rng.randrange(len(self.text))
        size = min(BLOCK, count * 5)
        while len(found) < count:
            end = self.text.find(" ", place + size)
            found += self.tokenizer.encode(self.text[place : end if end > 0 else None]).ids
            place = end if end > 0 else 0
        return found[:count]

    def hide(
        self, rng: Random, facts: list[Fact], length: int, room: int
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Put facts at evenly spread depths; document and question together have `length` tokens."""
        told = [self.tokenizer.encode(("\n" if fact.line else " ") + fact.statement).ids for fact in facts]
        hay = self.ids(rng, length - room - sum(map(len, told)))
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        before = 0
        for i, fact in enumerate(told):
            share = rng.random() if len(facts) == 1 else (i + rng.random()) / len(facts)
            place = max(before, int(share * len(hay)))
            while place < len(hay) and hay[place - 1] != self.stop:
                place += 1
            ids += hay[before:place]
            spans.append((len(ids), len(ids) + len(fact)))
            ids += fact
            before = place
        return ids + hay[before:], spans


class Evaluation:
    """Makes documents, asks, and collects results."""

    def __init__(self, reader: Reader, haystack: Haystack, seed: int) -> None:
        self.reader = reader
        self.haystack = haystack
        self.seed = seed
        self.results: list[Result] = []

    def facts(
        self, rng: Random, families: list[str], count: int, unseen: bool
    ) -> tuple[FactMaker, list[Fact]]:
        """Make facts about held-out keys, families in turn and then shuffled."""
        maker = FactMaker(
            rng, Words(rng, self.haystack.text, held_out=True), lambda r: "", 0.0, unseen=unseen
        )
        made = [maker.make(families[i % len(families)]) for i in range(count)]
        rng.shuffle(made)
        return maker, made

    def single(self, length: int, index: int) -> None:
        """Read a document with one RULER needle; ask as RULER does and as a question."""
        rng = Random(f"{self.seed} single {length} {index}")
        maker, _ = self.facts(rng, ["magic"], 0, False)
        fact = maker.ruler(["number", "word", "uuid"][index % 3])
        ids, spans = self.haystack.hide(rng, [fact], length, room=96)
        state = self.reader.read(ids)
        self.ask(
            state,
            "single, RULER form",
            fact,
            f"\n{fact.questions[0]}{fact.prefix}",
            length=length,
            span=spans[0],
        )
        self.ask(state, "single, question", fact, question(fact.questions[0]), length=length, span=spans[0])

    def many(
        self, task: str, families: list[str], *, length: int, index: int, count: int, absent: int
    ) -> None:
        """Read a document with many facts and ask for all of them, then for some that are not there."""
        rng = Random(f"{self.seed} {task} {length} {index}")
        maker, facts = self.facts(rng, families, count, task == "unseen")
        ids, spans = self.haystack.hide(rng, facts, length, room=64)
        state = self.reader.read(ids)
        for fact, span in zip(facts, spans, strict=True):
            self.ask(state, task, fact, question(rng.choice(fact.questions)), length=length, span=span)
        for i in range(absent):
            fact = maker.make(families[i % len(families)])
            self.ask(state, "absent", fact, question(rng.choice(fact.questions)), length=length, span=None)

    def ask(
        self, state: State, task: str, fact: Fact, prompt: str, *, length: int, span: tuple[int, int] | None
    ) -> None:
        """Ask one question and keep the result."""
        answer, place = self.reader.answer(state, prompt)
        wanted = fact.value if span else "not found"
        pointed = span[0] <= place < span[1] if span else place >= state.position
        depth = span[0] / length if span else 0.0
        self.results.append(Result(task, fact.family, length, round(depth, 3), wanted, answer, pointed))

    def run(self, length: int, singles: int, documents: int) -> None:
        """Do all tasks at one length."""
        count = min(40, max(4, length // 100))
        for index in range(singles):
            self.single(length, index)
        for index in range(documents):
            self.many("mixed", MIXED_FAMILIES, length=length, index=index, count=count, absent=count // 2)
            self.many("unseen", UNSEEN_FAMILIES, length=length, index=index, count=count, absent=0)


def question(text: str) -> str:
    """Put a question as the program does."""
    return f"\n\nQuestion: {text}\nAnswer:"


def wilson(right: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share."""
    z, share = 1.96, right / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * (share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5 / (1 + z * z / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def cell(results: list[Result]) -> str:
    """Write one cell of the table: share right, interval, count."""
    if not results:
        return ""
    right = sum(r.right for r in results)
    low, high = wilson(right, len(results))
    return f"{right / len(results):.3f} ({low:.2f}-{high:.2f}, {len(results)})"


def table(results: list[Result]) -> str:
    """Write the results by task, family and length as a Markdown table."""
    lengths = sorted({r.tokens for r in results})
    tasks = list(dict.fromkeys(r.task for r in results))
    rows = ["| tokens | " + " | ".join(f"{n:,}" for n in lengths) + " |", "|---" * (len(lengths) + 1) + "|"]
    for task in tasks:
        at = [[r for r in results if r.task == task and r.tokens == n] for n in lengths]
        rows.append(f"| {task} | " + " | ".join(map(cell, at)) + " |")
        for family in (
            sorted({r.family for r in results if r.task == task}) if task in ("mixed", "unseen") else []
        ):
            parts = [[r for r in group if r.family == family] for group in at]
            rows.append(f"| {task}: {family} | " + " | ".join(map(cell, parts)) + " |")
    told = [[r for r in results if r.task != "absent" and r.tokens == n] for n in lengths]
    hits = [f"{sum(r.pointed for r in group) / len(group):.3f}" if group else "" for group in told]
    return "\n".join([*rows, "| pointer on the fact | " + " | ".join(hits) + " |"])


def main() -> None:
    """Read the arguments, measure every length, write JSON after each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument(
        "--books", type=Path, required=True, help="folder with *.txt that training did not read"
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file for every single answer")
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 4096, 16384, 65536, 262144])
    parser.add_argument("--singles", type=int, default=20, help="documents with one needle, per length")
    parser.add_argument("--documents", type=int, default=2, help="documents with many needles, per length")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    reader = Reader(load_model(args.model, torch.float32, torch.device("cpu")), tokenizer)
    evaluation = Evaluation(reader, Haystack(Prose.load(args.books), tokenizer), args.seed)
    with torch.inference_mode():
        for length in args.lengths:
            begun = time.monotonic()
            evaluation.run(length, args.singles, args.documents)
            rows = [asdict(result) | {"right": result.right} for result in evaluation.results]
            args.out.write_text(json.dumps(rows, indent=0) + "\n", encoding="utf-8")
            print(f"{length} tokens: {time.monotonic() - begun:.0f} s", flush=True)
    print(table(evaluation.results))


if __name__ == "__main__":
    main()
