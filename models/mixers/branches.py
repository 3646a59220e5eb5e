"""Branches of a decode step where no kernel holds them at fixed addresses: on a CPU.

What is shared is the reading of the weights, which is most of a token's cost; memories are used one by one.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from longctx.models.kv_log import KVLog
from longctx.models.mixers.memory import M, StepMemory
from longctx.models.rotary import Angles, Positions, rotate

Attend = Callable[[Tensor, Tensor, Tensor, KVLog], Tensor]
Forward = Callable[[Tensor, Any, Positions], Tensor]


class _Memories(StepMemory[M]):
    """The memories of B branches, which stay where they are."""

    def __init__(self, batch: int) -> None:
        self.memories: list[M | None] = [None] * batch

    def enter(self, branch: int, memory: M, moved: bool) -> None:
        """Let a branch work on `memory`."""
        self.memories[branch] = memory


class HostLogs(_Memories[KVLog]):
    """The KV logs of one softmax layer; projections are of all branches, attention of each.

    Args:
        batch: branches.
        attend: as `Softmax.attend`.
    """

    def __init__(self, batch: int, attend: Attend) -> None:
        super().__init__(batch)
        self._attend = attend

    def attend(self, q: Tensor, k: Tensor, v: Tensor, angles: Angles) -> Tensor:
        """Append one token per branch and attend from it to its whole branch, itself included.

        Args:
            q: (B, H, D), k, v: (B, Hkv, D), not rotated. angles: cos and sin, (B, R/2) float32.

        Returns:
            (B, H, D).
        """
        q, k = (rotate(x.transpose(0, 1)[None], angles)[0].transpose(0, 1) for x in (q, k))
        rows = [
            self._attend(q[None, i, :, None], k[None, i, :, None], v[None, i, :, None], memory)
            for i, memory in enumerate(self.memories)
            if memory is not None
        ]
        return torch.cat(rows)[:, :, 0]


class Apart(_Memories[Any]):
    """Branches whose layer runs one after the other.

    Args:
        batch: branches.
        forward: of the mixer.
    """

    def __init__(self, batch: int, forward: Forward) -> None:
        super().__init__(batch)
        self._forward = forward

    def run(self, x: Tensor, positions: Positions) -> Tensor:
        """Do what the mixer's `forward` does for a token of each branch, x (B, 1, hidden)."""
        rows = [
            self._forward(x[i : i + 1], memory, Positions(positions.at[i : i + 1]))
            for i, memory in enumerate(self.memories)
        ]
        return torch.cat(rows)
