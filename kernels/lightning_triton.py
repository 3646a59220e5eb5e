"""Lightning attention over a stretch of tokens, and the norm behind it, as Triton kernels.

One pass with the state in registers: a program owns one head of one sequence and a block of value channels,
and walks over chunks of tokens. Nothing goes through memory but q, k, v and the result. Where heads are too
few to fill the device the sequence is cut into segments as well: a first pass forms what each segment adds
to the state, and each program of the second pass sums the parts that come before its own segment.

The recurrence is that of `lightning.py` (arXiv 2401.04658, equation 3), in chunks of c tokens:

    o_i = exp(-s (i + 1)) q_i S + sum over j <= i of exp(-s (i - j)) (q_i k_j) v_j
    S  <- S + S (exp(-s c) - 1) + sum over j of k_j^T exp(-s (c - 1 - j)) v_j

The state's loss is formed as expm1 and added: for slow heads exp(-s c) itself rounds to 1. Activations,
norms and rotations of q and k come before, in a kernel of their own: every block of value channels and every
segment would repeat them, and the special function unit, not the memory, would set the pace.
"""

from dataclasses import dataclass, replace

import torch
import triton
import triton.language as tl
from torch import Tensor

from longctx.kernels.chips import chip
from longctx.kernels.norm import HeadNorm
from longctx.kernels.triton_math import LOG2_E, dot, expm1, silu

WIDEST_HEAD = 256
FLOATS = (torch.bfloat16, torch.float16, torch.float32)
SHORTEST_SEGMENT = 512  # tokens; below, the first pass costs more than the other segments save


@dataclass(frozen=True)
class Tile:
    """How a launch is cut: tokens per chunk, value channels per program, warps, stages of the pipeline.

    keys: key channels at a time. The result is a sum over key channels, each with its own row of the state,
    so wider heads are run in several launches that add to the same output.

    bulk: tiles are fetched by the tensor memory accelerator (sm_90 on): one thread asks for a whole tile, so
    that neither addresses nor masks take registers, of which the state leaves few.
    """

    chunk: int
    values: int
    warps: int
    stages: int
    keys: int = WIDEST_HEAD
    bulk: bool = False


def lightning_prefill(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    slopes: Tensor,
    state: Tensor,
    *,
    swish: bool = False,
    head_norm: HeadNorm | None = None,
    rope: tuple[Tensor, Tensor] | None = None,
    scale: float = 1.0,
    slots: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    segments: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Attend causally over a stretch of tokens and carry the state on.

    In this order: SiLU of q, k and v (`swish`), RMSNorm per head of q and k (`head_norm`), rotation of the
    first R channels of q and k (`rope`), and q times `scale`.

    Args:
        q, k: (B, T, H, Dk), v: (B, T, H, Dv), one dtype of bfloat16, float16, float32; any strides with
            contiguous channels. Widths up to 256.
        slopes: (H,) float32, the decay rate of each head per token.
        state: (N, H, Dk, Dv) float32, contiguous; updated in place.
        rope: cos and sin, (T, R / 2) float32 each; channel i turns with channel i + R / 2. With `cu_seqlens`
            too there is one row for each of the T tokens of the batch.
        slots: (B,) integers, the row of `state` of each sequence, all different. Without them, row b.
        cu_seqlens: (S + 1,) integers, for B = 1: sequence s is tokens cu_seqlens[s] to cu_seqlens[s + 1], and
            its state is row s, or slots[s]. An empty sequence keeps its state.
        segments: cut each sequence into so many parts that run side by side (default: what fills the device).

    Returns:
        The outputs (B, T, H, Dv) in v's dtype, and for the norm over all heads their sums of squares,
        (B, T, H, P) float32: of each head in P parts, from the float32 outputs. `norm_gate` takes both.

    Raises:
        ValueError: a shape, stride or dtype is not one of the above.
    """
    check(q, k, v, slopes, state, slots, cu_seqlens)
    q, k, v = activate([q, k, v], 2, swish, head_norm, rope)
    batch, tokens, heads, width = v.shape
    tile = choose_tile(k, width)
    blocks = triton.cdiv(width, tile.values)
    out = torch.empty(batch, tokens, heads, width, dtype=v.dtype, device=v.device)
    squares = torch.empty(batch, tokens, heads, blocks, dtype=torch.float32, device=v.device)
    if segments is None:
        segments = choose_segments(k, cu_seqlens, blocks * heads)
    walk(q, k, v, out, squares, slopes, state, slots, cu_seqlens, scale, tile, segments)
    return out, squares


def lightning_absorb(
    k: Tensor,
    v: Tensor,
    slopes: Tensor,
    state: Tensor,
    *,
    swish: bool = False,
    head_norm: HeadNorm | None = None,
    rope: tuple[Tensor, Tensor] | None = None,
    slots: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    segments: int | None = None,
) -> None:
    """Update the state as `lightning_prefill` does, without forming any output. Arguments as there."""
    check(k, k, v, slopes, state, slots, cu_seqlens)
    k, v = activate([k, v], 1, swish, head_norm, rope)
    width = v.shape[3]
    tile = choose_tile(k, width)
    if segments is None:
        segments = choose_segments(k, cu_seqlens, triton.cdiv(width, tile.values) * v.shape[2])
    walk(None, k, v, None, None, slopes, state, slots, cu_seqlens, 1.0, tile, segments)


def norm_gate(
    mixed: Tensor, squares: Tensor, weight: Tensor, gate: Tensor, eps: float, groups: int = 1
) -> Tensor:
    """Return mixed / rms(mixed) * weight * sigmoid(gate), with the rms over the heads of each group.

    Args:
        mixed: (B, T, H, D), contiguous. squares: (B, T, H) or (B, T, H, P) float32, contiguous, sums of its
            squares. weight: (H * D,). gate: (B, T, H * D), rows of any stride. groups: divides H.

    Returns:
        (B, T, H * D) in mixed's dtype.

    Raises:
        ValueError: shapes do not fit together.
    """
    batch, tokens, heads, width = mixed.shape
    channels = heads * width
    if (
        gate.shape != (batch, tokens, channels)
        or weight.shape != (channels,)
        or squares.shape[:3] != mixed.shape[:3]
        or heads % groups
    ):
        raise ValueError(
            f"norm_gate: {tuple(mixed.shape)}, squares {tuple(squares.shape)}, weight {tuple(weight.shape)}, "
            f"gate {tuple(gate.shape)}, groups {groups}"
        )
    mixed, squares, gate = mixed.contiguous(), squares.contiguous(), rows_of(gate)
    out = torch.empty(batch, tokens, channels, dtype=mixed.dtype, device=mixed.device)
    if not out.numel():
        return out
    group = channels // groups
    parts = squares.numel() // (batch * tokens * groups)
    block = min(triton.next_power_of_2(group), 1024)
    rows = batch * tokens
    grid = (triton.cdiv(rows, 4), groups * triton.cdiv(group, block))
    _norm_gate[grid](
        mixed, squares, weight, gate, out, eps, rows, gate.stride(1), group, parts,
        ROWS=4, BLOCK=block, PARTS=triton.next_power_of_2(parts), num_warps=4, num_stages=1,
    )  # fmt: skip
    return out


def check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    slopes: Tensor,
    state: Tensor,
    slots: Tensor | None,
    bounds: Tensor | None,
) -> None:
    """Raise ValueError for what the kernels would read wrongly."""
    batch, _, heads, width = v.shape
    sequences = batch if bounds is None else bounds.numel() - 1
    rows = sequences if slots is None else state.shape[0]
    if (
        q.shape != k.shape
        or k.shape[:3] != v.shape[:3]
        or slopes.shape != (heads,)
        or state.shape[1:] != (heads, k.shape[3], width)
        or state.shape[0] < rows
        or (slots is not None and slots.shape != (sequences,))
        or (bounds is not None and batch != 1)
    ):
        raise ValueError(
            f"lightning attention: q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}, "
            f"slopes {tuple(slopes.shape)}, state {tuple(state.shape)}, {sequences} sequences"
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


def activate(
    parts: list[Tensor],
    turned: int,
    swish: bool,
    head_norm: HeadNorm | None,
    rope: tuple[Tensor, Tensor] | None,
) -> list[Tensor]:
    """Apply SiLU to all of `parts` (v last), norm and rotation to the first `turned`, in one launch.

    Parts that nothing changes are returned as they are.
    """
    norm_or_rope = head_norm is not None or rope is not None
    if not swish and not norm_or_rope:
        return parts
    changed = parts if swish else parts[:turned]
    batch, tokens, heads, width = changed[0].shape
    if any(x.shape != changed[0].shape for x in changed):
        # Values of another width than the keys: they have no part in norm and rotation.
        (values,) = activate(changed[-1:], 0, swish, None, None)
        return [*activate(changed[:-1], turned, swish, head_norm, rope), values]
    done = torch.empty(
        len(changed), batch, tokens, heads, width, dtype=parts[0].dtype, device=parts[0].device
    )
    if done.numel():
        x = [*changed, changed[0], changed[0]][:3]
        strides = [stride for each in x for stride in each.stride()[:3]]
        weights = [head_norm.q, head_norm.k][2 - turned :] if head_norm is not None and turned else []
        # Both of one type, also where only one is read: the kernel picks between them.
        first, second = [*weights, *weights, x[0], x[0]][:2]
        cos, sin = (a.contiguous() for a in rope) if rope is not None else (x[0], x[0])
        block = triton.next_power_of_2(width)
        rows = max(4096 // block, 1)
        _activate[(triton.cdiv(tokens, rows), len(changed) * heads, batch)](
            *x, done, first, second, cos, sin, head_norm.eps if head_norm is not None else 0.0, tokens, heads,
            *strides,
            TURNED=turned, SWISH=swish, NORM=head_norm is not None and turned > 0,
            HALF=rope[0].shape[1] if rope is not None and turned else 0,
            WIDTH=width, BLOCK=block, ROWS=rows, num_warps=4, num_stages=1,
        )  # fmt: skip
    return [*done.unbind(0), *parts[len(changed) :]]


def walk(
    q: Tensor | None,
    k: Tensor,
    v: Tensor,
    out: Tensor | None,
    squares: Tensor | None,
    slopes: Tensor,
    state: Tensor,
    slots: Tensor | None,
    bounds: Tensor | None,
    scale: float,
    tile: Tile,
    segments: int,
) -> None:
    """Launch one pass over all tokens, or two when there are several segments. Without q, only the state."""
    if not v.numel() or (bounds is not None and bounds.numel() < 2):
        return
    for first_key in range(0, k.shape[3], tile.keys):
        some = slice(first_key, first_key + tile.keys)
        keys = k[..., some]
        queries = keys if q is None else q[..., some]
        run_passes(
            queries, keys, v, out, squares, slopes, state, first_key, slots, bounds, scale, tile, segments
        )


def run_passes(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor | None,
    squares: Tensor | None,
    slopes: Tensor,
    state: Tensor,
    first_key: int,
    slots: Tensor | None,
    bounds: Tensor | None,
    scale: float,
    tile: Tile,
    segments: int,
) -> None:
    """Launch the pass or passes for those key channels from `first_key` on that q and k hold."""
    batch, tokens, heads, width = v.shape
    sequences = batch if bounds is None else bounds.numel() - 1
    some = state[:, :, first_key : first_key + k.shape[3]]
    parts = some
    if segments > 1:
        parts = state.new_empty(sequences, heads, segments, k.shape[3], width)
    bulk = tile.bulk and all(fits_bulk(x) for x in (q, k, v))
    if bulk:
        triton.set_allocator(Scratch(v.device))

    def launch(programs: int, first_segment: int, partial: bool) -> None:
        _lightning[(triton.cdiv(width, tile.values) * sequences * heads, programs)](
            q, k, v, v if out is None else out, state if squares is None else squares, some, parts,
            slopes, slopes if slots is None else slots, slopes if bounds is None else bounds,
            scale, tokens, heads, first_segment, *q.stride()[:3], *k.stride()[:3], *v.stride()[:3],
            PARTIAL=partial, OUTPUT=out is not None and not partial, ADD=first_key > 0, SEGMENTS=segments,
            SLOTS=slots is not None, VARLEN=bounds is not None, STATE_WIDTH=state.shape[2],
            KEY_WIDTH=k.shape[3], VALUE_WIDTH=width, KEYS=triton.next_power_of_2(k.shape[3]),
            VALUES=tile.values, CHUNK=tile.chunk, BULK=bulk, WIDE=triton.knobs.runtime.interpret,
            num_warps=tile.warps, num_stages=tile.stages,
        )  # fmt: skip

    if segments > 1:
        launch(segments - 1, 0, partial=True)
    if out is None:
        launch(1, segments - 1, partial=False)
    else:
        launch(segments, 0, partial=False)


def choose_tile(k: Tensor, width: int) -> Tile:
    """Return the tile for keys like `k` and values of `width` channels.

    The state takes keys * values / (32 * warps) registers of each thread, and the chunk's scores, outputs and
    decays about as many again; what is here keeps all of that out of local memory on every chip.
    """
    keys = triton.next_power_of_2(k.shape[3])
    hopper = chip(k.device).bulk
    widest = triton.next_power_of_2(width)
    if k.dtype == torch.bfloat16 and hopper:
        tile = Tile(64, 64 if keys <= 128 else 32, 4, 2, bulk=True)
    elif k.dtype == torch.bfloat16:
        tile = Tile(32 if keys <= 128 else 16, 32 if keys <= 128 else 16, 4, 2)
    elif k.dtype == torch.float16:
        tile = Tile(32 if keys <= 64 else 16, 32 if keys <= 128 else 16, 4, 2)
    else:
        # Each operand is held as two numbers of the tensor cores' format.
        tile = Tile(16, 32 if hopper else 16, 4, 2, keys=64)
    return replace(tile, values=max(min(tile.values, widest), 16))


def choose_segments(k: Tensor, bounds: Tensor | None, programs: int) -> int:
    """Return into how many segments to cut sequences so that `programs` per sequence fill the device.

    Two programs share a multiprocessor and hide each other's waits; but a device that one segment already
    fills to three quarters gains less by that than the first pass costs.
    """
    sequences = k.shape[0] if bounds is None else bounds.numel() - 1
    if not sequences:
        return 1
    programs *= sequences
    processors = chip(k.device).multiprocessors
    segments = 1
    if 4 * programs < 3 * processors:
        longest = k.shape[1] // (sequences if bounds is not None else 1)
        while 2 * segments * programs <= 2 * processors and longest >= 2 * segments * SHORTEST_SEGMENT:
            segments *= 2
    return segments


def fits_bulk(x: Tensor) -> bool:
    """Tell whether the tensor memory accelerator can address x: all in steps of 16 bytes."""
    size = x.element_size()
    steps = (*x.stride()[:3], x.shape[3])
    return x.data_ptr() % 16 == 0 and x.stride(1) > 0 and all(step * size % 16 == 0 for step in steps)


@dataclass(frozen=True)
class Scratch:
    """Where Triton puts the descriptors that kernels make: torch's memory, in the order of the stream."""

    device: torch.device

    def __call__(self, size: int, alignment: int, stream: int | None) -> Tensor:
        """Return `size` bytes; torch aligns to 512."""
        return torch.empty(size, dtype=torch.int8, device=self.device)


def rows_of(x: Tensor) -> Tensor:
    """Return x (B, T, N) so that all rows lie one stride apart and are contiguous themselves."""
    apart = x.shape[0] == 1 or x.stride(0) == x.shape[1] * x.stride(1)
    return x if x.stride(2) == 1 and apart else x.contiguous()


@triton.jit(do_not_specialize=["tokens"])
def _activate(
    x0, x1, x2, done, weight0, weight1, cos, sin, eps, tokens, heads,
    batch0, token0, head0, batch1, token1, head1, batch2, token2, head2,
    TURNED: tl.constexpr,
    SWISH: tl.constexpr,
    NORM: tl.constexpr,
    HALF: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
):  # fmt: skip
    """ROWS tokens of one head of one of up to three inputs; the first TURNED are normed and rotated."""
    part = tl.program_id(1) // heads
    head = (tl.program_id(1) % heads).to(tl.int64)
    b = tl.program_id(2).to(tl.int64)
    x = x0 + b * batch0 + head * head0
    stride = token0
    weight = weight0
    if part == 1:
        x = x1 + b * batch1 + head * head1
        stride = token1
        weight = weight1
    if part == 2:
        x = x2 + b * batch2 + head * head2
        stride = token2
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, BLOCK)
    live = (row < tokens)[:, None] & (channel < WIDTH)[None, :]
    line = x + row.to(tl.int64)[:, None] * stride
    y = tl.load(line + channel[None, :], mask=live, other=0.0).to(tl.float32)
    turns = part < TURNED
    if SWISH:
        y = silu(y)
    if NORM:
        norm = tl.rsqrt(tl.sum(y * y, axis=1) / WIDTH + eps)[:, None]
        gain = tl.load(weight + channel, mask=channel < WIDTH, other=0.0).to(tl.float32)[None, :]
        y = tl.where(turns, y * norm * gain, y)
    if HALF:
        partner = tl.where(channel < HALF, channel + HALF, channel - HALF)
        rotated = channel < 2 * HALF
        both = live & rotated[None, :]
        other = tl.load(line + partner[None, :], mask=both, other=0.0).to(tl.float32)
        if SWISH:
            other = silu(other)
        if NORM:
            other *= norm * tl.load(weight + partner, mask=rotated, other=0.0).to(tl.float32)[None, :]
        angle = row.to(tl.int64)[:, None] * HALF + (channel % HALF)[None, :]
        cosine = tl.load(cos + angle, mask=both, other=1.0)
        sine = tl.load(sin + angle, mask=both, other=0.0)
        y = tl.where(turns, y * cosine + other * tl.where(channel < HALF, -sine, sine), y)
    batches = tl.num_programs(2)
    line = ((part * batches + b) * tokens + row[:, None]) * heads + head
    tl.store(done + line * WIDTH + channel[None, :], y.to(done.dtype.element_ty), mask=live)


@triton.jit(do_not_specialize=["tokens", "first_segment"])
def _lightning(  # noqa: PLR0912, PLR0915  # a kernel is one function, and most branches are constants
    q, k, v, out, squares, state, parts, slopes, slots, bounds, scale, tokens, heads, first_segment,
    q_batch, q_token, q_head, k_batch, k_token, k_head, v_batch, v_token, v_head,
    PARTIAL: tl.constexpr,
    OUTPUT: tl.constexpr,
    ADD: tl.constexpr,
    SEGMENTS: tl.constexpr,
    SLOTS: tl.constexpr,
    VARLEN: tl.constexpr,
    STATE_WIDTH: tl.constexpr,
    KEY_WIDTH: tl.constexpr,
    VALUE_WIDTH: tl.constexpr,
    KEYS: tl.constexpr,
    VALUES: tl.constexpr,
    CHUNK: tl.constexpr,
    BULK: tl.constexpr,
    WIDE: tl.constexpr,
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
    sequence = stretch // heads
    head = (stretch % heads).to(tl.int64)
    segment = tl.program_id(1) + first_segment

    # Tokens are counted from the start of the sequence; `first` is where that is in the batch's row.
    length = tokens
    batch = sequence.to(tl.int64)
    first = batch * 0
    if VARLEN:
        first = tl.load(bounds + sequence).to(tl.int64)
        length = (tl.load(bounds + sequence + 1).to(tl.int64) - first).to(tl.int32)
        batch *= 0
    size = tl.cdiv(tl.cdiv(length, SEGMENTS), CHUNK) * CHUNK
    start = tl.minimum(segment * size, length)
    count = tl.minimum(start + size, length) - start
    first += start

    slope = tl.load(slopes + head)
    rate = slope * -LOG2_E
    row = tl.arange(0, CHUNK)
    key = tl.arange(0, KEYS)
    value = block * VALUES + tl.arange(0, VALUES)

    # In 64 bits, or each of these addresses takes a register of its own for the whole loop.
    entry = key.to(tl.int64)[:, None] * VALUE_WIDTH + value[None, :]
    inside = (key[:, None] < KEY_WIDTH) & (value[None, :] < VALUE_WIDTH)
    slot = sequence.to(tl.int64)
    if SLOTS:
        slot = tl.load(slots + sequence).to(tl.int64)
    own = state + (slot * heads + head) * (STATE_WIDTH * VALUE_WIDTH)
    parts += stretch.to(tl.int64) * (SEGMENTS * KEY_WIDTH * VALUE_WIDTH)
    if SEGMENTS == 1:
        carry = tl.load(own + entry, mask=inside, other=0.0)
    else:
        carry = tl.zeros((KEYS, VALUES), dtype=tl.float32)
        if PARTIAL:
            if segment == 0:
                tl.store(parts + entry, tl.load(own + entry, mask=inside, other=0.0), mask=inside)
        else:
            for earlier in range(0, segment + 1):
                part = tl.load(parts + earlier * (KEY_WIDTH * VALUE_WIDTH) + entry, mask=inside, other=0.0)
                gone = start - tl.minimum(earlier * size, length)
                carry += part + part * expm1(-slope * gone)

    q += batch * q_batch + first * q_token + head * q_head
    k += batch * k_batch + first * k_token + head * k_head
    v += batch * v_batch + first * v_token + head * v_head
    # out (tokens of all sequences, H, Dv) and squares (tokens, H, blocks) are contiguous.
    line = (batch * tokens + first) * heads + head
    out += line * VALUE_WIDTH
    squares += line * blocks + block
    if BULK:
        # Rows from `count` on read as zero and are not written.
        rows = tl.maximum(count, 1)
        k_tiles = tl.make_tensor_descriptor(k, [rows, KEY_WIDTH], [k_token, 1], [CHUNK, KEYS])
        v_tiles = tl.make_tensor_descriptor(v, [rows, VALUE_WIDTH], [v_token, 1], [CHUNK, VALUES])
        if OUTPUT:
            q_tiles = tl.make_tensor_descriptor(q, [rows, KEY_WIDTH], [q_token, 1], [CHUNK, KEYS])
            out_tiles = tl.make_tensor_descriptor(
                out, [rows, VALUE_WIDTH], [heads * VALUE_WIDTH, 1], [CHUNK, VALUES]
            )
    else:
        lines = row.to(tl.int64)[:, None]
        q_entry = lines * q_token + key[None, :]
        k_entry = lines * k_token + key[None, :]
        v_entry = lines * v_token + value[None, :]
        out_entry = lines * (heads * VALUE_WIDTH) + value[None, :]

    # Constants of all chunks: a partial chunk has zeros for the keys it lacks.
    distance = row[:, None] - row[None, :]
    within = tl.where(distance >= 0, tl.exp2(rate * tl.maximum(distance, 0)), 0.0) * scale
    before = (tl.exp2(rate * (row + 1)) * scale)[:, None]

    for at in range(0, count, CHUNK):
        here = tl.minimum(count - at, CHUNK)
        if BULK:
            k_tile = k_tiles.load([at, 0])
            v_tile = v_tiles.load([at, block * VALUES])
        else:
            live = (row < here)[:, None]
            k_live = live
            v_live = live
            if KEY_WIDTH != KEYS:
                k_live = live & (key[None, :] < KEY_WIDTH)
            if VALUE_WIDTH % VALUES != 0:
                v_live = live & (value[None, :] < VALUE_WIDTH)
            k_tile = tl.load(k + k_entry, mask=k_live, other=0.0)
            v_tile = tl.load(v + v_entry, mask=v_live, other=0.0)
            k += CHUNK * k_token
            v += CHUNK * v_token
        if OUTPUT:
            if BULK:
                q_tile = q_tiles.load([at, 0])
            else:
                q_tile = tl.load(q + q_entry, mask=k_live, other=0.0)
                q += CHUNK * q_token
            # Sums over many tokens can leave the range of float16: there these products are in tf32.
            wide = tl.float32 if q.dtype.element_ty == tl.float16 else q.dtype.element_ty
            precision: tl.constexpr = "tf32" if q.dtype.element_ty == tl.float16 else "tf32x3"
            scores = dot(q_tile, tl.trans(k_tile), None, precision, WIDE)
            scores = (scores * within).to(wide)
            mixed = dot(q_tile.to(wide), carry.to(wide), None, precision, WIDE) * before
            mixed = dot(scores, v_tile.to(wide), mixed, precision, WIDE)
            if ADD:
                mixed += tl.load(out + out_entry, mask=v_live, other=0.0).to(tl.float32)
            if BULK:
                out_tiles.store([at, block * VALUES], mixed.to(out.dtype.element_ty))
            else:
                tl.store(out + out_entry, mixed.to(out.dtype.element_ty), mask=v_live)
                out += CHUNK * heads * VALUE_WIDTH
            tl.store(squares + row * (heads * blocks), tl.sum(mixed * mixed, axis=1), mask=row < here)
            squares += CHUNK * heads * blocks
        # The decay goes on v, the smaller tile; rows past the end have k = v = 0, whatever their weight.
        after = tl.exp2(rate * tl.maximum(here - 1 - row, 0))
        faded = (v_tile.to(tl.float32) * after[:, None]).to(v_tile.dtype)
        carry += carry * expm1(-slope * here)
        carry = dot(tl.trans(k_tile), faded, carry, "tf32x3", WIDE)

    if PARTIAL:
        tl.store(parts + (segment + 1) * (KEY_WIDTH * VALUE_WIDTH) + entry, carry, mask=inside)
    elif segment == SEGMENTS - 1:
        tl.store(own + entry, carry, mask=inside)


@triton.jit(do_not_specialize=["rows"])
def _norm_gate(
    mixed, squares, weight, gate, out, eps, rows, gate_stride, group, parts,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    PARTS: tl.constexpr,
):  # fmt: skip
    """ROWS tokens, BLOCK channels of one of the groups; `parts` sums of squares make up a group's."""
    blocks = tl.cdiv(group, BLOCK)
    part = tl.program_id(1) // blocks
    groups = tl.num_programs(1) // blocks
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    live = row < rows
    share = tl.arange(0, PARTS)
    total = tl.load(
        squares + (row * groups + part)[:, None] * parts + share[None, :],
        mask=live[:, None] & (share < parts)[None, :],
        other=0.0,
    )
    scale = tl.rsqrt(tl.sum(total, axis=1) / group + eps)
    offset = (tl.program_id(1) % blocks) * BLOCK + tl.arange(0, BLOCK)
    channel = part * group + offset
    mask = live[:, None] & (offset < group)[None, :]
    gain = tl.load(weight + channel, mask=offset < group, other=0.0).to(tl.float32)
    line = row[:, None] * (groups * group) + channel[None, :]
    x = tl.load(mixed + line, mask=mask, other=0.0).to(tl.float32)
    raw = tl.load(gate + row[:, None] * gate_stride + channel[None, :], mask=mask, other=0.0).to(tl.float32)
    root = tl.rsqrt(1.0 + tl.exp2(tl.minimum(raw * -LOG2_E, 126.0)))
    y = x * scale[:, None] * gain[None, :] * root * root
    tl.store(out + line, y.to(out.dtype.element_ty), mask=mask)
