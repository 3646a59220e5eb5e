"""What training computes is what inference computes, and its gradients are those of the plain formulas."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning_reference import lightning_attention_reference
from torch import Tensor

from longctx.kernels import differentiable
from longctx.kernels.attention import choose_attention
from longctx.kernels.lightning import decay_tables
from longctx.kernels.linear import linear
from longctx.kernels.mixer import LightningMix, choose_lightning
from longctx.kernels.moe import gated_mlp
from longctx.kernels.select import Site

CPU = torch.device("cpu")
HERE = Site(CPU, torch.float32)
SLOPES = (5e-5, 0.03, 0.9)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.5


def agree(ours: Callable[..., Tensor], formula: Callable[..., Tensor], *inputs: Tensor) -> None:
    """Compare the values, and the gradients of a sum with odd weights, with those of a float64 formula."""
    single = [x.clone().requires_grad_() for x in inputs]
    double = [x.double().requires_grad_() for x in inputs]
    found, wanted = ours(*single), formula(*double)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-4)
    weights = torch.linspace(-1, 1, wanted.numel(), dtype=torch.float64).view(wanted.shape)
    (found * weights.float()).sum().backward()
    (wanted * weights).sum().backward()
    for x, y in zip(single, double, strict=True):
        assert x.grad is not None
        assert y.grad is not None
        torch.testing.assert_close(x.grad.double(), y.grad, rtol=1e-3, atol=1e-3)


def test_norm() -> None:
    """Training would follow wrong gradients through every layer."""
    agree(
        lambda x, w: differentiable.rms_norm(x, w, 1e-5),
        lambda x, w: x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * w,
        draw(2, 7, 24),
        draw(24, seed=1),
    )


def test_gated_mlp() -> None:
    """Training would follow wrong gradients through every feed-forward layer."""
    agree(
        gated_mlp,
        lambda x, w1, w3, w2: F.linear(F.silu(x @ w1.T) * (x @ w3.T), w2),
        draw(9, 16),
        draw(20, 16, seed=1),
        draw(20, 16, seed=2),
        draw(16, 20, seed=3),
    )


@given(tokens=st.integers(1, 200), batch=st.integers(1, 2))
@settings(max_examples=15, deadline=None)
def test_lightning_attention_and_its_last_state(tokens: int, batch: int) -> None:
    """Training would fit another recurrence than the one that reads, or forget the document of a question."""
    q, k, v = (draw(batch, tokens, 3, 8, seed=n) for n in range(3))
    decay = decay_tables(SLOPES, CPU)
    tables = decay.within, decay.query, decay.key

    def ours(q: Tensor, k: Tensor, v: Tensor, state: Tensor) -> Tensor:
        out, last = differentiable.lightning_attention(q, k, v, decay.slopes, tables, state)
        return torch.cat([out.flatten(), last.flatten()])

    def formula(q: Tensor, k: Tensor, v: Tensor, state: Tensor) -> Tensor:
        out, last = lightning_attention_reference(q, k, v, torch.tensor(SLOPES), state)
        return torch.cat([out.flatten(), last.flatten()])

    agree(ours, formula, q, k, v, draw(batch, 3, 8, 8, seed=4))


@given(tokens=st.integers(1, 40), before=st.integers(0, 50))
@settings(max_examples=15, deadline=None)
def test_softmax_attention_over_pages(tokens: int, before: int) -> None:
    """The softmax-only model of the comparison would be trained by another attention than it is judged by."""
    q, k, v = draw(2, 4, tokens, 8), draw(2, 2, tokens, 8, seed=1), draw(2, 2, tokens, 8, seed=2)
    page_k, page_v = draw(2, 2, before, 8, seed=3), draw(2, 2, before, 8, seed=4)
    pages = [(page_k, page_v)] if before else []
    attention = differentiable.attention
    wanted = choose_attention(HERE, 8)(q, k, v, pages)
    torch.testing.assert_close(attention(q, k, v, pages), wanted, rtol=1e-4, atol=1e-4)

    def formula(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys, values = (x.repeat_interleave(2, dim=1) for x in (k, v))
        scores = q @ keys.transpose(-1, -2) * 8**-0.5
        hidden = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
        return scores.masked_fill(hidden, -torch.inf).softmax(-1) @ values

    if not before:
        agree(lambda q, k, v: attention(q, k, v, []), formula, q, k, v)


@pytest.mark.parametrize("tokens", [1, 5, 70])
def test_a_mixer_gives_the_same_with_gradients(tokens: int) -> None:
    """A trained model would answer differently from what its training measured."""
    x, qkv, gate = draw(2, tokens, 24), draw(72, 24, seed=1), draw(24, 24, seed=2)
    weight, decay = draw(24, seed=3), decay_tables(SLOPES, CPU)

    def run(by: LightningMix, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        first, second = by.activations
        return by.mix(linear(x, qkv, first), linear(x, gate, second), weight, 1e-6, decay, state)

    first = draw(2, 3, 8, 8, seed=5)
    wanted, moved = run(choose_lightning(HERE, 3, 8), x, first.clone())
    trained = choose_lightning(Site(CPU, torch.float32, gradients=True), 3, 8)
    found, after = run(trained, x.requires_grad_(), first)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(after, moved, rtol=1e-4, atol=1e-4)
    assert torch.equal(first, draw(2, 3, 8, 8, seed=5))  # other branches start from it too
