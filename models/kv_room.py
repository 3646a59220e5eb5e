"""Where the pages of KV logs are: on the device, in the host's memory or in a file, each under a budget.

Attention goes through a log page by page, so pages that are elsewhere come one ahead of the one at work. What
comes is what went, to the last bit. Which tokens a page holds is not known here.
"""

import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from longctx.kernels.attention import Page
from longctx.models.kv_file import PageFile, spill_folder
from longctx.models.kv_page import LogPage, Piece, Place
from longctx.models.lane import Lane, Mark

BUFFERS = 2  # one at work, one being filled


@dataclass
class _Slot:
    """Memory for a page that comes: of the host, and of the device where that is another one."""

    host: Tensor
    device: Tensor
    done: Mark = field(default=None)


class Room:
    """The memory for the pages of all logs of a model.

    Args:
        device: that computes. memory: bytes for pages there, two pages on their way included.
        host: bytes for pages in the memory of its host; on a CPU that is the same memory.
        folder: for the file, which has no name and goes with the process.

    Attributes:
        brought: bytes that came from elsewhere, in all.
    """

    def __init__(self, device: torch.device, memory: int, host: int = 0, folder: Path | None = None) -> None:
        self.brought = 0
        self._file = PageFile(folder or spill_folder())
        self._lane = Lane(device)
        self._budgets = {"device": memory, "host": host}
        self._held = {"device": 0, "host": 0, "file": 0}
        self._largest = 0  # page so far
        self._movable: list[weakref.ref[LogPage]] = []
        self._gone: deque[Place] = deque()  # of pages that nobody has any more, told by whichever thread
        self._spare: list[_Slot] = []

    @property
    def spilled(self) -> int:
        """Return the most bytes that were in the file."""
        return self._file.size

    def hold(self, page: LogPage) -> None:
        """Count a new page on the device, which others make room for."""
        page.place.level = "device"
        self._held["device"] += page.place.size
        self._largest = max(self._largest, page.place.size)
        weakref.finalize(page, self._gone.append, page.place).atexit = False
        self._make_room()

    def settle(self, page: LogPage) -> None:
        """Let a page be moved from now on: nothing more is written to it.

        Raises:
            DoesNotFitError: when the disk is full.
        """
        self._movable.append(weakref.ref(page))
        self._make_room()

    def stream(self, pieces: Sequence[Piece]) -> Iterator[Page]:
        """Yield keys and values on the device. What came from elsewhere is overwritten after the next."""
        here = [piece.page.tensors for piece in pieces]
        away = iter([piece for piece, tensors in zip(pieces, here, strict=True) if tensors is None])
        coming: deque[Future[tuple[Page, Mark]]] = deque()
        slots = deque(self._slot() for _ in range(BUFFERS))

        def ask() -> None:
            for piece in away:
                coming.append(self._reader.submit(self._bring, piece, slots[0], self._lane.mark()))
                slots.rotate()
                break

        try:
            ask()
            for piece, tensors in zip(pieces, here, strict=True):
                if tensors is None:
                    came, done = coming.popleft().result()
                    self._lane.wait(done)
                    ask()
                    yield came
                else:
                    yield piece.of(tensors)
        finally:
            for each in coming:
                each.exception()
            self._spare += slots

    def load(self, piece: Piece) -> Page:
        """Return keys and values on the device, which nobody overwrites."""
        if (here := piece.page.tensors) is not None:
            return piece.of(here)
        if (host := piece.page.host) is not None:
            k, v = (x.to(self._lane.device) for x in piece.of(host))
        else:
            flat = torch.empty(piece.nbytes, dtype=torch.uint8)
            self._file.read(piece, flat)
            k, v = (x.to(self._lane.device) for x in piece.within(flat))
        return k, v if piece.page.values else k

    def _make_room(self) -> None:
        """Move what was settled last: all pages are gone through alike, and so none is moved twice."""
        self._tidy()
        while self._over("device", BUFFERS * self._largest) and self._movable:
            page = self._movable.pop()()
            if page is not None:
                self._move(page)

    def _over(self, level: str, more: int) -> bool:
        return self._held[level] + more > self._budgets[level]

    def _move(self, page: LogPage) -> None:
        """Move a page from the device to the host's memory, or into the file."""
        assert page.tensors is not None
        size = page.place.size
        if self._over("host", size):
            kept = page.tensors if page.values else page.tensors[:1]
            page.place.at, level = self._file.write(kept), "file"
        else:
            k, v = (self._lane.pinned(x.cpu()) for x in page.tensors)
            page.host, level = (k, v if page.values else k), "host"
        self._held["device"] -= size
        self._held[level] += size
        page.place.level = level
        page.tensors = None

    def _tidy(self) -> None:
        """Give back the bytes of pages that nobody has any more."""
        while self._gone:
            place = self._gone.popleft()
            self._held[place.level] -= place.size
            if place.level == "file":
                self._file.free(place.at, place.size)

    def _slot(self) -> _Slot:
        """Return memory for a page of any size."""
        while self._spare:
            if (slot := self._spare.pop()).host.nbytes >= self._largest:
                return slot
        device = self._lane.device
        host = torch.empty(self._largest, dtype=torch.uint8, pin_memory=device.type == "cuda")
        apart = device.type != "cpu" or self._budgets["host"]
        return _Slot(host, self._lane.owns(torch.empty_like(host, device=device)) if apart else host)

    @torch.inference_mode()
    def _bring(self, piece: Piece, slot: _Slot, after: Mark) -> tuple[Page, Mark]:
        """Bring a piece into a slot after a moment; return it, and when it will be there."""
        self.brought += piece.nbytes
        target = piece.within(slot.device)
        if piece.page.host is not None:
            source = piece.of(piece.page.host)
        else:
            if slot.done:
                slot.done.synchronize()
            self._file.read(piece, slot.host)
            source = piece.within(slot.host)
        if slot.device is slot.host:
            return target, None
        slot.done = self._lane.copy(zip(target, source, strict=True), after)
        return target, slot.done

    @cached_property
    def _reader(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, "kv-pages")
