"""Differentiable kernels, which training uses in place of those that save memory.

A model made for training chooses them and is otherwise the same. Tests compare values and gradients with
the plain formulas.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Three = tuple[Tensor, Tensor, Tensor]


class _RMSNorm(torch.autograd.Function):
    """RMSNorm whose backward pass reads memory few times: far faster on a CPU than the built-in."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = length.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        normed = x * scale
        ctx.save_for_backward(normed, scale, weight)
        return torch.mul(normed, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor, None]:
        normed, scale, weight = ctx.saved_tensors
        product = grads[0] * normed
        inner = (product @ weight).unsqueeze(-1).div_(normed.shape[-1])
        by_weight = product.flatten(0, -2).sum(0)
        return (grads[0] * weight).sub_(normed * inner).mul_(scale), by_weight, None


class _SiLU(torch.autograd.Function):
    """SiLU that keeps its sigmoid, so that the backward pass computes no exponential."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        gate = torch.sigmoid(x)
        out = x * gate
        ctx.save_for_backward(gate, out)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Tensor:
        gate, out = ctx.saved_tensors
        return torch.addcmul(gate, out, 1 - gate).mul_(grads[0])


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return what `norm.rms_norm` returns, for float32 x (..., N)."""
    result: Tensor = _RMSNorm.apply(x, weight, eps)  # type: ignore[no-untyped-call]  # torch leaves apply untyped
    return result


def silu(x: Tensor) -> Tensor:
    """Return x * sigmoid(x)."""
    result: Tensor = _SiLU.apply(x)  # type: ignore[no-untyped-call]  # torch leaves apply untyped
    return result


def lightning_attention(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, tables: Three, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Attend like `lightning.lightning_attention`, all chunks at once; return the new state separately.

    Args:
        q, k, v: (B, T, H, D).
        slopes: (H,).
        tables: `within`, `query` and `key` of the layer's `lightning.Decay`, for chunks of C tokens.
        state: (B, H, D, D), left as it is.

    Returns:
        (B, T, H, D), and the state after token T.
    """
    size = tables[1].shape[1]
    whole = q.shape[1] // size * size
    outs = []
    for start, stop, length in ((0, whole, size), (whole, q.shape[1], q.shape[1] - whole)):
        if start < stop:
            within, query, key = tables
            part = within[:, :length, :length], query[:, :length], key[:, size - length :]
            inputs = q[:, start:stop], k[:, start:stop], v[:, start:stop]
            out, state = _chunks(inputs, slopes, part, state)
            outs.append(out)
    return (outs[0] if len(outs) == 1 else torch.cat(outs, dim=1)), state


def _chunks(inputs: Three, slopes: Tensor, tables: Three, state: Tensor) -> tuple[Tensor, Tensor]:
    """Attend over whole chunks of the tables' length."""
    within, query, key = (table.unsqueeze(1) for table in tables)
    size = query.shape[2]
    b, t, h, d = inputs[0].shape
    n = t // size
    q, k, v = (x.reshape(b, n, size, h, d).permute(0, 3, 1, 2, 4).contiguous() for x in inputs)
    sums = (k * key).transpose(-1, -2) @ v  # (B, H, N, D, D): what each chunk adds to the state
    carry = _carry(slopes, size, n)
    # Before each chunk, and after the last.
    states = (carry[..., 1:] @ sums.flatten(3)).view(b, h, n + 1, d, d)
    states = torch.addcmul(states, carry[..., :1, None], state.unsqueeze(2))
    mixed = ((q @ k.transpose(-1, -2)) * within) @ v + (q * query) @ states[:, :, :-1]
    return mixed.permute(0, 2, 3, 1, 4).reshape(b, t, h, d), states[:, :, -1]


def _carry(slopes: Tensor, size: int, count: int) -> Tensor:
    """Return (H, N + 1, N + 1): the decay of the first state and of each chunk's sum, before each chunk."""
    steps = torch.arange(count + 1, device=slopes.device, dtype=torch.float64)
    gap = steps.unsqueeze(1) - steps  # chunk m's sum stands at m + 1
    left = torch.exp(-slopes.double().view(-1, 1, 1) * size * gap.clamp(min=0))
    return left.masked_fill(gap < 0, 0).float()


def attention(q: Tensor, k: Tensor, v: Tensor, earlier: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Return what `attention.paged_attention` returns, from all keys joined."""
    groups, tokens = q.shape[1] // k.shape[1], q.shape[2]
    joined = (torch.cat(x, dim=2) for x in zip(*earlier, (k, v), strict=True))
    keys, values = (x.repeat_interleave(groups, dim=1) for x in joined)
    if keys.shape[2] == tokens:
        return F.scaled_dot_product_attention(q, keys, values, is_causal=True)
    seen = torch.ones(tokens, keys.shape[2], dtype=torch.bool, device=q.device)
    return F.scaled_dot_product_attention(q, keys, values, attn_mask=seen.tril(keys.shape[2] - tokens))
