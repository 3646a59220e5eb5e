"""How likely it is that what the reader says is right: a logistic regression on all that is known of it."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from bench.reader.collect import Row

RIDGE = 3.0
LEXICAL = (
    "share in sentence",
    "share around",
    "rarest in sentence",
    "share in answer",
    "names missing",
    "noun beside",
    "kind fits",
    "kind differs",
    "no fact asked",
    "common words",
)


def features(row: Row, number: int) -> list[float]:
    """Return what the probability of the answer from one passage is computed from."""
    said, others = row.said[number], [one for i, one in enumerate(row.said) if i != number]
    same = [one for one in others if one["text"].lower() == said["text"].lower()]
    best = max((one["total"] for one in others), default=-20.0)
    return [
        said["total"],
        math.exp(said["total"]),
        said["total"] - said["refusal"],
        max(-20.0, said["refusal"]),
        math.exp(said["first"]),
        math.exp(said["mass"]),
        min(10.0, said["total"] - said["other"]),
        max(-10.0, min(10.0, said["total"] - best)),
        float(bool(same)),
        math.log2(1 + said["tokens"]),
        float(number == 0),
        row.passages[number]["closeness"],
        float(bool(row.near) and (row.near in said["sentence"] or said["sentence"] in row.near)),
        *(said["features"][name] for name in LEXICAL),
    ]


def proposals(rows: Sequence[Row]) -> list[tuple[Row, int]]:
    """Return all answers: their question, and the number of their passage."""
    return [(row, number) for row in rows for number, one in enumerate(row.said) if one["text"]]


def fit(rows: Sequence[Row], target: str = "right") -> "Fitted":
    """Fit by Newton's method, with a ridge on standardised features.

    Args:
        target: what is to be likely of an answer: "right", or "sentence_right".
    """
    found = proposals(rows)
    x = torch.tensor([features(*one) for one in found], dtype=torch.float64)
    y = torch.tensor([float(row.said[number][target]) for row, number in found], dtype=torch.float64)
    mean, spread = x.mean(0), x.std(0).clamp_min(1e-6)
    x = torch.cat([(x - mean) / spread, torch.ones(len(x), 1, dtype=torch.float64)], 1)
    ridge = torch.diag(torch.tensor([RIDGE] * len(mean) + [1e-9], dtype=torch.float64))
    w = torch.zeros(x.shape[1], dtype=torch.float64)
    for _ in range(12):
        p = torch.sigmoid(x @ w)
        curvature = (x * (p * (1 - p))[:, None]).T @ x + ridge
        w -= torch.linalg.solve(curvature, x.T @ (p - y) + ridge @ w)
    return Fitted(mean, spread, w)


class Fitted:
    """A regression: means, spreads, and weights with the bias last."""

    def __init__(self, mean: torch.Tensor, spread: torch.Tensor, weights: torch.Tensor) -> None:
        self.mean, self.spread, self.weights = mean, spread, weights

    def __call__(self, row: Row, number: int) -> float:
        """Return the probability that the answer from a passage is right."""
        x = (torch.tensor(features(row, number), dtype=torch.float64) - self.mean) / self.spread
        return float(torch.sigmoid(x @ self.weights[:-1] + self.weights[-1]))


def surest(rows: Sequence[Row], fitted: Fitted) -> list[dict[str, Any] | None]:
    """Return each question's surest answer, with its probability as "p"."""
    found: list[dict[str, Any] | None] = []
    for row in rows:
        own = [one | {"p": fitted(row, i)} for i, one in enumerate(row.said) if one["text"]]
        found.append(max(own, key=lambda one: one["p"], default=None))
    return found


def left_out(rows: Sequence[Row], target: str = "right") -> list[dict[str, Any] | None]:
    """Return the same, each text judged by a regression that has not seen it."""
    texts = list(dict.fromkeys(row.text for row in rows))
    fitted = {text: fit([row for row in rows if row.text != text], target) for text in texts}
    return [surest([row], fitted[row.text])[0] for row in rows]
