"""What the reader knows by heart: questions without a passage, answered freely."""

from collections.abc import Sequence
from typing import Any

import torch

from bench.reader.questions import Question, is_right
from bench.reader.spans import Reader
from longctx.tasks.results import wilson
from training.reader.prompt import REFUSAL, prompt

MOST = 12  # tokens
BATCH = 16


def closed_book(reader: Reader, questions: Sequence[Question]) -> dict[str, Any]:
    """Count right answers, and refusals, to the questions that their texts answer."""
    asked = [question for question in questions if question.answers]
    told: list[str] = []
    for start in range(0, len(asked), BATCH):
        told += _written(reader, [question.ask for question in asked[start : start + BATCH]])
    right = [one for one in zip(asked, told, strict=True) if is_right(one[1], one[0])]
    return {
        "questions": len(asked),
        "right": len(right),
        "right_95": [round(bound, 4) for bound in wilson(len(right), len(asked))],
        "refused": sum(text.strip() == REFUSAL for text in told),
        "examples": [(question.ask, text) for question, text in right[:10]],
    }


def _written(reader: Reader, questions: Sequence[str]) -> list[str]:
    """Write greedily; what was written is read again at each step, the prompts only once."""
    after, cache = reader.network.read([reader.ids(prompt(question, "")) for question in questions])
    tokens = after.argmax(-1)[:, None]
    for _ in range(MOST - 1):
        later = reader.network.predict(reader.network.follow(cache, tokens[:, None])[:, 0, -1])
        tokens = torch.cat([tokens, later.argmax(-1)[:, None]], 1)
    told = [one[: one.index(reader.stop)] if reader.stop in one else one for one in tokens.tolist()]
    return [reader.tokenizer.decode(one) for one in told]
