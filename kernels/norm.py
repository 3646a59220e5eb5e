"""RMSNorm (arXiv 1910.07467) with float32 statistics."""

from collections.abc import Callable, Iterator
from functools import cache

import torch
from torch import Tensor

from longctx.kernels import differentiable
from longctx.kernels.select import Site, works

Norm = Callable[[Tensor, Tensor, float], Tensor]  # x, weight, eps


def choose_norm(site: Site, width: int) -> Norm:
    """Return the implementation of `rms_norm` for rows of `width` numbers at a site."""
    if site.gradients:
        return differentiable.rms_norm
    if width in range(16, (1 << 16) + 1) and works("rms_norm", _trial, site, width):
        from longctx.kernels.norm_triton import rms_norm as kernel

        return kernel
    return torch_rms_norm


def torch_rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return weight * x / sqrt(mean(x^2) + eps) over the last dimension, in x's dtype.

    Args:
        x: (..., N). weight: (N,) float32.
    """
    wide = x.float()
    # torch's own makes twice as many passes, the first into a temporary of x's size.
    length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    scale = torch.addcmul(_scalar(eps, x.device), length, length, value=1 / x.shape[-1]).rsqrt_()
    normed: Tensor = (wide * scale).mul_(weight)
    return normed.to(x.dtype)


@cache
def _scalar(value: float, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # it outlives the call
        return torch.tensor(value, dtype=torch.float32, device=device)


def _trial(draw: Callable[..., Tensor], width: int) -> Iterator[tuple[Tensor, Tensor]]:
    from longctx.kernels.norm_triton import rms_norm as kernel

    x, weight = draw(3, width), draw(width, dtype=torch.float32)
    yield kernel(x, weight, 1e-5), torch_rms_norm(x, weight, 1e-5)
