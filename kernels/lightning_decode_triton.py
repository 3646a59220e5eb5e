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

from longctx.kernels.chips import chip
from longctx.kernels.norm import HeadNorm
from longctx.kernels.triton_math import LOG2_E, expm1, silu

# True: the program that comes last finishes the row. False: a second kernel does, for comparison. One launch
# less in a step is worth more than the parallel second kernel: its work is an eighth of a microsecond.
ONE_KERNEL = True

# Channels that one program finishes at a time.
ROW = 8192


def lightning_decode(
    qkv: Tensor,
    gate: Tensor,
    weight: Tensor,
    slopes: Tensor,
    state: Tensor,
    eps: float,
    *,
    slots: Tensor | None = None,
    swish: bool = True,
    head_norm: HeadNorm | None = None,
    rope: tuple[Tensor, Tensor] | None = None,
    scale: float = 1.0,
    groups: int = 1,
) -> Tensor:
    """Move the states of B branches past one token each and return what goes into the output projection.

    In order: SiLU of q, k and v if `swish`; `head_norm` of q and k; rotation of the first R channels of q
    and k by `rope`, channel i with i + R / 2; q times `scale`; S <- exp(-s) S + k^T v, its change formed
    apart and added once (see `lightning._decode`); o = q S; RMSNorm of o over each group of heads; times
    `weight` and sigmoid(gate). All in float32.

    Calls on one device must be on one stream: they share a few counters, which are zero between launches.
    The first call with a number of branches and groups makes them, so it must come before a capture.

    Args:
        qkv: (B, 3 H D), q of all heads, then k, then v, before any activation; rows may be apart.
        gate: (B, H D), before the sigmoid; rows may be apart.
        weight: (H D,) float32.
        slopes: (H,) float32.
        state: (N, H, D, D) float32, contiguous, rows key channels; updated in place.
        eps: added to the mean square of the norm over heads.
        slots: (B,) int32 or int64, the state of each branch, all different; branch b has state b without it.
        head_norm: per-head norm of queries and keys.
        rope: cos and sin, each (B, R / 2) float32.
        scale: factor of the queries.
        groups: number of equal groups of heads that are normed apart.

    Returns:
        (B, H D) in qkv's dtype.

    Raises:
        ValueError: when shapes, dtypes or strides do not fit together.
    """
    batch, heads, width = qkv.shape[0], state.shape[1], state.shape[2]
    _check(qkv, gate, weight, slopes, state, slots, groups)
    half = rope[0].shape[1] if rope else 0
    if rope and (rope[0].shape != (batch, half) or rope[1].shape != rope[0].shape or 2 * half > width):
        raise ValueError(
            f"cos {tuple(rope[0].shape)} and sin {tuple(rope[1].shape)} do not fit {width} channels"
        )
    # Arguments that a variant of the kernel does not read are given some tensor of the right kind.
    cos, sin = (x.contiguous() for x in rope) if rope else (slopes, slopes)
    norm_q, norm_k = (head_norm.q, head_norm.k) if head_norm else (weight, weight)
    block_v, warps = _tile(batch * heads, width, qkv.device)
    blocks = triton.cdiv(width, block_v)
    parts = heads // groups * blocks
    gated = torch.empty(batch, heads * width, dtype=torch.float32, device=qkv.device)
    squares = torch.empty(batch, heads * blocks, dtype=torch.float32, device=qkv.device)
    out = torch.empty(batch, heads * width, dtype=qkv.dtype, device=qkv.device)
    row = min(ROW, triton.next_power_of_2(heads // groups * width))
    _decode_kernel[(blocks, heads, batch)](
        qkv,
        gate,
        weight,
        slopes,
        state,
        slopes if slots is None else slots,
        norm_q,
        norm_k,
        cos,
        sin,
        gated,
        squares,
        _counters(qkv.device, batch * groups),
        out,
        qkv.stride(0),
        gate.stride(0),
        float(scale),
        float(eps),
        float(head_norm.eps if head_norm else 0.0),
        H=heads,
        D=width,
        GROUPS=groups,
        HALF=half,
        SLOTS=slots is not None,
        SWISH=swish,
        HEAD_NORM=head_norm is not None,
        ONE=ONE_KERNEL,
        BLOCK_D=triton.next_power_of_2(width),
        BLOCK_V=block_v,
        PARTS=parts,
        PARTS_PADDED=triton.next_power_of_2(parts),
        ROW=row,
        num_warps=warps,
        num_stages=1,
    )
    if not ONE_KERNEL:
        tile = min(row, 1024)
        _finish_kernel[(triton.cdiv(heads // groups * width, tile), batch * groups)](
            gated,
            squares,
            out,
            float(eps),
            WIDTH=heads // groups * width,
            PARTS=parts,
            PARTS_PADDED=triton.next_power_of_2(parts),
            TILE=tile,
            num_warps=4,
            num_stages=1,
        )
    return out


def _check(
    qkv: Tensor,
    gate: Tensor,
    weight: Tensor,
    slopes: Tensor,
    state: Tensor,
    slots: Tensor | None,
    groups: int,
) -> None:
    batch, (states, heads, width, values) = qkv.shape[0], state.shape
    if values != width or state.dtype != torch.float32 or not state.is_contiguous():
        raise ValueError(f"state {tuple(state.shape)} must be (N, H, D, D) float32 in one piece")
    row = heads * width
    if qkv.shape != (batch, 3 * row) or gate.shape != (batch, row) or weight.shape != (row,):
        raise ValueError(f"qkv {tuple(qkv.shape)} or gate {tuple(gate.shape)} does not fit {heads} x {width}")
    if qkv.stride(1) != 1 or gate.stride(1) != 1 or slopes.shape != (heads,) or heads % groups:
        raise ValueError(
            f"channels apart, or slopes {tuple(slopes.shape)} or {groups} groups for {heads} heads"
        )
    if (batch > states) if slots is None else (slots.shape != (batch,)):
        raise ValueError(f"{batch} branches have no states of their own")


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
    """Return zeros that every launch leaves as zeros. Kept for good: graphs hold their address."""
    return torch.zeros(count, dtype=torch.int32, device=device)


@triton.jit
def _read(row, weight, d, D: tl.constexpr, HALF: tl.constexpr, HEAD_NORM: tl.constexpr):
    """Read a head's channels and the other channel of each pair, with the norm's weights of both."""
    other = tl.where(d < HALF, d + HALF, d - HALF)
    x = tl.load(row + d, mask=d < D, other=0.0)
    y = x
    x_weight = 1.0
    y_weight = 1.0
    if HALF > 0:
        y = tl.load(row + other, mask=d < 2 * HALF, other=0.0)
    if HEAD_NORM:
        x_weight = tl.load(weight + d, mask=d < D, other=0.0)
        if HALF > 0:
            y_weight = tl.load(weight + other, mask=d < 2 * HALF, other=0.0)
    return x, y, x_weight, y_weight


@triton.jit
def _read_angles(cos, sin, b, d, HALF: tl.constexpr):
    """Read cos and sin of every channel; channels that do not turn have the angle 0."""
    turn_cos = 1.0
    turn_sin = 0.0
    if HALF > 0:
        angle = b * HALF + tl.where(d < HALF, d, d - HALF)
        turn_cos = tl.load(cos + angle, mask=d < 2 * HALF, other=1.0)
        turn_sin = tl.load(sin + angle, mask=d < 2 * HALF, other=0.0)
    return turn_cos, turn_sin


@triton.jit
def _prepare(
    x, y, x_weight, y_weight, cos, sin, eps, d,
    D: tl.constexpr, HALF: tl.constexpr, SWISH: tl.constexpr, HEAD_NORM: tl.constexpr,
):  # fmt: skip
    """Activate, norm and rotate what was read of a head's query or key.

    The other channels of pairs go through all of it too, instead of being moved between threads at the end.
    """
    x = x.to(tl.float32)
    y = y.to(tl.float32)
    if SWISH:
        x = silu(x)
        y = silu(y)
    if HEAD_NORM:
        root = tl.rsqrt(tl.sum(x * x, axis=0) / D + eps)
        x = x * root * x_weight
        y = y * root * y_weight
    if HALF > 0:
        x = x * cos + tl.where(d < HALF, -y, y) * sin
    return x


@triton.jit
def _finish(
    gated, squares, out, eps, start,
    WIDTH: tl.constexpr, PARTS: tl.constexpr, PARTS_PADDED: tl.constexpr,
    TILE: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """Divide TILES tiles of a group's row, from channel `start` on, by the root of its mean square.

    Other programs wrote what is read here: it comes from the L2 (.cg), not from a multiprocessor's own cache.
    """
    at = start + tl.arange(0, TILE)
    x = tl.load(gated + at, mask=at < WIDTH, other=0.0, cache_modifier=".cg")
    part = tl.arange(0, PARTS_PADDED)
    total = tl.sum(tl.load(squares + part, mask=part < PARTS, other=0.0, cache_modifier=".cg"), axis=0)
    root = tl.rsqrt(total / WIDTH + eps)
    tl.store(out + at, (x * root).to(out.dtype.element_ty), mask=at < WIDTH)
    for _ in tl.static_range(1, TILES):
        at += TILE
        x = tl.load(gated + at, mask=at < WIDTH, other=0.0, cache_modifier=".cg")
        tl.store(out + at, (x * root).to(out.dtype.element_ty), mask=at < WIDTH)


@triton.jit
def _decode_kernel(
    qkv, gate, weight, slopes, state, slots, norm_q, norm_k, cos, sin, gated, squares, counters, out,
    qkv_stride, gate_stride, scale, eps, head_eps,
    H: tl.constexpr, D: tl.constexpr, GROUPS: tl.constexpr, HALF: tl.constexpr,
    SLOTS: tl.constexpr, SWISH: tl.constexpr, HEAD_NORM: tl.constexpr, ONE: tl.constexpr,
    BLOCK_D: tl.constexpr, BLOCK_V: tl.constexpr, PARTS: tl.constexpr, PARTS_PADDED: tl.constexpr,
    ROW: tl.constexpr,
):  # fmt: skip
    """One head of one branch, BLOCK_V value channels."""
    block, head, b = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    blocks = tl.num_programs(0)
    d = tl.arange(0, BLOCK_D)
    value = block * BLOCK_V + tl.arange(0, BLOCK_V)
    slot = b
    if SLOTS:
        slot = tl.load(slots + b).to(tl.int64)
    # All that is read, before anything waits for any of it; the state is last only because its address may
    # have to be waited for.
    row = qkv + b * qkv_stride + head * D
    channel = head * D + value
    q, q_other, q_weight, q_other_weight = _read(row, norm_q, d, D, HALF, HEAD_NORM)
    k, k_other, k_weight, k_other_weight = _read(row + H * D, norm_k, d, D, HALF, HEAD_NORM)
    v = tl.load(row + 2 * H * D + value, mask=value < D, other=0.0)
    turn_cos, turn_sin = _read_angles(cos, sin, b, d, HALF)
    raw_gate = tl.load(gate + b * gate_stride + channel, mask=value < D, other=0.0)
    out_weight = tl.load(weight + channel, mask=value < D, other=0.0)
    slope = tl.load(slopes + head)
    entry = state + (slot * H + head) * (D * D) + d[:, None] * D + value[None, :]
    inside = (d < D)[:, None] & (value < D)[None, :]
    old = tl.load(entry, mask=inside, other=0.0)

    q = _prepare(
        q, q_other, q_weight, q_other_weight, turn_cos, turn_sin, head_eps, d, D, HALF, SWISH, HEAD_NORM
    )
    k = _prepare(
        k, k_other, k_weight, k_other_weight, turn_cos, turn_sin, head_eps, d, D, HALF, SWISH, HEAD_NORM
    )
    v = v.to(tl.float32)
    if SWISH:
        v = silu(v)
    loss = expm1(-slope)
    new = old + (old * loss + k[:, None] * v[None, :])
    o = tl.sum((q * scale)[:, None] * new, axis=0)
    factor = out_weight / (1.0 + tl.exp2(raw_gate.to(tl.float32) * -LOG2_E))
    tl.store(gated + b * (H * D) + channel, o * factor, mask=value < D)
    tl.store(squares + (b * H + head) * blocks + block, tl.sum(o * o, axis=0))
    if ONE:
        group = b * GROUPS + head // (H // GROUPS)
        # All threads have issued their stores before one of them counts the program; the count releases them
        # to the program that comes last, and what that one reads afterwards is not older than the count.
        tl.debug_barrier()
        before = tl.atomic_add(counters + group, 1, sem="acq_rel", scope="gpu")
        # Stored only now: the count would have to wait until all of it has arrived in memory.
        tl.store(entry, new, mask=inside)
        if before == PARTS - 1:
            WIDTH: tl.constexpr = H // GROUPS * D
            gated += group * WIDTH
            out += group * WIDTH
            squares += group * PARTS
            _finish(gated, squares, out, eps, 0, WIDTH, PARTS, PARTS_PADDED, ROW, (WIDTH + ROW - 1) // ROW)
            tl.store(counters + group, 0)
    else:
        tl.store(entry, new, mask=inside)


@triton.jit
def _finish_kernel(
    gated, squares, out, eps,
    WIDTH: tl.constexpr, PARTS: tl.constexpr, PARTS_PADDED: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """One tile of the row of one group of one branch."""
    group = tl.program_id(1).to(tl.int64)
    gated += group * WIDTH
    out += group * WIDTH
    start = tl.program_id(0) * TILE
    _finish(gated, squares + group * PARTS, out, eps, start, WIDTH, PARTS, PARTS_PADDED, TILE, 1)
