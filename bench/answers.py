"""How far `ask` with the bundled model can be believed: needles it shows, and wrong answers it shows.

    python -m bench.answers QUESTIONS.jsonl.xz

QUESTIONS holds rows in SQuAD's fields (context, question, answers). Their contexts make one document; the
questions are natural ones, which the model is not made for. The needles are `niah`'s, one in a text. The
look-alikes are 40 facts in one text, asked for together with keys that are not there.
"""

import argparse
import json
import lzma
from collections import Counter
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from longctx.engine import Engine
from longctx.hub import BUNDLED
from longctx.reading import Reading
from longctx.tasks import lookup
from longctx.tasks.haystack import load_haystack, make_sample
from longctx.tasks.results import Answer
from training.data import weave
from training.evaluate import MIXED_FAMILIES as FAMILIES
from training.facts import FactMaker
from training.haystack import Prose, prose_pieces
from training.reading import prompt, reading_of
from training.words import Words

CONTEXTS, QUESTIONS = 120, 250
NEEDLES = {16_000: 60, 65_536: 200}  # texts of each length
FACTS, LOOK_ALIKES = 40, {4_096: 8, 65_536: 4, 262_144: 3}  # facts in a document; documents of each length


def ask(reading: Reading, question: str) -> Answer:
    """Ask as the command does."""
    answer = lookup.answer(reading, question, partial(prompt, reading.engine))
    assert answer is not None, "the model does not copy"
    return answer


def natural(engine: Engine, path: Path) -> dict[str, int]:
    """Count what is shown for natural questions, and how much of it holds a right answer."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    contexts = list(dict.fromkeys(row["context"] for row in rows))[:CONTEXTS]
    chosen = [row for row in rows if row["context"] in set(contexts)]
    Random(0).shuffle(chosen)
    shown = right = 0
    with reading_of(engine, "\n\n".join(contexts)) as reading:
        for row in chosen[:QUESTIONS]:
            answer = ask(reading, row["question"])
            shown += answer.how == "found"
            golds = [gold["text"].lower() for gold in row["answers"]]
            right += answer.how == "found" and any(gold in answer.text.lower() for gold in golds)
    return {"questions": len(chosen[:QUESTIONS]), "shown": shown, "right": right}


def needles(engine: Engine, length: int, count: int) -> dict[str, float]:
    """Count the needles that are shown, and take the least probability of a right one."""
    haystack = load_haystack(engine.tokenizer, None)
    sure, right = [1.0], 0
    for number in range(count):
        depth = 100 * Random(number).random()
        kind = ("number", "word", "uuid")[number % 3]
        sample = make_sample(haystack, engine.tokenizer, length, depth, kind, number, seed=1)  # type: ignore[arg-type]  # one of the kinds
        with reading_of(engine, sample.before + sample.needle + sample.after) as reading:
            answer = ask(reading, sample.question)
        if answer.text == sample.expected:
            right += 1
            sure.append(answer.confidence or 0.0)
    return {"needles": count, "right": right, "least_probability": round(min(sure), 3)}


def look_alikes(engine: Engine, length: int, documents: int) -> dict[str, int]:
    """Hide 40 facts of six families in prose and ask for all of them, and for others that are not there."""
    found: Counter[str] = Counter()
    prose = Prose([" ".join(load_haystack(engine.tokenizer, None).sentences)])
    for number in range(documents):
        rng = Random(f"{number} {length}")
        maker = FactMaker(rng, Words(rng, prose.texts[0], held_out=True), lambda r: "", 0.0)
        facts = [maker.make(FAMILIES[i % len(FAMILIES)]) for i in range(FACTS)]
        pieces = prose_pieces(rng, prose.stretch(rng, int(length * 4)))
        places = sorted(rng.sample(range(len(pieces)), FACTS))
        text, _ = weave(rng, pieces, dict(zip(places, rng.sample(facts, FACTS), strict=True)))
        absent = [maker.make(FAMILIES[i % len(FAMILIES)]) for i in range(FACTS // 2)]
        near = [maker.rival(facts[i]) for i in range(FACTS // 2)]
        with reading_of(engine, text) as reading:
            for name, asked in (("present", facts), ("absent", absent), ("one word differs", near)):
                for fact in asked:
                    answer = ask(reading, rng.choice(fact.questions))
                    right = name == "present" and answer.text == fact.value
                    told = "right" if right else "wrong" if answer.how == "found" else "not found"
                    found[f"{name}: {told}"] += 1
    return dict(sorted(found.items()))


def main() -> None:
    """Measure both and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--model", type=Path, default=BUNDLED)
    args = parser.parse_args()
    engine = Engine.load(args.model, "cpu", "float32")
    found: dict[str, Any] = {"natural": natural(engine, args.questions)}
    found |= {f"needles, {n} tokens": needles(engine, n, count) for n, count in NEEDLES.items()}
    found |= {f"look-alikes, {n} tokens": look_alikes(engine, n, count) for n, count in LOOK_ALIKES.items()}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
