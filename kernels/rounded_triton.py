"""Products with weights of 8 or 4 bits on NVIDIA devices; see `rounded.RoundedMatrix` for their layout.

For a few tokens programs read integers and add products up in float32. For many, a matrix is widened in one
pass; experts are not, which would take a gigabyte: their tiles are widened in registers, on the way to the
tensor cores. Which experts there are is read on the device, so nothing waits for the host, and sums have a
fixed order.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from longctx.kernels import rounded
from longctx.kernels.chips import on_device
from longctx.kernels.quantized import Activation, activate
from longctx.kernels.rounded import RoundedMatrix
from longctx.kernels.triton_math import LOG2_E, dot, silu

FEW = 16  # tokens up to which integers are read again for each, from the second time on out of the L2
ROWS = 4  # of a matrix, read by one program
PIECES = 64  # of 16 bytes, read of each row at once: 32 bytes a thread, and as many from the second matrix
WIDEN = 4096  # numbers that a program widens
TILE = 128  # rows of a matrix in a tile
DEPTH = 4  # pieces of 16 bytes in a tile
TOKENS = (16, 64, 128)  # in a tile: as many as an expert has on average, if it can be


@on_device
def rounded_linear(
    x: Tensor, weight: RoundedMatrix, activation: Activation = "none", dtype: torch.dtype | None = None
) -> Tensor:
    """Return activation(x W^T).

    Args:
        x: (..., in), float. weight: a matrix (out, in). dtype: of the result; None: x's.
    """
    flat = x.reshape(-1, x.shape[-1])
    if len(flat) > FEW:
        if dtype not in (None, x.dtype):  # logits of many tokens: rare, and the head is large
            return rounded.rounded_linear(x, weight, activation, dtype)
        return activate(torch.nn.functional.linear(x, widen(weight, x.dtype)), activation)
    out = torch.empty(len(flat), len(weight), dtype=dtype or x.dtype, device=x.device)
    _few[(triton.cdiv(len(weight), ROWS), len(flat))](
        flat.contiguous(), weight.levels, weight.steps, out,
        OUT=len(weight), ACTIVATION=activation, **_sizes(weight),
    )  # fmt: skip
    return out.view(*x.shape[:-1], -1)


def widen(weight: RoundedMatrix, dtype: torch.dtype) -> Tensor:
    """Return the weights of a matrix, (out, in), in a dtype."""
    return _widen_on(weight.levels, weight, dtype)


@on_device
def _widen_on(levels: Tensor, weight: RoundedMatrix, dtype: torch.dtype) -> Tensor:
    rows, columns = weight.shape
    out = torch.empty(rows, columns, dtype=dtype, device=levels.device)
    pieces = rows * levels.shape[1] // 16
    _widen[(triton.cdiv(pieces, WIDEN // 32),)](
        levels, weight.steps, out, pieces,
        IN=columns, BITS=weight.bits, PIECES=WIDEN // 32, num_warps=4,
    )  # fmt: skip
    return out


@on_device
def moe_decode(
    x: Tensor, chosen: Tensor, weights: Tensor, w1: RoundedMatrix, w3: RoundedMatrix, w2: RoundedMatrix
) -> Tensor:
    """Return the weighted sum of each token's experts, as `moe_triton.moe_decode` does of plain ones.

    Args:
        x: (T, D), T small. chosen: (T, k) integers. weights: (T, k) float32.
        w1, w3: (E, F, D). w2: (E, D, F).

    Returns:
        (T, D) in x's dtype.
    """
    tokens, width = x.shape
    top_k, inner = chosen.shape[1], w1.shape[1]
    x, chosen, weights = x.contiguous(), chosen.contiguous(), weights.contiguous()
    hidden = torch.empty(tokens * top_k, inner, dtype=x.dtype, device=x.device)
    out = torch.empty_like(x)
    _inner[(triton.cdiv(inner, ROWS), tokens * top_k)](
        x, chosen, w1.levels, w1.steps, w3.levels, w3.steps, hidden, K=top_k, OUT=inner, **_sizes(w1)
    )
    _outer[(triton.cdiv(width, ROWS), tokens)](
        hidden, chosen, weights, w2.levels, w2.steps, out, K=top_k, OUT=width, **_sizes(w2)
    )
    return out


@on_device
def grouped_product(rows: Tensor, stack: RoundedMatrix, ends: Tensor, slots: Tensor | None = None) -> Tensor:
    """Return rows W^T, each group of rows with its own matrix of the stack; weights are widened to 16 bits.

    Args:
        rows: (N, in), bfloat16 or float16. stack: (E, out, in). ends: (E,) int32, where groups end.
        slots: (E,) integers, the matrix of each group in a stack of others; None: they have its order.

    Returns:
        (N, out) in the rows' dtype.
    """
    count, members, (_, height, width) = len(rows), len(ends), stack.shape
    size = next((size for size in TOKENS if count <= size * members), TOKENS[-1])
    experts, firsts = _tiles(ends, count, size)
    places = experts if slots is None else slots[experts.clamp(max=members - 1).long()]
    out = torch.empty(count, height, dtype=rows.dtype, device=rows.device)
    _grouped[(triton.cdiv(height, TILE), len(experts))](
        rows.contiguous(), stack.levels, stack.steps, experts, places, firsts, ends, out,
        E=members, OUT=height, IN=width, BITS=stack.bits, TOKENS=size, TILE=TILE, DEPTH=DEPTH,
        WIDE=triton.knobs.runtime.interpret, num_warps=8, num_stages=3,
    )  # fmt: skip
    return out


def _tiles(ends: Tensor, count: int, size: int) -> tuple[Tensor, Tensor]:
    """Return the expert of each tile of up to `size` rows, and its first row.

    Where the expert is beyond the last, there is no tile: how many there are is known on the device alone.
    """
    starts = torch.cat((ends.new_zeros(1), ends[:-1]))
    tiles = (ends - starts + size - 1) // size
    until = tiles.cumsum(0, dtype=torch.int32)
    number = torch.arange(count // size + min(count, len(ends)), dtype=torch.int32, device=ends.device)
    expert = torch.searchsorted(until, number, right=True, out_int32=True)
    held = expert.clamp(max=len(ends) - 1).long()
    return expert, starts[held] + (number - (until - tiles)[held]) * size


def _sizes(weight: RoundedMatrix) -> dict[str, int]:
    """Return what kernels for a few tokens must know of a matrix, and how many warps read it."""
    pieces = min(PIECES, triton.next_power_of_2(weight.levels.shape[-1] // 16))
    warps = max(1, min(4, ROWS * pieces // 32))
    return {"IN": weight.shape[-1], "BITS": weight.bits, "ROWS": ROWS, "PIECES": pieces, "num_warps": warps}


@triton.jit
def _sums(
    x, levels, steps, row, inside,
    IN: tl.constexpr, BITS: tl.constexpr, ROWS: tl.constexpr, PIECES: tl.constexpr,
):  # fmt: skip
    """Return the products of ROWS rows with a vector, (ROWS,) float32.

    The 16 bytes of a piece are one load of one thread. In 4 bits they are a group, so its step is applied to
    the sum over it.
    """
    count: tl.constexpr = IN * BITS // 128
    byte = tl.arange(0, 16)
    total = tl.zeros((ROWS, PIECES), dtype=tl.float32)
    for at in range(0, count, PIECES):
        piece = at + tl.arange(0, PIECES)
        here = inside[:, None] & (piece < count)[None, :]
        start = row[:, None] * count + piece[None, :]
        # Weights are used once and must not evict the activations from the cache.
        packed = tl.load(
            levels + start[:, :, None] * 16 + byte[None, None, :], mask=here[:, :, None], other=0,
            eviction_policy="evict_first",
        )  # fmt: skip
        column = piece[:, None] * (128 // BITS) + byte[None, :]
        u = tl.load(x + column, mask=(piece < count)[:, None], other=0.0).to(tl.float32)
        if BITS == 4:
            v = tl.load(x + column + 16, mask=(piece < count)[:, None], other=0.0).to(tl.float32)
            low = ((packed & 15).to(tl.int32) - 8).to(tl.float32)
            high = ((packed >> 4).to(tl.int32) - 8).to(tl.float32)
            part = tl.sum(low * u[None, :, :] + high * v[None, :, :], axis=2)
            total += part * tl.load(steps + start, mask=here, other=0.0).to(tl.float32)
        else:
            total += tl.sum(packed.to(tl.float32) * u[None, :, :], axis=2)
    sums = tl.sum(total, axis=1)
    if BITS == 8:
        sums *= tl.load(steps + row, mask=inside, other=0.0)
    return sums


@triton.jit
def _few(
    x, levels, steps, out,
    OUT: tl.constexpr, ACTIVATION: tl.constexpr,
    IN: tl.constexpr, BITS: tl.constexpr, ROWS: tl.constexpr, PIECES: tl.constexpr,
):  # fmt: skip
    """Write ROWS channels of one token."""
    token = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    sums = _sums(x + token * IN, levels, steps, row, row < OUT, IN, BITS, ROWS, PIECES)
    if ACTIVATION == "silu":
        sums = silu(sums)
    elif ACTIVATION == "sigmoid":
        sums = 1.0 / (1.0 + tl.exp2(sums * -LOG2_E))
    tl.store(out + token * OUT + row, sums.to(out.dtype.element_ty), mask=row < OUT)


@triton.jit
def _inner(
    x, chosen, levels1, steps1, levels3, steps3, hidden,
    K: tl.constexpr, OUT: tl.constexpr,
    IN: tl.constexpr, BITS: tl.constexpr, ROWS: tl.constexpr, PIECES: tl.constexpr,
):  # fmt: skip
    """Write SiLU(x w1^T) * (x w3^T) for ROWS inner channels of one pair of token and expert."""
    pair = tl.program_id(1).to(tl.int64)
    channel = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    row = tl.load(chosen + pair).to(tl.int64) * OUT + channel
    u = x + pair // K * IN
    gate = _sums(u, levels1, steps1, row, channel < OUT, IN, BITS, ROWS, PIECES)
    value = _sums(u, levels3, steps3, row, channel < OUT, IN, BITS, ROWS, PIECES)
    result = (silu(gate) * value).to(hidden.dtype.element_ty)
    tl.store(hidden + pair * OUT + channel, result, mask=channel < OUT)


@triton.jit
def _outer(
    hidden, chosen, weights, levels, steps, out,
    K: tl.constexpr, OUT: tl.constexpr,
    IN: tl.constexpr, BITS: tl.constexpr, ROWS: tl.constexpr, PIECES: tl.constexpr,
):  # fmt: skip
    """Write ROWS channels of one token: the weighted sum over its K experts of hidden w2^T."""
    token = tl.program_id(1).to(tl.int64)
    channel = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    total = tl.zeros((ROWS,), dtype=tl.float32)
    # Unrolled, so that the loads of all experts overlap.
    for slot in tl.static_range(K):
        pair = token * K + slot
        row = tl.load(chosen + pair).to(tl.int64) * OUT + channel
        sums = _sums(hidden + pair * IN, levels, steps, row, channel < OUT, IN, BITS, ROWS, PIECES)
        total += tl.load(weights + pair) * sums
    tl.store(out + token * OUT + channel, total.to(out.dtype.element_ty), mask=channel < OUT)


@triton.jit
def _widen(levels, steps, out, count, IN: tl.constexpr, BITS: tl.constexpr, PIECES: tl.constexpr):
    """Write the weights of PIECES pieces of 16 bytes."""
    piece = tl.program_id(0).to(tl.int64) * PIECES + tl.arange(0, PIECES)
    at = piece[:, None] * 16 + tl.arange(0, 16)[None, :]
    inside = (piece < count)[:, None]
    packed = tl.load(levels + at, mask=inside, other=0)
    kind = out.dtype.element_ty
    if BITS == 4:
        step = tl.load(steps + piece, mask=piece < count, other=0.0).to(tl.float32)[:, None]
        column = piece[:, None] * 32 + tl.arange(0, 16)[None, :]
        low = ((packed & 15).to(tl.int32) - 8).to(tl.float32) * step
        high = ((packed >> 4).to(tl.int32) - 8).to(tl.float32) * step
        tl.store(out + column, low.to(kind), mask=inside)
        tl.store(out + column + 16, high.to(kind), mask=inside)
    else:
        step = tl.load(steps + piece * 16 // IN, mask=piece < count, other=0.0)[:, None]
        tl.store(out + at, (packed.to(tl.float32) * step).to(kind), mask=inside)


@triton.jit
def _grouped(
    rows, levels, steps, experts, places, firsts, ends, out,
    E: tl.constexpr, OUT: tl.constexpr, IN: tl.constexpr, BITS: tl.constexpr,
    TOKENS: tl.constexpr, TILE: tl.constexpr, DEPTH: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Write TILE channels of up to TOKENS rows of one expert.

    The product is W x^T, for its left side may come from registers.
    """
    expert = tl.load(experts + tl.program_id(1)).to(tl.int64)
    if expert < E:
        count: tl.constexpr = IN * BITS // 128
        kind = out.dtype.element_ty
        channel = tl.program_id(0) * TILE + tl.arange(0, TILE)
        token = tl.load(firsts + tl.program_id(1)).to(tl.int64) + tl.arange(0, TOKENS)
        present = token < tl.load(ends + expert)
        row = tl.load(places + tl.program_id(1)).to(tl.int64) * OUT + channel
        byte = tl.arange(0, DEPTH * 16)
        total = tl.zeros((TILE, TOKENS), dtype=tl.float32)
        for at in range(0, count, DEPTH):
            piece = at + tl.arange(0, DEPTH)
            within = at * 16 + byte
            inside = (within < count * 16)[None, :] & (channel < OUT)[:, None]
            packed = tl.load(levels + row[:, None] * (count * 16) + within[None, :], mask=inside, other=0)
            column = within if BITS == 8 else at * 32 + byte // 16 * 32 + byte % 16
            seen = (within < count * 16)[:, None] & present[None, :]
            x = rows + token[None, :] * IN + column[:, None]
            u = tl.load(x, mask=seen, other=0.0)
            if BITS == 4:
                v = tl.load(x + 16, mask=seen, other=0.0)
                known = (piece < count)[None, :] & (channel < OUT)[:, None]
                step = tl.load(steps + row[:, None] * count + piece[None, :], mask=known, other=0.0)
                step = tl.broadcast_to(step.to(tl.float32)[:, :, None], (TILE, DEPTH, 16))
                step = tl.reshape(step, (TILE, DEPTH * 16))
                low = ((packed & 15).to(tl.int32) - 8).to(tl.float32) * step
                high = ((packed >> 4).to(tl.int32) - 8).to(tl.float32) * step
                total = dot(low.to(kind), u, total, "ieee", WIDE)
                total = dot(high.to(kind), v, total, "ieee", WIDE)
            else:
                total = dot(packed.to(tl.float32).to(kind), u, total, "ieee", WIDE)
        if BITS == 8:
            total *= tl.load(steps + row, mask=channel < OUT, other=0.0)[:, None]
        where = out + token[None, :] * OUT + channel[:, None]
        tl.store(where, total.to(kind), mask=present[None, :] & (channel < OUT)[:, None])
