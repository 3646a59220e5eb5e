"""One token through a lightning layer, from the raw projection to the gate, as one Triton kernel.

Every program owns one head of one branch and a block of its value channels: it reads its part of the state
once, writes it once, and has a block of the output. The norm that follows needs all heads of the branch. So
each program leaves its part of the row and its sum of squares in memory and counts itself; the one that comes
last divides the row by the norm. Nothing waits, and sums are taken in one order whoever comes last.

Everything that differs between steps is read from memory, so a CUDA graph can hold the launch.
"""

from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from longctx.kernels.chips import chip, on_device
from longctx.kernels.triton_math import LOG2_E, expm1, silu

# Channels that a program finishes at a time.
ROW = 8192


@on_device
def lightning_decode(
    qkv: Tensor, gate: Tensor, weight: Tensor, slopes: Tensor, state: Tensor, eps: float
) -> Tensor:
    """Move the states of B branches past one token each and return what goes into the output projection.

    In order: SiLU of q, k and v; S <- exp(-s) S + k^T v, its change formed apart and added once (see
    `lightning._decode`); o = q S; RMSNorm of o over all heads; times `weight` and sigmoid(gate). All in
    float32.

    Calls on one device must be on one stream: they share a few counters, which are zero between launches.
    The first call with a number of branches makes them, so it must come before a capture.

    Args:
        qkv: (B, 3 H D), q of all heads, then k, then v, before any activation; rows may be apart.
        gate: (B, H D), before the sigmoid; rows may be apart.
        weight: (H D,) float32. slopes: (H,) float32.
        state: (B, H, D, D) float32, contiguous, rows key channels; updated in place.
        eps: added to the mean square of the norm.

    Returns:
        (B, H D) in qkv's dtype.

    Raises:
        ValueError: when shapes, dtypes or strides do not fit together.
    """
    batch, heads, width = state.shape[:3]
    _check(qkv, gate, weight, slopes, state)
    block_v, warps = _tile(batch * heads, width, qkv.device)
    parts = heads * triton.cdiv(width, block_v)
    gated = torch.empty(batch, heads * width, dtype=torch.float32, device=qkv.device)
    squares = torch.empty(batch, parts, dtype=torch.float32, device=qkv.device)
    out = torch.empty(batch, heads * width, dtype=qkv.dtype, device=qkv.device)
    _lightning_decode[(triton.cdiv(width, block_v), heads, batch)](
        qkv, gate, weight, slopes, state, gated, squares, _counters(qkv.device, batch), out,
        qkv.stride(0), gate.stride(0), float(eps),
        H=heads, D=width, BLOCK_D=triton.next_power_of_2(width), BLOCK_V=block_v, PARTS=parts,
        PARTS_PADDED=triton.next_power_of_2(parts), ROW=min(ROW, triton.next_power_of_2(heads * width)),
        num_warps=warps, num_stages=1,
    )  # fmt: skip
    return out


def _check(qkv: Tensor, gate: Tensor, weight: Tensor, slopes: Tensor, state: Tensor) -> None:
    batch, heads, width, values = state.shape
    row = heads * width
    if values != width or state.dtype != torch.float32 or not state.is_contiguous():
        raise ValueError(f"state {tuple(state.shape)} must be (B, H, D, D) float32 in one piece")
    if qkv.shape != (batch, 3 * row) or gate.shape != (batch, row) or weight.shape != (row,):
        raise ValueError(f"qkv {tuple(qkv.shape)} or gate {tuple(gate.shape)} does not fit {heads} x {width}")
    if qkv.stride(1) != 1 or gate.stride(1) != 1 or slopes.shape != (heads,):
        raise ValueError(f"channels apart, or slopes {tuple(slopes.shape)} for {heads} heads")


def _tile(rows: int, width: int, device: torch.device) -> tuple[int, int]:
    """Return value channels and warps of a program for `rows` heads of all branches.

    Wide blocks read the queries and keys fewer times and have fewer parts to count; narrow ones fill the chip
    when heads are few: about one program per multiprocessor keeps its memory busy. A thread holds 32
    entries of the state, all of which are on their way at once.
    """
    padded = triton.next_power_of_2(width)
    block = min(64, padded)
    while block > 16 and 6 * rows * triton.cdiv(width, block) < 5 * chip(device).multiprocessors:
        block //= 2
    return block, max(4, min(8, padded * block // 1024))


@cache
def _counters(device: torch.device, count: int) -> Tensor:
    """Return zeros, which every launch leaves zero. Kept for good: graphs hold their address."""
    return torch.zeros(count, dtype=torch.int32, device=device)


@triton.jit
def _lightning_decode(
    qkv, gate, weight, slopes, state, gated, squares, counters, out, qkv_stride, gate_stride, eps,
    H: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_V: tl.constexpr, PARTS: tl.constexpr,
    PARTS_PADDED: tl.constexpr, ROW: tl.constexpr,
):  # fmt: skip
    """One head of one branch, BLOCK_V value channels."""
    block, head, b = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    blocks = tl.num_programs(0)
    d = tl.arange(0, BLOCK_D)
    value = block * BLOCK_V + tl.arange(0, BLOCK_V)
    # Issue all loads before anything waits for one.
    row = qkv + b * qkv_stride + head * D
    channel = head * D + value
    q = tl.load(row + d, mask=d < D, other=0.0)
    k = tl.load(row + H * D + d, mask=d < D, other=0.0)
    v = tl.load(row + 2 * H * D + value, mask=value < D, other=0.0)
    raw_gate = tl.load(gate + b * gate_stride + channel, mask=value < D, other=0.0)
    out_weight = tl.load(weight + channel, mask=value < D, other=0.0)
    slope = tl.load(slopes + head)
    entry = state + (b * H + head) * (D * D) + d[:, None] * D + value[None, :]
    inside = (d < D)[:, None] & (value < D)[None, :]
    old = tl.load(entry, mask=inside, other=0.0)

    q = silu(q.to(tl.float32))
    k = silu(k.to(tl.float32))
    v = silu(v.to(tl.float32))
    new = old + (old * expm1(-slope) + k[:, None] * v[None, :])
    o = tl.sum(q[:, None] * new, axis=0)
    factor = out_weight / (1.0 + tl.exp2(raw_gate.to(tl.float32) * -LOG2_E))
    tl.store(gated + b * (H * D) + channel, o * factor, mask=value < D)
    tl.store(squares + (b * H + head) * blocks + block, tl.sum(o * o, axis=0))
    # All threads have issued their stores before one of them counts the program; the count releases them to
    # the program that comes last, and what that one reads afterwards is not older than the count.
    tl.debug_barrier()
    before = tl.atomic_add(counters + b, 1, sem="acq_rel", scope="gpu")
    # Stored only now: otherwise the count would wait until all of it has reached memory.
    tl.store(entry, new, mask=inside)
    if before == PARTS - 1:
        width: tl.constexpr = H * D
        _finish(gated + b * width, squares + b * PARTS, out + b * width, eps, width, PARTS, PARTS_PADDED, ROW)
        tl.store(counters + b, 0)


@triton.jit
def _finish(
    gated, squares, out, eps,
    WIDTH: tl.constexpr, PARTS: tl.constexpr, PARTS_PADDED: tl.constexpr, ROW: tl.constexpr,
):  # fmt: skip
    """Divide a branch's row by the root of its mean square.

    Other programs wrote these values: they come from the L2 (.cg), not from a multiprocessor's own cache.
    """
    at = tl.arange(0, ROW)
    x = tl.load(gated + at, mask=at < WIDTH, other=0.0, cache_modifier=".cg")
    part = tl.arange(0, PARTS_PADDED)
    total = tl.sum(tl.load(squares + part, mask=part < PARTS, other=0.0, cache_modifier=".cg"), axis=0)
    root = tl.rsqrt(total / WIDTH + eps)
    tl.store(out + at, (x * root).to(out.dtype.element_ty), mask=at < WIDTH)
    for _ in tl.static_range(1, (WIDTH + ROW - 1) // ROW):
        at += ROW
        x = tl.load(gated + at, mask=at < WIDTH, other=0.0, cache_modifier=".cg")
        tl.store(out + at, (x * root).to(out.dtype.element_ty), mask=at < WIDTH)
