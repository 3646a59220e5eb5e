"""Softmax attention to chosen blocks of a long text (InfLLM-v2, arXiv 2509.24663).

Means of short and of long windows of keys say which blocks a query may care for; it then attends to these
alone, to the first ones and to those right before it. Short texts are attended to as a whole.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from longctx.models.config import BlockSparseSpec, SoftmaxSpec
from longctx.models.kv_log import KVLog
from longctx.models.mixers.softmax import Softmax

LONGER = 4  # long windows are so many times as long as short ones
MOST_SCORES = 1 << 25  # held at once


class WindowedLog(KVLog):
    """A KV log that also keeps the sum of every `stride` keys, of which all windows are made."""

    def __init__(
        self,
        stride: int,
        batch: int,
        n_kv_heads: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ):
        super().__init__(batch, n_kv_heads, head_dim, dtype, device)
        self.stride = stride
        self._sums = KVLog(batch, n_kv_heads, head_dim, torch.float32, device, values=False)
        self._rest = torch.empty(batch, n_kv_heads, 0, head_dim, dtype=dtype, device=device)

    @property
    def nbytes(self) -> int:
        """Return the bytes of keys, values and sums."""
        return super().nbytes + self._sums.nbytes

    def append(self, k: Tensor, v: Tensor) -> None:
        """Add the keys and values of T tokens, each (B, Hkv, T, D)."""
        super().append(k, v)
        rest = torch.cat((self._rest, k.to(self.dtype)), dim=2)
        whole = rest.shape[2] // self.stride * self.stride
        sums = rest[:, :, :whole].float().unflatten(2, (-1, self.stride)).sum(3)
        self._sums.append(sums, sums)
        self._rest = rest[:, :, whole:].clone()

    def fork(self) -> Self:
        """Return a log that shares everything so far."""
        child = super().fork()
        child._sums = self._sums.fork()
        return child

    def constants(self) -> dict[str, Tensor]:
        """Return the keys that no sum holds yet."""
        return {"rest": self._rest}

    def rows(self) -> dict[str, int]:
        """Return the rows of keys, values and sums."""
        return {**super().rows(), "sums": self._sums.length}

    def appended(self, since: Mapping[str, int]) -> dict[str, list[Tensor]]:
        """Return keys, values and sums from a row on."""
        return {**super().appended(since), "sums": self._sums.appended({"keys": since["sums"]})["keys"]}

    def adopt(self, constants: Mapping[str, Tensor], logs: Mapping[str, Sequence[Tensor]]) -> None:
        """Take keys, values and sums as pages.

        Raises:
            ValueError: when one of them has another shape or dtype.
        """
        super().adopt({}, logs)
        self._sums.adopt({}, {"keys": logs["sums"]})
        rest = constants["rest"]
        like = (*self._rest.shape[:2], self.length % self.stride, self._rest.shape[3])
        if (rest.shape, rest.dtype) != (like, self._rest.dtype):
            raise ValueError(f"a rest of shape {tuple(rest.shape)}, {rest.dtype}")
        self._rest = rest.to(self._device)

    def windows(self, strides: int, hop: int) -> Tensor:
        """Return the mean keys (B, Hkv, n, D) float32 of windows of so many strides, every `hop` strides."""
        sums = self._sums.tensors()["keys"]
        if sums.shape[2] < strides:
            return sums[:, :, :0]
        return sums.unfold(2, strides, hop).sum(-1) / (strides * self.stride)


class BlockSparse(Softmax):
    """Softmax attention of one layer, sparse where the text is long."""

    spec: BlockSparseSpec

    def new_memory(self, batch: int, dtype: torch.dtype, device: torch.device) -> WindowedLog:
        """Return the memory before the first token."""
        return WindowedLog(self.spec.stride, batch, self.spec.n_kv_heads, self.spec.head_dim, dtype, device)

    def new_steps(self, batch: int, rows: int, device: torch.device) -> None:
        """Return None: no kernel of a decode step chooses blocks yet."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, memory: KVLog) -> Tensor:
        """Attend to the log and to the chunk itself, and append the chunk."""
        tokens, start = q.shape[2], memory.length
        if start + tokens < self.spec.dense_length:
            return super().attend(q, k, v, memory)
        assert isinstance(memory, WindowedLog)
        memory.append(k, v)
        kept = memory.tensors()
        short = memory.windows(2, 1)
        long = memory.windows(2 * LONGER, LONGER)
        rows = max(1, MOST_SCORES // (q.shape[0] * q.shape[1] * (start + tokens)))
        parts = []
        for first in range(0, tokens, rows):
            part = q[:, :, first : first + rows]
            at = torch.arange(start + first, start + first + part.shape[2], device=q.device)
            folded = part.unflatten(1, (self.spec.n_kv_heads, -1))  # (B, Hkv, G, T, D)
            chosen = self._chosen(folded, at, short, long, start + tokens)
            parts.append(self._attended(folded, at, chosen, kept["keys"], kept["values"]))
        return torch.cat(parts, dim=2)

    @staticmethod
    def memory_bytes(spec: SoftmaxSpec, tokens: int, itemsize: int) -> int:
        """Return the bytes of a memory after that many tokens."""
        assert isinstance(spec, BlockSparseSpec)
        sums = tokens // spec.stride * spec.n_kv_heads * spec.head_dim * torch.float32.itemsize
        return Softmax.memory_bytes(spec, tokens, itemsize) + sums

    def _chosen(self, q: Tensor, at: Tensor, short: Tensor, long: Tensor, length: int) -> Tensor:
        """Return which blocks each query sees, (B, Hkv, T, blocks) bool.

        Args:
            q: (B, Hkv, G, T, D). at: (T,) positions. short, long: means of windows. length: of the log.
        """
        spec = self.spec
        per_block, own = spec.block // spec.stride, at // spec.block
        blocks = -(-length // spec.block)
        worth = self._worth(q.float() * spec.head_dim**-0.5, at, short, long)
        # A block is worth its best window, the ones that reach into it included.
        padded = F.pad(worth, (1, per_block * blocks - worth.shape[-1] + per_block))
        best = padded.unfold(-1, per_block + 1, per_block).amax(-1)[..., :blocks]
        number = torch.arange(blocks, device=at.device)
        near = (number <= own[:, None]) & (number >= own[:, None] - spec.window // spec.block)
        best = best.masked_fill(near | (number < spec.first_blocks), math.inf)
        # Neighbours often share their best window: of equals the first ones are taken.
        order = best.sort(dim=-1, descending=True, stable=True).indices
        count = min(blocks, spec.top_blocks + spec.window // spec.block)
        seen = torch.zeros_like(best, dtype=torch.bool).scatter_(-1, order[..., :count], True)
        return seen & (number <= own[:, None])

    def _worth(self, q: Tensor, at: Tensor, short: Tensor, long: Tensor) -> Tensor:
        """Return what each short window is worth to all query heads of a KV head, (B, Hkv, T, n)."""
        spec = self.spec
        total = self._scores(q, at, long, LONGER * spec.stride).logsumexp(dim=-1, keepdim=True)
        shares = (self._scores(q, at, short, spec.stride) - total).exp()
        # Where no long window lies behind a query, nothing is worth anything yet.
        return shares.masked_fill(total.isinf(), 0).sum(dim=2)

    def _scores(self, q: Tensor, at: Tensor, means: Tensor, hop: int) -> Tensor:
        """Return scores (B, Hkv, G, T, n) of windows of two hops that end at or before each query."""
        last = torch.arange(means.shape[2], device=at.device) * hop + 2 * hop - 1
        return (q @ means[:, :, None].transpose(-1, -2)).masked_fill(last > at[:, None], -math.inf)

    def _attended(self, q: Tensor, at: Tensor, chosen: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Return (B, H, T, D): attention of q (B, Hkv, G, T, D) to the tokens of its blocks."""
        if q.shape[3] == 1 and len(q) == 1:
            each = [self._gathered(q, head, chosen, keys, values) for head in range(q.shape[1])]
            return torch.cat(each, dim=1)
        seen = chosen.repeat_interleave(self.spec.block, dim=-1)[..., : keys.shape[2]]
        seen = seen & (torch.arange(keys.shape[2], device=at.device) <= at[:, None])
        scores = (q.float() @ keys[:, :, None].float().transpose(-1, -2)) * self.spec.head_dim**-0.5
        weights = scores.masked_fill(~seen[:, :, None], -math.inf).softmax(-1)
        mixed: Tensor = weights @ values[:, :, None].float()
        return mixed.flatten(1, 2).to(q.dtype)

    def _gathered(self, q: Tensor, head: int, chosen: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Return (1, G, 1, D): attention of the last token to the blocks of one KV head, cut out."""
        size, length = self.spec.block, keys.shape[2]
        numbers = chosen[0, head, 0].nonzero()[:, 0]
        tokens = (numbers[:, None] * size + torch.arange(size, device=q.device)).flatten()
        tokens = tokens[tokens < length]
        k, v = (x[0, head].index_select(0, tokens).float() for x in (keys, values))
        weights = ((q[0, head, :, 0].float() @ k.T) * self.spec.head_dim**-0.5).softmax(-1)
        mixed: Tensor = weights @ v
        return mixed[None, :, None].to(q.dtype)
