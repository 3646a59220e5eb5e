"""How the reader does on questions it never saw: greedy answers, held to nothing.

python -m training.reader.validate --base BASE --data DATA UPDATES...
"""

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch.nn import functional as F

from training.reader.batches import Batch, Encoded, Example, encode, padded
from training.reader.network import Network, opened
from training.reader.prompt import END, REFUSAL

LONGEST = 16  # tokens of an answer written out
TOGETHER = 12  # prompts in one batch


@torch.no_grad()
def validate(network: Network, tokenizer: Tokenizer, examples: list[Example]) -> dict[str, float]:
    """Return the mean loss of an answer, and how greedy answers to (un)answerable questions are.

    exact, f1: as SQuAD counts, of answerable questions; `refused` of unanswerable, `missed` of answerable
    ones; `precision`: the right among the answers given to either.
    """
    encoded = [encode(tokenizer, example) for example in examples]
    foretold = [pair for batch in batches(encoded) for pair in each_foretold(network, batch)]
    written = [example.answer or REFUSAL for example in examples]
    wrong = [i for i, (_, right) in enumerate(foretold) if not right]
    for i, text in zip(wrong, answers(network, tokenizer, [encoded[i] for i in wrong]), strict=True):
        written[i] = text
    present = [i for i, example in enumerate(examples) if example.answer is not None]
    absent = [i for i, example in enumerate(examples) if example.answer is None]
    exact = [words(written[i]) == words(examples[i].answer or "") for i in present]
    given = sum(text != REFUSAL for text in written)
    return {
        "validation_loss": mean([loss for loss, _ in foretold]),
        "exact": mean(exact),
        "f1": mean([f1(written[i], examples[i].answer or "") for i in present]),
        "missed": mean([written[i] == REFUSAL for i in present]),
        "refused": mean([written[i] == REFUSAL for i in absent]),
        "precision": sum(exact) / max(1, given),
    }


def batches(encoded: list[Encoded]) -> Iterator[Batch]:
    """Yield examples in batches, in order."""
    for start in range(0, len(encoded), TOGETHER):
        yield padded(encoded[start : start + TOGETHER])


def each_foretold(network: Network, batch: Batch) -> list[tuple[float, bool]]:
    """Return minus the log-probability of every answer of a batch, and whether greedy decoding writes it."""
    logits = network(batch.ids, batch.rows, batch.positions)
    losses = F.cross_entropy(logits, batch.targets, reduction="none")
    missed = (logits.argmax(-1) != batch.targets).float()
    zeros = torch.zeros(len(batch.ids))
    sums = (zeros.index_add(0, batch.rows, each).tolist() for each in (losses, missed))
    return [(loss, errors == 0) for loss, errors in zip(*sums, strict=True)]


def answers(network: Network, tokenizer: Tokenizer, encoded: list[Encoded]) -> list[str]:
    """Return greedy answers; everything is read again for each token, for there is no memory."""
    (end,) = tokenizer.encode(END).ids
    written: list[list[int]] = [[] for _ in encoded]
    for start in range(0, len(encoded), TOGETHER):
        going = list(range(start, min(start + TOGETHER, len(encoded))))
        for _ in range(LONGEST):
            batch = padded([Encoded(encoded[i].prompt + written[i], [end]) for i in going])
            tokens = network(batch.ids, batch.rows, batch.positions).argmax(-1).tolist()
            for i, token in zip(going, tokens, strict=True):
                written[i].append(token)
            going = [i for i in going if written[i][-1] != end]
            if not going:
                break
    return [tokenizer.decode(ids).strip() for ids in written]


def words(text: str) -> list[str]:
    """Return what SQuAD compares: lower-case words without articles and signs."""
    return [word for word in re.findall(r"\w+", text.lower()) if word not in {"a", "an", "the"}]


def f1(one: str, other: str) -> float:
    """Return the overlap of two answers' words."""
    left, right = Counter(words(one)), Counter(words(other))
    common = (left & right).total()
    return 2 * common / (left.total() + right.total()) if common else float(left == right)


def mean(values: list[float] | list[bool]) -> float:
    """Return the mean, of nothing zero."""
    return round(sum(values) / len(values), 4) if values else 0.0


def main() -> None:
    """Print a JSON line for each file of updates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder with validation.jsonl")
    parser.add_argument("updates", type=Path, nargs="+")
    arguments = parser.parse_args()
    network = opened(arguments.base)
    tokenizer = Tokenizer.from_file(str(arguments.base / "tokenizer.json"))
    examples = Example.read(arguments.data / "validation.jsonl")
    for path in arguments.updates:
        network.take(load_file(path))
        print(json.dumps({"updates": path.name, **validate(network, tokenizer, examples)}), flush=True)


if __name__ == "__main__":
    main()
