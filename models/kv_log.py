"""The keys and values of one softmax layer, in pages that forks share."""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Self, overload

import torch
from torch import Tensor

from longctx.kernels.attention import Page
from longctx.models.kv_chosen import Chosen, choose, everything
from longctx.models.kv_form import AS_IT_COMES, KVForm
from longctx.models.kv_page import LogPage, Piece
from longctx.models.mixers.memory import Pointed

# Pages grow from the first size to the last: short texts and forks stay small, long ones have few pages.
FIRST_PAGE = 256
LAST_PAGE = 16384


class KVLog:
    """An append-only log in pages of (B, Hkv, n, D), and where pointer heads looked from its last tokens.

    Args:
        dtype: that keys and values come back in.
        values: whether there are values besides; otherwise the keys are their own.
        form: how they are kept.
    """

    def __init__(
        self,
        batch: int,
        n_kv_heads: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
        values: bool = True,
        form: KVForm = AS_IT_COMES,
    ):
        self.pointed: Pointed | None = None
        self._values = values
        self._shape = (batch, n_kv_heads, form.width(head_dim))
        self.dtype, self._device = dtype, device
        self._form, self._room = form, form.room
        self._full: list[Piece] = []  # finished pages, possibly shared with forks
        self._open: LogPage | None = None  # the page being written, private
        self._used = 0  # tokens in the open page
        self._next = FIRST_PAGE

    def seen(self, q: Tensor) -> Chosen:
        """Return the parts of the log that queries (B, H, T, D) see: all, unless the form says less."""
        pieces = self._pieces()
        if self._form.chosen is None:
            return everything(pieces)
        return choose(pieces, q, self._form.chosen, lambda piece: self.load(piece)[0])

    def pages(self, seen: Chosen | None = None) -> Sequence[Page]:
        """Return (k, v) of all tokens in order, or of those seen; what comes stays until the next."""
        pieces = seen.pieces if seen else self._pieces()
        if not self._form.rounded and all(piece.page.tensors for piece in pieces):
            return [self._load(piece) for piece in pieces]
        return _Coming(self, pieces)

    def come(self, pieces: Sequence[Piece]) -> Iterator[Page]:
        """Yield keys and values of pieces; what comes from elsewhere stays until the next."""
        kept = self._room.stream(pieces) if self._room else map(self._load, pieces)
        return map(self._plain, kept)

    @property
    def opaque(self) -> bool:
        """Tell whether no kernel may read all by addresses: pages move, hold integers, or are chosen."""
        return self._room is not None or self._form.rounded or self._form.chosen is not None

    @property
    def settled(self) -> list[Piece]:
        """Return the parts to which nothing is added any more, which forks have in common."""
        return self._full

    @property
    def length(self) -> int:
        """Return the number of tokens in the log."""
        return sum(piece.tokens for piece in self._full) + self._used

    @property
    def nbytes(self) -> int:
        """Return the bytes of the keys and values in the log (reserved room not counted)."""
        return sum(piece.nbytes for piece in self._pieces())

    def append(self, k: Tensor, v: Tensor) -> None:
        """Add the keys and values of T tokens, each (B, Hkv, T, D)."""
        self.add(self.rows_of(k), self.rows_of(v) if self._values else k)

    def rows_of(self, x: Tensor) -> Tensor:
        """Return keys or values (B, Hkv, T, D) as they are kept."""
        return self._form.rows(x, self.dtype)

    def plain(self, rows: Tensor) -> Tensor:
        """Return keys or values (B, Hkv, T, D) of what is kept of them."""
        return self._form.plain(rows, self.dtype)

    def add(self, k: Tensor, v: Tensor) -> None:
        """Add keys and values as they are kept."""
        self._write(k, v)

    def _write(self, k: Tensor, v: Tensor) -> None:
        """Copy rows into pages, and do no more: what else is made of tokens may be there already."""
        start, tokens = 0, k.shape[2]
        while start < tokens:
            if self._open is None:
                self._open = self._new_page()
            assert self._open.tensors is not None
            page_k, page_v = self._open.tensors
            count = min(page_k.shape[2] - self._used, tokens - start)
            page_k[:, :, self._used : self._used + count] = k[:, :, start : start + count]
            if self._values:
                page_v[:, :, self._used : self._used + count] = v[:, :, start : start + count]
            start += count
            self.advance(count)

    def between(self, start: int, end: int) -> Page:
        """Return (k, v) of the tokens start..end; they are copied only if they lie in several pages."""
        parts, at = [], 0
        for page, first, last in self._pieces():
            tokens = last - first
            if at < end and start < at + tokens:
                some = Piece(page, first + max(0, start - at), min(last, first + end - at))
                parts.append(self._load(some))
            at += tokens
        k, v = (x[0] if len(x) == 1 else torch.cat(x, dim=2) for x in zip(*parts, strict=True))
        return self._plain((k, v))

    @property
    def needs_page(self) -> bool:
        """Tell whether the next token goes to a page that does not exist yet."""
        return self._open is None

    def reserve(self) -> list[Page]:
        """Make room for one more token and return all pages as they are kept; the last has the room."""
        if self._open is None:
            self._open = self._new_page()
        return [self._load(piece) for piece in (*self._full, Piece(self._open, 0, self._used))]

    def advance(self, tokens: int = 1) -> None:
        """Count tokens that were written into the open page."""
        assert self._open is not None
        self._used += tokens
        if self._used == self._open.shape[2]:
            self._full.append(Piece(self._open, 0, self._used))
            if self._room:
                self._room.settle(self._open)
            self._open, self._used = None, 0

    def without(self, start: int, end: int) -> Self:
        """Return a fork in which tokens start..end were never appended; nothing is copied."""
        child = self.fork()
        child._full, at = [], 0
        for page, first, last in self._pieces():
            tokens = last - first
            for begin, stop in ((0, min(tokens, start - at)), (max(0, end - at), tokens)):
                if begin < stop:
                    child._full.append(Piece(page, first + begin, first + stop))
            at += tokens
        return child

    def fork(self) -> Self:
        """Return a log that shares everything so far, without a copy, and appends to pages of its own."""
        child = copy(self)
        child._full, child._open, child._used, child._next = self._pieces(), None, 0, FIRST_PAGE
        return child

    def tensors(self) -> dict[str, Tensor]:
        """Return all keys and values as they are kept, (B, Hkv, n, width) each."""
        batch, n_kv_heads, head_dim = self._shape
        none = torch.empty(batch, n_kv_heads, 0, head_dim, dtype=self._kept, device=self._device)
        loaded = [self._load(piece) for piece in self._pieces()]
        keys, values = zip((none, none), *loaded, strict=True)
        kept = {"keys": torch.cat(keys, dim=2)}
        return kept | {"values": torch.cat(values, dim=2)} if self._values else kept

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Append what `tensors` returned."""
        self.add(tensors["keys"], tensors["values" if self._values else "keys"])

    def constants(self) -> dict[str, Tensor]:
        """Return nothing: a token changes no row but its own."""
        return {}

    def rows(self) -> dict[str, int]:
        """Return the number of tokens for keys and, where there are any, for values."""
        return dict.fromkeys(self._names, self.length)

    def appended(self, since: Mapping[str, int]) -> dict[str, list[Tensor]]:
        """Return keys and values from a token on as they are kept, (B, Hkv, n, width) each."""
        (first,) = {since[name] for name in self._names}
        pages = [self._load(piece) for piece in _after(self._pieces(), first)]
        return {name: [page[i] for page in pages] for i, name in enumerate(self._names)}

    def adopt(self, constants: Mapping[str, Tensor], logs: Mapping[str, Sequence[Tensor]]) -> None:
        """Take keys and values as pages of the sizes that they had, so that attention adds up alike.

        A page within a piece on this device is that piece's memory; others are copied.

        Raises:
            ValueError: when keys or values have another shape or dtype, or their numbers differ.
        """
        batch, n_kv_heads, head_dim = self._shape
        for piece in (piece for name in self._names for piece in logs[name]):
            if piece.dtype != self._kept or piece.shape != (batch, n_kv_heads, piece.shape[2], head_dim):
                raise ValueError(f"keys and values of shape {tuple(piece.shape)}, {piece.dtype}")
        for pieces in zip(*(logs[name] for name in self._names), strict=True):
            k, v = pieces[0], pieces[-1]
            if k.shape != v.shape:
                raise ValueError("keys and values are not as many")
            self._take(k, v)

    def _take(self, k: Tensor, v: Tensor) -> None:
        """Append rows that nobody writes to: whole pages are shared."""
        while k.shape[2]:
            shared = k.device == self._device and self._open is None and self._next <= k.shape[2]
            count = self._next if shared else self._rows_left
            if shared:
                self._full.append(Piece(LogPage(k[:, :, :count], v[:, :, :count]), 0, count))
                self._next = min(2 * self._next, LAST_PAGE)
            else:
                self._write(k[:, :, :count], v[:, :, :count])
            k, v = k[:, :, count:], v[:, :, count:]

    @property
    def _rows_left(self) -> int:
        """Return the rows that are left in the open page, or that the next will have."""
        return self._next if self._open is None else self._open.shape[2] - self._used

    @property
    def _names(self) -> tuple[str, ...]:
        return ("keys", "values") if self._values else ("keys",)

    def _pieces(self) -> list[Piece]:
        """Return all appended tokens, in order."""
        return [*self._full, Piece(self._open, 0, self._used)] if self._open and self._used else [*self._full]

    @property
    def _kept(self) -> torch.dtype:
        return self._form.kept(self.dtype)

    def _plain(self, page: Page) -> Page:
        k = self.plain(page[0])
        return k, self.plain(page[1]) if self._values else k

    def load(self, piece: Piece) -> Page:
        """Return keys and values that stay."""
        return self._plain(self._load(piece))

    def _load(self, piece: Piece) -> Page:
        """Return keys and values as they are kept, which stay."""
        if self._room:
            return self._room.load(piece)
        assert piece.page.tensors is not None
        return piece.of(piece.page.tensors)

    def _new_page(self) -> LogPage:
        batch, n_kv_heads, head_dim = self._shape
        size, self._next = self._next, min(2 * self._next, LAST_PAGE)

        def empty() -> Tensor:
            return torch.empty(batch, n_kv_heads, size, head_dim, dtype=self._kept, device=self._device)

        keys = empty()
        page = LogPage(keys, empty() if self._values else keys)
        if self._room:
            self._room.hold(page)
        return page


@dataclass(frozen=True)
class _Coming(Sequence[Page]):
    """Pages of a log that are elsewhere, or not as they are read; whenever asked for they come anew."""

    log: KVLog
    pieces: list[Piece]

    def __iter__(self) -> Iterator[Page]:
        return self.log.come(self.pieces)

    def __len__(self) -> int:
        return len(self.pieces)

    @overload
    def __getitem__(self, number: int) -> Page: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Page]: ...
    def __getitem__(self, number: int | slice) -> Page | Sequence[Page]:
        if isinstance(number, slice):
            return _Coming(self.log, self.pieces[number])
        return self.log.load(self.pieces[number])


def _after(pieces: Sequence[Piece], start: int) -> Iterator[Piece]:
    """Yield what follows the first `start` tokens of pieces."""
    for page, first, last in pieces:
        if first + start < last:
            yield Piece(page, first + start, last)
        start = max(0, start - (last - first))
