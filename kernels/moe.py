"""A mixture of gated MLP experts: each token goes through its top-k experts, weighted by the router."""

import torch
import torch.nn.functional as F
from torch import Tensor


def gated_mlp(x: Tensor, w13: Tensor, w2: Tensor) -> Tensor:
    """Return (SiLU(x w1^T) * (x w3^T)) w2^T.

    Args:
        x: (T, D). w13: (2F, D), the rows of w1 and then of w3. w2: (D, F).
    """
    gate, up = F.linear(x, w13).chunk(2, dim=-1)
    return F.linear(F.silu(gate).mul_(up) if not gate.requires_grad else F.silu(gate) * up, w2)


def mixture_of_experts(x: Tensor, router: Tensor, w13: Tensor, w2: Tensor, top_k: int) -> Tensor:
    """Send each token through its `top_k` experts; a single expert is a plain gated MLP.

    The router works in float32: softmax over all experts, the top k taken and divided by their sum.

    Args:
        x: (T, D). router: (E, D) float32. w13: (E, 2F, D). w2: (E, D, F).

    Returns:
        (T, D) in x's dtype.
    """
    n_experts = w13.shape[0]
    if n_experts == 1:
        return gated_mlp(x, w13[0], w2[0])
    probabilities = torch.softmax(F.linear(x.float(), router), dim=-1)
    weights, chosen = probabilities.topk(top_k, dim=-1)  # (T, k)
    weights = weights / weights.sum(dim=-1, keepdim=True)
    order = chosen.flatten().argsort(stable=True)  # pairs (token, expert) sorted by expert
    token = order // top_k
    counts = torch.bincount(chosen.flatten(), minlength=n_experts).tolist()
    gathered = x[token].split(counts)
    parts = [gated_mlp(rows, w13[e], w2[e]) for e, rows in enumerate(gathered) if rows.shape[0]]
    result = torch.cat(parts).float() * weights.flatten()[order, None]
    return torch.zeros_like(x, dtype=torch.float32).index_add_(0, token, result).to(x.dtype)
