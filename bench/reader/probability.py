"""How likely it is that what the reader says is right: a logistic regression on what is known of it."""

from collections.abc import Sequence
from typing import Any

import torch

from bench.reader.collect import Row

RIDGE = 30.0


def fit(rows: Sequence[Row], target: str = "right") -> "Fitted":
    """Fit by Newton's method, with a ridge on standardised features.

    Args:
        target: what is to be likely of an answer: "right", or "sentence_right".
    """
    found = [one for row in rows for one in row.said]
    names = list(found[0]["features"])
    x = torch.tensor([[one["features"][name] for name in names] for one in found], dtype=torch.float64)
    y = torch.tensor([float(one[target]) for one in found], dtype=torch.float64)
    mean, spread = x.mean(0), x.std(0).clamp_min(1e-6)
    x = torch.cat([(x - mean) / spread, torch.ones(len(x), 1, dtype=torch.float64)], 1)
    ridge = torch.diag(torch.tensor([RIDGE] * len(mean) + [1e-9], dtype=torch.float64))
    w = torch.zeros(x.shape[1], dtype=torch.float64)
    for _ in range(12):
        p = torch.sigmoid(x @ w)
        curvature = (x * (p * (1 - p))[:, None]).T @ x + ridge
        w -= torch.linalg.solve(curvature, x.T @ (p - y) + ridge @ w)
    own = w[:-1] / spread
    return Fitted(dict(zip(names, own.tolist(), strict=True)), float(w[-1] - (own * mean).sum()))


class Fitted:
    """A regression: a weight for each feature, and a bias."""

    def __init__(self, weights: dict[str, float], bias: float) -> None:
        self.weights, self.bias = weights, bias

    def __call__(self, said: dict[str, Any]) -> float:
        """Return the probability that an answer is right."""
        score = self.bias + sum(self.weights[name] * value for name, value in said["features"].items())
        return float(torch.sigmoid(torch.tensor(score)))


def surest(rows: Sequence[Row], fitted: Fitted) -> list[dict[str, Any] | None]:
    """Return each question's surest answer, with its probability as "p"."""
    found: list[dict[str, Any] | None] = []
    for row in rows:
        own = [one | {"p": fitted(one)} for one in row.said]
        found.append(max(own, key=lambda one: one["p"], default=None))
    return found


def left_out(rows: Sequence[Row], target: str = "right") -> list[dict[str, Any] | None]:
    """Return the same, each text judged by a regression that has not seen it."""
    texts = list(dict.fromkeys(row.text for row in rows))
    fitted = {text: fit([row for row in rows if row.text != text], target) for text in texts}
    return [surest([row], fitted[row.text])[0] for row in rows]
