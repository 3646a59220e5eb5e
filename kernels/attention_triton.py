"""Softmax attention of single tokens over the paged log, as Triton kernels that never ask the host.

A page table (pages_triton.py) describes the log: nothing here synchronises, and no grid depends on the
length.

Keys are shared out over `splits` programs per KV head, whose partial results and log-sum-exps are merged by
a second kernel (split-KV or "flash-decoding", Dao et al. 2023, over the online softmax of arXiv 2205.14135).
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from longctx.kernels.chips import chip, on_device
from longctx.kernels.pages_triton import CAPACITY, FIELDS, FIRST, TOKENS, check_log
from longctx.kernels.triton_math import LOG2_E, dot

LN_2: tl.constexpr = tl.constexpr(0.6931471805599453)

MAX_SPLITS = 256
# Query heads of a KV head per program: the rows of a tensor core's smallest product.
GROUP = 16


def default_splits(device: torch.device, branches: int, n_kv_heads: int) -> int:
    """Return the number of splits that fills the device once, with two programs per multiprocessor."""
    resident = 2 * chip(device).multiprocessors
    return max(1, min(MAX_SPLITS, resident // (branches * n_kv_heads)))


def _tile(width: int, size: int, device: torch.device) -> tuple[int, int, int]:
    """Return keys per block, warps and stages for a head of `width` channels of `size` bytes.

    Two programs must fit a multiprocessor (164 KB on A100, 228 KB on later chips), each with 16 KiB
    of keys and 16 KiB of values in every stage but one. Triton's float32 product needs extra room.
    """
    row = triton.next_power_of_2(width) * size
    block = max(16, min(256 // size, 16384 // row))
    return block, 8 if row >= 1024 else 4, 3 if size == 4 or chip(device).shared < 200 << 10 else 4


@on_device
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
    check_log(q, table, counts, n_kv_heads)
    if not 1 <= splits <= MAX_SPLITS:
        raise ValueError(f"{splits} splits; there are 1 to {MAX_SPLITS}")
    groups = heads // n_kv_heads
    block, warps, stages = _tile(width, q.element_size(), q.device)
    padded, splits_padded = triton.next_power_of_2(width), triton.next_power_of_2(splits)
    parts = torch.empty(batch, heads, splits, width, dtype=torch.float32, device=q.device)
    weights = torch.empty(batch, heads, splits, dtype=torch.float32, device=q.device)
    _split_kernel[(splits, n_kv_heads * triton.cdiv(groups, GROUP), batch)](
        q, table, counts, parts, weights, *q.stride()[:2],
        SCALE=width**-0.5, ROWS=table.shape[1], H=heads, G=groups, D=width, BLOCK_G=GROUP, BLOCK_D=padded,
        BLOCK_N=block, ROWS_PADDED=triton.next_power_of_2(table.shape[1]),
        # Three tf32 products make float32 faster, as long as the parts of q fit the registers.
        PRECISION="tf32x3" if q.dtype == torch.float32 and padded <= 128 else "ieee",
        WIDE=triton.knobs.runtime.interpret, num_warps=warps, num_stages=stages,
    )  # fmt: skip
    out = torch.empty(batch, heads, width, dtype=q.dtype, device=q.device)
    lse = torch.empty(batch, heads, dtype=torch.float32, device=q.device)
    # Small tiles: latency decides.
    block_d = max(16, min(padded, 4096 // splits_padded))
    _gather_kernel[(batch * heads, triton.cdiv(width, block_d))](
        parts, weights, out, lse,
        SPLITS=splits, D=width, BLOCK_S=splits_padded, BLOCK_D=block_d, num_warps=4, num_stages=1,
    )  # fmt: skip
    return out, lse


@on_device
def attention_pointer(
    q: Tensor,
    table: Tensor,
    counts: Tensor,
    lse: Tensor,
    heads: Tensor,
    *,
    n_kv_heads: int,
    splits: int,
) -> tuple[Tensor, Tensor]:
    """Find the key with the highest mean attention of some heads.

    Args:
        q, table, counts, n_kv_heads, splits: as for `attention_decode`.
        lse: (B, H) float32 from `attention_decode` on the same arguments.
        heads: (M,) int32 or int64, query heads, at least one.

    Returns:
        The position of the key (B,) int64, the smallest on a tie, and its mean probability (B,) float32;
        -1 and 0 for a branch without tokens.

    Raises:
        ValueError: when shapes do not fit together.
    """
    batch, n_heads, width = q.shape
    check_log(q, table, counts, n_kv_heads)
    if not heads.numel() or lse.shape != q.shape[:2] or not lse.is_contiguous():
        raise ValueError(f"{heads.numel()} heads, lse {tuple(lse.shape)} for q {tuple(q.shape)}")
    values = torch.empty(batch, splits, dtype=torch.float32, device=q.device)
    places = torch.empty(batch, splits, dtype=torch.int64, device=q.device)
    padded = triton.next_power_of_2(width)
    _pointer_kernel[(splits, batch)](
        q, table, counts, lse, heads, values, places, *q.stride()[:2],
        SCALE=width**-0.5, ROWS=table.shape[1], M=heads.numel(), H=n_heads, G=n_heads // n_kv_heads, D=width,
        BLOCK_D=padded, BLOCK_N=max(16, min(64, 8192 // padded)),
        ROWS_PADDED=triton.next_power_of_2(table.shape[1]), num_warps=4, num_stages=1,
    )  # fmt: skip
    value = torch.empty(batch, dtype=torch.float32, device=q.device)
    place = torch.empty(batch, dtype=torch.int64, device=q.device)
    _highest_kernel[(batch,)](
        values, places, value, place,
        SPLITS=splits, BLOCK_S=triton.next_power_of_2(splits), num_warps=1, num_stages=1,
    )  # fmt: skip
    return place, value


@triton.jit
def _share(
    table, counts, b, split, splits,
    BLOCK_N: tl.constexpr, ROWS: tl.constexpr, ROWS_PADDED: tl.constexpr,
):  # fmt: skip
    """Return the tokens [start, stop) of this program and the first and last page that holds any of them.

    All used rows are read at once: a row by row search would wait at every step.
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
def _page(table, b, p, start, stop, ROWS: tl.constexpr):
    """Return a page's row in the table, its first token and its capacity, and [low, high) in it to read."""
    row = table + (b * ROWS + p) * FIELDS
    first = tl.load(row + FIRST)
    tokens = tl.load(row + TOKENS)
    # Positions inside a page are small; 32 bit keeps the addresses cheap. (A page's rows are 16k.)
    low = tl.maximum(start - first, 0).to(tl.int32)
    high = tl.minimum(stop - first, tokens).to(tl.int32)
    return row, first, tl.load(row + CAPACITY), low, high


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
        row, _, capacity, low, high = _page(table, b, p, start, stop, ROWS)
        k_ptr = tl.multiple_of(tl.load(row).to(q_ptr.dtype), 16) + kv_head * capacity * D
        v_ptr = tl.multiple_of(tl.load(row + 1).to(q_ptr.dtype), 16) + kv_head * capacity * D
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
        row, first, capacity, low, high = _page(table, b, p, start, stop, ROWS)
        k_page = tl.multiple_of(tl.load(row).to(q_ptr.dtype), 16)
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
