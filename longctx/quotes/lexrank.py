"""LexRank (Erkan and Radev 2004): a text is central if many central texts resemble it. Knows words only."""

from collections import Counter
from collections.abc import Sequence
from math import log
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

SIMILAR = 0.1  # the threshold of the paper
PRECISION = 1e-4  # of the scores, whose squares add up to 1 while they converge


def centrality(texts: Sequence[Sequence[str]]) -> "NDArray[float64]":
    """Score texts (len(texts),), each given as its words, by how central they are; the average is 1."""
    import numpy

    matrix = similarities(texts).T
    scores = numpy.full(len(texts), 1 / len(texts))
    change = 1.0
    while change > PRECISION:
        before, scores = scores, matrix @ scores
        scores /= numpy.linalg.norm(scores)
        change = float(numpy.linalg.norm(scores - before))
    average: float64 = scores.mean()
    return scores / average


def similarities(texts: Sequence[Sequence[str]]) -> "NDArray[float64]":
    """Return the similarities (len(texts), len(texts)) as a transition matrix: rows add up to 1."""
    import numpy

    counts = [Counter(text) for text in texts]
    having = Counter(word for count in counts for word in count)
    column = {word: number for number, word in enumerate(having)}
    weights = numpy.zeros((len(texts), len(column)))  # (text, word): tf * idf
    for row, count in enumerate(counts):
        most = max(count.values(), default=1)
        for word, times in count.items():
            weights[row, column[word]] = times / most * log(len(texts) / (1 + having[word]))
    lengths = numpy.linalg.norm(weights, axis=1, keepdims=True)
    weights /= numpy.where(lengths > 0, lengths, 1)
    similar = (weights @ weights.T > SIMILAR).astype(numpy.float64)
    numpy.fill_diagonal(similar, 1)  # even if all weights are zero, as for two equal sentences
    matrix: NDArray[float64] = similar / similar.sum(axis=1, keepdims=True)
    return matrix
