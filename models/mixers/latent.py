"""Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): the log holds one compressed vector per token.

Keys and values of all heads are products of that vector. A few tokens never form them: the products are moved
into the queries and behind the sum, so that attention runs on the log itself, as if it were one KV head. Its
channels are many more than a head's, so a chunk of tokens forms them, for some of the log at a time.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longctx.kernels.attention import Page, choose_attention
from longctx.kernels.norm import choose_norm
from longctx.kernels.select import Site
from longctx.models.config import LatentSpec
from longctx.models.kv_form import AS_IT_COMES, KVForm
from longctx.models.kv_log import KVLog
from longctx.models.mixers.branches import Apart
from longctx.models.mixers.memory import RowBytes
from longctx.models.rotary import Positions, rotate
from longctx.models.weight import Weight


class Latent(nn.Module):
    """Latent attention of one layer.

    Args:
        hidden: width of the residual stream.
        spec: what the layer is.
        dtype: of the matrices.
        last: not used; every mixer is told.
    """

    def __init__(self, hidden: int, spec: LatentSpec, dtype: torch.dtype, last: bool):
        super().__init__()
        self.spec = spec
        heads, rank = spec.n_heads, spec.kv_rank
        if spec.q_rank:
            self.q_a = Weight(spec.q_rank, hidden, dtype=dtype)
            self.q_norm = Weight(spec.q_rank, dtype=torch.float32)
        self.q_b = Weight(heads * (spec.plain_dim + self._turned), spec.q_rank or hidden, dtype=dtype)
        self.kv_a = Weight(rank + self._turned, hidden, dtype=dtype)
        self.kv_norm = Weight(rank, dtype=torch.float32)
        self.k_b = Weight(heads, rank, spec.plain_dim, dtype=dtype, keep="plain")
        self.v_b = Weight(heads, spec.value_dim, rank, dtype=dtype, keep="plain")
        self.out = Weight(hidden, heads * spec.value_dim, dtype=dtype)

    @property
    def _turned(self) -> int:
        return 2 * len(self.spec.rope.frequencies)

    @property
    def _width(self) -> int:
        """Return the channels that attention takes for keys and for values, once they are formed."""
        return max(self.spec.plain_dim + self._turned, self.spec.value_dim)

    @property
    def _many(self) -> float:
        """Return the tokens from which forming keys and values takes half of the work that it saves."""
        spec = self.spec
        saved = 4 * (spec.kv_rank + self._turned - self._width)
        return 4 * spec.kv_rank * (spec.plain_dim + spec.value_dim) / saved if saved > 0 else math.inf

    def use(self, site: Site) -> None:
        """Choose the kernels for where the weights are."""
        self.attention = choose_attention(site, self.spec.kv_rank + self._turned)
        self.formed_attention = choose_attention(site, self._width)
        self.q_rms_norm = choose_norm(site, self.spec.q_rank or 1)
        self.kv_rms_norm = choose_norm(site, self.spec.kv_rank)

    def new_memory(
        self, batch: int, dtype: torch.dtype, device: torch.device, form: KVForm = AS_IT_COMES
    ) -> KVLog:
        """Return the memory before the first token."""
        width = self.spec.kv_rank + self._turned
        return KVLog(batch, 1, width, dtype, device, values=False, form=form)

    def new_steps(self, batch: int, rows: int, device: torch.device) -> Apart | None:
        """Return the memories of a step of several branches on a CPU; no kernel reads such a log yet."""
        return Apart(batch, self.forward) if batch > 1 and device.type == "cpu" else None

    def step(self, x: Tensor, memory: Apart, positions: Positions) -> Tensor:
        """Do what `forward` does for a token of each branch, x (B, 1, hidden), in a decode step."""
        return memory.run(x, positions)

    def forward(self, x: Tensor, memory: KVLog, positions: Positions) -> Tensor:
        """Return (B, T, hidden) for x (B, T, hidden) and move the memory past it."""
        plain, turned = self._queries(x, positions)
        kept = memory.rows_of(self._latent(x, positions))
        attend = self._formed if x.shape[1] > self._many else self._within
        heads = attend(plain, turned, memory.plain(kept), memory)
        memory.add(kept, kept)
        return self.out(heads.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]  # nn.Module does not know

    def absorb(self, x: Tensor, memory: KVLog, positions: Positions) -> None:
        """Append the compressed vectors."""
        k = self._latent(x, positions)
        memory.append(k, k)

    def _within(self, plain: Tensor, turned: Tensor, own: Tensor, memory: KVLog) -> Tensor:
        """Return (B, H, T, value_dim): attention within the log and the chunk's part, (B, 1, T, D)."""
        q = torch.cat((plain @ self.k_b.weight.transpose(1, 2), turned), dim=-1)
        # The log's own channels are more than those that the scores are scaled by.
        q = q * (self.spec.scale * math.sqrt(q.shape[-1]))
        mixed = self.attention(q, own, own, memory.pages())[..., : self.spec.kv_rank]
        return mixed @ self.v_b.weight.transpose(1, 2)

    def _formed(self, plain: Tensor, turned: Tensor, own: Tensor, memory: KVLog) -> Tensor:
        """Return what `_within` returns, from keys and values that are formed."""
        q = self._widened(torch.cat((plain, turned), dim=-1)) * (self.spec.scale * math.sqrt(self._width))
        # Rows of a head: what makes its keys, then what makes its values.
        rows = (
            torch.cat((self.k_b.weight.transpose(1, 2), self.v_b.weight), dim=1).flatten(0, 1).to(own.dtype)
        )
        earlier = self._pages(memory, own.shape[2], rows)
        return self.formed_attention(q, *self._keys_values(own, rows), earlier)[..., : self.spec.value_dim]

    def _pages(self, memory: KVLog, tokens: int, rows: Tensor) -> Iterator[Page]:
        """Yield the keys and values of the log; at most as many tokens at once as the chunk has."""
        for page, _ in memory.pages():
            yield from (self._keys_values(part, rows) for part in page.split(tokens, dim=2))

    def _keys_values(self, log: Tensor, rows: Tensor) -> Page:
        """Return keys and values (B, H, n, width) of a part of the log, (B, 1, n, rank + turned)."""
        spec = self.spec
        inner, turned = log.split([spec.kv_rank, self._turned], dim=-1)
        heads = F.linear(inner[:, 0], rows).unflatten(-1, (spec.n_heads, -1)).transpose(1, 2)
        k, v = heads.split([spec.plain_dim, spec.value_dim], dim=-1)
        k = torch.cat((k, turned.expand(-1, spec.n_heads, -1, -1)), dim=-1)
        return self._widened(k), self._widened(v)

    def _widened(self, x: Tensor) -> Tensor:
        """Return heads with channels of zeros added: attention wants keys and values of one width."""
        return F.pad(x, (0, self._width - x.shape[-1]))

    def _queries(self, x: Tensor, positions: Positions) -> tuple[Tensor, Tensor]:
        """Return the plain channels of queries (B, H, T, plain_dim) and the rotated (B, H, T, turned)."""
        spec = self.spec
        inner = self.q_rms_norm(self.q_a(x), self.q_norm.weight, spec.norm_eps) if spec.q_rank else x
        heads = self.q_b(inner).unflatten(-1, (spec.n_heads, -1)).transpose(1, 2)
        plain, turned = heads.split([spec.plain_dim, self._turned], dim=-1)
        return plain, rotate(turned, positions.angles(spec.rope))

    def _latent(self, x: Tensor, positions: Positions) -> Tensor:
        """Return what the log keeps of x: the normed compressed vector and the shared rotated key."""
        spec = self.spec
        inner, turned = self.kv_a(x)[:, None].split([spec.kv_rank, self._turned], dim=-1)
        normed = self.kv_rms_norm(inner, self.kv_norm.weight, spec.norm_eps)
        return torch.cat((normed, rotate(turned, positions.angles(spec.rope))), dim=-1)

    @staticmethod
    def memory_bytes(spec: LatentSpec, tokens: int, row: RowBytes) -> int:
        """Return the bytes of a memory after that many tokens."""
        return row(spec.kv_rank + 2 * len(spec.rope.frequencies)) * tokens

    @staticmethod
    def workspace_bytes(spec: LatentSpec, hidden: int, itemsize: int, cpu: bool) -> int:
        """Return the bytes per token at the widest.

        Keys and values of the chunk, and of as much of the log, being formed; queries twice; the sum and one
        of its terms in float32.
        """
        turned = 2 * len(spec.rope.frequencies)
        wide = spec.n_heads * max(spec.plain_dim + turned, spec.value_dim)
        return 2 * hidden * itemsize + (7 * itemsize + 2 * 4) * wide
