"""What rounded keys and values, and pages that are chosen, cost: needles found, and the error of logits.

    python -m bench.kv_forms --tokens 65536 --needles 40 --out bench/results/kv-forms.json
    python -m bench.kv_forms --model /tmp/smollm2          # a model of language: perplexity and divergence

The bundled model reads a text once in which that many needles stand, evenly spread, and is asked for each
of them off the same reading, in each form. A model of language reads the beginning of a novel; its
distributions of the next token are compared with those in its own numbers.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import longctx
from longctx.engine import Engine, Session
from longctx.models.kv_chosen import FIRST, LATEST, PAGE
from longctx.models.kv_form import KVForm
from longctx.sampling import Sampling
from longctx.tasks import lookup
from longctx.tasks.frame import read_template
from longctx.tasks.haystack import hidden, load_haystack, make_sample
from longctx.tasks.prompt import build_prompt

BUNDLED = Path(longctx.__file__).parent / "models" / "bundled"
BOOK = Path(__file__).resolve().parents[1] / "tests" / "data" / "alice.txt"
KINDS = "adjectives", "nouns"  # a name has one of each
CHUNK = 2048
STEP = 64  # tokens whose distributions are compared at once
FORMS = {
    "as they come": KVForm(),
    "int8": KVForm(rounded=True),
    **{f"{n} pages": KVForm(chosen=n) for n in (0, 4, 16, 64, 256)},
    "int8 and 64 pages": KVForm(rounded=True, chosen=64),
}


def text_of(engine: Engine, tokens: int, needles: int) -> tuple[list[int], list[tuple[str, str]]]:
    """Return the tokens of a text with so many facts, and their questions and answers."""
    sample = make_sample(
        load_haystack(engine.tokenizer, None), engine.tokenizer, tokens, 50.0, "number", 0, 0
    )
    sentences = (sample.before + sample.after).split(". ")
    words = [(BUNDLED.parents[1] / "prompts" / f"{kind}.txt").read_text().split() for kind in KINDS]
    asked, step = [], len(sentences) // needles
    for n in range(needles):
        name, number = "-".join(kind[7 * n % len(kind)] for kind in words), str(1_000_003 + 7919 * n)
        needle, question = hidden("number", name, number)
        sentences[n * step + step // 2] += f". {needle.rstrip('.')}"
        asked.append((question, number))
    return engine.tokenizer.encode(". ".join(sentences)), asked


def read(engine: Engine, tokens: list[int]) -> Session:
    """Read a text in chunks."""
    session = engine.session()
    for _ in session.read_chunks(tokens[n : n + CHUNK] for n in range(0, len(tokens), CHUNK)):
        pass
    return session


def found(engine: Engine, tokens: list[int], asked: list[tuple[str, str]]) -> dict[str, Any]:
    """Count the facts that the model copies in the engine's form."""
    template = read_template(None, lookup.template(engine))
    before = build_prompt(engine.tokenizer, engine.folder, template, question="").before
    session, right = read(engine, [*before, *tokens]), 0
    for question, answer in asked:
        prompt = build_prompt(engine.tokenizer, engine.folder, template, question=question)
        pieces = session.fork().generate(prompt.after, Sampling(max_tokens=16, stop=("\n",)))
        right += "".join(piece.text for piece in pieces).strip() == answer
    return {"found": right, "of": len(asked), "bytes": session.state.nbytes}


def distributions(engine: Engine, tokens: list[int]) -> Iterator[Tensor]:
    """Yield the logarithms of probabilities of the tokens after each, (STEP, vocab_size) at a time."""
    state = engine.model.new_state()
    for start in range(0, len(tokens), STEP):
        with torch.inference_mode():
            hidden = engine.model(torch.tensor([tokens[start : start + STEP]]), state)
            yield engine.model.logits(hidden[0]).log_softmax(-1)


def compared(engine: Engine, tokens: list[int], form: KVForm) -> dict[str, Any]:
    """Compare distributions in a form with those in the model's own numbers."""
    divergence, alike, largest, losses, count = 0.0, 0, 0.0, [0.0, 0.0], 0
    engine.model.kv = KVForm()
    plain = distributions(engine, tokens)
    first = next(plain)
    engine.model.kv = form
    ours, start = distributions(engine, tokens), 0
    for theirs in (first, *plain):
        mine = next(ours)
        divergence += float((theirs.exp() * (theirs - mine)).sum())
        alike += int((theirs.argmax(-1) == mine.argmax(-1)).sum())
        largest = max(largest, float((theirs - mine).abs().max()))
        after = torch.tensor(tokens[start + 1 : start + 1 + len(mine)])[:, None]
        for n, x in enumerate((theirs, mine)):
            losses[n] -= float(x[: len(after)].gather(1, after).sum())
        start, count = start + len(mine), count + len(mine)
    perplexities = [float(torch.tensor(loss / (count - 1)).exp()) for loss in losses]
    return {
        "divergence": divergence / count,
        "same_first_token": alike / count,
        "largest_difference_of_log": largest,
        "perplexity": perplexities[1],
        "perplexity_plain": perplexities[0],
    }


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tokens", type=int, default=65536)
    parser.add_argument("--needles", type=int, default=40)
    parser.add_argument("--model", type=Path, help="a model of language, instead of the bundled one")
    parser.add_argument("--forms", default=",".join(FORMS))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    engine = Engine.load(given.model or BUNDLED, "cpu", "float32")
    rows: dict[str, Any] = {}
    asked: list[tuple[str, str]] = []
    if given.model:
        tokens = engine.tokenizer.encode(BOOK.read_text())[: given.tokens]
    else:
        tokens, asked = text_of(engine, given.tokens, given.needles)
    for name in given.forms.split(","):
        form = engine.model.kv = FORMS[name]
        rows[name] = compared(engine, tokens, form) if given.model else found(engine, tokens, asked)
        print(name, rows[name], flush=True)
    result = {"tokens": len(tokens), "page": PAGE, "always": FIRST + LATEST, "forms": rows}
    if given.out:
        given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
