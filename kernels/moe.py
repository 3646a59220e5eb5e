"""A mixture of gated MLP experts: each token goes through its top-k experts, weighted by the router."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from longctx.kernels.linear import linear


def gated_mlp(x: Tensor, w1: Tensor, w3: Tensor, w2: Tensor) -> Tensor:
    """Return (SiLU(x w1^T) * (x w3^T)) w2^T.

    Args:
        x: (T, D). w1, w3: (F, D). w2: (D, F).
    """
    return linear(linear(x, w1, "swish").mul_(linear(x, w3)), w2)


def mixture_of_experts(
    x: Tensor, router: Tensor, w1: Sequence[Tensor], w3: Sequence[Tensor], w2: Sequence[Tensor], top_k: int
) -> Tensor:
    """Send each token through its `top_k` experts; a single expert is a plain gated MLP.

    The router works in float32: softmax over all experts, the top k taken and divided by their sum.

    Args:
        x: (T, D). router: (E, D) float32. w1, w3: E matrices (F, D). w2: E matrices (D, F).

    Returns:
        (T, D) in x's dtype.
    """
    n_experts = len(w1)
    if n_experts == 1:
        return gated_mlp(x, w1[0], w3[0], w2[0])
    probabilities = torch.softmax(F.linear(x.float(), router), dim=-1)
    weights, chosen = probabilities.topk(top_k, dim=-1)  # (T, k)
    weights = weights / weights.sum(dim=-1, keepdim=True)
    order = chosen.flatten().argsort(stable=True)  # pairs (token, expert) sorted by expert
    token = order // top_k
    counts = torch.bincount(chosen.flatten(), minlength=n_experts).tolist()
    gathered = x[token].split(counts)
    parts = [gated_mlp(rows, w1[e], w3[e], w2[e]) for e, rows in enumerate(gathered) if rows.shape[0]]
    result = torch.cat(parts).float() * weights.flatten()[order, None]
    return torch.zeros_like(x, dtype=torch.float32).index_add_(0, token, result).to(x.dtype)
