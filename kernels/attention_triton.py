"""Softmax attention of single tokens over the paged log, as Triton kernels that never ask the host.

The log of a layer is a list of pages (models/state.py). Its addresses and lengths lie in a small table on the
device, so that one recorded CUDA graph serves every length and every session: nothing here synchronises, and
no grid depends on how much was read.

Keys are shared out over `splits` programs per KV head, whose partial results and log-sum-exps are merged by
a second kernel (split-KV or "flash-decoding", Dao et al. 2023, over the online softmax of arXiv 2205.14135).
"""

from collections.abc import Sequence
from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from longctx.kernels.chips import chip
from longctx.kernels.triton_math import LOG2_E, dot

# Fields of a row of the page table, int64: address of the branch's keys and of its values, tokens before the
# page, tokens in it, and its capacity (tokens from one head to the next).
PAGE_FIELDS = 5
FIRST: tl.constexpr = tl.constexpr(2)
TOKENS: tl.constexpr = tl.constexpr(3)
CAPACITY: tl.constexpr = tl.constexpr(4)
FIELDS: tl.constexpr = tl.constexpr(PAGE_FIELDS)

LN_2: tl.constexpr = tl.constexpr(0.6931471805599453)

MAX_SPLITS = 256
# Query heads of a KV head that one program serves: the rows of a tensor core's smallest product.
GROUP = 16

Log = Sequence[tuple[Tensor, Tensor]]


def page_table(logs: Sequence[Log], rows: int) -> Tensor:
    """Describe the pages of some logs to the kernels.

    Args:
        logs: one log per branch, its pages (k, v) each (1, Hkv, n, D) views of the first n tokens of
            (1, Hkv, capacity, D); or logs of batch B' > 1, which stand for B' branches each, in order. The
            last page may have no tokens yet. A branch's pages must stay alive while the table is used.
        rows: room for pages per branch, at least the longest log's.

    Returns:
        (B, rows, 5) int64 on the CPU, pinned when the pages are on a CUDA device; unused rows are zero.

    Raises:
        ValueError: for more pages than rows, or a page whose memory the kernels cannot address.
    """
    cuda = any(k.device.type == "cuda" for log in logs for k, _ in log)
    branches: list[list[list[int]]] = []
    for log in logs:
        if len(log) > rows:
            raise ValueError(f"{len(log)} pages do not fit {rows} rows")
        batch = log[0][0].shape[0] if log else 1
        unused = [[0] * PAGE_FIELDS] * (rows - len(log))
        branches.extend(_rows(log, b) + unused for b in range(batch))
    return torch.tensor(branches, dtype=torch.int64, pin_memory=cuda).view(len(branches), rows, PAGE_FIELDS)


def _rows(log: Log, branch: int) -> list[list[int]]:
    found, first = [], 0
    for k, v in log:
        heads, tokens, width = k.shape[1:]
        packed = (heads == 1 or k.stride(1) % width == 0) and all(
            (tokens <= 1 or x.stride(2) == width) and x.stride(3) == 1 and x.stride(1) == k.stride(1)
            for x in (k, v)
        )
        # An empty view has no data_ptr, its storage does.
        addresses = [
            x.untyped_storage().data_ptr() + (x.storage_offset() + branch * x.stride(0)) * x.element_size()
            for x in (k, v)
        ]
        if not packed or any(address % 16 for address in addresses):
            raise ValueError("a page must be rows of D channels, head after head, at 16 byte boundaries")
        found.append([*map(int, addresses), first, tokens, k.stride(1) // width])
        first += tokens
    return found


def default_splits(device: torch.device, branches: int, n_kv_heads: int) -> int:
    """Return the number of splits that fills the device once, with two programs per multiprocessor."""
    resident = 2 * chip(device).multiprocessors
    return max(1, min(MAX_SPLITS, resident // (branches * n_kv_heads)))


def _tile(width: int, size: int, device: torch.device) -> tuple[int, int, int]:
    """Return keys per block, warps and stages for a head of `width` channels of `size` bytes.

    Two programs shall fit a multiprocessor (164 KB on A100, 228 KB on later chips), each with 16 KiB of
    keys and as much of values in every stage but one. Triton's float32 product needs room of its own.
    """
    row = triton.next_power_of_2(width) * size
    block = max(16, min(256 // size, 16384 // row))
    return block, 8 if row >= 1024 else 4, 3 if size == 4 or chip(device).shared < 200 << 10 else 4


def attention_decode(
    q: Tensor, table: Tensor, counts: Tensor, *, n_kv_heads: int, splits: int
) -> tuple[Tensor, Tensor]:
    """Attend from one token per branch to everything in its log.

    The token's own key and value must have been appended before (`append_token`).

    Args:
        q: (B, H, D), contiguous channels, of the dtype of the pages. Query head h reads KV head
            h // (H / n_kv_heads). Scores are scaled by 1/sqrt(D).
        table: (B, rows, 5) int64 from `page_table`, on q's device.
        counts: (B,) int32, pages in use per branch.
        n_kv_heads: KV heads of the pages.
        splits: programs per branch and KV head, up to 256 (see `default_splits`).

    Returns:
        (B, H, D) in q's dtype and the natural log-sum-exp of the scores (B, H) float32; zeros and -inf
        for a branch without tokens.

    Raises:
        ValueError: when shapes do not fit together.
    """
    batch, heads, width = q.shape
    _check(q, table, counts, n_kv_heads, splits)
    groups = heads // n_kv_heads
    block, warps, stages = _tile(width, q.element_size(), q.device)
    padded = triton.next_power_of_2(width)
    parts = torch.empty(batch, heads, splits, width, dtype=torch.float32, device=q.device)
    weights = torch.empty(batch, heads, splits, dtype=torch.float32, device=q.device)
    _split_kernel[(splits, n_kv_heads * triton.cdiv(groups, GROUP), batch)](
        q,
        table,
        counts,
        parts,
        weights,
        q.stride(0),
        q.stride(1),
        SCALE=width**-0.5,
        ROWS=table.shape[1],
        H=heads,
        G=groups,
        D=width,
        BLOCK_G=GROUP,
        BLOCK_D=padded,
        BLOCK_N=block,
        ROWS_PADDED=triton.next_power_of_2(table.shape[1]),
        # Three products of tf32 are the faster way to float32, as long as the parts of q fit the registers.
        PRECISION="tf32x3" if q.dtype == torch.float32 and padded <= 128 else "ieee",
        WIDE=triton.knobs.runtime.interpret,
        num_warps=warps,
        num_stages=stages,
    )
    out = torch.empty(batch, heads, width, dtype=q.dtype, device=q.device)
    lse = torch.empty(batch, heads, dtype=torch.float32, device=q.device)
    # Small tiles: this kernel is all latency.
    splits_padded = triton.next_power_of_2(splits)
    block_d = max(16, min(padded, 4096 // splits_padded))
    _gather_kernel[(batch * heads, triton.cdiv(width, block_d))](
        parts,
        weights,
        out,
        lse,
        SPLITS=splits,
        D=width,
        BLOCK_S=splits_padded,
        BLOCK_D=block_d,
        num_warps=4,
        num_stages=1,
    )
    return out, lse


def _check(q: Tensor, table: Tensor, counts: Tensor, n_kv_heads: int, splits: int) -> None:
    if q.shape[1] % n_kv_heads or q.stride(2) != 1:
        raise ValueError(f"q {tuple(q.shape)} does not fit {n_kv_heads} KV heads, or its channels are apart")
    if table.dtype != torch.int64 or table.shape[::2] != (q.shape[0], PAGE_FIELDS):
        raise ValueError(f"page table {tuple(table.shape)} does not fit {q.shape[0]} branches")
    if not table.is_contiguous() or counts.shape != q.shape[:1] or not 1 <= splits <= MAX_SPLITS:
        raise ValueError(f"table must be contiguous, counts ({q.shape[0]},), splits 1 to {MAX_SPLITS}")


def append_token(
    q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor, table: Tensor, counts: Tensor
) -> None:
    """Rotate a token's query and key and write its key and value at the end of the log.

    The first R channels are turned, channel i with channel i + R / 2; the rest stays. Key and value go to
    the last page in use, row counts[b] - 1 of the table, which must have room; its number of tokens goes up
    by one on the device.

    Args:
        q: (B, H, D), rotated in place. k, v: (B, Hkv, D), not changed; all with contiguous channels and
            of the dtype of the pages.
        cos, sin: (B, R / 2) float32; R may be 0.
        table: (B, rows, 5) int64 from `page_table`, on q's device; changed in place.
        counts: (B,) int32, pages in use per branch.

    Raises:
        ValueError: when shapes do not fit together.
    """
    batch, heads, width = q.shape
    n_kv_heads, half = k.shape[1], cos.shape[1]
    _check(q, table, counts, n_kv_heads, 1)
    if v.shape != k.shape or k.shape[::2] != (batch, width) or k.stride(2) != 1 or v.stride(2) != 1:
        raise ValueError(f"k {tuple(k.shape)} and v {tuple(v.shape)} do not fit q {tuple(q.shape)}")
    if not k.dtype == v.dtype == q.dtype:
        raise ValueError("q, k and v must be of one dtype, that of the pages")
    if cos.shape != (batch, half) or sin.shape != cos.shape or 2 * half > width:
        raise ValueError(f"cos {tuple(cos.shape)} and sin {tuple(sin.shape)} do not fit q {tuple(q.shape)}")
    cos, sin = cos.contiguous(), sin.contiguous()
    block_h = 16
    _append_kernel[(1 + triton.cdiv(heads, block_h), batch)](
        q,
        k,
        v,
        cos,
        sin,
        table,
        counts,
        q.stride(0),
        q.stride(1),
        k.stride(0),
        k.stride(1),
        v.stride(0),
        v.stride(1),
        ROWS=table.shape[1],
        H=heads,
        H_KV=n_kv_heads,
        D=width,
        HALF=half,
        BLOCK_H=block_h,
        BLOCK_D=triton.next_power_of_2(width),
        BLOCK_R=triton.next_power_of_2(max(half, 1)),
        num_warps=4,
        num_stages=1,
    )


def attention_pointer(
    q: Tensor,
    table: Tensor,
    counts: Tensor,
    lse: Tensor,
    heads: Tensor | tuple[int, ...],
    *,
    n_kv_heads: int,
    splits: int,
) -> tuple[Tensor, Tensor]:
    """Find the key that the mean attention of some heads is highest at.

    Args:
        q, table, counts, n_kv_heads, splits: as for `attention_decode`.
        lse: (B, H) float32 from `attention_decode` on the same arguments.
        heads: query heads, at least one: (M,) int32 or int64 on q's device, or a tuple (copied to the device
            once per process).

    Returns:
        The position of the key (B,) int64, the smallest on a tie, and its mean probability (B,) float32;
        -1 and 0 for a branch without tokens.

    Raises:
        ValueError: when shapes do not fit together.
    """
    batch, n_heads, width = q.shape
    _check(q, table, counts, n_kv_heads, splits)
    chosen = heads if isinstance(heads, Tensor) else _head_list(heads, q.device)
    if not chosen.numel() or lse.shape != q.shape[:2] or not lse.is_contiguous():
        raise ValueError(f"{chosen.numel()} heads, lse {tuple(lse.shape)} for q {tuple(q.shape)}")
    values = torch.empty(batch, splits, dtype=torch.float32, device=q.device)
    places = torch.empty(batch, splits, dtype=torch.int64, device=q.device)
    _pointer_kernel[(splits, batch)](
        q,
        table,
        counts,
        lse,
        chosen,
        values,
        places,
        q.stride(0),
        q.stride(1),
        SCALE=width**-0.5,
        ROWS=table.shape[1],
        M=chosen.numel(),
        H=n_heads,
        G=n_heads // n_kv_heads,
        D=width,
        BLOCK_D=triton.next_power_of_2(width),
        BLOCK_N=max(16, min(64, 8192 // triton.next_power_of_2(width))),
        ROWS_PADDED=triton.next_power_of_2(table.shape[1]),
        num_warps=8,
        num_stages=1,
    )
    value = torch.empty(batch, dtype=torch.float32, device=q.device)
    place = torch.empty(batch, dtype=torch.int64, device=q.device)
    _highest_kernel[(batch,)](
        values,
        places,
        value,
        place,
        SPLITS=splits,
        BLOCK_S=triton.next_power_of_2(splits),
        num_warps=1,
        num_stages=1,
    )
    return place, value


@cache
def _head_list(heads: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(heads, dtype=torch.int32, device=device)


def merge_partials(out: Tensor, lse: Tensor, more: Tensor, more_lse: Tensor) -> tuple[Tensor, Tensor]:
    """Merge attention over further keys into attention over some keys, exactly and in one pass.

    Args:
        out: (..., T, D) with up to four dimensions, any strides with contiguous channels; changed in place.
        lse: (..., T) float32, the natural log-sum-exp of the scores behind `out`; changed in place.
        more, more_lse: the same over the further keys; `more` may have a dtype of its own. Rows whose
            log-sum-exp is -inf count for nothing.

    Returns:
        out and lse.

    Raises:
        ValueError: when shapes do not fit together.
    """
    fits = out.shape == more.shape and lse.shape == more_lse.shape == out.shape[:-1]
    if not fits or not 2 <= out.ndim <= 4 or out.stride(-1) != 1 or more.stride(-1) != 1:
        raise ValueError(f"{tuple(out.shape)}, {tuple(lse.shape)}, {tuple(more.shape)} do not fit together")
    merged = out, lse
    while out.ndim < 4:
        out, lse, more, more_lse = (x.unsqueeze(0) for x in (out, lse, more, more_lse))
    batch, heads, tokens, width = out.shape
    block_d = triton.next_power_of_2(width)
    block_t = max(1, 4096 // block_d)
    _merge_kernel[(triton.cdiv(tokens, block_t), heads, batch)](
        out,
        lse,
        more,
        more_lse,
        tokens,
        *out.stride()[:3],
        *lse.stride(),
        *more.stride()[:3],
        *more_lse.stride(),
        D=width,
        BLOCK_T=block_t,
        BLOCK_D=block_d,
        num_warps=4,
        num_stages=1,
    )
    return merged


@triton.jit
def _share(
    table, counts, b, split, splits,
    BLOCK_N: tl.constexpr, ROWS: tl.constexpr, ROWS_PADDED: tl.constexpr,
):  # fmt: skip
    """Return the tokens [start, stop) of this program and the first and last page that holds any of them.

    All rows in use are read at once: a search that steps from row to row would wait at every step.
    """
    row = tl.arange(0, ROWS_PADDED)
    rows = table + b * ROWS * FIELDS + row * FIELDS
    used = row < tl.minimum(tl.load(counts + b), ROWS)
    first = tl.load(rows + FIRST, mask=used, other=0)
    total = tl.max(first + tl.load(rows + TOKENS, mask=used, other=0), axis=0)
    share = tl.cdiv(tl.cdiv(total, splits), BLOCK_N) * BLOCK_N
    start = tl.minimum(split * share, total)
    stop = tl.minimum(start + share, total)
    page = tl.sum((used & (first <= start)).to(tl.int32), axis=0) - 1
    last = tl.sum((used & (first < stop)).to(tl.int32), axis=0) - 1
    return start, stop, page, last


@triton.jit
def _split_kernel(
    q_ptr, table, counts, parts, weights, stride_b, stride_h,
    SCALE: tl.constexpr, ROWS: tl.constexpr, H: tl.constexpr, G: tl.constexpr, D: tl.constexpr,
    BLOCK_G: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_N: tl.constexpr, ROWS_PADDED: tl.constexpr,
    PRECISION: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """One share of the tokens of one KV head, for up to BLOCK_G of its query heads: the online softmax."""
    split, b = tl.program_id(0), tl.program_id(2).to(tl.int64)
    kv_head = tl.program_id(1) // tl.cdiv(G, BLOCK_G)
    splits = tl.num_programs(0)
    start, stop, page, last = _share(table, counts, b, split, splits, BLOCK_N, ROWS, ROWS_PADDED)
    g = tl.program_id(1) % tl.cdiv(G, BLOCK_G) * BLOCK_G + tl.arange(0, BLOCK_G)
    d = tl.arange(0, BLOCK_D)
    n = tl.arange(0, BLOCK_N)
    head = kv_head * G + g
    inside = (g < G)[:, None] & (d < D)[None, :]
    q = tl.load(q_ptr + b * stride_b + head[:, None] * stride_h + d[None, :], mask=inside, other=0.0)
    top = tl.full((BLOCK_G,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_G,), tl.float32)
    out = tl.zeros((BLOCK_G, BLOCK_D), tl.float32)
    # An empty share walks no page.
    for p in range(page, tl.where(start < stop, last + 1, page)):
        row = table + (b * ROWS + p) * FIELDS
        first = tl.load(row + FIRST)
        tokens = tl.load(row + TOKENS)
        offset = kv_head * tl.load(row + CAPACITY) * D
        k_ptr = tl.multiple_of(tl.load(row).to(q_ptr.dtype), 16) + offset
        v_ptr = tl.multiple_of(tl.load(row + 1).to(q_ptr.dtype), 16) + offset
        # Positions inside a page are small; 32 bit keeps the addresses cheap. (A page's rows are 16k.)
        low = tl.maximum(start - first, 0).to(tl.int32)
        high = tl.minimum(stop - first, tokens).to(tl.int32)
        for i in range(low, high, BLOCK_N):
            key = i + n
            seen = key < high
            block = key[:, None] * D + d[None, :]
            mask = seen[:, None] & (d < D)[None, :]
            k = tl.load(k_ptr + block, mask=mask, other=0.0)
            scores = dot(q, tl.trans(k), None, PRECISION, WIDE) * (SCALE * LOG2_E)
            scores = tl.where(seen[None, :], scores, float("-inf"))
            new_top = tl.maximum(top, tl.max(scores, axis=1))
            weight = tl.exp2(scores - new_top[:, None])
            keep = tl.exp2(top - new_top)
            v = tl.load(v_ptr + block, mask=mask, other=0.0)
            total = total * keep + tl.sum(weight, axis=1)
            out = dot(weight.to(v.dtype), v, out * keep[:, None], PRECISION, WIDE)
            top = new_top
    # Without a key the sum is zero, and `top` still -inf.
    total = tl.where(total == 0.0, 1.0, total)
    lse = (top + tl.log2(total)) * LN_2
    out = out / total[:, None]
    at = (b * H + head) * splits + split
    tl.store(weights + at, lse, mask=g < G)
    tl.store(parts + at[:, None] * D + d[None, :], out, mask=inside)


@triton.jit
def _gather_kernel(
    parts, weights, out, lse,
    SPLITS: tl.constexpr, D: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Merge the partial results of one query head, one block of channels."""
    head = tl.program_id(0).to(tl.int64)
    s = tl.arange(0, BLOCK_S)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    mask = (s < SPLITS)[:, None] & (d < D)[None, :]
    part = tl.load(parts + (head * SPLITS + s[:, None]) * D + d[None, :], mask=mask, other=0.0)
    weight = tl.load(weights + head * SPLITS + s, mask=s < SPLITS, other=float("-inf"))
    top = tl.max(weight, axis=0)
    # With no token at all every weight is -inf, and -inf - -inf would be nan.
    share = tl.exp2((weight - tl.where(top == float("-inf"), 0.0, top)) * LOG2_E)
    total = tl.sum(share, axis=0)
    total = tl.where(total == 0.0, 1.0, total)
    mixed = tl.sum(part * share[:, None], axis=0) / total
    tl.store(out + head * D + d, mixed.to(out.dtype.element_ty), mask=d < D)
    if tl.program_id(1) == 0:
        tl.store(lse + head, top + tl.log(total))


@triton.jit
def _append_kernel(
    q, k, v, cos, sin, table, counts, q_b, q_h, k_b, k_h, v_b, v_h,
    ROWS: tl.constexpr, H: tl.constexpr, H_KV: tl.constexpr, D: tl.constexpr, HALF: tl.constexpr,
    BLOCK_H: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_R: tl.constexpr,
):  # fmt: skip
    """Program 0 of a branch writes keys, values and the count; each other one turns some query heads."""
    tile, b = tl.program_id(0), tl.program_id(1).to(tl.int64)
    h = tl.arange(0, BLOCK_H)
    d = tl.arange(0, BLOCK_D)
    r = tl.arange(0, BLOCK_R)
    turn_cos = tl.load(cos + b * HALF + r, mask=r < HALF, other=0.0)[None, :]
    turn_sin = tl.load(sin + b * HALF + r, mask=r < HALF, other=0.0)[None, :]
    if tile > 0:
        head = (tile - 1) * BLOCK_H + h
        at = q + b * q_b + head[:, None] * q_h + r[None, :]
        mask = (head < H)[:, None] & (r < HALF)[None, :]
        one = tl.load(at, mask=mask, other=0.0).to(tl.float32)
        two = tl.load(at + HALF, mask=mask, other=0.0).to(tl.float32)
        # In a tile with fewer elements than the program has threads several threads read the same one: none
        # may write before all have read.
        tl.debug_barrier()
        tl.store(at, (one * turn_cos - two * turn_sin).to(q.dtype.element_ty), mask=mask)
        tl.store(at + HALF, (two * turn_cos + one * turn_sin).to(q.dtype.element_ty), mask=mask)
    else:
        row = table + (b * ROWS + tl.load(counts + b) - 1) * FIELDS
        tokens = tl.load(row + TOKENS)
        capacity = tl.load(row + CAPACITY)
        k_page = tl.multiple_of(tl.load(row).to(k.dtype), 16) + tokens * D
        v_page = tl.multiple_of(tl.load(row + 1).to(v.dtype), 16) + tokens * D
        for start in range(0, H_KV, BLOCK_H):
            head = start + h
            there = (head.to(tl.int64) * capacity * D)[:, None]
            inside = (head < H_KV)[:, None]
            mask = inside & (d < D)[None, :]
            value = tl.load(v + b * v_b + head[:, None] * v_h + d[None, :], mask=mask, other=0.0)
            tl.store(v_page + there + d[None, :], value, mask=mask)
            mask &= (d >= 2 * HALF)[None, :]
            rest = tl.load(k + b * k_b + head[:, None] * k_h + d[None, :], mask=mask, other=0.0)
            tl.store(k_page + there + d[None, :], rest, mask=mask)
            at = k + b * k_b + head[:, None] * k_h + r[None, :]
            mask = inside & (r < HALF)[None, :]
            one = tl.load(at, mask=mask, other=0.0).to(tl.float32)
            two = tl.load(at + HALF, mask=mask, other=0.0).to(tl.float32)
            there = k_page + there + r[None, :]
            tl.store(there, (one * turn_cos - two * turn_sin).to(k.dtype.element_ty), mask=mask)
            tl.store(there + HALF, (two * turn_cos + one * turn_sin).to(k.dtype.element_ty), mask=mask)
        # Every thread has read the old count before one of them writes the new one.
        tl.debug_barrier()
        tl.store(row + TOKENS, tokens + 1)


@triton.jit
def _pointer_kernel(
    q_ptr, table, counts, lse, heads, values, places, stride_b, stride_h,
    SCALE: tl.constexpr, ROWS: tl.constexpr, M: tl.constexpr, H: tl.constexpr, G: tl.constexpr,
    D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_N: tl.constexpr, ROWS_PADDED: tl.constexpr,
):  # fmt: skip
    """The highest key of one share of the tokens. Probabilities are formed in float32, none is stored."""
    split, b = tl.program_id(0), tl.program_id(1).to(tl.int64)
    splits = tl.num_programs(0)
    start, stop, page, last = _share(table, counts, b, split, splits, BLOCK_N, ROWS, ROWS_PADDED)
    d = tl.arange(0, BLOCK_D)
    n = tl.arange(0, BLOCK_N)
    best = tl.full((), -1.0, tl.float32)
    place = tl.full((), -1, tl.int64)
    for p in range(page, tl.where(start < stop, last + 1, page)):
        row = table + (b * ROWS + p) * FIELDS
        k_page = tl.multiple_of(tl.load(row).to(q_ptr.dtype), 16)
        first = tl.load(row + FIRST)
        tokens = tl.load(row + TOKENS)
        capacity = tl.load(row + CAPACITY)
        low = tl.maximum(start - first, 0).to(tl.int32)
        high = tl.minimum(stop - first, tokens).to(tl.int32)
        for i in range(low, high, BLOCK_N):
            key = i + n
            mask = (key < high)[:, None] & (d < D)[None, :]
            mass = tl.zeros((BLOCK_N,), tl.float32)
            for m in tl.static_range(M):
                head = tl.load(heads + m).to(tl.int32)
                q = tl.load(q_ptr + b * stride_b + head * stride_h + d, mask=d < D, other=0.0).to(tl.float32)
                k_head = k_page + (head // G) * capacity * D
                k = tl.load(k_head + key[:, None] * D + d[None, :], mask=mask, other=0.0).to(tl.float32)
                score = tl.sum(k * q[None, :], axis=1) * SCALE
                mass += tl.exp2((score - tl.load(lse + b * H + head)) * LOG2_E)
            mass = tl.where(key < high, mass, -1.0)
            top = tl.max(mass, axis=0)
            at = first + tl.min(tl.where(mass == top, key, high), axis=0)
            place = tl.where(top > best, at, place)
            best = tl.maximum(best, top)
    tl.store(values + b * splits + split, best / M)
    tl.store(places + b * splits + split, place)


@triton.jit
def _highest_kernel(values, places, value, place, SPLITS: tl.constexpr, BLOCK_S: tl.constexpr):
    """Choose among the splits; an earlier split holds earlier keys."""
    b = tl.program_id(0)
    s = tl.arange(0, BLOCK_S)
    found = tl.load(values + b * SPLITS + s, mask=s < SPLITS, other=-1.0)
    top = tl.max(found, axis=0)
    winner = tl.min(tl.where(found == top, s, BLOCK_S), axis=0)
    tl.store(value + b, tl.maximum(top, 0.0))
    tl.store(place + b, tl.load(places + b * SPLITS + winner))


@triton.jit
def _merge_kernel(
    out, lse, more, more_lse, tokens,
    out_b, out_h, out_t, lse_b, lse_h, lse_t, more_b, more_h, more_t, more_lse_b, more_lse_h, more_lse_t,
    D: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Merge BLOCK_T rows of one head."""
    t = tl.program_id(0).to(tl.int64) * BLOCK_T + tl.arange(0, BLOCK_T)
    h, b = tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    d = tl.arange(0, BLOCK_D)
    inside = t < tokens
    mask = inside[:, None] & (d < D)[None, :]
    out_at = out + b * out_b + h * out_h + t[:, None] * out_t + d[None, :]
    more_at = more + b * more_b + h * more_h + t[:, None] * more_t + d[None, :]
    lse_at = lse + b * lse_b + h * lse_h + t * lse_t
    old = tl.load(out_at, mask=mask, other=0.0).to(tl.float32)
    new = tl.load(more_at, mask=mask, other=0.0).to(tl.float32)
    old_lse = tl.load(lse_at, mask=inside, other=0.0)
    more_lse_at = more_lse + b * more_lse_b + h * more_lse_h + t * more_lse_t
    new_lse = tl.load(more_lse_at, mask=inside, other=0.0)
    top = tl.maximum(old_lse, new_lse)
    base = tl.where(top == float("-inf"), 0.0, top)  # both empty: -inf - -inf would be nan
    old_share = tl.exp2((old_lse - base) * LOG2_E)
    new_share = tl.exp2((new_lse - base) * LOG2_E)
    total = old_share + new_share
    total = tl.where(total == 0.0, 1.0, total)
    mixed = (old * old_share[:, None] + new * new_share[:, None]) / total[:, None]
    # A row's lse is read by several threads; none may write it before all have read it.
    tl.debug_barrier()
    tl.store(out_at, mixed.to(out.dtype.element_ty), mask=mask)
    tl.store(lse_at, top + tl.log(total), mask=inside)
