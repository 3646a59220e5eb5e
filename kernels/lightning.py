"""Lightning attention: linear attention with one fixed decay per head and a constant-size state.

For head h with slope s >= 0, and S of shape (Dk, Dv):

    S_t = exp(-s) * S_{t-1} + k_t^T v_t
    o_t = q_t @ S_t

(arXiv 2401.04658, equation 3; no scale and no normaliser: a family that has a scale folds it into q.)
This module knows tensors only: no layers, no configuration, no token positions.
"""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

# Work inside a chunk grows with its length, work on the state shrinks with it; both are equal at
# chunk = head_dim, and short chunks keep slope * chunk far from the range where exp turns subnormal.
CHUNK = 64

# exp(-s * distance) below this is zero to any float32 sum, but subnormal numbers (from 1.2e-38 down)
# make the CPU several times slower, so the tables are cut well above them.
SMALLEST_DECAY = 1e-25


@dataclass(frozen=True)
class Decay:
    """Powers of exp(-slope) for one layer, float32, for chunks of up to `chunk` tokens.

    Attributes:
        slopes: (H,) the decay rate of each head per token.
        within: (H, C, C) weight of key j for query i in the same chunk; zero for j > i.
        query: (H, C, 1) exp(-s (i + 1)): weight of the state before the chunk for query i.
        key: (H, C, 1) exp(-s (C - 1 - i)): weight of key i in the state after the chunk. A chunk of
            c < C tokens takes the last c rows.
        loss: (H, 1, 1) expm1(-s): the (negative) share of the state that one token removes.
            For slow heads exp(-s) itself rounds to 1 or the number below: wrong by a third of s at s = 4e-8.
        whole: (H, 1, 1) what remains of the state after C tokens.
    """

    slopes: Tensor
    within: Tensor
    query: Tensor
    key: Tensor
    loss: Tensor
    whole: Tensor

    @property
    def chunk(self) -> int:
        """Return C."""
        return self.key.shape[1]

    def over(self, tokens: int) -> Tensor:
        """Return exp(-slope * tokens), (H, 1, 1), for 1 <= tokens <= C."""
        return self.whole if tokens == self.chunk else self.query[:, tokens - 1 : tokens]


@cache
def decay_tables(slopes: tuple[float, ...], device: torch.device, chunk: int = CHUNK) -> Decay:
    """Compute the decay tables of a layer once per process and device (exponents in float64)."""
    with torch.inference_mode(False):  # the tables outlive the call, and training may use them
        return _decay_tables(slopes, device, chunk)


def _decay_tables(slopes: tuple[float, ...], device: torch.device, chunk: int) -> Decay:
    rate = torch.tensor(slopes, dtype=torch.float64)[:, None]
    steps = torch.arange(chunk, dtype=torch.float64)
    distance = steps[:, None] - steps[None, :]
    within = torch.exp(-rate[:, :, None] * distance.clamp(min=0)) * (distance >= 0)
    query = torch.exp(-rate * (steps + 1))
    key = torch.exp(-rate * (chunk - 1 - steps))

    def table(values: Tensor) -> Tensor:
        return values.masked_fill(values < SMALLEST_DECAY, 0).float().to(device)

    by_query = table(query)[..., None]
    return Decay(
        slopes=rate[:, 0].float().to(device),
        within=table(within),
        query=by_query,
        key=table(key)[..., None],
        loss=torch.expm1(-rate)[..., None].float().to(device),
        whole=by_query[:, -1:].clone(),
    )


def lightning_attention(q: Tensor, k: Tensor, v: Tensor, decay: Decay, state: Tensor) -> Tensor:
    """Attend causally over a stretch of tokens and carry the state on.

    Args:
        q, k: (B, T, H, Dk), any strides with contiguous channels. T may be any length from 1.
        v: (B, T, H, Dv).
        decay: tables from `decay_tables`.
        state: (B, H, Dk, Dv) float32, contiguous; updated in place to the state after token T.

    Returns:
        (B, T, H, Dv) in v's dtype.
    """
    batch, tokens, heads, width = v.shape
    if tokens == 1:
        return _decode(q, k, v, decay, state)
    out = torch.empty(batch, tokens, heads, width, dtype=v.dtype, device=v.device)
    for b in range(batch):
        _prefill(q[b], k[b], v[b], decay, state[b], out[b])
    return out


def lightning_absorb(k: Tensor, v: Tensor, decay: Decay, state: Tensor) -> None:
    """Update the state as `lightning_attention` does, without any output."""
    tokens, size = k.shape[1], decay.chunk
    for b in range(k.shape[0]):
        keys, values = k[b].transpose(0, 1).float(), v[b].transpose(0, 1).float()  # (H, T, D)
        for start in range(0, tokens, size):
            stop = min(start + size, tokens)
            weighted = keys[:, start:stop] * decay.key[:, size - (stop - start) :]
            state[b].mul_(decay.over(stop - start))
            state[b].baddbmm_(weighted.transpose(1, 2), values[:, start:stop])


def _prefill(q: Tensor, k: Tensor, v: Tensor, decay: Decay, state: Tensor, out: Tensor) -> None:
    """Run one sequence, (T, H, D) each, chunk by chunk over all heads, into `out` (T, H, Dv)."""
    size = decay.chunk
    tokens, heads, key_width = k.shape
    q, k, v, out = (x.transpose(0, 1) for x in (q, k, v, out))  # (H, T, D) views
    if q.dtype != torch.float32:
        q, k, v = q.float(), k.float(), v.float()
    # One chunk's values stay in these few buffers, and so in the cache.
    scores = state.new_empty(heads, size, size)
    scaled = state.new_empty(heads, size, key_width)
    mixed = state.new_empty(heads, size, v.shape[2])
    whole = decay.whole
    for start in range(0, tokens, size):
        length = min(size, tokens - start)
        if length < size:
            scores, scaled, mixed = (
                state.new_empty(heads, length, n) for n in (length, key_width, v.shape[2])
            )
            whole = decay.over(length)
        q_c, k_c, v_c = (x[:, start : start + length] for x in (q, k, v))
        torch.bmm(q_c, k_c.transpose(1, 2), out=scores)
        scores.mul_(decay.within[:, :length, :length])
        torch.bmm(scores, v_c, out=mixed)
        torch.mul(q_c, decay.query[:, :length], out=scaled)
        mixed.baddbmm_(scaled, state)
        out[:, start : start + length].copy_(mixed)
        torch.mul(k_c, decay.key[:, size - length :], out=scaled)
        state.mul_(whole)
        state.baddbmm_(scaled.transpose(1, 2), v_c)


def _decode(q: Tensor, k: Tensor, v: Tensor, decay: Decay, state: Tensor) -> Tensor:
    """Run one token: q, k, v are (B, 1, H, D). The recurrence itself.

    The state's change is computed separately and added once, so that rounding over thousands of single
    steps has no bias (multiplied instead, a slow head's state drifts by 1e-4 in 8000 steps).
    """
    batch, _, heads, width = v.shape
    q_row, k_row, v_row = (x.reshape(batch * heads, 1, -1).float() for x in (q, k, v))
    change = state * decay.loss
    change.view(batch * heads, *state.shape[2:]).baddbmm_(k_row.transpose(1, 2), v_row)
    state.add_(change)
    out = torch.bmm(q_row, state.view(batch * heads, *state.shape[2:]))
    return out.view(batch, 1, heads, width).to(v.dtype)
