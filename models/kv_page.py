"""A page of a KV log, wherever it is, and the part of it that a log holds."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from longctx.kernels.attention import Page


@dataclass
class Place:
    """Where a page is; what stays of it after its death, so that its bytes are given back.

    Attributes:
        size: bytes of its keys and values.
        level: "" for none that is counted, else device, host or file.
        at: its first byte in the file.
    """

    size: int
    level: str = ""
    at: int = 0


class LogPage:
    """Keys and values (B, H, n, D) of n tokens. Forks share it, and it moves for all of them.

    Attributes:
        tensors: on the device; None while they are elsewhere. Without values the keys are given twice.
        host: in the host's memory, of pages that the device has no room for.
        extents: of its keys, where parts of it are chosen by them; they stay where it was.
    """

    def __init__(self, k: Tensor, v: Tensor) -> None:
        self.tensors: Page | None = (k, v)
        self.host: Page | None = None
        self.extents: Page | None = None
        self.shape, self.dtype, self.values = k.shape, k.dtype, v is not k
        self.place = Place(k.nbytes + (v.nbytes if self.values else 0))


class Piece(NamedTuple):
    """The tokens start..end of a page."""

    page: LogPage
    start: int
    end: int

    @property
    def tokens(self) -> int:
        """Return how many they are."""
        return self.end - self.start

    @property
    def nbytes(self) -> int:
        """Return the bytes of their keys and values."""
        return self.page.place.size // self.page.shape[2] * self.tokens

    def of(self, tensors: Page) -> Page:
        """Return the views of these tokens."""
        if self.tokens == self.page.shape[2]:
            return tensors
        k, v = tensors
        keys = k[:, :, self.start : self.end]
        return keys, v[:, :, self.start : self.end] if self.page.values else keys

    def within(self, flat: Tensor) -> Page:
        """Return the keys and values at the beginning of flat bytes, keys first."""
        batch, heads, _, width = self.page.shape
        count = 2 if self.page.values else 1
        both = flat[: self.nbytes].view(self.page.dtype).view(count, batch, heads, self.tokens, width)
        return both[0], both[-1]
