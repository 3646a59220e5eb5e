"""Lightning attention over a stretch of tokens, as a Triton kernel.

One pass with the state in registers: a program owns one head of one sequence and a block of value channels,
and walks over chunks of tokens. Nothing goes through memory but q, k, v and the result. If there are
too few heads to fill the device, the sequence is also cut into segments: a first pass computes what each
segment adds to the state, and each program of the second pass sums the parts before its own segment.

The recurrence is that of `lightning.py` (arXiv 2401.04658, equation 3), in chunks of c tokens:

    o_i = exp(-s (i + 1)) q_i S + sum over j <= i of exp(-s (i - j)) (q_i k_j) v_j
    S  <- S + S (exp(-s c) - 1) + sum over j of k_j^T exp(-s (c - 1 - j)) v_j

The state's loss is computed as expm1 and added: for slow heads exp(-s c) itself rounds to 1.
"""

from dataclasses import dataclass, replace

import torch
import triton
import triton.language as tl
from torch import Tensor

from longctx.kernels.chips import chip, on_device
from longctx.kernels.triton_math import LOG2_E, dot, expm1

WIDEST_HEAD = 256
FLOATS = (torch.bfloat16, torch.float16, torch.float32)
SHORTEST_SEGMENT = 512  # tokens; below, a first pass costs more than segments save


@dataclass(frozen=True)
class Tile:
    """How a launch is cut: tokens per chunk, value channels per program, warps, stages of the pipeline.

    keys: key channels at a time. The result is a sum over key channels, each with its own row of the state,
    so wider heads are run in several launches that add to the same output.

    bulk: tiles are fetched by the tensor memory accelerator: one thread asks for a whole tile, so that
    neither addresses nor masks take registers, of which the state leaves few.
    """

    chunk: int
    values: int
    warps: int
    stages: int
    keys: int = WIDEST_HEAD
    bulk: bool = False


@on_device
def lightning_prefill(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Attend causally over a stretch of tokens and carry the state on.

    Args:
        q, k: (B, T, H, Dk), v: (B, T, H, Dv), one dtype of bfloat16, float16, float32; any strides with
            contiguous channels. Widths up to 256.
        slopes: (H,) float32, the decay rate of each head per token.
        state: (B, H, Dk, Dv) float32, contiguous; updated in place.

    Returns:
        The outputs (B, T, H, Dv) in v's dtype, and for the norm over all heads their sums of squares,
        (B, T, H, P) float32: of each head in P parts, from the float32 outputs. `norm_gate` takes both.

    Raises:
        ValueError: a shape, stride or dtype is not one of the above.
    """
    _check(q, k, v, slopes, state)
    tile = choose_tile(k, v.shape[3])
    out = torch.empty(v.shape, dtype=v.dtype, device=v.device)
    squares = state.new_empty(*v.shape[:3], triton.cdiv(v.shape[3], tile.values))
    _walk(q, k, v, slopes, state, tile, (out, squares))
    return out, squares


@on_device
def lightning_absorb(k: Tensor, v: Tensor, slopes: Tensor, state: Tensor) -> None:
    """Update the state as `lightning_prefill` does, without any output. The arguments are the same."""
    _check(k, k, v, slopes, state)
    _walk(k, k, v, slopes, state, choose_tile(k, v.shape[3]), None)


def _check(q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, state: Tensor) -> None:
    """Raise ValueError for arguments that the kernels would misread."""
    batch, _, heads, width = v.shape
    if (
        q.shape != k.shape
        or k.shape[:3] != v.shape[:3]
        or slopes.shape != (heads,)
        or state.shape != (batch, heads, k.shape[3], width)
    ):
        raise ValueError(
            f"lightning attention: q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}, "
            f"slopes {tuple(slopes.shape)}, state {tuple(state.shape)}"
        )
    if max(width, k.shape[3]) > WIDEST_HEAD:
        raise ValueError(
            f"lightning attention: heads of {k.shape[3]} and {width} channels, over {WIDEST_HEAD}"
        )
    if not q.dtype == k.dtype == v.dtype or v.dtype not in FLOATS:
        raise ValueError(f"lightning attention: dtypes {q.dtype}, {k.dtype}, {v.dtype}")
    if any(x.stride(3) != 1 for x in (q, k, v)):
        raise ValueError("lightning attention: channels must be contiguous")
    if state.dtype != torch.float32 or not state.is_contiguous() or slopes.dtype != torch.float32:
        raise ValueError("lightning attention: the state must be float32 and contiguous, slopes float32")


def _walk(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    slopes: Tensor,
    state: Tensor,
    tile: Tile,
    results: tuple[Tensor, Tensor] | None,
) -> None:
    """Launch one pass over all tokens, or two when there are several segments, for each block of keys.

    `results` are the outputs and their squares; without them only the state moves.
    """
    batch, tokens, heads, width = v.shape
    if not v.numel():
        return
    programs = triton.cdiv(width, tile.values) * batch * heads
    segments = choose_segments(tokens, programs, v.device)
    first = 0 if results else segments - 1  # of the last pass: without results the last segment's is enough
    for start in range(0, k.shape[3], tile.keys):
        keys, queries = (x[..., start : start + tile.keys] for x in (k, q))
        rows = state[:, :, start : start + tile.keys]
        parts = state.new_empty(batch, heads, segments, *rows.shape[2:]) if segments > 1 else rows
        bulk = tile.bulk and all(fits_bulk(x) for x in (queries, keys, v))
        if bulk:
            triton.set_allocator(_scratch)
        inputs = (queries, keys, v, *(results or (v, state)), rows, parts, slopes, tokens, heads)
        strides = [stride for x in (queries, keys, v) for stride in x.stride()[:3]]
        sizes = {
            "ADD": start > 0, "SEGMENTS": segments, "STATE_WIDTH": state.shape[2], "KEY_WIDTH": keys.shape[3],
            "VALUE_WIDTH": width, "KEYS": triton.next_power_of_2(keys.shape[3]), "VALUES": tile.values,
            "CHUNK": tile.chunk, "BULK": bulk, "WIDE": triton.knobs.runtime.interpret,
            "num_warps": tile.warps, "num_stages": tile.stages,
        }  # fmt: skip
        if segments > 1:
            _lightning[(programs, segments - 1)](*inputs, 0, *strides, PARTIAL=True, OUTPUT=False, **sizes)
        _lightning[(programs, segments - first)](
            *inputs, first, *strides, PARTIAL=False, OUTPUT=results is not None, **sizes
        )


def choose_tile(k: Tensor, width: int) -> Tile:
    """Return the tile for keys like `k` and values of `width` channels.

    The state takes keys * values / (32 * warps) registers of each thread, and the chunk's scores, outputs and
    decays about as many again; what is here keeps all of that out of local memory on every chip.
    """
    keys, bulk = triton.next_power_of_2(k.shape[3]), chip(k.device).bulk
    if k.dtype == torch.bfloat16 and bulk:
        tile = Tile(64, 64 if keys <= 128 else 32, 4, 2, bulk=True)
    elif k.dtype == torch.bfloat16:
        tile = Tile(32 if keys <= 128 else 16, 32 if keys <= 128 else 16, 4, 2)
    elif k.dtype == torch.float16:
        tile = Tile(32 if keys <= 64 else 16, 32 if keys <= 128 else 16, 4, 2)
    else:
        # Each operand is split into two numbers of the tensor cores' format.
        tile = Tile(16, 32 if bulk else 16, 4, 2, keys=64)
    return replace(tile, values=max(min(tile.values, triton.next_power_of_2(width)), 16))


def choose_segments(tokens: int, programs: int, device: torch.device) -> int:
    """Return into how many segments to cut sequences so that `programs` for each segment fill the device.

    Two programs share a multiprocessor and hide each other's waits; but a device that one segment already
    fills to three quarters gains less by that than the first pass costs.
    """
    processors, segments = chip(device).multiprocessors, 1
    if 4 * programs < 3 * processors:
        while 2 * segments * programs <= 2 * processors and tokens >= 2 * segments * SHORTEST_SEGMENT:
            segments *= 2
    return segments


def fits_bulk(x: Tensor) -> bool:
    """Tell whether the tensor memory accelerator can address x: all strides are multiples of 16 bytes."""
    size = x.element_size()
    steps = (*x.stride()[:3], x.shape[3])
    return x.data_ptr() % 16 == 0 and x.stride(1) > 0 and all(step * size % 16 == 0 for step in steps)


def _scratch(size: int, alignment: int, stream: int | None) -> Tensor:
    """Return memory for the kernels' descriptors, from torch, which aligns to 512 bytes."""
    return torch.empty(size, dtype=torch.int8, device="cuda")


@triton.jit
def _segment(segment, tokens, SEGMENTS: tl.constexpr, CHUNK: tl.constexpr):
    """Return the segment length, and this segment's start and number of tokens."""
    size = tl.cdiv(tl.cdiv(tokens, SEGMENTS), CHUNK) * CHUNK
    start = tl.minimum(segment * size, tokens)
    return size, start, tl.minimum(start + size, tokens) - start


@triton.jit
def _entries(
    block, KEY_WIDTH: tl.constexpr, VALUE_WIDTH: tl.constexpr, KEYS: tl.constexpr, VALUES: tl.constexpr
):  # fmt: skip
    """Return the offsets of a block of a state, and which are inside the state."""
    key = tl.arange(0, KEYS)[:, None]
    value = block * VALUES + tl.arange(0, VALUES)[None, :]
    # In 64 bits, or each address takes its own register for the whole loop.
    entry = key.to(tl.int64) * VALUE_WIDTH + value
    return entry, (key < KEY_WIDTH) & (value < VALUE_WIDTH)


@triton.jit
def _decays(rate, CHUNK: tl.constexpr):
    """Return the decays of a chunk; a partial one has zeros for missing keys."""
    row = tl.arange(0, CHUNK)
    distance = row[:, None] - row[None, :]
    within = tl.where(distance >= 0, tl.exp2(rate * tl.maximum(distance, 0)), 0.0)
    return within, tl.exp2(rate * (row + 1))[:, None]


@triton.jit
def _carry_before(
    state, parts, entry, inside, slope, segment, start, size, tokens,
    PARTIAL: tl.constexpr, SEGMENTS: tl.constexpr, STEP: tl.constexpr, KEYS: tl.constexpr,
    VALUES: tl.constexpr,
):  # fmt: skip
    """Return the state before a segment; in a first pass zeros, for the segment alone is summed up."""
    if SEGMENTS == 1:
        carry = tl.load(state + entry, mask=inside, other=0.0)
    else:
        carry = tl.zeros((KEYS, VALUES), dtype=tl.float32)
        if PARTIAL:
            if segment == 0:
                tl.store(parts + entry, tl.load(state + entry, mask=inside, other=0.0), mask=inside)
        else:
            for earlier in range(0, segment + 1):
                part = tl.load(parts + earlier * STEP + entry, mask=inside, other=0.0)
                gone = start - tl.minimum(earlier * size, tokens)
                carry += part + part * expm1(-slope * gone)
    return carry


@triton.jit
def _attend(q, k, v, carry, within, before, WIDE: tl.constexpr):
    """Return a chunk's outputs, float32."""
    # Sums over many tokens can leave the range of float16: there these products are in tf32.
    wide = tl.float32 if q.dtype == tl.float16 else q.dtype
    precision: tl.constexpr = "tf32" if q.dtype == tl.float16 else "tf32x3"
    scores = dot(q, tl.trans(k), None, precision, WIDE)
    scores = (scores * within).to(wide)
    mixed = dot(q.to(wide), carry.to(wide), None, precision, WIDE) * before
    return dot(scores, v.to(wide), mixed, precision, WIDE)


@triton.jit
def _absorb(k, v, carry, slope, rate, here, CHUNK: tl.constexpr, WIDE: tl.constexpr):
    """Return the state after a chunk of `here` tokens."""
    # The decay goes on v, the smaller tile; rows past the end have k = v = 0, whatever their weight.
    after = tl.exp2(rate * tl.maximum(here - 1 - tl.arange(0, CHUNK), 0))
    faded = (v.to(tl.float32) * after[:, None]).to(v.dtype)
    carry += carry * expm1(-slope * here)
    return dot(tl.trans(k), faded, carry, "tf32x3", WIDE)


@triton.jit
def _walk_tiles(
    q, k, v, out, squares, carry, slope, count, block, line, q_token, k_token, v_token,
    OUTPUT: tl.constexpr, KEY_WIDTH: tl.constexpr, VALUE_WIDTH: tl.constexpr, KEYS: tl.constexpr,
    VALUES: tl.constexpr, CHUNK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Walk over `count` tokens by descriptors and return the state behind them."""
    rate = slope * -LOG2_E
    row = tl.arange(0, CHUNK)
    blocks: tl.constexpr = (VALUE_WIDTH + VALUES - 1) // VALUES
    # Rows from `count` on read as zero and are not written.
    rows = tl.maximum(count, 1)
    k_tiles = tl.make_tensor_descriptor(k, [rows, KEY_WIDTH], [k_token, 1], [CHUNK, KEYS])
    v_tiles = tl.make_tensor_descriptor(v, [rows, VALUE_WIDTH], [v_token, 1], [CHUNK, VALUES])
    if OUTPUT:
        q_tiles = tl.make_tensor_descriptor(q, [rows, KEY_WIDTH], [q_token, 1], [CHUNK, KEYS])
        out_tiles = tl.make_tensor_descriptor(
            out, [rows, VALUE_WIDTH], [line * VALUE_WIDTH, 1], [CHUNK, VALUES]
        )
    within, before = _decays(rate, CHUNK)
    for at in range(0, count, CHUNK):
        here = tl.minimum(count - at, CHUNK)
        k_tile = k_tiles.load([at, 0])
        v_tile = v_tiles.load([at, block * VALUES])
        if OUTPUT:
            mixed = _attend(q_tiles.load([at, 0]), k_tile, v_tile, carry, within, before, WIDE)
            out_tiles.store([at, block * VALUES], mixed.to(out.dtype.element_ty))
            tl.store(squares + row * (line * blocks), tl.sum(mixed * mixed, axis=1), mask=row < here)
            squares += CHUNK * line * blocks
        carry = _absorb(k_tile, v_tile, carry, slope, rate, here, CHUNK, WIDE)
    return carry


@triton.jit
def _walk_rows(
    q, k, v, out, squares, carry, slope, count, block, line, q_token, k_token, v_token,
    OUTPUT: tl.constexpr, ADD: tl.constexpr, KEY_WIDTH: tl.constexpr, VALUE_WIDTH: tl.constexpr,
    KEYS: tl.constexpr, VALUES: tl.constexpr, CHUNK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Walk over `count` tokens by pointers and masks and return the state behind them."""
    rate = slope * -LOG2_E
    row = tl.arange(0, CHUNK)
    blocks: tl.constexpr = (VALUE_WIDTH + VALUES - 1) // VALUES
    key = tl.arange(0, KEYS)
    value = block * VALUES + tl.arange(0, VALUES)
    lines = row.to(tl.int64)[:, None]
    q_entry = lines * q_token + key[None, :]
    k_entry = lines * k_token + key[None, :]
    v_entry = lines * v_token + value[None, :]
    out_entry = lines * (line * VALUE_WIDTH) + value[None, :]
    within, before = _decays(rate, CHUNK)
    for at in range(0, count, CHUNK):
        here = tl.minimum(count - at, CHUNK)
        k_live = (row < here)[:, None]
        v_live = k_live
        if KEY_WIDTH != KEYS:
            k_live = k_live & (key[None, :] < KEY_WIDTH)
        if VALUE_WIDTH % VALUES != 0:
            v_live = v_live & (value[None, :] < VALUE_WIDTH)
        k_tile = tl.load(k + k_entry, mask=k_live, other=0.0)
        v_tile = tl.load(v + v_entry, mask=v_live, other=0.0)
        k += CHUNK * k_token
        v += CHUNK * v_token
        if OUTPUT:
            q_tile = tl.load(q + q_entry, mask=k_live, other=0.0)
            q += CHUNK * q_token
            mixed = _attend(q_tile, k_tile, v_tile, carry, within, before, WIDE)
            if ADD:
                mixed += tl.load(out + out_entry, mask=v_live, other=0.0).to(tl.float32)
            tl.store(out + out_entry, mixed.to(out.dtype.element_ty), mask=v_live)
            out += CHUNK * line * VALUE_WIDTH
            tl.store(squares + row * (line * blocks), tl.sum(mixed * mixed, axis=1), mask=row < here)
            squares += CHUNK * line * blocks
        carry = _absorb(k_tile, v_tile, carry, slope, rate, here, CHUNK, WIDE)
    return carry


@triton.jit(do_not_specialize=["tokens", "first_segment"])
def _lightning(
    q, k, v, out, squares, state, parts, slopes, tokens, heads, first_segment,
    q_batch, q_token, q_head, k_batch, k_token, k_head, v_batch, v_token, v_head,
    PARTIAL: tl.constexpr, OUTPUT: tl.constexpr, ADD: tl.constexpr, SEGMENTS: tl.constexpr,
    STATE_WIDTH: tl.constexpr, KEY_WIDTH: tl.constexpr, VALUE_WIDTH: tl.constexpr, KEYS: tl.constexpr,
    VALUES: tl.constexpr, CHUNK: tl.constexpr, BULK: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """One head of one sequence, VALUES of its value channels, one segment of its tokens.

    PARTIAL: the first of two passes. Writes what the segment adds to the state to parts[segment + 1]; the
    program of segment 0 also copies the old state to parts[0], for the second pass overwrites it.
    ADD: to what other key channels left in `out`; never with BULK. STATE_WIDTH: key channels of the whole
    state. KEYS, VALUES: powers of two that hold the widths, or blocks of them. BULK: see Tile.
    """
    # The blocks of one head are neighbours: they read the same q and k, the second time from the L2 cache.
    blocks: tl.constexpr = (VALUE_WIDTH + VALUES - 1) // VALUES
    block = tl.program_id(0) % blocks
    stretch = tl.program_id(0) // blocks
    batch, head = (stretch // heads).to(tl.int64), (stretch % heads).to(tl.int64)
    segment = tl.program_id(1) + first_segment
    size, start, count = _segment(segment, tokens, SEGMENTS, CHUNK)
    first, slope = start.to(tl.int64), tl.load(slopes + head)
    at, inside = _entries(block, KEY_WIDTH, VALUE_WIDTH, KEYS, VALUES)
    step: tl.constexpr = KEY_WIDTH * VALUE_WIDTH
    state += stretch.to(tl.int64) * (STATE_WIDTH * VALUE_WIDTH)
    parts += stretch.to(tl.int64) * (SEGMENTS * step)
    carry = _carry_before(
        state, parts, at, inside, slope, segment, start, size, tokens, PARTIAL, SEGMENTS, step, KEYS, VALUES
    )  # fmt: skip
    q += batch * q_batch + first * q_token + head * q_head
    k += batch * k_batch + first * k_token + head * k_head
    v += batch * v_batch + first * v_token + head * v_head
    # out (B, T, H, Dv) and squares (B, T, H, blocks) are contiguous.
    line = (batch * tokens + first) * heads + head
    out += line * VALUE_WIDTH
    squares += line * blocks + block
    if BULK:
        carry = _walk_tiles(
            q, k, v, out, squares, carry, slope, count, block, heads, q_token, k_token, v_token,
            OUTPUT, KEY_WIDTH, VALUE_WIDTH, KEYS, VALUES, CHUNK, WIDE,
        )  # fmt: skip
    else:
        carry = _walk_rows(
            q, k, v, out, squares, carry, slope, count, block, heads, q_token, k_token, v_token,
            OUTPUT, ADD, KEY_WIDTH, VALUE_WIDTH, KEYS, VALUES, CHUNK, WIDE,
        )  # fmt: skip
    if PARTIAL:
        tl.store(parts + (segment + 1) * step + at, carry, mask=inside)
    elif segment == SEGMENTS - 1:
        tl.store(state + at, carry, mask=inside)
