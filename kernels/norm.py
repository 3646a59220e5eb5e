"""RMSNorm (arXiv 1910.07467) with float32 statistics."""

from dataclasses import dataclass

import torch
from torch import Tensor

from longctx.kernels import differentiable
from longctx.kernels.select import attempt, serves


@dataclass(frozen=True)
class HeadNorm:
    """RMSNorm of every head's queries and keys (Bailing-like families).

    Attributes:
        q, k: (D,) weights.
        eps: added to the mean square.
    """

    q: Tensor
    k: Tensor
    eps: float


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return weight * x / sqrt(mean(x^2) + eps) over the last dimension, in x's dtype.

    Args:
        x: (..., N). weight: (N,) float32.
    """
    if x.requires_grad:
        return differentiable.rms_norm(x, weight, eps)
    if serves("rms_norm", x, x.shape[-1], 1):
        from longctx.kernels import norm_triton

        run = attempt("rms_norm", lambda: norm_triton.rms_norm(x, weight, eps), x)
        if run:
            return run.value
    wide = x.float()
    # torch composes its own from twice as many passes, the first into a temporary of x's size.
    length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    scale = length.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
    normed: Tensor = (wide * scale).mul_(weight)
    return normed.to(x.dtype)
