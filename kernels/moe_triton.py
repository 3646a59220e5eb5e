"""Experts on NVIDIA devices: matrix-vector products for a few tokens, and the weighted sum for many.

With a handful of tokens nothing is reused: the time goes into reading the chosen experts' weights once. So
there are no tensor cores here, but wide loads and enough small programs to keep the memory busy.
Everything that depends on the chosen experts is read on the device: no host synchronisation, so a step can be
captured in a CUDA graph. Sums have a fixed order; nothing is atomic.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from longctx.kernels.chips import on_device
from longctx.kernels.triton_math import silu

# Rows of a weight that one program loads at once. With 16-byte loads that is 16 bfloat16 numbers a thread and
# matrix, and leaves room for at least six programs of four warps on a multiprocessor: some 50 KB of loads in
# flight, where an H200's memory asks for 26 (4.3 TB/s times 0.8 us, over 132 multiprocessors).
ROWS = 2
WARPS = 4


@on_device
def moe_decode(x: Tensor, chosen: Tensor, weights: Tensor, w1: Tensor, w3: Tensor, w2: Tensor) -> Tensor:
    """Return the weighted sum of each token's experts, (SiLU(x w1^T) * (x w3^T)) w2^T.

    Products and sums are float32; the inner activations are rounded to x's dtype, as torch's products do.

    Args:
        x: (T, D), T small. chosen: (T, k) integers, the experts of each token. weights: (T, k) float32.
        w1, w3: (E, F, D). w2: (E, D, F); contiguous, in x's dtype.

    Returns:
        (T, D) in x's dtype.
    """
    tokens, width = x.shape
    top_k, inner = chosen.shape[1], w1.shape[1]
    x, chosen, weights = x.contiguous(), chosen.contiguous(), weights.contiguous()
    hidden = torch.empty(tokens * top_k, inner, dtype=x.dtype, device=x.device)
    out = torch.empty_like(x)
    columns, warps = piece(width, x.itemsize)
    _inner[(triton.cdiv(inner, ROWS), tokens * top_k)](
        x, chosen, w1, w3, hidden, K=top_k, D=width, F=inner, ROWS=ROWS, COLUMNS=columns, num_warps=warps
    )
    columns, warps = piece(inner, x.itemsize)
    _outer[(triton.cdiv(width, ROWS), tokens)](
        hidden, chosen, weights, w2, out,
        K=top_k, D=width, F=inner, ROWS=ROWS, COLUMNS=columns, num_warps=warps,
    )  # fmt: skip
    return out


@on_device
def moe_combine(results: Tensor, position: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted sum over each token's k results, which may be any of the rows.

    Args:
        results: (N, D). position: (T, k) integers, the row of each result. weights: (T, k) float32.

    Returns:
        (T, D) in the dtype of the results; summed in float32 in the order of k.
    """
    tokens, top_k = position.shape
    width = results.shape[1]
    out = torch.empty(tokens, width, dtype=results.dtype, device=results.device)
    columns = min(1024, triton.next_power_of_2(width))
    # Tokens first: the second axis of a grid ends at 65,535.
    _combine[(tokens, triton.cdiv(width, columns))](
        results.contiguous(), position.contiguous(), weights.contiguous(), out,
        K=top_k, D=width, COLUMNS=columns, num_warps=WARPS,
    )  # fmt: skip
    return out


def piece(columns: int, itemsize: int) -> tuple[int, int]:
    """Return how many columns of a row the warps of a program read at once, and how many warps.

    Each thread reads 16 bytes: then a row of a weight and the vector it is multiplied with are spread over
    the threads in the same way, and nothing has to pass through shared memory before the final sum.
    """
    vector = 32 * 16 // itemsize  # numbers that one warp reads
    warps = WARPS
    while warps > 1 and warps * vector > triton.next_power_of_2(columns):
        warps //= 2
    return min(warps * vector, triton.next_power_of_2(columns)), warps


@triton.jit
def _inner(
    x, chosen, w1, w3, hidden,
    K: tl.constexpr, D: tl.constexpr, F: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Write SiLU(x w1^T) * (x w3^T) for ROWS inner channels of one pair of token and expert."""
    pair = tl.program_id(1)
    token = pair // K
    expert = tl.load(chosen + pair).to(tl.int64)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)[None, :]  # in the layout of weights: no moves between threads
    # E * F * D passes 2^31 in published models.
    start = expert * F * D + row.to(tl.int64)[:, None] * D
    # One sum per element of the tile, added up across threads once, at the end.
    gate = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    value = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for at in range(0, D, COLUMNS):
        inside = (row < F)[:, None] & (at + column < D)
        # Weights are used once and must not evict the activations from the cache.
        a = tl.load(w1 + start + at + column, mask=inside, other=0.0, eviction_policy="evict_first")
        b = tl.load(w3 + start + at + column, mask=inside, other=0.0, eviction_policy="evict_first")
        u = tl.load(x + token.to(tl.int64) * D + at + column, mask=at + column < D, other=0.0)
        u = u.to(tl.float32)
        gate += a.to(tl.float32) * u
        value += b.to(tl.float32) * u
    total = tl.sum(gate, axis=1)
    inner = silu(total) * tl.sum(value, axis=1)
    tl.store(hidden + pair.to(tl.int64) * F + row, inner.to(hidden.dtype.element_ty), mask=row < F)


@triton.jit
def _outer(
    hidden, chosen, weights, w2, out,
    K: tl.constexpr, D: tl.constexpr, F: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Write ROWS channels of one token: the weighted sum over its K experts of hidden w2^T."""
    token = tl.program_id(1)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)[None, :]
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for at in range(0, F, COLUMNS):
        inside = (row < D)[:, None] & (at + column < F)
        # Unrolled, so that the loads of all experts overlap.
        for slot in tl.static_range(K):
            pair = token * K + slot
            expert = tl.load(chosen + pair).to(tl.int64)
            weight = tl.load(weights + pair)
            start = expert * D * F + row.to(tl.int64)[:, None] * F
            a = tl.load(w2 + start + at + column, mask=inside, other=0.0, eviction_policy="evict_first")
            h = tl.load(hidden + pair.to(tl.int64) * F + at + column, mask=at + column < F, other=0.0)
            total += a.to(tl.float32) * (weight * h.to(tl.float32))
    result = tl.sum(total, axis=1)
    tl.store(out + token.to(tl.int64) * D + row, result.to(out.dtype.element_ty), mask=row < D)


@triton.jit
def _combine(
    results, position, weights, out,
    K: tl.constexpr, D: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Write COLUMNS channels of one token: the weighted sum of its K rows."""
    token = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros((COLUMNS,), dtype=tl.float32)
    for slot in tl.static_range(K):
        row = tl.load(position + token * K + slot).to(tl.int64)
        weight = tl.load(weights + token * K + slot)
        piece = tl.load(results + row * D + column, mask=column < D, other=0.0)
        total += weight * piece.to(tl.float32)
    tl.store(out + token * D + column, total.to(out.dtype.element_ty), mask=column < D)
