"""Merge attention over different keys (the online softmax of arXiv 2205.14135) in a Triton kernel."""

import triton
import triton.language as tl
from torch import Tensor

from longctx.kernels.chips import on_device
from longctx.kernels.triton_math import LOG2_E


@on_device
def merge_partials(out: Tensor, lse: Tensor, more: Tensor, more_lse: Tensor) -> tuple[Tensor, Tensor]:
    """Merge attention over further keys into attention over some keys, exactly and in one pass.

    Args:
        out: (..., T, D) with up to four dimensions, any strides with contiguous channels; changed in place.
        lse: (..., T) float32, the natural log-sum-exp of the scores behind `out`; changed in place.
        more, more_lse: the same over the further keys; `more` may have another dtype. Rows whose log-sum-exp
            is -inf are ignored.

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
        out, lse, more, more_lse, tokens,
        *out.stride()[:3], *lse.stride(), *more.stride()[:3], *more_lse.stride(),
        D=width, BLOCK_T=block_t, BLOCK_D=block_d, num_warps=4, num_stages=1,
    )  # fmt: skip
    return merged


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
