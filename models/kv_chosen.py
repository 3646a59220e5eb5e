"""Which pages of a log a layer attends to, where it is told not to attend to all.

It sees the first tokens, the latest, and the pages that promise most: no key of a page can have a higher
score than the sum, channel by channel, of the query times the lowest or highest number of the page, whichever
gives more. These bounds are made of the keys when they are first asked for, and are no part of what is kept.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from longctx.kernels.attention import fold
from longctx.models.config import SoftmaxSpec
from longctx.models.kv_page import LogPage, Piece

PAGE = 8  # tokens that are chosen together: over many more, bounds tell nothing
FIRST = 128  # tokens that are always seen
LATEST = 1024  # likewise
MOST_BOUNDS = 1 << 24  # at once


@dataclass(frozen=True)
class Chosen:
    """Parts of a log, in order.

    Attributes:
        pieces: of it. starts: the position of the first token of each, and last the length of the log.
    """

    pieces: list[Piece]
    starts: list[int]

    def origin(self, index: Tensor) -> Tensor:
        """Return the positions in the log of tokens numbered within the parts, and behind them."""
        ends = list(accumulate((piece.tokens for piece in self.pieces), initial=0))
        if ends == self.starts:
            return index
        part = torch.searchsorted(index.new_tensor(ends), index, right=True) - 1
        return index - index.new_tensor(ends)[part] + index.new_tensor(self.starts)[part]


def everything(pieces: list[Piece]) -> Chosen:
    """Return all parts of a log."""
    return Chosen(pieces, [*accumulate((piece.tokens for piece in pieces), initial=0)])


def choose(pieces: Sequence[Piece], q: Tensor, most: int, keys: Callable[[Piece], Tensor]) -> Chosen:
    """Return the parts of a log that some queries should see.

    Args:
        q: (B, H, T, D). most: pages to choose. keys: gives those of a piece, (B, Hkv, n, D).
    """
    starts = [*accumulate((piece.tokens for piece in pieces), initial=0)]
    length, seen = starts[-1], list[tuple[int, Piece]]()
    whole: list[tuple[int, Piece]] = []  # what has bounds, beginning and ending where pages do
    extents: list[tuple[Tensor, Tensor]] = []
    for start, (page, first, end) in zip(starts[:-1], pieces, strict=True):
        inner = -(-first // PAGE), end // PAGE
        cuts = (first, inner[0] * PAGE, inner[1] * PAGE, end) if inner[0] < inner[1] else (first, end)
        for number, (begin, stop) in enumerate(pairwise(cuts)):
            part = start + begin - first, Piece(page, begin, stop)
            (whole if number == 1 else seen).append(part)
        if len(cuts) > 2:
            low, high = _extents(page, inner[1], keys)
            extents.append((low[:, :, inner[0] :], high[:, :, inner[0] :]))
    if extents:
        worth = _worth(q, *(torch.cat(parts, dim=2) for parts in zip(*extents, strict=True)))
        places = torch.cat([torch.arange(start, start + piece.tokens, PAGE) for start, piece in whole])
        always = ((places < FIRST) | (places + PAGE > length - LATEST)).to(worth.device)
        count = min(len(places), most + int(always.sum()))
        picked = worth.masked_fill(always, float("inf")).topk(count).indices
        seen += _parts(whole, picked.sort().values.tolist())
    return _joined(seen, length)


def chooses(spec: object) -> bool:
    """Tell whether layers of a kind can be told to choose pages."""
    return type(spec) is SoftmaxSpec


def bound_bytes(spec: object, tokens: int, dtype: torch.dtype) -> int:
    """Return the bytes of a layer's bounds on so many tokens, whose keys are of a dtype."""
    if not chooses(spec):
        return 0
    assert isinstance(spec, SoftmaxSpec)
    return 2 * spec.n_kv_heads * spec.head_dim * dtype.itemsize * (tokens // PAGE)


def _extents(page: LogPage, count: int, keys: Callable[[Piece], Tensor]) -> tuple[Tensor, Tensor]:
    """Return the lowest and highest numbers in the first parts of a page, (B, Hkv, parts, D) each."""
    known = page.extents[0].shape[2] if page.extents else 0
    if known < count:
        rows = keys(Piece(page, known * PAGE, count * PAGE)).unflatten(2, (-1, PAGE))
        low, high = rows.amin(dim=3), rows.amax(dim=3)
        if page.extents:
            low, high = torch.cat((page.extents[0], low), dim=2), torch.cat((page.extents[1], high), dim=2)
        page.extents = low, high
    assert page.extents is not None
    low, high = page.extents
    return low[:, :, :count], high[:, :, :count]


def _worth(q: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return (parts,): the logarithm of the most that a query could give to each, were bounds scores."""
    count, width = low.shape[1], q.shape[-1]
    rows = fold(q, q.shape[1] // count).float() * width**-0.5
    low, high, best = low.float().mT, high.float().mT, []
    for some in rows.split(max(1, MOST_BOUNDS // (rows.shape[0] * count * low.shape[-1])), dim=2):
        bounds = some.clamp(min=0) @ high + some.clamp(max=0) @ low
        best.append(bounds.log_softmax(dim=-1).flatten(0, 2).amax(dim=0))
    return torch.stack(best).amax(dim=0)


def _parts(whole: Sequence[tuple[int, Piece]], picked: Sequence[int]) -> Iterator[tuple[int, Piece]]:
    """Yield the parts with some numbers."""
    numbers = [*accumulate((piece.tokens // PAGE for _, piece in whole), initial=0)]
    for number in picked:
        which = bisect_right(numbers, number) - 1
        start, (page, first, _) = whole[which]
        behind = (number - numbers[which]) * PAGE
        yield start + behind, Piece(page, first + behind, first + behind + PAGE)


def _joined(parts: Sequence[tuple[int, Piece]], length: int) -> Chosen:
    """Put parts in order, and neighbours within a page together."""
    pieces, starts = list[Piece](), list[int]()
    for start, piece in sorted(parts, key=lambda part: part[0]):
        if pieces and pieces[-1].page is piece.page and pieces[-1].end == piece.start:
            pieces[-1] = pieces[-1]._replace(end=piece.end)
        elif piece.tokens:
            pieces.append(piece)
            starts.append(start)
    return Chosen(pieces, [*starts, length])
