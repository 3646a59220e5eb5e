"""Branches of a decode step where no kernel holds them at fixed addresses: on a CPU.

What is shared is the reading of the weights, and of the text that branches have in common; all else is done
one by one.
"""

from collections import Counter
from collections.abc import Callable
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor

from longctx.kernels.attention import branched_attention
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
        shares: all that it does is attention, which may read what logs share for several branches at once.
    """

    def __init__(self, batch: int, attend: Attend, *, shares: bool = False) -> None:
        super().__init__(batch)
        self._attend, self._shares = attend, shares

    def attend(self, q: Tensor, k: Tensor, v: Tensor, angles: Angles) -> Tensor:
        """Append one token per branch and attend from it to its whole branch, itself included.

        Args:
            q: (B, H, D), k, v: (B, Hkv, D), not rotated. angles: cos and sin, (B, R/2) float32.

        Returns:
            (B, H, D).
        """
        q, k = (rotate(x.transpose(0, 1)[None], angles)[0].transpose(0, 1) for x in (q, k))
        logs = [memory for memory in self.memories if memory is not None]
        tokens = [(q[None, i, :, None], k[None, i, :, None], v[None, i, :, None]) for i in range(len(logs))]
        kin, count = _relatives(logs) if self._shares else ([], 0)
        mixed: dict[int, Tensor] = {}
        if kin:
            for i in kin:
                logs[i].append(*tokens[i][1:])
            pages = [logs[i].pages() for i in kin]
            rows = branched_attention(q[kin], pages[0][:count], [own[count:] for own in pages])
            mixed = dict(zip(kin, rows, strict=True))
        alone = (i for i in range(len(logs)) if i not in mixed)
        mixed |= {i: self._attend(*tokens[i], logs[i])[0, :, 0] for i in alone}
        return torch.stack([mixed[i] for i in range(len(logs))])


def _relatives(logs: list[KVLog]) -> tuple[list[int], int]:
    """Return the numbers of the most logs that begin with the same pages, and how many these are."""
    settled = [[] if log.opaque else log.settled for log in logs]
    heads = Counter(pieces[0] for pieces in settled if pieces)
    head, count = max(heads.items(), key=lambda found: found[1], default=(None, 0))
    if count < 2:
        return [], 0
    kin = [i for i, pieces in enumerate(settled) if pieces and pieces[0] == head]
    alike = takewhile(lambda pieces: len(set(pieces)) == 1, zip(*(settled[i] for i in kin), strict=False))
    return kin, len(list(alike))


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
