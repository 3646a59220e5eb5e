"""A mixture of gated MLP experts: each token goes through its top-k experts, weighted by the router."""

from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from longctx.kernels import select
from longctx.kernels.linear import Matrix, linear

# One matrix per expert, or all of them stacked.
Stack = Tensor | Sequence[Matrix]
MOST_GROUPS = 1023  # torch's grouped product refuses more
ALIGNED = 8  # bfloat16 numbers in the 16 bytes that its rows must be multiples of


def gated_mlp(x: Tensor, w1: Matrix, w3: Matrix, w2: Matrix) -> Tensor:
    """Return (SiLU(x w1^T) * (x w3^T)) w2^T.

    Args:
        x: (T, D). w1, w3: (F, D). w2: (D, F).
    """
    gate, up = linear(x, w1, "swish"), linear(x, w3)
    return linear(gate * up if gate.requires_grad else gate.mul_(up), w2)


def mixture_of_experts(x: Tensor, router: Tensor, w1: Stack, w3: Stack, w2: Stack, top_k: int) -> Tensor:
    """Send each token through its `top_k` experts; a single expert is a plain gated MLP.

    The router works in float32: softmax over all experts, the top k taken and divided by their sum. On
    NVIDIA devices the stacked forms wait for nothing: no counts are sent to the host.

    Args:
        x: (T, D). router: (E, D) float32. w1, w3: (E, F, D). w2: (E, D, F); each one tensor, or E matrices.

    Returns:
        (T, D) in x's dtype.
    """
    if len(w1) == 1:
        return gated_mlp(x, w1[0], w3[0], w2[0])
    chosen, weights = route(x, router, top_k)
    if isinstance(w1, Tensor) and isinstance(w3, Tensor) and isinstance(w2, Tensor):
        done = _stacked(x, chosen, weights, w1, w3, w2)
        if done is not None:
            return done
    return _one_by_one(x, chosen, weights, w1, w3, w2)


def route(x: Tensor, router: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Return the experts of each token, (T, k) int64, best first, and their weights, (T, k) float32."""
    probabilities = torch.softmax(F.linear(x.float(), router), dim=-1)
    weights, chosen = probabilities.topk(top_k, dim=-1)
    return chosen, weights / weights.sum(dim=-1, keepdim=True)


def grouped_experts(x: Tensor, chosen: Tensor, weights: Tensor, w1: Tensor, w3: Tensor, w2: Tensor) -> Tensor:
    """Return the weighted sum of each token's experts, by one grouped product per matrix of an expert.

    The pairs of token and expert are sorted by expert; where an expert's rows end is told to the product by
    a tensor on the device. Every sum has a fixed order, so equal inputs give equal bits.

    Args:
        x: (T, D). chosen: (T, k) int64. weights: (T, k) float32. w1, w3: (E, F, D). w2: (E, D, F).
    """
    top_k = chosen.shape[1]
    experts, order = chosen.flatten().sort(stable=True)
    numbers = torch.arange(len(w1), dtype=experts.dtype, device=x.device)
    ends = torch.searchsorted(experts, numbers, right=True, out_int32=True)
    rows = x[order // top_k]
    hidden = F.silu(_grouped_product(rows, w1, ends), inplace=True).mul_(_grouped_product(rows, w3, ends))
    results = _grouped_product(hidden, w2, ends)
    position = torch.empty_like(order)
    position[order] = torch.arange(len(order), device=x.device)  # the row where each pair went
    return _weighted_sum(results, position.view_as(chosen), weights)


@cache
def can_group(device: torch.device) -> bool:
    """Tell whether torch has a grouped product that runs on the device alone, and computes rightly.

    Elsewhere torch offers the same operator but asks the device for the counts, which is what it is to avoid.
    """
    if device.type != "cuda" or select.capability(device)[0] not in (9, 10):
        return False
    return groups_rightly(device)


def groups_rightly(device: torch.device) -> bool:
    """Compare torch's grouped product with plain ones: groups of several sizes, one of them empty."""
    random = torch.Generator().manual_seed(0)
    rows = torch.randn(83, 64, generator=random).to(device, torch.bfloat16)
    stack = torch.randn(4, 40, 64, generator=random).to(device, torch.bfloat16)
    ends = [3, 3, 70, 83]
    starts = [0, *ends[:-1]]
    try:
        found = _grouped_product(rows, stack, torch.tensor(ends, dtype=torch.int32, device=device))
        parts = [rows[a:b].double() @ m.double().T for a, b, m in zip(starts, ends, stack, strict=True)]
        return torch.allclose(found.double(), torch.cat(parts), rtol=0.02, atol=0.1)
    except (AttributeError, NotImplementedError, RuntimeError):
        return False


def _stacked(x: Tensor, chosen: Tensor, weights: Tensor, w1: Tensor, w3: Tensor, w2: Tensor) -> Tensor | None:
    """Return what the operations on whole stacks give; None where none of them serves."""
    if not all(stack.is_contiguous() and stack.dtype == x.dtype for stack in (w1, w3, w2)):
        return None
    tokens, width = x.shape
    if select.serves("moe_decode", x, width, tokens):
        from longctx.kernels.moe_triton import moe_decode

        run = select.attempt("moe_decode", lambda: moe_decode(x, chosen, weights, w1, w3, w2), x)
        if run:
            return run.value
    aligned = width % ALIGNED == 0 and w1.shape[1] % ALIGNED == 0
    fits = x.dtype == torch.bfloat16 and aligned and len(w1) <= MOST_GROUPS
    return grouped_experts(x, chosen, weights, w1, w3, w2) if fits and can_group(x.device) else None


def _one_by_one(x: Tensor, chosen: Tensor, weights: Tensor, w1: Stack, w3: Stack, w2: Stack) -> Tensor:
    """Return the weighted sum of each token's experts, expert after expert."""
    order = chosen.flatten().argsort(stable=True)  # pairs (token, expert) sorted by expert
    token = order // chosen.shape[1]
    counts = torch.bincount(chosen.flatten(), minlength=len(w1)).tolist()
    gathered = x[token].split(counts)
    parts = [gated_mlp(rows, w1[e], w3[e], w2[e]) for e, rows in enumerate(gathered) if rows.shape[0]]
    result = torch.cat(parts) * weights.flatten()[order, None]
    return torch.zeros_like(x, dtype=result.dtype).index_add_(0, token, result).to(x.dtype)


def _grouped_product(rows: Tensor, stack: Tensor, ends: Tensor) -> Tensor:
    """Return rows W^T, each group of rows with its own matrix of the stack (E, out, in).

    Args:
        rows: (N, in). ends: (E,) int32, where each group's rows end.
    """
    # Public since torch 2.10; before that under the private name alone.
    product = F.grouped_mm if hasattr(F, "grouped_mm") else torch._grouped_mm
    out: Tensor = product(rows, stack.transpose(-2, -1), offs=ends)
    return out


def _weighted_sum(results: Tensor, position: Tensor, weights: Tensor) -> Tensor:
    """Return (T, D): the sum over each token's k rows of `results`, weighted, in float32."""
    if select.serves("moe_combine", results, results.shape[1], len(position)):
        from longctx.kernels.moe_triton import moe_combine

        run = select.attempt("moe_combine", lambda: moe_combine(results, position, weights), results)
        if run:
            return run.value
    total = torch.zeros(len(position), results.shape[1], dtype=torch.float32, device=results.device)
    for slot in range(position.shape[1]):
        total.addcmul_(results[position[:, slot]].float(), weights[:, slot, None])
    return total.to(results.dtype)
