"""Softmax attention of a chunk of queries against a growing log of keys and values.

The log comes in pages; each page gives a partial result and its log-sum-exp, and partial results are
merged exactly (the online softmax of arXiv 2205.14135, section 3.1). So no mask is ever built: earlier
pages are seen whole, only the chunk against itself is causal.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

Page = tuple[Tensor, Tensor]


def attention(q: Tensor, k: Tensor, v: Tensor, earlier: Iterable[Page]) -> Tensor:
    """Attend from a chunk of T tokens to itself (causally) and to all earlier pages.

    Args:
        q: (B, H, T, D). Query head h reads KV head h // (H // Hkv). Scores are scaled by 1/sqrt(D).
        k, v: (B, Hkv, T, D), the chunk's own keys and values.
        earlier: pairs (k, v), each (B, Hkv, n, D), in any order; all of their keys are seen.

    Returns:
        (B, H, T, D) in q's dtype; softmax and merging are in float32.
    """
    batch, heads, tokens, width = q.shape
    groups = heads // k.shape[1]
    if tokens == 1:
        out, weight = _partial(_fold(q, groups), k, v, causal=False)
    else:
        own_k, own_v = (x.repeat_interleave(groups, dim=1) if groups > 1 else x for x in (k, v))
        out, weight = _partial(q, own_k, own_v, causal=True)
        out, weight = _fold(out, groups), _fold(weight[..., None], groups)[..., 0]
    folded = _fold(q, groups)
    for page_k, page_v in earlier:
        more, more_weight = _partial(folded, page_k, page_v, causal=False)
        total = torch.logaddexp(weight, more_weight)
        out = out * torch.exp(weight - total)[..., None]
        out = out.addcmul_(more, torch.exp(more_weight - total)[..., None])
        weight = total
    return out.reshape(batch, heads, tokens, width).to(q.dtype)


def attention_weights(q: Tensor, k: Tensor, earlier: Iterable[Page]) -> Tensor:
    """Return the probabilities themselves for ONE query token per sequence.

    Args:
        q: (B, H, 1, D). k: (B, Hkv, 1, D), its own key. earlier: pages in the order of their tokens.

    Returns:
        (B, H, n + 1) float32 over all n earlier keys and the own one, in the order of their tokens.
    """
    batch, heads, _, width = q.shape
    folded = _fold(q, heads // k.shape[1]).float() * width**-0.5
    keys = [page_k for page_k, _ in earlier] + [k]
    scores = torch.cat([folded @ page.float().transpose(-1, -2) for page in keys], dim=-1)
    return torch.softmax(scores, dim=-1).reshape(batch, heads, -1)


def _fold(x: Tensor, groups: int) -> Tensor:
    """Put the query heads that share a KV head one after another: (B, H, T, D) -> (B, Hkv, G*T, D)."""
    batch, heads, tokens, width = x.shape
    return x.reshape(batch, heads // groups, groups * tokens, width)


def _partial(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
    """Return attention over these keys alone, and its log-sum-exp (B, H, T), float32."""
    if q.device.type == "cpu":
        # What scaled_dot_product_attention runs; called itself because it also gives the log-sum-exp.
        out, weight = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal)
        return out.float(), weight
    scores = (q.float() @ k.float().transpose(-1, -2)) * q.shape[-1] ** -0.5
    if causal:
        scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), float("-inf"))
    weight = torch.logsumexp(scores, dim=-1)
    return torch.exp(scores - weight[..., None]) @ v.float(), weight
