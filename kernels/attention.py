"""Softmax attention of a chunk of queries against a growing log of keys and values.

The log comes in pages; each page gives a partial result and its log-sum-exp, and partial results are
merged exactly (the online softmax of arXiv 2205.14135, section 3.1). So no mask is ever built: earlier
pages are seen whole, only the chunk against itself is causal.
"""

import warnings
from collections.abc import Callable, Iterable
from functools import cache

import torch
from torch import Tensor

from longctx.kernels import differentiable, select

Page = tuple[Tensor, Tensor]
# Attention over some keys alone, (B, H, T, D), and the log-sum-exp of its scores, (B, H, T) float32.
Partial = tuple[Tensor, Tensor]

# The plain formula never holds more scores than this at once (256 MB).
MOST_SCORES = 1 << 26
# How far from the plain formula a fused kernel may be: its results, and its log-sum-exp.
TOLERANCE = {torch.bfloat16: (2e-2, 2e-3), torch.float16: (4e-3, 2e-3), torch.float32: (2e-5, 2e-5)}


def attention(q: Tensor, k: Tensor, v: Tensor, earlier: Iterable[Page]) -> Tensor:
    """Attend from a chunk of T tokens to itself (causally) and to all earlier pages.

    Args:
        q: (B, H, T, D). Query head h reads KV head h // (H // Hkv). Scores are scaled by 1/sqrt(D).
        k, v: (B, Hkv, T, D), the chunk's own keys and values.
        earlier: pairs (k, v), each (B, Hkv, n, D), in any order; all of their keys are seen.

    Returns:
        (B, H, T, D) in q's dtype; softmax and merging are in float32.
    """
    if q.requires_grad:
        return differentiable.attention(q, k, v, list(earlier))
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
        out, weight = _merge(out.float(), weight, more, more_weight)
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


def _merge(out: Tensor, weight: Tensor, more: Tensor, more_weight: Tensor) -> Partial:
    """Merge two partial results, the first of them float32 and given up for the merged one."""
    if select.serves("attention_merge", out, out.shape[-1], out.shape[-2]):
        from longctx.kernels.attention_triton import merge_partials

        def merge() -> None:
            merge_partials(out, weight, more, more_weight)

        if select.attempt("attention_merge", merge, out):
            return out, weight
    total = torch.logaddexp(weight, more_weight)
    out = out * torch.exp(weight - total)[..., None]
    return out.addcmul_(more.float(), torch.exp(more_weight - total)[..., None]), total


def _partial(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Partial:
    """Return attention over these keys alone, in any dtype, and its log-sum-exp."""
    if q.device.type == "cpu":
        # What scaled_dot_product_attention runs; called itself because it also gives the log-sum-exp.
        out, weight = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal)
        return out.float(), weight
    return _fused(q, k, v, causal)


def _fused(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Partial:
    """Run the first of torch's kernels that works here."""
    for candidate in CANDIDATES:
        name = f"attention_{candidate.__name__}"
        if name in select.failures or not works(candidate, q.dtype, q.shape[-1], q.device):
            continue
        try:
            return candidate(q, k, v, causal)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            select.failures[name] = str(error).strip().splitlines()[0]
            warnings.warn(f"{name} cannot run here: {select.failures[name]}", stacklevel=2)
    return plain(q, k, v, causal)


def cudnn(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Partial:
    """Run cuDNN's attention; bfloat16 and float16."""
    out, weight, *_ = torch.ops.aten._scaled_dot_product_cudnn_attention(q, k, v, None, True, 0.0, causal)
    return out, _rows(weight, q)


def flash(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Partial:
    """Run torch's copy of FlashAttention-2; bfloat16 and float16."""
    out, weight, *_ = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, 0.0, causal)
    return out, _rows(weight, q)


def efficient(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Partial:
    """Run torch's memory-efficient attention; the one fused kernel for float32."""
    out, weight, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, None, True, 0.0, causal)
    return out, _rows(weight, q)


# Kernels of torch for CUDA that give the log-sum-exp, the fastest on Hopper first. All of them want as many
# heads in k and v as in q here, and a causal call as many keys as queries.
CANDIDATES = (cudnn, flash, efficient)


def plain(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Partial:
    """Compute the definition in float32, some queries at a time."""
    batch, heads, tokens, width = q.shape
    rows = max(1, MOST_SCORES // max(1, batch * heads * k.shape[2]))
    k, v = k.float(), v.float()
    position = torch.arange(max(tokens, k.shape[2]), device=q.device)
    outs, weights = [], []
    for start in range(0, tokens, rows):
        scores = (q[:, :, start : start + rows].float() @ k.transpose(-1, -2)) * width**-0.5
        if causal:
            own = position[start : start + scores.shape[2], None]
            scores = scores.masked_fill(position[: k.shape[2]] > own, float("-inf"))
        weights.append(torch.logsumexp(scores, dim=-1))
        outs.append(torch.exp(scores - weights[-1][..., None]) @ v)
    return torch.cat(outs, dim=2), torch.cat(weights, dim=2)


def _rows(weight: Tensor, q: Tensor) -> Tensor:
    """Return the log-sum-exp as (B, H, T): kernels add a last dimension of one, or pad the rows."""
    return weight.reshape(*q.shape[:2], -1)[:, :, : q.shape[2]]


@cache
def works(candidate: Callable[..., Partial], dtype: torch.dtype, width: int, device: torch.device) -> bool:
    """Tell whether a kernel of torch, private to it, computes on this device what is expected of it.

    Tried once: causal on a projection's layout, not causal on a page that is not full, ragged lengths.
    """
    random = torch.Generator(device).manual_seed(0)
    data = torch.randn(5, 1, 400, 2, width, generator=random, device=device).to(dtype)
    q, k, v = (x[:, :200].transpose(1, 2) for x in data[:3])
    page_k, page_v = (x.view(1, 2, 400, width)[:, :, :333] for x in data[3:])
    try:
        return _agrees(candidate, q, k, v, True) and _agrees(candidate, q[:, :, :70], page_k, page_v, False)
    except (RuntimeError, AttributeError):
        return False


def _agrees(candidate: Callable[..., Partial], q: Tensor, k: Tensor, v: Tensor, causal: bool) -> bool:
    pairs = zip(candidate(q, k, v, causal), plain(q, k, v, causal), TOLERANCE[q.dtype], strict=True)
    return all(torch.allclose(actual.float(), right, rtol=0, atol=limit) for actual, right, limit in pairs)
