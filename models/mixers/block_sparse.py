"""Softmax attention to chosen blocks of a long text (InfLLM-v2, arXiv 2509.24663).

Means of short and of long windows of keys say which blocks a query may care for; it then attends to these
alone, to the first ones and to those right before it. Short texts are attended to as a whole.

In a chunk, the window is attended to in one piece, and to each other block come the tokens that chose it: so
the cost of attention does not grow with the text, only that of the choice does.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from longctx.kernels.attention import Partial, choose_attend, torch_merge
from longctx.kernels.select import Site
from longctx.models.config import BlockSparseSpec, SoftmaxSpec
from longctx.models.kv_form import AS_IT_COMES, KVForm
from longctx.models.kv_log import KVLog
from longctx.models.mixers.branches import HostLogs
from longctx.models.mixers.memory import RowBytes
from longctx.models.mixers.softmax import Softmax

LONGER = 4  # long windows are so many times as long as short ones
# Scores of windows held at once: on a CPU they stay in its caches, which is twice as fast.
MOST_SCORES, CACHED_SCORES = 1 << 25, 1 << 21
FEW = 16  # tokens, each of which cuts out its own blocks


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
        form: KVForm = AS_IT_COMES,
    ):
        # Its layer chooses blocks by itself.
        super().__init__(batch, n_kv_heads, head_dim, dtype, device, form=replace(form, chosen=None))
        self.stride = stride
        # They choose what is read of the log, so they stay on the device.
        self._sums = KVLog(batch, n_kv_heads, head_dim, torch.float32, device, values=False)
        self._rest = torch.empty(batch, n_kv_heads, 0, head_dim, dtype=dtype, device=device)

    @property
    def nbytes(self) -> int:
        """Return the bytes of keys, values and sums."""
        return super().nbytes + self._sums.nbytes

    def add(self, k: Tensor, v: Tensor) -> None:
        """Add keys and values as they are kept, and sums of these keys."""
        super().add(k, v)
        rest = torch.cat((self._rest, self.plain(k)), dim=2)
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

    def new_memory(
        self, batch: int, dtype: torch.dtype, device: torch.device, form: KVForm = AS_IT_COMES
    ) -> WindowedLog:
        """Return the memory before the first token."""
        spec = self.spec
        return WindowedLog(spec.stride, batch, spec.n_kv_heads, spec.head_dim, dtype, device, form)

    def new_steps(self, batch: int, rows: int, device: torch.device) -> HostLogs | None:
        """Return the memories of a decode step of several branches on a CPU; no kernel chooses blocks yet."""
        return HostLogs(batch, self.attend) if batch > 1 and device.type == "cpu" else None

    def attend(self, q: Tensor, k: Tensor, v: Tensor, memory: KVLog) -> Tensor:
        """Attend to the log and to the chunk itself, and append the chunk."""
        tokens, start = q.shape[2], memory.length
        if start + tokens < self.spec.dense_length:
            return super().attend(q, k, v, memory)
        assert isinstance(memory, WindowedLog)
        memory.append(k, v)
        rows = q.unflatten(1, (self.spec.n_kv_heads, -1))  # (B, Hkv, G, T, D)
        at = torch.arange(start, start + tokens, device=q.device)
        chosen = self._all_chosen(rows, at, memory)
        rows = rows.transpose(2, 3).contiguous()
        if tokens <= FEW:
            mixed = self._by_token(rows, start, chosen, memory)
        else:
            mixed = self._by_block(rows, start, chosen, memory)
        return mixed.transpose(2, 3).flatten(1, 2).to(q.dtype)

    def use(self, site: Site) -> None:
        """Choose the kernels for where the weights are."""
        super().use(site)
        self.attend_some = choose_attend(site, self.spec.head_dim)

    @staticmethod
    def memory_bytes(spec: SoftmaxSpec, tokens: int, row: RowBytes) -> int:
        """Return the bytes of a memory after that many tokens."""
        assert isinstance(spec, BlockSparseSpec)
        sums = tokens // spec.stride * spec.n_kv_heads * spec.head_dim * torch.float32.itemsize
        return Softmax.memory_bytes(spec, tokens, row) + sums

    def _all_chosen(self, q: Tensor, at: Tensor, memory: WindowedLog) -> Tensor:
        """Return what `_chosen` returns, for some queries at a time."""
        short, long = memory.windows(2, 1), memory.windows(2 * LONGER, LONGER)
        most = CACHED_SCORES if q.device.type == "cpu" else MOST_SCORES
        rows = max(1, most // (q.shape[0] * self.spec.n_heads * max(1, short.shape[2])))
        parts = zip(q.split(rows, dim=3), at.split(rows), strict=True)
        return torch.cat([self._chosen(*part, short, long, memory.length) for part in parts], dim=2)

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
        # A product for each head would copy the means for it.
        scores: Tensor = (q.flatten(2, 3) @ means.mT).unflatten(2, q.shape[2:4])
        return scores.masked_fill_(last > at[:, None], -math.inf)

    def _by_token(self, q: Tensor, start: int, chosen: Tensor, memory: KVLog) -> Tensor:
        """Return attention (B, Hkv, T, G, D) of q of that shape: the blocks of each token are cut out."""
        out, size = torch.empty_like(q), self.spec.block
        for batch, head, token in itertools.product(*map(range, q.shape[:3])):
            numbers = chosen[batch, head, token].nonzero()[:, 0].tolist()
            ends = (min(start + token + 1, (number + 1) * size) for number in numbers)
            blocks = [memory.between(n * size, end) for n, end in zip(numbers, ends, strict=True)]
            k, v = (torch.cat([x[batch, head] for x in part]) for part in zip(*blocks, strict=True))
            scores = (q[batch, head, token].float() @ k.float().T) * self.spec.head_dim**-0.5
            out[batch, head, token] = scores.softmax(-1) @ v.float()
        return out

    def _by_block(self, q: Tensor, start: int, chosen: Tensor, memory: KVLog) -> Tensor:
        """Return what `_by_token` returns: to each block come the tokens that have chosen it."""
        size, tokens = self.spec.block, q.shape[2]
        numbers = range(start // size, -(-(start + tokens) // size))
        near = [
            self._near(q, start, max(start, n * size), min(start + tokens, (n + 1) * size), memory)
            for n in numbers
        ]
        out, weight = (torch.cat(x, dim=2) for x in zip(*near, strict=True))
        own = torch.arange(start, start + tokens, device=q.device)[:, None] // size
        number = torch.arange(chosen.shape[-1], device=q.device)
        far = (chosen & (number < own - self.spec.window // size)).mT
        counts = far.sum(-1)
        groups = far.nonzero()[:, 3].split(counts[counts > 0].tolist())
        q = q.to(memory.dtype)
        for (batch, head, block), rows in zip(counts.nonzero().tolist(), groups, strict=True):
            k, v = (x[batch, None, head, None] for x in memory.between(block * size, (block + 1) * size))
            some, before, lse = (
                x[batch, head].index_select(0, rows).flatten(0, 1)[None, None] for x in (q, out, weight)
            )
            merged, total = torch_merge(before, lse, *self.attend_some(some, k, v, False))
            out[batch, head].index_copy_(0, rows, merged.view(len(rows), *out.shape[3:]))
            weight[batch, head].index_copy_(0, rows, total.view(len(rows), -1))
        return out

    def _near(self, q: Tensor, start: int, begin: int, end: int, memory: KVLog) -> Partial:
        """Attend from tokens begin..end, which lie in one block, to the window and up to each of them."""
        first = begin // self.spec.block * self.spec.block
        some = q[:, :, begin - start : end - start]
        k, v = (x.float() for x in memory.between(first, end))
        scores = torch.einsum("bhtgd,bhnd->bhtgn", some.float(), k) * self.spec.head_dim**-0.5
        hidden = torch.ones(end - begin, end - first, dtype=torch.bool, device=q.device)
        scores = scores.masked_fill(hidden.triu(1 + begin - first)[:, None], -math.inf)
        weight = scores.logsumexp(-1)
        out = torch.einsum("bhtgn,bhnd->bhtgd", (scores - weight[..., None]).exp(), v)
        if first:
            k, v = memory.between(max(0, first - self.spec.window), first)
            part = self.attend_some(some.flatten(2, 3).to(memory.dtype), k, v, False)
            merged, total = torch_merge(out.flatten(2, 3), weight.flatten(2), *part)
            out, weight = merged.view_as(out), total.view_as(weight)
        return out, weight
