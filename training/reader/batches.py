"""Examples as token ids, and batches of them in an order that follows from a seed."""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from training.reader.prompt import END, REFUSAL, prompt

# Lengths that batches are padded to: each is compiled once.
LENGTHS = (128, 192, 256, 320)
PADDING = 0


@dataclass(frozen=True)
class Example:
    """A question about a passage; `answer` stands in the passage word for word, or is None."""

    question: str
    passage: str
    answer: str | None
    kind: str

    @classmethod
    def read(cls, path: Path) -> list["Example"]:
        """Read a file of JSON lines with our fields."""
        with path.open(encoding="utf-8") as rows:
            return [cls(**json.loads(row)) for row in rows]


@dataclass(frozen=True)
class Encoded:
    """Token ids of an example: the prompt's, and the answer's with the end after it."""

    prompt: list[int]
    answer: list[int]

    @property
    def length(self) -> int:
        """Tokens that go through the network; the last of the answer is only a target."""
        return len(self.prompt) + len(self.answer) - 1


@dataclass(frozen=True)
class Batch:
    """Right-padded ids (B, T), and where which token must be foretold.

    Attributes:
        rows, positions, targets: (M,) one for each answer token.
    """

    ids: Tensor
    rows: Tensor
    positions: Tensor
    targets: Tensor


def encode(tokenizer: Tokenizer, example: Example, answer: str | None = None) -> Encoded:
    """Encode an example, with another answer if one is given."""
    wanted = answer or example.answer or REFUSAL
    asked = tokenizer.encode(prompt(example.question, example.passage), add_special_tokens=False).ids
    return Encoded(asked, tokenizer.encode(wanted + END, add_special_tokens=False).ids)


def padded(examples: Sequence[Encoded], length: int | None = None) -> Batch:
    """Put examples into one batch, as long as the longest or `length`."""
    width = length or max(example.length for example in examples)
    ids = torch.full((len(examples), width), PADDING)
    rows, positions, targets = list[int](), list[int](), list[int]()
    for row, example in enumerate(examples):
        whole = example.prompt + example.answer[:-1]
        ids[row, : len(whole)] = torch.tensor(whole)
        rows += [row] * len(example.answer)
        positions += range(len(example.prompt) - 1, len(whole))
        targets += example.answer
    return Batch(ids, *(torch.tensor(each) for each in (rows, positions, targets)))


def bucketed(examples: Sequence[Encoded], tokens: int, seed: int) -> Iterator[Batch]:
    """Yield batches of about `tokens` tokens of similar lengths for ever; each epoch has its own order.

    Examples longer than the last of LENGTHS are left out.
    """
    epoch = 0
    waiting: dict[int, list[Encoded]] = {length: [] for length in LENGTHS}
    while True:
        order = list(range(len(examples)))
        random.Random(f"{seed} {epoch}").shuffle(order)
        for index in order:
            length = next((size for size in LENGTHS if examples[index].length <= size), None)
            if length is None:
                continue
            waiting[length].append(examples[index])
            if len(waiting[length]) == tokens // length:
                yield padded(waiting[length], length)
                waiting[length] = []
        epoch += 1
