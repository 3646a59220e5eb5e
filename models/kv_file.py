"""A file without a name, for the pages of KV logs that memory has no room for."""

import os
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

from longctx.errors import DoesNotFitError
from longctx.models.kv_page import Piece


class PageFile:
    """Pages on disk; the file is made with the first one, and goes with the process, however that ends.

    Args:
        folder: of the file.

    Attributes:
        size: the most bytes that were in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.size = folder, 0
        self._free: dict[int, list[int]] = {}  # places of pages that are gone, by size

    @cached_property
    def _file(self) -> IO[bytes]:
        file = tempfile.TemporaryFile(prefix="longctx-kv-", dir=self.folder, buffering=0)  # noqa: SIM115  # stays
        weakref.finalize(self, file.close)
        return file

    def write(self, tensors: Sequence[Tensor]) -> int:
        """Write contiguous tensors one after the other; return where.

        Raises:
            DoesNotFitError: when the disk is full.
        """
        size = sum(tensor.nbytes for tensor in tensors)
        free = self._free.get(size)
        start = at = free[-1] if free else self.size
        try:
            for tensor in tensors:
                rest = _bytes(tensor.cpu())
                while rest:
                    written = os.pwrite(self._file.fileno(), rest, at)
                    at, rest = at + written, rest[written:]
        except OSError as error:
            raise DoesNotFitError(
                f"keys and values cannot be written in {self.folder} ({error.strerror}): "
                "make room there, name another folder with TMPDIR, or raise --kv-budget"
            ) from error
        if free:
            free.pop()
        self.size = max(self.size, at)
        return start

    def free(self, at: int, size: int) -> None:
        """Let the bytes of a page be used again."""
        self._free.setdefault(size, []).append(at)

    def read(self, piece: Piece, flat: Tensor) -> None:
        """Read part of a page to the beginning of flat bytes: keys, then values.

        Raises:
            DoesNotFitError: when the disk gives back less than it got.
        """
        target, at = _bytes(flat), 0
        try:
            for start, size in _runs(piece):
                self._fill(target[at : at + size], start)
                at += size
        except OSError as error:
            raise DoesNotFitError(
                f"keys and values cannot be read back from {self.folder} ({error.strerror}): "
                "name another folder with TMPDIR, or raise --kv-budget"
            ) from error

    def _fill(self, target: memoryview, start: int) -> None:
        while target:
            count = os.preadv(self._file.fileno(), [target], start)
            if not count:
                raise OSError(0, "the file has been cut short")
            start, target = start + count, target[count:]


def spill_folder() -> Path:
    """Return the folder for such a file: TMPDIR if that is set; otherwise not /tmp, which may be memory."""
    lasting = Path("/var/tmp")
    named = os.environ.get("TMPDIR")
    return lasting if not named and os.access(lasting, os.W_OK) else Path(tempfile.gettempdir())


def _bytes(tensor: Tensor) -> memoryview:
    """Return the memory of a contiguous tensor of the host."""
    return tensor.view(torch.uint8).flatten().numpy().data


def _runs(piece: Piece) -> Iterator[tuple[int, int]]:
    """Yield where bytes of a piece begin, and how many lie together: in part of a page, those of a head."""
    page = piece.page
    if piece.tokens == page.shape[2]:
        yield page.place.at, page.place.size
        return
    batch, heads, tokens, width = page.shape
    row = width * page.dtype.itemsize
    for number in range(batch * heads * (2 if page.values else 1)):
        yield page.place.at + (number * tokens + piece.start) * row, piece.tokens * row
