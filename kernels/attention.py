"""Softmax attention from a chunk of queries to a growing log of keys and values.

The log comes in pages; each page gives a partial result and its log-sum-exp, and partial results are
merged exactly (the online softmax of arXiv 2205.14135, section 3.1). So no mask is ever built: earlier
pages are seen whole, and only attention within the chunk is causal.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial

import torch
from torch import Tensor

from longctx.kernels import differentiable, select
from longctx.kernels.select import HEAD_WIDTHS, Site
from longctx.machine import ONEDNN_LIMIT

Page = tuple[Tensor, Tensor]
# q, k, v and the earlier pages -> what `attention` returns.
Attention = Callable[[Tensor, Tensor, Tensor, Iterable[Page]], Tensor]
# Attention over some of the keys, (B, H, T, D), and the log-sum-exp of its scores, (B, H, T) float32.
Partial = tuple[Tensor, Tensor]
# q, k, v, causal -> attention over these keys alone.
Attend = Callable[[Tensor, Tensor, Tensor, bool], Partial]
Merge = Callable[[Tensor, Tensor, Tensor, Tensor], Partial]

# The plain formula never holds more scores than this at once (256 MB).
MOST_SCORES = 1 << 26
# Tolerances of a fused kernel against the plain formula: its results, and its log-sum-exp.
TOLERANCE = {torch.bfloat16: (2e-2, 2e-3), torch.float16: (4e-3, 2e-3), torch.float32: (2e-5, 2e-5)}


def choose_attention(site: Site, head_dim: int) -> Attention:
    """Return the implementation of attention for heads of `head_dim` channels at a site."""
    if site.gradients:
        return differentiable.attention
    merge: Merge = torch_merge
    if head_dim in HEAD_WIDTHS and select.works("attention_merge", _merge_trial, site, head_dim):
        from longctx.kernels.attention_merge_triton import merge_partials as merge
    return partial(paged_attention, choose_attend(site, head_dim), merge)


def choose_attend(site: Site, head_dim: int) -> Attend:
    """Return the implementation of attention to some keys."""
    if site.device.type == "cpu":
        return cpu
    return partial(
        first_that_runs, [each for each in FUSED if computes(each, site.dtype, head_dim, site.device)]
    )


def log_dtype(site: Site, rounded: bool) -> torch.dtype:
    """Return the dtype that keys and values are kept in: the site's own, or bfloat16 where that is worth it.

    Args:
        rounded: the weights have few bits, whose errors are larger than those of bfloat16 (each number is off
            by 2^-9 of itself). The log then takes half the memory. AMX multiplies it three times as fast as
            float32, AVX-512 as fast; other CPUs are slower.
    """
    if not rounded or site.device.type != "cpu" or site.dtype in select.HALVES:
        return site.dtype
    # Triton's decode step reads logs of the dtype that it computes in.
    return torch.bfloat16 if os.environ.get(select.SWITCH) != "triton" and has_bfloat16() else site.dtype


@cache
def has_bfloat16() -> bool:
    """Tell whether this CPU has instructions for attention in bfloat16 (AMX or AVX-512), and is right."""
    limit = os.environ.get(ONEDNN_LIMIT, "")
    return (
        (limit in ("", "DEFAULT", "ALL") or any(name in limit for name in ("AMX", "BF16", "FP16")))
        and getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()
        and computes(cpu, torch.bfloat16, 128, torch.device("cpu"))
    )


def can_decode(site: Site, head_dim: int) -> bool:
    """Tell whether the decode kernels, which read a page table, run here."""
    return head_dim in HEAD_WIDTHS and select.works("attention_decode", _decode_trial, site, head_dim)


def paged_attention(
    attend: Attend, merge: Merge, q: Tensor, k: Tensor, v: Tensor, earlier: Iterable[Page]
) -> Tensor:
    """Attend from a chunk of T tokens to itself (causally) and to all earlier pages.

    Args:
        attend: attends to some keys. merge: see `torch_merge`.
        q: (B, H, T, D). Query head h reads KV head h // (H // Hkv). Scores are scaled by 1/sqrt(D).
        k, v: (B, Hkv, T, D), the chunk's own keys and values, in the dtype of the pages. Products are in it.
        earlier: pairs (k, v), each (B, Hkv, n, D), in any order; all of their keys are seen. One is
            held at a time, so they may be made as they are asked for.

    Returns:
        (B, H, T, D) in q's dtype; softmax and merging are in float32.
    """
    batch, heads, tokens, width = q.shape
    groups, wanted, q = heads // k.shape[1], q.dtype, q.to(k.dtype)
    if tokens == 1:
        out, weight = attend(fold(q, groups), k, v, False)
    else:
        own_k, own_v = (x.repeat_interleave(groups, dim=1) if groups > 1 else x for x in (k, v))
        out, weight = attend(q, own_k, own_v, True)
        out, weight = fold(out, groups), fold(weight[..., None], groups)[..., 0]
    folded = fold(q, groups)
    for page_k, page_v in earlier:
        out, weight = merge(out.float(), weight, *attend(folded, page_k, page_v, False))
    return out.reshape(batch, heads, tokens, width).to(wanted)


def branched_attention(q: Tensor, shared: Sequence[Page], own: Sequence[Sequence[Page]]) -> Tensor:
    """Attend from a token of each of B branches to the pages that all share, read once, and to its own.

    It runs on a CPU.

    Args:
        q: (B, H, D).
        shared: pairs (k, v), each (1, Hkv, n, D). own: likewise of each branch, with its token.

    Returns:
        (B, H, D) in q's dtype; softmax and merging are in float32.
    """
    (batch, heads, width), n_kv_heads = q.shape, shared[0][0].shape[1]
    folded = q.to(shared[0][0].dtype).view(batch, n_kv_heads, -1, width)  # the heads of a group, one by one
    together = folded.transpose(0, 1).flatten(1, 2)[None]
    out, weight = cpu(together, *shared[0], False)
    for page in shared[1:]:
        out, weight = torch_merge(out, weight, *cpu(together, *page, False))
    out = out[0].unflatten(1, (batch, -1)).transpose(0, 1)
    weight = weight[0].unflatten(1, (batch, -1)).transpose(0, 1)
    rows = []
    for number, pages in enumerate(own):
        alone = slice(number, number + 1)
        row = out[alone], weight[alone]
        for page in pages:
            row = torch_merge(*row, *cpu(folded[alone], *page, False))
        rows.append(row[0].reshape(heads, width))
    return torch.stack(rows).to(q.dtype)


def fold(x: Tensor, groups: int) -> Tensor:
    """Put the query heads that share a KV head one after another: (B, H, T, D) -> (B, Hkv, G*T, D)."""
    batch, heads, tokens, width = x.shape
    return x.reshape(batch, heads // groups, groups * tokens, width)


def torch_merge(out: Tensor, weight: Tensor, more: Tensor, more_weight: Tensor) -> Partial:
    """Merge two partial results; the first is float32 and is overwritten."""
    total = torch.logaddexp(weight, more_weight)
    out = out * torch.exp(weight - total)[..., None]
    return out.addcmul_(more.float(), torch.exp(more_weight - total)[..., None]), total


def cpu(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Partial:
    """Run the CPU kernel of scaled_dot_product_attention directly: it also gives the log-sum-exp."""
    out, weight = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal)
    return out.float(), weight


def first_that_runs(choices: Sequence[Attend], q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Partial:
    """Run the first of torch's kernels that accepts these shapes: a trial at load cannot try them all."""
    for each in choices:
        name = f"attention_{each.__name__}"
        if name not in select.failures:
            try:
                return each(q, k, v, causal)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                select.note(name, error)
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


# torch's CUDA kernels that give the log-sum-exp, fastest on Hopper first. All need as many heads in k and v
# as in q, and as many keys as queries in a causal call.
FUSED = (cudnn, flash, efficient)


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
def computes(attend: Attend, dtype: torch.dtype, width: int, device: torch.device) -> bool:
    """Tell whether one of torch's private kernels is right on this device.

    Tried once: causal on a projection's layout, not causal on a partly filled page, ragged lengths.
    """
    random = torch.Generator(device).manual_seed(0)
    data = torch.randn(5, 1, 400, 2, width, generator=random, device=device).to(dtype)
    q, k, v = (x[:, :200].transpose(1, 2) for x in data[:3])
    page_k, page_v = (x.view(1, 2, 400, width)[:, :, :333] for x in data[3:])
    try:
        return _agrees(attend, q, k, v, True) and _agrees(attend, q[:, :, :70], page_k, page_v, False)
    except (RuntimeError, AttributeError):
        return False


def _agrees(attend: Attend, q: Tensor, k: Tensor, v: Tensor, causal: bool) -> bool:
    pairs = zip(attend(q, k, v, causal), plain(q, k, v, causal), TOLERANCE[q.dtype], strict=True)
    return all(torch.allclose(actual.float(), right, rtol=0, atol=limit) for actual, right, limit in pairs)


def _merge_trial(draw: Callable[..., Tensor], width: int) -> Iterator[tuple[Tensor, Tensor]]:
    from longctx.kernels.attention_merge_triton import merge_partials

    out, (lse, more_lse), more = draw(1, 2, 5, width).float(), draw(2, 1, 2, 5).float(), draw(1, 2, 5, width)
    right = torch_merge(out.clone(), lse.clone(), more, more_lse)
    yield from zip(merge_partials(out, lse, more, more_lse), right, strict=True)


def _decode_trial(draw: Callable[..., Tensor], width: int) -> Iterator[tuple[Tensor, Tensor]]:
    from longctx.kernels.attention_triton import attention_decode, attention_pointer
    from longctx.kernels.pages_triton import append_token, page_table

    q, k, v = draw(1, 4, width), draw(1, 2, width), draw(1, 2, width)
    page_k, page_v = draw(2, 1, 2, 40, width)
    pages = [(page_k[:, :, :33], page_v[:, :, :33])]
    # A rotation by 90 degrees.
    half = width // 2
    cos, sin = (torch.full((1, half), value, device=q.device) for value in (0.0, 1.0))
    turned_q, turned_k = (
        torch.cat((-x[..., half : 2 * half], x[..., :half], x[..., 2 * half :]), -1)[:, :, None]
        for x in (q, k)
    )
    right = paged_attention(plain, torch_merge, turned_q, turned_k, v[:, :, None], pages)
    keys = torch.cat((page_k[:, :, :33], turned_k), dim=2).repeat_interleave(2, dim=1)
    mean = ((turned_q @ keys.transpose(-1, -2)) * width**-0.5).softmax(-1)[:, :2, 0].mean(1)
    table = page_table([pages], 4).to(q.device)
    counts = torch.ones(1, dtype=torch.int32, device=q.device)
    append_token(q, k, v, cos, sin, table, counts)
    out, lse = attention_decode(q, table, counts, n_kv_heads=2, splits=3)
    place, mass = attention_pointer(q, table, counts, lse, counts.new_tensor([0, 1]), n_kv_heads=2, splits=3)
    yield out, right[:, :, 0]
    yield mass, mean.amax(1)
    yield mean[:, place[0]], mass
