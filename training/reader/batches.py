"""Examples as token ids, and batches of them in an order that follows from a seed."""

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

PADDING, FIRST, SEPARATOR = 0, 101, 102
QUESTION, LONGEST = 48, 320  # tokens kept of a question, and of all


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
    """Token ids of an example, where its passage begins, and the tokens that answers start and end at.

    An answer that stands in the passage more than once has as many starts; without an answer both are (0,),
    the first token.
    """

    ids: list[int]
    passage: int
    starts: tuple[int, ...]
    ends: tuple[int, ...]


def encode(example: Example, tokenizer: Tokenizer) -> Encoded | None:
    """Return an example as token ids; None if its answer falls behind the longest."""
    asked = tokenizer.encode(example.question, add_special_tokens=False).ids[:QUESTION]
    read = tokenizer.encode(example.passage, add_special_tokens=False)
    ids = [FIRST, *asked, SEPARATOR, *read.ids[: LONGEST - len(asked) - 3], SEPARATOR]
    at = len(asked) + 2
    if example.answer is None:
        return Encoded(ids, at, (0,), (0,))
    starts, ends = [], []
    for match in re.finditer(re.escape(example.answer), example.passage):
        own = [i for i, (a, b) in enumerate(read.offsets) if a < match.end() and b > match.start()]
        if own and at + own[-1] < len(ids) - 1:
            starts.append(at + own[0])
            ends.append(at + own[-1])
    return Encoded(ids, at, tuple(starts), tuple(ends)) if starts else None


def encode_all(examples: Sequence[Example], tokenizer: Tokenizer) -> list[Encoded]:
    """Return all that fit."""
    return [one for one in (encode(example, tokenizer) for example in examples) if one is not None]


def batches(examples: Sequence[Encoded], tokens: int, seed: int) -> Iterator[list[Encoded]]:
    """Yield all examples once, in batches of near lengths that hold `tokens` with padding at most."""
    dice = random.Random(seed)
    order = dice.sample(range(len(examples)), len(examples))
    made: list[list[Encoded]] = []
    for start in range(0, len(order), 2048):  # lengths are sorted within these alone: other batches each time
        some = sorted((examples[i] for i in order[start : start + 2048]), key=lambda one: len(one.ids))
        batch: list[Encoded] = []
        for one in some:
            if batch and len(one.ids) * (len(batch) + 1) > tokens:
                made.append(batch)
                batch = []
            batch.append(one)
        made.append(batch)
    dice.shuffle(made)
    yield from made


def tensors(batch: Sequence[Encoded]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return ids, parts, the mask, the scores that may be chosen, and the right ones.

    Returns:
        ids, parts (B, T), mask (B, T), allowed (B, T): true for the first token and the passage's,
        right (B, 2, T): true at starts and at ends.
    """
    longest = max(len(one.ids) for one in batch)
    ids = torch.full((len(batch), longest), PADDING)
    parts, allowed = torch.zeros_like(ids), torch.zeros(len(batch), longest, dtype=torch.bool)
    right = torch.zeros(len(batch), 2, longest, dtype=torch.bool)
    for row, one in enumerate(batch):
        ids[row, : len(one.ids)] = torch.tensor(one.ids)
        parts[row, one.passage : len(one.ids)] = 1
        allowed[row, 0] = True
        allowed[row, one.passage : len(one.ids) - 1] = True
        right[row, 0, list(one.starts)] = True
        right[row, 1, list(one.ends)] = True
    return ids, parts, ids != PADDING, allowed, right
