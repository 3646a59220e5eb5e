"""RMSNorm: alone in one pass (torch's fused kernel needs weights of x's dtype), and followed by a gate."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from longctx.kernels.chips import on_device
from longctx.kernels.triton_math import LOG2_E


@on_device
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return weight * x / sqrt(mean(x^2) + eps) over the last dimension, in x's dtype.

    Args:
        x: (..., N), N up to 65,536. weight: (N,) float32.
    """
    rows = x.reshape(-1, x.shape[-1])
    out = torch.empty_like(rows)
    block = triton.next_power_of_2(rows.shape[1])
    # 16 numbers a thread: they stay in registers, with enough loads in flight.
    warps = min(max(block // 512, 1), 16)
    if rows.shape[0]:
        _rms_norm[(rows.shape[0],)](
            rows, weight, out, rows.stride(0), rows.shape[1], eps, BLOCK=block, num_warps=warps
        )
    return out.view(x.shape)


@on_device
def norm_gate(mixed: Tensor, squares: Tensor, weight: Tensor, gate: Tensor, eps: float) -> Tensor:
    """Return mixed / rms(mixed) * weight * sigmoid(gate), with the rms over all heads.

    Args:
        mixed: (B, T, H, D), contiguous. squares: (B, T, H, P) float32, contiguous, sums of its squares.
            weight: (H D,). gate: (B, T, H D), contiguous.

    Returns:
        (B, T, H D) in mixed's dtype.

    Raises:
        ValueError: shapes do not fit together, or rows are apart.
    """
    batch, tokens, heads, width = mixed.shape
    shape = (batch, tokens, heads * width)
    fits = gate.shape == shape and weight.shape == shape[2:] and squares.shape[:3] == mixed.shape[:3]
    if not fits or not (mixed.is_contiguous() and squares.is_contiguous() and gate.is_contiguous()):
        raise ValueError(
            f"norm_gate: {tuple(mixed.shape)}, squares {tuple(squares.shape)}, weight {tuple(weight.shape)}, "
            f"gate {tuple(gate.shape)}, or rows apart"
        )
    out = torch.empty_like(gate)
    if out.numel():
        rows, parts = batch * tokens, heads * squares.shape[3]
        block = min(triton.next_power_of_2(shape[2]), 1024)
        _norm_gate[(triton.cdiv(rows, 4), triton.cdiv(shape[2], block))](
            mixed, squares, weight, gate, out, eps, rows, shape[2], parts,
            ROWS=4, BLOCK=block, PARTS=triton.next_power_of_2(parts), num_warps=4, num_stages=1,
        )  # fmt: skip
    return out


@triton.jit
def _rms_norm(x, weight, out, row_stride, width, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, BLOCK)
    inside = channel < width
    values = tl.load(x + row * row_stride + channel, mask=inside, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(values * values) / width + eps)
    normed = values * scale * tl.load(weight + channel, mask=inside, other=0.0)
    tl.store(out + row * width + channel, normed.to(out.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["rows"])
def _norm_gate(
    mixed, squares, weight, gate, out, eps, rows, width, parts,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """ROWS tokens, BLOCK of their channels; `parts` sums of squares make up a token's."""
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    live = row < rows
    share = tl.arange(0, PARTS)
    total = tl.load(
        squares + row[:, None] * parts + share[None, :],
        mask=live[:, None] & (share < parts)[None, :],
        other=0.0,
    )
    scale = tl.rsqrt(tl.sum(total, axis=1) / width + eps)
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = live[:, None] & (channel < width)[None, :]
    gain = tl.load(weight + channel, mask=channel < width, other=0.0)
    line = row[:, None] * width + channel[None, :]
    x = tl.load(mixed + line, mask=mask, other=0.0).to(tl.float32)
    raw = tl.load(gate + line, mask=mask, other=0.0).to(tl.float32)
    root = tl.rsqrt(1.0 + tl.exp2(tl.minimum(raw * -LOG2_E, 126.0)))
    y = x * scale[:, None] * gain[None, :] * root * root
    tl.store(out + line, y.to(out.dtype.element_ty), mask=mask)
