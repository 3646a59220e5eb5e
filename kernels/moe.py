"""A mixture of gated MLP experts: each token goes through its top-k experts, weighted by the router."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Union

import torch
import torch.nn.functional as F
from torch import Tensor

from longctx.kernels import select
from longctx.kernels.chips import capability
from longctx.kernels.int4 import Int4Matrix, int4_experts
from longctx.kernels.linear import Matrix, Rounded, linear, prepared
from longctx.kernels.rounded import Bits, RoundedMatrix, fits, random_matrix
from longctx.kernels.select import HALVES, Site

# All matrices in one piece; or one per expert, or among those of a pool.
Stacked = Tensor | RoundedMatrix
Stack = Union[Stacked, "Slotted", Sequence[Matrix]]
# x, the experts chosen for each token and their weights, w1, w3, w2 -> what `mixture` returns.
Mixture = Callable[[Tensor, Tensor, Tensor, Stack, Stack, Stack], Tensor]
# The same for stacks in one piece, or in slots.
Experts = Callable[[Tensor, Tensor, Tensor, Any, Any, Any], Tensor]
# Rows, a stack, where each expert's rows end, and the slots of `Slotted` -> rows W^T.
GroupedProduct = Callable[[Tensor, Any, Tensor, Tensor | None], Tensor]
WeightedSum = Callable[[Tensor, Tensor, Tensor], Tensor]

FEW = 16  # up to this many tokens, experts are matrix-vector products
MOST_GROUPS = 1023  # torch's grouped product refuses more
ALIGNED = 8  # bfloat16 numbers in 16 bytes; its rows must be multiples of that


@dataclass(frozen=True)
class Slotted:
    """A stack whose matrices are somewhere among those of a larger one, its pool.

    Attributes:
        pool: (slots, out, in).
        slots: (E,) int64 on the pool's device, where each matrix is; anything where a matrix is not used.
        places: the same for the host.
    """

    pool: Stacked
    slots: Tensor
    places: Sequence[int]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, member: int) -> Matrix:
        """Return a matrix, in the same memory."""
        return self.pool[self.places[member]]


def gated_mlp(x: Tensor | Rounded, w1: Matrix, w3: Matrix, w2: Matrix) -> Tensor:
    """Return (SiLU(x w1^T) * (x w3^T)) w2^T.

    Args:
        x: (T, D), or from `prepared`. w1, w3: (F, D). w2: (D, F).
    """
    gate, up = linear(x, w1, "silu"), linear(x, w3)
    return linear(gate * up if gate.requires_grad else gate.mul_(up), w2)


def choose_mixture(site: Site, hidden: int, intermediate: int, n_experts: int) -> Mixture:
    """Return what computes `mixture` for experts of a shape at a site."""
    few: Experts = one_by_one
    many: Experts = one_by_one
    aligned = hidden % ALIGNED == 0 and intermediate % ALIGNED == 0
    if site.dtype == torch.bfloat16 and aligned and n_experts <= MOST_GROUPS and can_group(site.device):
        many = partial(grouped_experts, choose_sum(site), grouped_product)
    few = many
    # Rows are read in pieces, so the trial needs no longer ones.
    sizes = min(hidden, 1040), min(intermediate, 520)
    if hidden >= 16 and select.works("moe_decode", _decode_trial, site, *sizes):
        from longctx.kernels.moe_triton import moe_decode

        few = partial(slotted, moe_decode)
    return partial(mixture, few, many)


def choose_rounded_mixture(site: Site, hidden: int, intermediate: int, bits: Bits) -> Mixture:
    """Return what computes `mixture` for experts of so many bits at a site."""
    if site.dtype in HALVES and fits(hidden, bits) and fits(intermediate, bits):
        sizes = bits, min(hidden, 1056), min(intermediate, 544)
        if select.works(f"int{bits}_experts", _rounded_trial, site, *sizes):
            from longctx.kernels.rounded_triton import grouped_product, moe_decode

            many = partial(grouped_experts, choose_sum(site), grouped_product)
            return partial(mixture, partial(slotted, moe_decode), many)
    return partial(mixture, one_by_one, one_by_one)


def choose_sum(site: Site) -> WeightedSum:
    """Return the implementation of `weighted_sum` at a site."""
    if select.works("moe_combine", _sum_trial, site):
        from longctx.kernels.moe_triton import moe_combine

        return moe_combine
    return weighted_sum


def mixture(
    few: Experts, many: Experts, x: Tensor, chosen: Tensor, weights: Tensor, w1: Stack, w3: Stack, w2: Stack
) -> Tensor:
    """Send each token through the experts that a router chose for it.

    On NVIDIA devices the stacked forms wait for nothing: no counts are sent to the host.

    Args:
        few, many: what runs the experts of up to `FEW` tokens and of more, in one piece or in slots.
        x: (T, D). chosen: (T, k) int64. weights: (T, k) float32.
        w1, w3: (E, F, D). w2: (E, D, F); all in one piece, or all lists of E matrices.

    Returns:
        (T, D) in x's dtype.
    """
    if not isinstance(w1, Stacked | Slotted):
        return one_by_one(x, chosen, weights, w1, w3, w2)
    return (few if len(x) <= FEW else many)(x, chosen, weights, w1, w3, w2)


def slotted(
    kernel: Experts, x: Tensor, chosen: Tensor, weights: Tensor, w1: Stack, w3: Stack, w2: Stack
) -> Tensor:
    """Run a kernel that takes experts by their number in a stack, also where they are in slots."""
    if isinstance(w1, Slotted) and isinstance(w3, Slotted) and isinstance(w2, Slotted):
        return kernel(x, w1.slots[chosen], weights, w1.pool, w3.pool, w2.pool)
    return kernel(x, chosen, weights, w1, w3, w2)


def route(logits: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Choose experts by softmax over all of them.

    Args:
        logits: the router's, (T, E) float32.

    Returns:
        The experts of each token, (T, k) int64, best first, and their weights, (T, k) float32, of sum 1.
    """
    probabilities = torch.softmax(logits, dim=-1)
    weights, chosen = probabilities.topk(top_k, dim=-1)
    return chosen, weights / weights.sum(dim=-1, keepdim=True)


def route_by_groups(
    logits: Tensor, bias: Tensor, top_k: int, groups: int, top_groups: int
) -> tuple[Tensor, Tensor]:
    """Choose experts by sigmoid, among the best groups of them (DeepSeek-V3, arXiv 2412.19437).

    A group is worth the sum of its two best experts. The bias is of the choice alone.

    Args:
        logits: the router's, (T, E) float32. bias: (E,) float32.

    Returns:
        As `route`, with weights that are not normalised.
    """
    scores = torch.sigmoid(logits)
    choice = (scores + bias).unflatten(-1, (groups, -1))
    worth = choice.topk(min(2, choice.shape[-1]), dim=-1).values.sum(-1)
    kept = torch.zeros_like(worth, dtype=torch.bool).scatter_(
        -1, worth.topk(top_groups, dim=-1).indices, True
    )
    chosen = choice.masked_fill(~kept[..., None], float("-inf")).flatten(-2).topk(top_k, dim=-1).indices
    return chosen, scores.gather(-1, chosen)


def grouped_experts(
    add: WeightedSum,
    product: GroupedProduct,
    x: Tensor,
    chosen: Tensor,
    weights: Tensor,
    w1: Stacked | Slotted,
    w3: Stacked | Slotted,
    w2: Stacked | Slotted,
) -> Tensor:
    """Return the weighted sum of each token's experts, by one grouped product per matrix of an expert.

    Token-expert pairs are sorted by expert; a tensor on the device tells the product where each expert's rows
    end. Every sum has a fixed order, so equal inputs give equal bits.

    Args:
        add: see `weighted_sum`. product: see `grouped_product`.
        x: (T, D). chosen: (T, k) int64. weights: (T, k) float32. w1, w3: (E, F, D). w2: (E, D, F).
    """
    top_k = chosen.shape[1]
    experts, order = chosen.flatten().sort(stable=True)
    numbers = torch.arange(len(w1), dtype=experts.dtype, device=x.device)
    ends = torch.searchsorted(experts, numbers, right=True, out_int32=True)
    rows = x[order // top_k]
    (w1, slots), (w3, _), (w2, _) = (_in_one_piece(stack) for stack in (w1, w3, w2))
    hidden = F.silu(product(rows, w1, ends, slots), inplace=True).mul_(product(rows, w3, ends, slots))
    results = product(hidden, w2, ends, slots)
    position = torch.empty_like(order)
    position[order] = torch.arange(len(order), device=x.device)  # the row where each pair went
    return add(results, position.view_as(chosen), weights)


def _in_one_piece(stack: Stacked | Slotted) -> tuple[Stacked, Tensor | None]:
    return (stack.pool, stack.slots) if isinstance(stack, Slotted) else (stack, None)


@cache
def can_group(device: torch.device) -> bool:
    """Tell whether torch has a grouped product that runs without the host and computes correctly.

    On other devices torch's operator asks the device for the counts, which is what we want to avoid.
    """
    if device.type != "cuda" or capability(device)[0] not in (9, 10):
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
        found = grouped_product(rows, stack, torch.tensor(ends, dtype=torch.int32, device=device))
        parts = [rows[a:b].double() @ m.double().T for a, b, m in zip(starts, ends, stack, strict=True)]
        return torch.allclose(found.double(), torch.cat(parts), rtol=0.02, atol=0.1)
    except (AttributeError, NotImplementedError, RuntimeError):
        return False


def one_by_one(x: Tensor, chosen: Tensor, weights: Tensor, w1: Stack, w3: Stack, w2: Stack) -> Tensor:
    """Return the weighted sum of each token's experts, expert after expert of those chosen."""
    if len(x) == 1:
        results = _of_one_token(x, [(w1[e], w3[e], w2[e]) for e in chosen[0].tolist()])
        return (weights.to(results.dtype) @ results).to(x.dtype)
    experts, order = chosen.flatten().sort(stable=True)  # pairs (token, expert) sorted by expert
    token = order // chosen.shape[1]
    present, counts = experts.unique_consecutive(return_counts=True)
    sizes, shares = counts.tolist(), weights.flatten()[order, None]
    ready: Tensor | Rounded | None = None
    total = torch.zeros_like(x, dtype=torch.promote_types(x.dtype, weights.dtype))
    for e, rows, share in zip(present.tolist(), token.split(sizes), shares.split(sizes), strict=True):
        gate = w1[e]
        if ready is None:  # tokens are rounded once, not for each of their experts
            ready = prepared(x, gate)
        total.index_add_(0, rows, gated_mlp(ready[rows], gate, w3[e], w2[e]) * share)
    return total.to(x.dtype)


def _of_one_token(x: Tensor, experts: Sequence[tuple[Matrix, Matrix, Matrix]]) -> Tensor:
    """Return what each expert makes of one token x (1, D): (k, D)."""
    if all(isinstance(matrix, Int4Matrix) for matrices in experts for matrix in matrices):
        return int4_experts(x, experts)  # type: ignore[arg-type]  # as was just seen
    return torch.cat([gated_mlp(x, *matrices) for matrices in experts])


def grouped_product(rows: Tensor, stack: Tensor, ends: Tensor, slots: Tensor | None = None) -> Tensor:
    """Return rows W^T, each group of rows with its own matrix of the stack (E, out, in).

    Args:
        rows: (N, in). ends: (E,) int32, where each group's rows end. slots: (E,), the matrix of each group in
            a stack of others; they are copied together, for torch takes no such numbers.
    """
    stack = stack if slots is None else stack[slots]
    # Public since torch 2.10; before that under the private name alone.
    product = F.grouped_mm if hasattr(F, "grouped_mm") else torch._grouped_mm
    out: Tensor = product(rows, stack.transpose(-2, -1), offs=ends)
    return out


def weighted_sum(results: Tensor, position: Tensor, weights: Tensor) -> Tensor:
    """Return (T, D): the sum over each token's k rows of `results`, weighted, in float32.

    Args:
        results: (N, D). position: (T, k) int64, the rows. weights: (T, k) float32.
    """
    total = torch.zeros(len(position), results.shape[1], dtype=torch.float32, device=results.device)
    for slot in range(position.shape[1]):
        total.addcmul_(results[position[:, slot]].float(), weights[:, slot, None])
    return total.to(results.dtype)


def _decode_trial(
    draw: Callable[..., Tensor], hidden: int, intermediate: int
) -> Iterator[tuple[Tensor, Tensor]]:
    from longctx.kernels.moe_triton import moe_decode

    w1, w3 = draw(2, 3, intermediate, hidden) * hidden**-0.5
    w2 = draw(3, hidden, intermediate) * intermediate**-0.5
    x = draw(2, hidden)
    chosen = torch.tensor([[2, 0], [1, 2]], device=x.device)
    args = x, chosen, draw(2, 2).float(), w1, w3, w2
    yield moe_decode(*args), one_by_one(*args)


def _sum_trial(draw: Callable[..., Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    from longctx.kernels.moe_triton import moe_combine

    results, weights = draw(6, 1040), draw(3, 2).float()
    position = torch.tensor([[5, 0], [2, 1], [4, 3]], device=results.device)
    yield moe_combine(results, position, weights), weighted_sum(results, position, weights)


def _rounded_trial(
    draw: Callable[..., Tensor], bits: Bits, hidden: int, intermediate: int
) -> Iterator[tuple[Tensor, Tensor]]:
    from longctx.kernels.rounded_triton import grouped_product, moe_decode

    w1, w3 = (random_matrix(draw, bits, 3, intermediate, hidden) for _ in range(2))
    x, w2 = draw(2, hidden), random_matrix(draw, bits, 3, hidden, intermediate)
    chosen = torch.tensor([[2, 0], [1, 2]], device=x.device)
    args = x, chosen, draw(2, 2).float(), w1, w3, w2
    yield moe_decode(*args), one_by_one(*args)
    ends = torch.tensor([3, 3, 20], dtype=torch.int32, device=x.device)
    rows = draw(20, hidden)
    parts = rows[:3] @ w1[0].widened(rows.dtype).T, rows[3:] @ w1[2].widened(rows.dtype).T
    yield grouped_product(rows, w1, ends), torch.cat(parts)
