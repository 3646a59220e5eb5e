"""The least time a device needs for a piece of work: bytes over bandwidth or operations over rate.

Per token, a matrix costs two operations per parameter; the lightning core of a head 4 C d + 4 d^2 in chunks
of C (the part above the diagonal counted), 4 d^2 as a recurrence; softmax attention 4 h d per key seen.
Bytes are the fewest: each input read once, each output written once.
"""

from __future__ import annotations

from dataclasses import dataclass

# Of the lightning core; 64 or 256 change its operations, which never bind at head sizes up to 128.
CHUNK = 128


@dataclass(frozen=True)
class Ceilings:
    """What the device reached in this run.

    Attributes:
        bandwidth: bytes per second of a large copy, read and written bytes counted.
        rate: operations per second of a large bf16 matrix product on random data.
        launch: seconds that one empty kernel adds to a stream of them.
    """

    bandwidth: float
    rate: float
    launch: float = 0.0


# Measured on one H200; for expectations and tests. A benchmark measures its own.
H200 = Ceilings(bandwidth=4.3e12, rate=790e12, launch=2.5e-6)


@dataclass(frozen=True)
class Work:
    """Bytes moved and operations done; work of parts that run one after another adds up by `seconds`."""

    bytes: float
    flops: float

    def seconds(self, ceilings: Ceilings) -> float:
        """Return the least time."""
        return max(self.bytes / ceilings.bandwidth, self.flops / ceilings.rate)

    def __add__(self, other: Work) -> Work:
        """Return both together, perfectly overlapped."""
        return Work(self.bytes + other.bytes, self.flops + other.flops)


def lightning_prefill(tokens: int, heads: int, dim: int, itemsize: int = 2) -> Work:
    """Return the work of attention alone: q, k, v read, o written, the float32 state read and written."""
    moved = tokens * heads * 4 * dim * itemsize + 2 * heads * dim * dim * 4
    return Work(moved, tokens * heads * (4 * CHUNK * dim + 4 * dim * dim))


def lightning_decode(heads: int, dim: int, branches: int = 1, itemsize: int = 2) -> Work:
    """Return the work of one step: the state read and written; q, k, v, gate read and the row written."""
    row = 5 * heads * dim * itemsize
    return Work(branches * (2 * heads * dim * dim * 4 + row), branches * heads * 4 * dim * dim)


def attention_prefill(tokens: int, heads: int, kv_heads: int, dim: int, itemsize: int = 2) -> Work:
    """Return the work of causal softmax attention: half of the square."""
    moved = tokens * (2 * heads + 2 * kv_heads) * dim * itemsize
    return Work(moved, 4 * heads * dim * tokens * tokens / 2)


def attention_decode(keys: int, heads: int, kv_heads: int, dim: int, itemsize: int = 2) -> Work:
    """Return the work of one query token per head against `keys` keys."""
    return Work(keys * 2 * kv_heads * dim * itemsize, 4 * heads * dim * keys)


def experts(tokens: int, hidden: int, inner: int, top_k: int, n_experts: int, itemsize: int = 2) -> Work:
    """Return the work of gated experts: every expert that is touched is read once.

    Which experts a token takes is random, so the number of different ones is the expected one.
    """
    picked = n_experts * (1 - (1 - top_k / n_experts) ** tokens)
    one = 3 * hidden * inner
    return Work(picked * one * itemsize + 2 * tokens * hidden * itemsize, 2 * tokens * top_k * one)
