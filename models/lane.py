"""Copies onto a device while it computes: the one place that knows of streams, events and pinned memory.

On a CPU there are none of these, and a copy is done when it is asked for.
"""

import warnings
import weakref
from collections.abc import Iterable
from contextlib import suppress

import torch
from torch import Tensor

LARGE = 1 << 26  # bytes, from which on the C library gives a tensor pages of its own
Mark = torch.cuda.Event | None  # a moment in the work of a device


class Lane:
    """A stream for copies, in the order in which they are asked for; any thread may ask."""

    def __init__(self, device: torch.device):
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def mark(self) -> Mark:
        """Return the moment when the device has done all that it was told to compute so far."""
        return torch.cuda.current_stream(self.device).record_event() if self._stream else None

    def wait(self, mark: Mark) -> None:
        """Let nothing be computed from here on before a moment."""
        if mark:
            torch.cuda.current_stream(self.device).wait_event(mark)

    def copy(self, pairs: Iterable[tuple[Tensor, Tensor]], after: Mark) -> Mark:
        """Copy sources into targets, in (target, source) pairs, after a moment; return when that is done.

        Sources in memory that is not pinned may change once this returns; pinned ones must stay.
        """
        if self._stream is None:
            for target, source in pairs:
                target.copy_(source)
            return None
        with torch.cuda.stream(self._stream):
            if after:
                self._stream.wait_event(after)
            for target, source in pairs:
                target.copy_(source, non_blocking=True)
            done: torch.cuda.Event = self._stream.record_event()
            return done

    def owns(self, tensor: Tensor) -> Tensor:
        """Return a tensor, whose memory nobody else gets before the copies into it are done."""
        if self._stream:
            tensor.record_stream(self._stream)
        return tensor

    def pinned(self, tensor: Tensor) -> Tensor:
        """Return a tensor of the host, whose pages now stay where they are, so that the device can read them.

        torch's own pinned memory is rounded up to a power of two, which would be up to twice as much; but
        small tensors, which may share a page with others, cannot be pinned where they are.
        """
        if self._stream is None or tensor.is_pinned():
            return tensor
        if tensor.nbytes < LARGE:
            return tensor.pin_memory()
        runtime = torch.cuda.cudart()
        if runtime.cudaHostRegister(tensor.data_ptr(), tensor.nbytes, 0) == runtime.cudaError.success:
            weakref.finalize(tensor, _unpin, self.device, tensor.data_ptr()).atexit = False
            return tensor
        warnings.warn("the system lets no more memory be pinned: experts come slowly", stacklevel=2)
        with suppress(RuntimeError):  # CUDA tells the error once more, to whoever calls it next
            torch.zeros(1, device=self.device)
        return tensor


def _unpin(device: torch.device, address: int) -> None:
    torch.cuda.synchronize(device)
    torch.cuda.cudart().cudaHostUnregister(address)
