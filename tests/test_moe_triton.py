"""Experts for a few tokens, and the weighted sum of results, against sums written out in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

pytest.importorskip("triton")

from longctx.kernels import moe_triton
from longctx.kernels.moe_triton import moe_combine, moe_decode, piece

Stacks = tuple[Tensor, Tensor, Tensor]


def stacks(n_experts: int, inner: int, width: int, dtype: torch.dtype = torch.float32) -> Stacks:
    w1, w3 = (torch.randn(n_experts, inner, width) * width**-0.5 for _ in range(2))
    w2 = torch.randn(n_experts, width, inner) * inner**-0.5
    return w1.to(dtype), w3.to(dtype), w2.to(dtype)


def choices(tokens: int, top_k: int, n_experts: int) -> tuple[Tensor, Tensor]:
    chosen = torch.stack([torch.randperm(n_experts)[:top_k] for _ in range(tokens)])
    return chosen, torch.softmax(torch.randn(tokens, top_k), -1)


def written_out(x: Tensor, chosen: Tensor, weights: Tensor, w1: Tensor, w3: Tensor, w2: Tensor) -> Tensor:
    """Each token's sum over its experts, float64."""
    out = torch.zeros(x.shape, dtype=torch.float64)
    for t, row in enumerate(x.double()):
        for weight, e in zip(weights[t].double(), chosen[t].tolist(), strict=True):
            gate = w1[e].double() @ row
            out[t] += weight * (w2[e].double() @ (gate * torch.sigmoid(gate) * (w3[e].double() @ row)))
    return out


@settings(max_examples=8)
@given(
    tokens=st.integers(1, 2),
    top_k=st.integers(1, 3),
    spare=st.integers(0, 3),
    inner=st.integers(1, 7),
    width=st.integers(1, 7),
    seed=st.integers(0, 1000),
)
def test_a_few_tokens_get_the_sum_of_their_experts(
    tokens: int, top_k: int, spare: int, inner: int, width: int, seed: int
) -> None:
    """If this fails every token that a mixture model writes on a GPU is wrong."""
    torch.manual_seed(seed)
    weights = stacks(top_k + spare, inner, width)
    x, routed = torch.randn(tokens, width), choices(tokens, top_k, top_k + spare)
    expected = written_out(x, *routed, *weights)
    torch.testing.assert_close(moe_decode(x, *routed, *weights).double(), expected, rtol=1e-5, atol=1e-5)


def test_rows_longer_than_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails models wider than one program reads at once lose the rest of every row."""
    monkeypatch.setattr(moe_triton, "piece", lambda columns, itemsize: (4, 1))
    weights = stacks(3, 9, 7)
    x, routed = torch.randn(2, 7), choices(2, 2, 3)
    expected = written_out(x, *routed, *weights)
    torch.testing.assert_close(moe_decode(x, *routed, *weights).double(), expected, rtol=1e-5, atol=1e-5)


@given(columns=st.integers(1, 20000), itemsize=st.sampled_from([2, 4]))
def test_every_thread_of_a_program_reads_sixteen_bytes(columns: int, itemsize: int) -> None:
    """If this fails the kernel is right but slow: rows pass through shared memory, or threads idle."""
    size, warps = piece(columns, itemsize)
    assert size & (size - 1) == 0
    assert warps in (1, 2, 4)
    assert size * itemsize == 16 * 32 * warps or (warps == 1 and columns <= size < 16 * 32 // itemsize)
    assert warps == 4 or 2 * size > columns


@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 2e-2), (torch.float16, 2e-3)])
def test_halves_differ_by_their_rounding_alone(dtype: torch.dtype, bound: float) -> None:
    """If this fails weights in half precision are read as something else, or summed in half precision."""
    weights = stacks(4, 12, 40, dtype)
    x, routed = torch.randn(2, 40).to(dtype), choices(2, 2, 4)
    out, expected = moe_decode(x, *routed, *weights), written_out(x, *routed, *weights)
    assert out.dtype == dtype
    assert (out.double() - expected).norm() / expected.norm() < bound


def test_gates_far_from_zero_stay_finite() -> None:
    """If this fails one large activation turns an answer into nan."""
    w1, w3, w2 = torch.full((1, 4, 4), 100.0), torch.ones(1, 4, 4), torch.ones(1, 4, 4)
    x = torch.tensor([[5.0, 5.0, 5.0, 5.0], [-5.0, -5.0, -5.0, -5.0]])
    chosen, weights = torch.zeros(2, 1, dtype=torch.int64), torch.ones(2, 1)
    out = moe_decode(x, chosen, weights, w1, w3, w2)
    torch.testing.assert_close(out, written_out(x, chosen, weights, w1, w3, w2).float())


@settings(max_examples=8)
@given(tokens=st.integers(1, 6), top_k=st.integers(1, 4), width=st.integers(1, 1100))
def test_results_are_gathered_from_where_they_stand(tokens: int, top_k: int, width: int) -> None:
    """If this fails tokens of a long text get each other's results."""
    results, weights = torch.randn(tokens * top_k, width), torch.rand(tokens, top_k)
    position = torch.randperm(tokens * top_k).view(tokens, top_k)
    expected = (results.double()[position] * weights.double()[..., None]).sum(1)
    found = moe_combine(results, position, weights).double()
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
