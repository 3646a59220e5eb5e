"""The definition of lightning attention, token by token: the truth every fast version is held against."""

import torch
from torch import Tensor


def lightning_attention_reference(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Apply S_t = exp(-s) S_{t-1} + k_t^T v_t and o_t = q_t S_t one token at a time, in float64.

    Args:
        q, k: (B, T, H, Dk). v: (B, T, H, Dv). slopes: (H,). state: (B, H, Dk, Dv), not changed.

    Returns:
        Outputs (B, T, H, Dv) and the state after the last token, both float64.
    """
    q, k, v, state = q.double(), k.double(), v.double(), state.double()
    keep = torch.exp(-slopes.double())[:, None, None]
    outputs = []
    for t in range(q.shape[1]):
        state = keep * state + k[:, t, :, :, None] * v[:, t, :, None, :]
        outputs.append((q[:, t, :, None, :] @ state)[:, :, 0])
    return torch.stack(outputs, dim=1), state
