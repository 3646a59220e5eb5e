"""How the logs of a model keep keys and values: in which numbers, and where their pages go."""

from dataclasses import dataclass

import torch
from torch import Tensor

from longctx.models.kv_room import Room

SCALE = 4  # bytes of the float32 behind the integers of a row: what one of them stands for
MOST = 127  # the largest of these integers
TINY = 1e-30  # instead of the scale of a row of zeros


@dataclass(frozen=True)
class KVForm:
    """What all logs of a model have in common.

    Attributes:
        rounded: each row of a head is kept as integers of 8 bits and one scale. Its numbers are off by up to
            1/254 of the largest.
        room: where finished pages go; None: they stay on the device.
        chosen: pages that a layer chooses to attend to, see `kv_chosen`; None: it attends to all of them.
    """

    rounded: bool = False
    room: Room | None = None
    chosen: int | None = None

    def kept(self, dtype: torch.dtype) -> torch.dtype:
        """Return the dtype in which numbers of another one are kept."""
        return torch.int8 if self.rounded else dtype

    def width(self, channels: int) -> int:
        """Return the numbers in a row of so many channels, as it is kept."""
        return channels + SCALE if self.rounded else channels

    def row_bytes(self, channels: int, dtype: torch.dtype) -> int:
        """Return the bytes of such a row."""
        return self.width(channels) * self.kept(dtype).itemsize

    def rows(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Return x (..., channels) as it is kept, (..., width)."""
        if not self.rounded:
            return x.to(dtype)
        x = x.float()
        scale = x.abs().amax(dim=-1, keepdim=True) / MOST
        whole = (x / scale.clamp(min=TINY)).round().to(torch.int8)
        return torch.cat((whole, scale.view(torch.int8)), dim=-1)

    def plain(self, rows: Tensor, dtype: torch.dtype) -> Tensor:
        """Return what `rows` has made, (..., channels)."""
        return unrounded(rows).to(dtype) if self.rounded else rows


AS_IT_COMES = KVForm()


def unrounded(rows: Tensor) -> Tensor:
    """Return float32 numbers (..., channels) of rows that were rounded."""
    whole, scale = rows.split([rows.shape[-1] - SCALE, SCALE], dim=-1)
    plain: Tensor = whole * scale.contiguous().view(torch.float32)
    return plain
