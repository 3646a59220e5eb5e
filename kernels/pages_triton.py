"""The paged log of keys and values as Triton kernels see it, and a kernel that appends tokens.

A layer's log is a list of pages. A small table on the device holds their addresses and lengths, so one CUDA
graph serves every length and every session: nothing here asks the host.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from longctx.kernels.chips import on_device

# Fields of a row of the page table, int64: address of the branch's keys and of its values, tokens before the
# page, tokens in it, and its capacity (tokens from one head to the next).
PAGE_FIELDS = 5
FIRST: tl.constexpr = tl.constexpr(2)
TOKENS: tl.constexpr = tl.constexpr(3)
CAPACITY: tl.constexpr = tl.constexpr(4)
FIELDS: tl.constexpr = tl.constexpr(PAGE_FIELDS)

Log = Sequence[tuple[Tensor, Tensor]]


def page_table(logs: Sequence[Log], rows: int) -> Tensor:
    """Return the page table of some logs.

    Args:
        logs: one log per branch, its pages (k, v) each (1, Hkv, n, D) views of the first n tokens of
            (1, Hkv, capacity, D). The last page may have no tokens yet. Pages must stay alive while the
            table is used.
        rows: pages per branch, at least the longest log's.

    Returns:
        (B, rows, 5) int64 on the CPU, pinned when the pages are on a CUDA device; unused rows are zero.

    Raises:
        ValueError: for more pages than rows, or a page whose memory the kernels cannot address.
    """
    if any(len(log) > rows for log in logs):
        raise ValueError(f"{max(map(len, logs))} pages do not fit {rows} rows")
    cuda = any(k.device.type == "cuda" for log in logs for k, _ in log)
    filled = [[*_rows(log), *[[0] * PAGE_FIELDS] * (rows - len(log))] for log in logs]
    return torch.tensor(filled, dtype=torch.int64, pin_memory=cuda)


def _rows(log: Log) -> list[list[int]]:
    found, first = [], 0
    for k, v in log:
        heads, tokens, width = k.shape[1:]
        packed = (heads == 1 or k.stride(1) % width == 0) and all(
            (tokens <= 1 or x.stride(2) == width) and x.stride(3) == 1 and x.stride(1) == k.stride(1)
            for x in (k, v)
        )
        # An empty view has no data_ptr, its storage does.
        addresses = [x.untyped_storage().data_ptr() + x.storage_offset() * x.element_size() for x in (k, v)]
        if not packed or any(address % 16 for address in addresses):
            raise ValueError("a page must be rows of D channels, head after head, at 16 byte boundaries")
        found.append([*map(int, addresses), first, tokens, k.stride(1) // width])
        first += tokens
    return found


@on_device
def append_token(
    q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor, table: Tensor, counts: Tensor
) -> None:
    """Rotate a token's query and key and write its key and value at the end of the log.

    Rotates the first R channels, channel i with channel i + R / 2. Key and value go to the last page in use,
    row counts[b] - 1 of the table, which must have room; its number of tokens grows by one on the
    device.

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
    check_log(q, table, counts, n_kv_heads)
    if v.shape != k.shape or k.shape[::2] != (batch, width) or k.stride(2) != 1 or v.stride(2) != 1:
        raise ValueError(f"k {tuple(k.shape)} and v {tuple(v.shape)} do not fit q {tuple(q.shape)}")
    if not k.dtype == v.dtype == q.dtype:
        raise ValueError("q, k and v must be of one dtype, that of the pages")
    if cos.shape != (batch, half) or sin.shape != cos.shape or 2 * half > width:
        raise ValueError(f"cos {tuple(cos.shape)} and sin {tuple(sin.shape)} do not fit q {tuple(q.shape)}")
    cos, sin = cos.contiguous(), sin.contiguous()
    block_h = 16
    _append_kernel[(1 + triton.cdiv(heads, block_h), batch)](
        q, k, v, cos, sin, table, counts, *q.stride()[:2], *k.stride()[:2], *v.stride()[:2],
        ROWS=table.shape[1], H=heads, H_KV=n_kv_heads, D=width, HALF=half, BLOCK_H=block_h,
        BLOCK_D=triton.next_power_of_2(width), BLOCK_R=triton.next_power_of_2(max(half, 1)),
        num_warps=4, num_stages=1,
    )  # fmt: skip


def check_log(q: Tensor, table: Tensor, counts: Tensor, n_kv_heads: int) -> None:
    """Raise ValueError when queries (B, H, D) do not fit a page table."""
    if q.shape[1] % n_kv_heads or q.stride(2) != 1:
        raise ValueError(f"q {tuple(q.shape)} does not fit {n_kv_heads} KV heads, or its channels are apart")
    if table.dtype != torch.int64 or table.shape[::2] != (q.shape[0], PAGE_FIELDS):
        raise ValueError(f"page table {tuple(table.shape)} does not fit {q.shape[0]} branches")
    if not table.is_contiguous() or counts.shape != q.shape[:1]:
        raise ValueError(f"the page table must be contiguous, and counts ({q.shape[0]},)")


@triton.jit
def _append_kernel(
    q, k, v, cos, sin, table, counts, q_b, q_h, k_b, k_h, v_b, v_h,
    ROWS: tl.constexpr, H: tl.constexpr, H_KV: tl.constexpr, D: tl.constexpr, HALF: tl.constexpr,
    BLOCK_H: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_R: tl.constexpr,
):  # fmt: skip
    """Program 0 of a branch writes keys, values and the count; the others rotate query heads."""
    tile, b = tl.program_id(0), tl.program_id(1).to(tl.int64)
    r = tl.arange(0, BLOCK_R)
    turn_cos = tl.load(cos + b * HALF + r, mask=r < HALF, other=0.0)[None, :]
    turn_sin = tl.load(sin + b * HALF + r, mask=r < HALF, other=0.0)[None, :]
    if tile > 0:
        head = (tile - 1) * BLOCK_H + tl.arange(0, BLOCK_H)
        at = q + b * q_b + head[:, None] * q_h + r[None, :]
        mask = (head < H)[:, None] & (r < HALF)[None, :]
        one, two = _turned(at, turn_cos, turn_sin, mask, HALF)
        # In a tile with fewer elements than the program has threads several threads read the same one: none
        # may write before all have read.
        tl.debug_barrier()
        tl.store(at, one.to(q.dtype.element_ty), mask=mask)
        tl.store(at + HALF, two.to(q.dtype.element_ty), mask=mask)
    else:
        row = table + (b * ROWS + tl.load(counts + b) - 1) * FIELDS
        tokens = tl.load(row + TOKENS)
        capacity = tl.load(row + CAPACITY)
        k_page = tl.multiple_of(tl.load(row).to(k.dtype), 16) + tokens * D
        v_page = tl.multiple_of(tl.load(row + 1).to(v.dtype), 16) + tokens * D
        for start in range(0, H_KV, BLOCK_H):
            head = start + tl.arange(0, BLOCK_H)[:, None]
            _append_heads(
                k + b * k_b + head * k_h, v + b * v_b + head * v_h, head.to(tl.int64) * capacity * D,
                k_page, v_page, turn_cos, turn_sin, head < H_KV, D, HALF, BLOCK_D, BLOCK_R,
            )  # fmt: skip
        # Every thread has read the old count before one of them writes the new one.
        tl.debug_barrier()
        tl.store(row + TOKENS, tokens + 1)


@triton.jit
def _append_heads(
    k, v, there, k_page, v_page, turn_cos, turn_sin, inside,
    D: tl.constexpr, HALF: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_R: tl.constexpr,
):  # fmt: skip
    """Write some heads' values and rotated keys `there` in their pages; k and v are columns of addresses."""
    d = tl.arange(0, BLOCK_D)[None, :]
    r = tl.arange(0, BLOCK_R)[None, :]
    mask = inside & (d < D)
    tl.store(v_page + there + d, tl.load(v + d, mask=mask, other=0.0), mask=mask)
    mask &= d >= 2 * HALF
    tl.store(k_page + there + d, tl.load(k + d, mask=mask, other=0.0), mask=mask)
    mask = inside & (r < HALF)
    one, two = _turned(k + r, turn_cos, turn_sin, mask, HALF)
    tl.store(k_page + there + r, one.to(k_page.dtype.element_ty), mask=mask)
    tl.store(k_page + there + r + HALF, two.to(k_page.dtype.element_ty), mask=mask)


@triton.jit
def _turned(at, turn_cos, turn_sin, mask, HALF: tl.constexpr):
    """Return the channels at some addresses and their partners, rotated, float32."""
    one = tl.load(at, mask=mask, other=0.0).to(tl.float32)
    two = tl.load(at + HALF, mask=mask, other=0.0).to(tl.float32)
    return one * turn_cos - two * turn_sin, two * turn_cos + one * turn_sin
