"""Softmax attention of a few tokens that also tells where heads looked: for models that copy.

What such a step costs over a long log is to read it, so each page is read once for both. Of the scores only
the highest of each head in every block of keys is kept. It bounds what a key of that block can have got, so
that only pages which may hold the most attended key are looked at again.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

from longctx.kernels.attention import Page, fold, torch_merge

MOST = 16  # tokens that are told at once where they looked
BLOCK = 512  # keys that share a bound
SLACK = 1.0 + 1e-5  # by so much, rounding may put a bound too low
LEAST_EXPONENT = -60.0  # see `_exp_`


def pointing_attention(
    q: Tensor, k: Tensor, v: Tensor, earlier: Sequence[Page], heads: Sequence[int]
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Attend as `paged_attention` does; tell as well which key got most, averaged over some query heads.

    Args:
        q: (B, H, T, D) of at most MOST tokens. k, v: (B, Hkv, T, D), their own.
        earlier: pages in the order of their tokens.

    Returns:
        (B, H, T, D) in q's dtype; and the key's position among all keys, (B, T) int64, with what it got,
        (B, T) float32. Of several that got as much it is the first.
    """
    batch, count, tokens, width = q.shape
    folded = fold(q.to(k.dtype), count // k.shape[1]).float() * width**-0.5
    own = folded @ k.float().transpose(-1, -2)
    later = torch.ones(tokens, tokens, dtype=torch.bool, device=q.device).triu(1)
    own.view(batch, count, tokens, tokens).masked_fill_(later, float("-inf"))
    out, weight = own.softmax(dim=-1) @ v.float(), own.logsumexp(dim=-1)
    sizes, peaks = [], []
    room = folded.new_empty(0)  # for the scores of any page: memory that is given back and taken again is new
    for page_k, page_v in earlier:
        sizes.append(page_k.shape[2])
        if room.numel() < (size := folded.shape[:-1].numel() * sizes[-1]):
            room = folded.new_empty(size)
        scores = room[:size].view(*folded.shape[:-1], sizes[-1])
        torch.matmul(folded, page_k.float().transpose(-1, -2), out=scores)
        peaks.append(_peaks(scores))
        if not sizes[-1]:
            continue
        peak = peaks[-1].amax(dim=-1)
        parts = _exp_(scores, peak)
        total = parts.sum(dim=-1)
        more = (parts @ page_v.float()) / total[..., None]
        out, weight = torch_merge(out, weight, more, peak + total.log())

    def got(scores: Tensor) -> Tensor:
        """Return what keys got on average, (B, T, n), by their scores (B, Hkv, G*T, n)."""
        return _exp_(scores, weight).view(batch, count, tokens, -1)[:, list(heads)].mean(dim=1)

    starts = list(accumulate(sizes, initial=0))
    mass, position = got(own).max(dim=-1)
    position += starts[-1]
    bounds = [got(each).amax(dim=-1) * SLACK for each in peaks]
    for number in sorted(range(len(peaks)), key=lambda n: -float(bounds[n].max())):
        if (bounds[number] >= mass).any():
            most, at = got(folded @ earlier[number][0].float().transpose(-1, -2)).max(dim=-1)
            better = (most > mass) | ((most == mass) & (at + starts[number] < position))
            mass, position = mass.where(~better, most), position.where(~better, at + starts[number])
    return out.reshape(batch, count, tokens, width).to(q.dtype), (position, mass)


def _peaks(scores: Tensor) -> Tensor:
    """Return the highest of each block of scores (..., n): (..., blocks), of no block the lowest number."""
    if lacking := -scores.shape[-1] % BLOCK or BLOCK * (not scores.shape[-1]):
        scores = F.pad(scores, (0, lacking), value=float("-inf"))
    peaks: Tensor = scores.unflatten(-1, (-1, BLOCK)).amax(dim=-1)
    return peaks


def _exp_(scores: Tensor, less: Tensor) -> Tensor:
    """Return exp(scores - less), (..., n) and (...), in the place of the scores, but e^-60 at least.

    That changes no sum in float32. Numbers nearer to zero may be denormal, which a CPU adds and multiplies
    five times as slowly.
    """
    return scores.sub_(less[..., None]).clamp_(min=LEAST_EXPONENT).exp_()
