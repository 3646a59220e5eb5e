"""Kernels on a GPU at real sizes: long texts, all heads, and more numbers than 32 bits can count.

Skipped without LONGCTX_TEST_DEVICE=cuda (see tests/gpu.py). References run on the GPU, in float64.
"""

from typing import Any

import pytest
import torch
from gpu import DEVICE, on_gpu
from lightning_reference import lightning_attention_reference
from torch import Tensor

from longctx.kernels.attention import choose_attention
from longctx.kernels.moe import gated_mlp
from longctx.kernels.pointing import pointing_attention
from longctx.kernels.select import Site
from longctx.models.families.minimax import original_slopes
from longctx.models.kv_log import KVLog

pytestmark = on_gpu
BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
TOLERANCE = {BF16: 1e-2, FP16: 2e-3, FP32: 2e-5}


def kernel(module: str, name: str) -> Any:
    return getattr(pytest.importorskip(f"longctx.kernels.{module}"), name)


def off(out: Tensor, truth: Tensor) -> float:
    return float((out.double() - truth.double()).norm() / truth.double().norm())


def packed(tokens: int, heads: int, dim: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = torch.randn(1, tokens, 3, heads, dim, device=DEVICE).to(dtype).unbind(2)
    return q, k, v


def slopes_of(heads: int) -> Tensor:
    return torch.tensor(original_slopes(heads, 40, 80), device=DEVICE)


@pytest.mark.parametrize(
    ("tokens", "heads", "dim", "dtype"),
    [
        (5000, 64, 128, BF16),
        (4999, 16, 128, BF16),
        (4096, 32, 128, FP16),
        (3000, 16, 128, FP32),
        (5000, 4, 32, BF16),
        (5000, 4, 32, FP32),
        (2049, 8, 64, BF16),
        (1025, 8, 256, BF16),
        (1025, 4, 256, FP32),
    ],
)
def test_prefill_follows_the_recurrence(tokens: int, heads: int, dim: int, dtype: torch.dtype) -> None:
    """If this fails every answer of every model on a GPU is wrong."""
    q, k, v = packed(tokens, heads, dim, dtype)
    state = torch.randn(1, heads, dim, dim, device=DEVICE)
    truth, after = lightning_attention_reference(q, k, v, slopes_of(heads), state)
    out, squares = kernel("lightning_triton", "lightning_prefill")(q, k, v, slopes_of(heads), state)
    assert off(out, truth) < TOLERANCE[dtype]
    assert off(state, after) < max(TOLERANCE[dtype] / 2, 1e-5)
    assert (
        off(squares.sum(0) if squares.ndim == 4 else squares, truth.square().sum(-1)) < 3 * TOLERANCE[dtype]
    )


def test_a_long_text_in_pieces_leaves_the_state_of_one_piece() -> None:
    """If this fails streaming a book gives another memory than reading it at once."""
    q, k, v = packed(40_000, 16, 128, BF16)
    prefill = kernel("lightning_triton", "lightning_prefill")
    whole, pieces = torch.zeros(2, 1, 16, 128, 128, device=DEVICE)
    one, _ = prefill(q, k, v, slopes_of(16), whole)
    cuts = (1, 127, 129, 16384, 7, 23352)
    parts = zip(q.split(cuts, 1), k.split(cuts, 1), v.split(cuts, 1), strict=True)
    out = torch.cat([prefill(*part, slopes_of(16), pieces)[0] for part in parts], 1)
    assert off(pieces, whole) < 1e-4
    assert off(out, one) < 1e-2


def test_offsets_beyond_32_bits() -> None:
    """If this fails a chunk of 270,000 tokens of MiniMax-Text-01 reads and writes other memory."""
    tokens, heads, dim = 270_000, 64, 128
    assert tokens * heads * dim > 1 << 31
    q, k, v = (torch.randn(1, tokens, heads, dim, device=DEVICE, dtype=BF16) for _ in range(3))
    prefill = kernel("lightning_triton", "lightning_prefill")
    state = torch.zeros(1, heads, dim, dim, device=DEVICE)
    out, squares = prefill(q, k, v, slopes_of(heads), state)
    # The same in pieces whose offsets all fit: the last tokens of both must agree.
    other = torch.zeros_like(state)
    cut = tokens - 5000
    for start in range(0, cut, 60_000):
        piece = slice(start, min(cut, start + 60_000))
        prefill(q[:, piece], k[:, piece], v[:, piece], slopes_of(heads), other)
    last, _ = prefill(q[:, cut:], k[:, cut:], v[:, cut:], slopes_of(heads), other)
    assert off(out[:, cut:], last) < 1e-2
    assert off(state, other) < 1e-4
    gate, weight = (
        torch.randn(1, tokens, heads * dim, device=DEVICE, dtype=BF16),
        torch.ones(heads * dim, device=DEVICE),
    )
    normed = kernel("norm_triton", "norm_gate")(out, squares, weight, gate, 1e-6)
    rows = out[:, -100:].flatten(2).double()
    expected = (
        rows
        * torch.rsqrt(rows.square().mean(-1, keepdim=True) + 1e-6)
        * torch.sigmoid(gate[:, -100:].double())
    )
    assert off(normed[:, -100:], expected) < 1e-2


@pytest.mark.parametrize(("heads", "dim", "branches"), [(64, 128, 1), (64, 128, 4), (16, 128, 1), (4, 32, 3)])
@pytest.mark.parametrize("dtype", [BF16, FP32])
def test_decode_of_many_tokens_follows_the_recurrence(
    heads: int, dim: int, branches: int, dtype: torch.dtype
) -> None:
    """If this fails a long answer drifts away from what the model would say."""
    decode = kernel("lightning_decode_triton", "lightning_decode")
    width, slopes = heads * dim, slopes_of(heads)
    state = torch.randn(branches, heads, dim, dim, device=DEVICE)
    truth = state.double()
    keep = torch.exp(-slopes.double())[:, None, None]
    weight = torch.rand(width, device=DEVICE) + 0.5
    for _ in range(300):
        qkv = torch.randn(branches, 3 * width, device=DEVICE).to(dtype)
        gate = torch.randn(branches, width, device=DEVICE).to(dtype)
        out = decode(qkv, gate, weight, slopes, state, 1e-6)
        q, k, v = torch.nn.functional.silu(qkv.double()).view(branches, 3, heads, dim).unbind(1)
        truth = keep * truth + k[..., :, None] * v[..., None, :]
        mixed = (q[..., None, :] @ truth)[..., 0, :].flatten(1)
        scale = torch.rsqrt(mixed.square().mean(-1, keepdim=True) + 1e-6)
        assert off(out, mixed * scale * weight.double() * torch.sigmoid(gate.double())) < 2 * TOLERANCE[dtype]
    assert off(state, truth) < 1e-5


@pytest.mark.parametrize(("heads", "kv_heads", "dim"), [(64, 8, 128), (16, 4, 128), (32, 2, 128), (4, 2, 32)])
@pytest.mark.parametrize("keys", [1, 300, 70_001])
def test_attention_decode_over_pages(heads: int, kv_heads: int, dim: int, keys: int) -> None:
    """If this fails an answer on a GPU is written from the wrong part of the text."""
    module = pytest.importorskip("longctx.kernels.attention_triton")
    log = KVLog(1, kv_heads, dim, BF16, DEVICE)
    k, v = torch.randn(2, 1, kv_heads, keys, dim, device=DEVICE, dtype=BF16)
    for start in range(0, keys, 16384):
        log.append(k[:, :, start : start + 16384], v[:, :, start : start + 16384])
    q = torch.randn(1, heads, dim, device=DEVICE, dtype=BF16)
    pages = list(log.pages())
    table = kernel("pages_triton", "page_table")([pages], 64).to(DEVICE)
    counts = torch.tensor([len(pages)], dtype=torch.int32, device=DEVICE)
    wide_q = q.double().view(1, kv_heads, heads // kv_heads, dim)
    scores = wide_q @ k.double().transpose(-1, -2) * dim**-0.5
    truth = (torch.softmax(scores, -1) @ v.double()).view(1, heads, dim)
    for splits in (1, 7, 64):
        out, lse = module.attention_decode(q, table, counts, n_kv_heads=kv_heads, splits=splits)
        assert off(out, truth) < 1e-2
        torch.testing.assert_close(
            lse.double().view(-1), torch.logsumexp(scores, -1).view(-1), rtol=1e-3, atol=2e-3
        )
        pointers = torch.tensor([0, heads - 1], dtype=torch.int32, device=DEVICE)
        at, mass = module.attention_pointer(
            q, table, counts, lse, pointers, n_kv_heads=kv_heads, splits=splits
        )
        mean = torch.softmax(scores, -1).view(1, heads, keys)[:, [0, heads - 1]].mean(1)
        assert abs(float(mean[0, int(at[0])]) - float(mean.max())) < 1e-2 * float(mean.max())
        assert abs(float(mass[0]) - float(mean.max())) < 2e-2 * float(mean.max())


@pytest.mark.parametrize("heads", [(64, 8, 128), (4, 2, 32)])
def test_prefill_attention_over_pages(heads: tuple[int, int, int]) -> None:
    """If this fails a softmax layer sees other keys on a GPU than on a CPU."""
    n, kv_heads, dim = heads
    q = torch.randn(1, n, 777, dim, device=DEVICE, dtype=BF16)
    keys, values = torch.randn(2, 1, kv_heads, 5000 + 777, dim, device=DEVICE, dtype=BF16)
    earlier = [(keys[:, :, a:b], values[:, :, a:b]) for a, b in ((0, 256), (256, 4000), (4000, 5000))]
    out = choose_attention(Site(DEVICE, BF16), dim)(q, keys[:, :, 5000:], values[:, :, 5000:], earlier)
    wide = [x.double().repeat_interleave(n // kv_heads, 1) for x in (keys, values)]
    scores = q.double() @ wide[0].transpose(-1, -2) * dim**-0.5
    later = torch.arange(5777, device=DEVICE)[None] > torch.arange(5000, 5777, device=DEVICE)[:, None]
    truth = torch.softmax(scores.masked_fill(later, float("-inf")), -1) @ wide[1]
    assert off(out, truth) < 1e-2
    own = keys[:, :, :1], values[:, :, :1]
    assert pointing_attention(q[:, :, :1], *own, [], [0])[1][0].tolist() == [[0]]


@pytest.mark.parametrize(
    ("tokens", "hidden", "inner", "top_k"), [(1, 2048, 512, 8), (16, 2048, 512, 8), (3, 6144, 9216, 2)]
)
def test_experts_of_a_few_tokens(tokens: int, hidden: int, inner: int, top_k: int) -> None:
    """If this fails every written token of a mixture model is wrong."""
    moe_decode = kernel("moe_triton", "moe_decode")
    n = 64 if inner == 512 else 20
    w1, w3 = (torch.randn(n, inner, hidden, device=DEVICE, dtype=BF16) * hidden**-0.5 for _ in range(2))
    w2 = torch.randn(n, hidden, inner, device=DEVICE, dtype=BF16) * inner**-0.5
    x = torch.randn(tokens, hidden, device=DEVICE, dtype=BF16)
    chosen = torch.stack([torch.randperm(n, device=DEVICE)[:top_k] for _ in range(tokens)])
    shares = torch.softmax(torch.randn(tokens, top_k, device=DEVICE), -1)
    truth = torch.zeros(tokens, hidden, device=DEVICE, dtype=torch.float64)
    for t in range(tokens):
        for share, e in zip(shares[t], chosen[t].tolist(), strict=True):
            row = x[t : t + 1].double()
            truth[t] += share * gated_mlp(row, w1[e].double(), w3[e].double(), w2[e].double())[0]
    assert off(moe_decode(x, chosen, shares, w1, w3, w2), truth) < 1e-2
