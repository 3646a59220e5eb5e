"""Measure an exported model on facts hidden in books that training never read.

    python -m training.evaluate --model models/bundled --books DIR --out runs/eval.json --tasks single mixed

Keys come from the held-out share of words. Tasks:

single  one RULER needle in the document, at ten depths
first   one RULER needle as the first line
mixed   40 facts of six families in one document, all asked for; keys that are not there, random ones and ones
        that differ from a key of the document in one word; and 40 facts in wordings that training never saw
lists   several keys in one question, several values of one key, and one key among many
other   needles in other haystacks: code, logs, noise, other languages; facts about code
names   what real program text tells of its names, and names that it does not define
gaps    names and numbers left out of sentences, and asked for in wordings that training never saw
many    ten needles, at ten depths of one document: for lengths that take long to read
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import torch
from tokenizers import Encoding, Tokenizer

from longctx.engine import Engine, Session
from longctx.tasks.questions import one_by_one
from training import gaps, programs
from training import haystack as straw
from training.answering import NeedleReading, Reader, Reply
from training.data import BEFORE
from training.data import frame as question
from training.facts import Fact, FactMaker
from training.haystack import Prose
from training.tables import table
from training.words import Words

MIXED_FAMILIES = ["magic", "attribute", "code", "people", "place", "log"]
UNSEEN_FAMILIES = ["magic", "attribute"]
CODE_FAMILIES = ["code", "arguments", "defined"]
KINDS = ["number", "word", "uuid"]
KEYS_QUESTION = "What are all the special magic {a}s for {keys} mentioned in the provided text?"  # RULER's
DEPTHS = 10
NEAR = 50  # tokens on each side of an answer in which its key must stand
ROOM = 96  # tokens kept free for question and answer
GAPS = 10  # asked for in a document, in each form
BLOCK = 200_000  # characters tokenized at once


@dataclass(frozen=True)
class Result:
    """One question: what was asked for, what came, and whether the pointer was on the fact.

    `share` is the part of the wanted values that the answer holds; `right` says that it is all of them and
    nothing else.
    """

    task: str
    family: str
    tokens: int
    depth: float
    value: str
    answer: str
    pointed: bool
    mass: float
    share: float
    right: bool


class Haystack:
    """Token ids of BEFORE and running text, cut where a sentence ends, or a line where the text has lines."""

    def __init__(self, prose: Prose, tokenizer: Tokenizer, stops: str = ".") -> None:
        self.text = "\n\n".join(prose.texts)
        self.tokenizer = tokenizer
        self.before = tokenizer.encode(BEFORE).ids
        self.stops = {tokenizer.encode(stop).ids[-1] for stop in stops}

    def ids(self, rng: Random, count: int) -> list[int]:
        """Take `count` tokens from a random place, going round at the end."""
        found = [*self.before]
        place = rng.randrange(len(self.text))
        size = min(BLOCK, count * 5)
        while len(found) < count:
            end = self.text.find(" ", place + size)
            found += self.tokenizer.encode(self.text[place : end if end > 0 else None]).ids
            place = end if end > 0 else 0
        return found[:count]

    def cut(self, hay: list[int], place: int) -> int:
        """Move a place on to where the text begins or a sentence ends."""
        place = max(place, len(self.before))
        while len(self.before) < place < len(hay) and hay[place - 1] not in self.stops:
            place += 1
        return place

    def tell(self, fact: Fact) -> list[int]:
        """Return the tokens of a statement as it stands in the text."""
        return self.tokenizer.encode(("\n" if fact.line else " ") + fact.statement).ids

    def hide(
        self, rng: Random, facts: list[Fact], length: int, room: int
    ) -> tuple[list[int], list[tuple[int, int]]]:
        """Put facts at evenly spread depths; document and question together have `length` tokens."""
        told = [self.tell(fact) for fact in facts]
        hay = self.ids(rng, length - room - sum(map(len, told)))
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        before = 0
        for i, fact in enumerate(told):
            share = rng.random() if len(facts) == 1 else (i + rng.random()) / len(facts)
            place = self.cut(hay, max(before, int(share * len(hay))))
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
        self, rng: Random, families: list[str], count: int, unseen: bool = False
    ) -> tuple[FactMaker, list[Fact]]:
        """Make facts about held-out keys, families in turn and then shuffled."""
        maker = FactMaker(
            rng, Words(rng, self.haystack.text, held_out=True), lambda r: "", 0.0, unseen=unseen
        )
        made = [maker.make(families[i % len(families)]) for i in range(count)]
        rng.shuffle(made)
        return maker, made

    def single(self, length: int, index: int, trials: int, kinds: list[str]) -> None:
        """Read a haystack once; ask for one RULER needle at each of ten depths, `trials` times each."""
        rng = Random(f"{self.seed} single {length} {index}")
        maker, _ = self.facts(rng, [], 0)
        hay = self.haystack.ids(rng, length - ROOM)
        depths = [int(len(hay) * i / (DEPTHS - 1)) for i in range(DEPTHS)]
        places = [self.haystack.cut(hay, depth) for depth in depths]
        reading = NeedleReading(self.reader, hay, places)
        for trial in range(trials):
            for place in places:
                fact = maker.ruler(kinds[(trial + places.index(place)) % len(kinds)])
                told = self.haystack.tell(fact)[place == places[0] :]  # a first line begins without a space
                session = reading.hide(place, told)
                self.ask(session, "single", fact, length=length, span=(place, place + len(told)))

    def first(self, length: int, index: int) -> None:
        """Ask for a RULER needle that stands as the first line."""
        rng = Random(f"{self.seed} first {length} {index}")
        maker, _ = self.facts(rng, [], 0)
        fact = maker.ruler(KINDS[index % 3])
        told = self.haystack.tokenizer.encode(fact.statement + "\n").ids
        before, hay = self.haystack.before, self.haystack.ids(rng, length - ROOM)
        session = self.reader.read(before + told + hay[len(before) :])
        self.ask(session, "first line", fact, length=length, span=(len(before), len(before) + len(told)))

    def many(
        self, task: str, families: list[str], *, length: int, index: int, count: int, absent: int
    ) -> None:
        """Read a document with many facts and ask for all of them, then for some that are not there."""
        rng = Random(f"{self.seed} {task} {length} {index}")
        maker, facts = self.facts(rng, families, count, task == "unseen")
        ids, spans = self.haystack.hide(rng, facts, length, room=64)
        session = self.reader.read(ids)
        for fact, span in zip(facts, spans, strict=True):
            self.ask(session, task, fact, rng.choice(fact.questions), length=length, span=span)
        for i in range(absent):
            fact = maker.make(families[i % len(families)])
            self.ask(session, "absent", fact, rng.choice(fact.questions), length=length)
            fact = maker.rival(facts[i % len(facts)])
            self.ask(session, "absent, one word differs", fact, rng.choice(fact.questions), length=length)

    def lists(self, length: int, index: int, distractors: int) -> None:
        """Hide four values of one key, four keys and distractors; ask for a key, the values, the keys."""
        rng = Random(f"{self.seed} lists {length} {index} {distractors}")
        maker, _ = self.facts(rng, [], 0)
        kind = KINDS[index % 2]
        values = maker.several(4, kind)
        keys = [maker.ruler(kind) for _ in range(4)]
        facts = [*values, *keys, *(maker.ruler(kind) for _ in range(distractors))]
        rng.shuffle(facts)
        ids, spans = self.haystack.hide(rng, facts, length, room=ROOM)
        session = self.reader.read(ids)
        where = dict(zip((fact.value for fact in facts), spans, strict=True))
        tail = f", {distractors} distractors"
        for fact in keys[:2]:
            self.ask(session, "one key" + tail, fact, length=length, span=where[fact.value])
        listed = ", ".join(fact.key for fact in keys[:3]) + ", and " + keys[3].key
        asked = one_by_one(KEYS_QUESTION.format(a=kind, keys=listed)).values()
        told = [self.reader.answer(session, question(one)).text for one in asked]
        self.listed("four keys" + tail, length, [fact.value for fact in keys], told)
        key, decode = values[0].key, self.haystack.tokenizer.decode

        def beside_key(reply: Reply) -> bool:
            """Check what `ask` checks: the key stands near the answer."""
            return key in decode(ids[max(0, reply.start - NEAR) : reply.start + reply.tokens + NEAR])

        found = self.reader.answers(session, ids, question(values[0].questions[0]), beside_key)
        told = [reply.text for reply in found]
        self.listed("four values" + tail, length, [fact.value for fact in values], told)

    def names(self, text: str, length: int, index: int, count: int) -> None:
        """Read program text; ask what it tells of `count` names, and for some that it does not define."""
        rng = Random(f"{self.seed} names {length} {index}")
        start = text.index("\n", rng.randrange(len(text) * 2 // 3)) + 1
        encoding, within, session = self.stretch(text, start, length)
        told = programs.told(within)
        for named in rng.sample(told, min(count, len(told))):
            unseen = rng.random() < 0.5
            asked = (programs.ask(rng, named, unseen=unseen),)
            fact = Fact(named.family, named.name, "", 0, named.answer.strip(), asked)
            task = "names in a program" + ", unseen wordings" * unseen
            self.ask(session, task, fact, length=length, span=self.span(encoding, named.start, named.answer))
        for _ in range(count):
            asked_for = programs.absent(rng, within, text[:start])
            if asked_for:
                fact = Fact("absent", "", "", 0, "", (asked_for,))
                self.ask(session, "absent in a program", fact, length=length)

    def gaps(self, length: int, index: int, form: str) -> None:
        """Read prose; ask for names and numbers left out of its sentences, in held-out wordings."""
        rng, text = Random(f"{self.seed} gaps {length} {index}"), self.haystack.text
        encoding, within, session = self.stretch(text, rng.randrange(max(1, len(text) - length * 5)), length)
        ends = straw.prose_ends(within)
        drawn = (gaps.draw(rng, within, ends) for _ in range(50 * GAPS))
        telling = {gap.start: gap for gap in drawn if gap and (gap.word[0].isupper() or gap.word.isdigit())}
        for gap in list(telling.values())[:GAPS]:
            fact = Fact(form, "", "", 0, gap.word, (gaps.ask(rng, gap, form=form, unseen=True),))
            self.ask(session, "gaps", fact, length=length, span=self.span(encoding, gap.start, gap.word))

    def stretch(self, text: str, start: int, length: int) -> tuple[Encoding, str, Session]:
        """Read a text from a character on; also return its encoding and the part of it that was read."""
        encoding = self.haystack.tokenizer.encode(text[start : start + length * 5])
        session = self.reader.read(self.haystack.before + encoding.ids[: length - ROOM])
        return encoding, text[start : start + encoding.offsets[length - ROOM][0]], session

    def span(self, encoding: Encoding, start: int, value: str) -> tuple[int, int]:
        """Return the tokens of a value that stands at a character of a stretch."""
        first, last = (encoding.char_to_token(start + i) for i in (0, len(value) - 1))
        assert first is not None and last is not None  # every character belongs to a token
        return len(self.haystack.before) + first, len(self.haystack.before) + last + 1

    def listed(self, task: str, length: int, wanted: list[str], told: list[str]) -> None:
        """Keep the result of a question with several values."""
        share = len(set(wanted) & set(told)) / len(wanted)
        right = sorted(wanted) == sorted(told)
        result = Result(
            task, "magic", length, 0.0, ", ".join(wanted), ", ".join(told), True, 0.0, share, right
        )
        self.results.append(result)

    def ask(
        self,
        session: Session,
        task: str,
        fact: Fact,
        asked: str = "",
        *,
        length: int,
        span: tuple[int, int] | None = None,
    ) -> None:
        """Ask one question and keep the result; without a span the fact is not in the text."""
        reply = self.reader.answer(session, question(asked or fact.questions[0]))
        wanted = fact.value if span else "not found"
        right = reply.text == wanted
        pointed = span[0] <= reply.place < span[1] if span else reply.place >= session.position
        depth = round(span[0] / length, 3) if span else 0.0
        share = float(wanted in reply.text)
        family = fact.kind if task == "single" else fact.family
        mass = round(reply.mass, 4)
        self.results.append(
            Result(task, family, length, depth, wanted, reply.text, pointed, mass, share, right)
        )


def elsewhere(evaluation: Evaluation, length: int, index: int, folder: Path | None) -> None:
    """Ask for needles and code facts in code, logs and noise, and needles in the texts of a folder."""
    prose = evaluation.haystack
    rng = Random(f"{evaluation.seed} elsewhere {length}")
    words = Words(rng, prose.text, held_out=True)
    size = length * 6
    texts: dict[str, tuple[str, str]] = {
        "code": ("".join(straw.code_pieces(rng, words, size)), "\n"),
        "log": ("".join(straw.log_pieces(rng, words, size)), "\n"),
        "noise": ("".join(straw.noise_pieces(rng, size)), "."),
    }
    for path in sorted(folder.iterdir()) if folder else []:
        texts[path.stem] = (path.read_text(encoding="utf-8"), ".。" if path.suffix == ".txt" else "\n")
    for name, (text, stops) in texts.items():
        evaluation.haystack = Haystack(Prose([text]), prose.tokenizer, stops)
        evaluation.haystack.text += words.text  # keys are English words
        task = f"needles in {name}"
        evaluation.many(task, ["magic"], length=length, index=index, count=10, absent=0)
        if stops == "\n":
            task = f"code facts in {name}"
            evaluation.many(task, CODE_FAMILIES, length=length, index=index, count=12, absent=0)
    evaluation.haystack = prose


def tasks(evaluation: Evaluation, args: argparse.Namespace) -> dict[str, Callable[[int, int], None]]:
    """Return what each task does with the document of a length and a number."""

    def mixed(length: int, index: int) -> None:
        count = min(40, max(4, length // 100))
        parts = {"length": length, "index": index, "count": count}
        evaluation.many("mixed", MIXED_FAMILIES, **parts, absent=count // 2)
        evaluation.many("unseen", UNSEEN_FAMILIES, **parts, absent=0)

    def lists(length: int, index: int) -> None:
        for distractors in (4, 16):
            evaluation.lists(length, index, distractors)

    def other(length: int, index: int) -> None:
        elsewhere(evaluation, length, index, args.other)

    def names(length: int, index: int) -> None:
        if not args.programs:
            raise SystemExit("the task `names` needs --programs FOLDER")
        text = "\n".join(path.read_text("utf-8") for path in sorted(args.programs.rglob("*.py")))
        evaluation.names(text, length, index, 20)

    def gaps(length: int, index: int) -> None:
        for form in ("whole", "echo"):
            evaluation.gaps(length, index, form)

    def many(length: int, index: int) -> None:
        evaluation.many("ten needles", ["magic"], length=length, index=index, count=10, absent=0)

    def single(length: int, index: int) -> None:
        evaluation.single(length, index, args.trials, args.kinds)

    return {
        task.__name__: task for task in (single, evaluation.first, mixed, lists, other, names, gaps, many)
    }


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--books", type=Path, required=True, help="folder with *.txt not trained on")
    parser.add_argument("--other", type=Path, help="folder with files in other languages")
    parser.add_argument("--programs", type=Path, help="folder with *.py that training did not read")
    parser.add_argument("--out", type=Path, required=True, help="JSON file for every single answer")
    parser.add_argument("--tasks", nargs="+", default=["single", "mixed"])
    parser.add_argument("--lengths", type=int, nargs="+", default=[4096, 65536])
    parser.add_argument("--singles", type=int, default=1, help="haystacks with one needle, per length")
    parser.add_argument("--trials", type=int, default=3, help="needles per depth in each of them")
    parser.add_argument("--kinds", nargs="+", default=KINDS, help="of values in single needles")
    parser.add_argument("--documents", type=int, default=2, help="documents of the other tasks, per length")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=7)
    return parser


def main() -> None:
    """Read the arguments, measure every length, write JSON after each."""
    args = arguments().parse_args()
    torch.set_num_threads(args.threads)
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    reader = Reader(Engine.load(args.model, "cpu", "float32"))
    evaluation = Evaluation(reader, Haystack(Prose.load(args.books), tokenizer), args.seed)
    for length in args.lengths:
        for task in args.tasks:
            begun = time.monotonic()
            for index in range(args.singles if task == "single" else args.documents):
                tasks(evaluation, args)[task](length, index)
            rows = [asdict(result) for result in evaluation.results]
            args.out.write_text(json.dumps(rows, indent=0) + "\n", encoding="utf-8")
            print(f"{task}, {length} tokens: {time.monotonic() - begun:.0f} s", flush=True)
    print(table([asdict(result) for result in evaluation.results]))


if __name__ == "__main__":
    main()
