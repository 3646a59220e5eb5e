"""Weights of 4 bits: the error is that of rounding, and both ways to multiply by them agree."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from longctx.kernels import int4
from longctx.kernels.int4 import FEW, GROUP, Int4Matrix, can_quantize4, int4_experts, quantize4
from longctx.kernels.linear import linear
from longctx.kernels.moe import gated_mlp
from longctx.kernels.quantized import Activation

pytestmark = pytest.mark.skipif(not can_quantize4(), reason="this torch has no 4 bit products for this CPU")


def nearest_factors(weight: torch.Tensor) -> torch.Tensor:
    """The definition: levels from -8 to 7 of a step per group, which is a multiple of a step per row."""
    groups = weight.double().unflatten(1, (-1, GROUP))
    largest = groups.gather(2, groups.abs().argmax(2, keepdim=True)) / -8
    unit = (largest.abs().amax(1, keepdim=True) / 15).clamp_min(1e-30)
    factors = (largest / unit).round()
    step = torch.where(factors == 0, 1.0, factors) * unit
    rounded: torch.Tensor = (groups / step).round().clamp(-8, 7) * step
    return rounded.flatten(1)


@given(
    rows=st.sampled_from([1, 2, FEW, FEW + 1, 300]),
    shape=st.tuples(st.integers(1, 140), st.integers(1, 6)),
    activation=st.sampled_from(["none", "silu"]),
    scale=st.sampled_from([1e-4, 1.0, 1e4]),
)
def test_products_are_those_of_the_rounded_weight(
    rows: int, shape: tuple[int, int], activation: Activation, scale: float
) -> None:
    """If this fails --quant int4 loses more than 4 bits have to lose, or odd sizes are laid out wrongly."""
    weight = torch.randn(shape[0], GROUP * shape[1]) * torch.rand(shape[0], 1) * scale
    x = torch.randn(rows, weight.shape[1])
    matrix = quantize4(weight)
    rounded = matrix.plain(weight.shape[1]).double()
    found = linear(x, matrix, activation).double()
    exact = x.double() @ rounded.T
    expected = exact if activation == "none" else exact * torch.sigmoid(exact)
    # Tokens have 8 bits, or those of bfloat16.
    bound = 0.02 * x.double().norm(dim=1, keepdim=True) * rounded.norm(dim=1) + 0.01 * exact.abs()
    assert ((found - expected).abs() <= 1.1 * bound + 1e-5).all()


def test_weights_lose_what_four_bits_lose() -> None:
    """If this fails answers are worse than those of other programs with files of the same size."""
    weight = torch.randn(64, 1024)
    weight[5] *= 1e-3
    weight[6, 40] = 8.0  # an outlier takes the digits of its own group alone
    plain = quantize4(weight).plain(1024).double()
    error = (plain - weight).norm(dim=1) / weight.norm(dim=1)
    assert error.max() < 0.12
    lost, nearest = (
        (each - weight).unflatten(1, (-1, GROUP)).square().sum(2) for each in (plain, nearest_factors(weight))
    )
    assert (lost <= nearest * (1 + 1e-5)).all()
    assert lost.sum() < 0.97 * nearest.sum()
    assert quantize4(weight).levels.nbytes == weight.numel() // 2


def test_rows_of_zeros_give_zeros() -> None:
    """If this fails padding rows of a checkpoint turn an answer into nan."""
    weight = torch.randn(8, 64)
    weight[3] = 0
    for tokens in (1, 100):
        out = linear(torch.randn(tokens, 64), quantize4(weight))
        assert out.shape == (tokens, 8)
        assert out.isfinite().all()
        assert not out[:, 3].any()


def test_a_changed_operator_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a torch that lays 4 bits out in another way gives nonsense instead of an error."""
    real = quantize4

    def shifted(weight: torch.Tensor) -> int4.Int4Matrix:
        matrix = real(weight)
        matrix.levels.copy_(matrix.levels.roll(1, 1))
        return matrix

    monkeypatch.setattr(int4, "quantize4", shifted)
    assert not can_quantize4.__wrapped__()


@pytest.mark.parametrize(("hidden", "inner"), [(128, 64), (96, 32)])
def test_experts_of_one_token_are_those_of_single_products(hidden: int, inner: int) -> None:
    """If this fails writing with experts of 4 bits differs from reading with them, or padding gets in."""

    def drawn(rows: int, columns: int) -> Int4Matrix:
        return quantize4(torch.randn(rows, columns) * 0.1)

    experts = [(drawn(inner, hidden), drawn(inner, hidden), drawn(hidden, inner)) for _ in range(3)]
    x = torch.randn(1, hidden)
    for some in (experts, experts[:1]):
        expected = torch.cat([gated_mlp(x, *matrices) for matrices in some])
        torch.testing.assert_close(int4_experts(x, some), expected, rtol=1e-6, atol=1e-6)


@given(shape=st.tuples(st.integers(1, 140), st.integers(1, 6)))
def test_every_layout_holds_the_same_matrix(shape: tuple[int, int]) -> None:
    """If this fails a model that was rounded once, on another computer, answers nonsense on this one."""
    matrix = quantize4(torch.randn(shape[0], GROUP * shape[1]))
    plain = matrix.plain(GROUP * shape[1])
    for block in (int4.BLOCK, int4.BLOCK // 2):
        other = matrix.laid_out(block)
        assert other.levels.shape == matrix.levels.shape
        assert torch.equal(other.plain(GROUP * shape[1]), plain)
        assert torch.equal(other.laid_out().levels, matrix.levels)


def test_the_layout_of_files_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails what `models quantize` writes depends on the CPU, and cannot be copied to another one."""
    weight = torch.arange(-64.0, 64.0).view(64, 2).repeat_interleave(GROUP // 2, 1)
    monkeypatch.setattr(int4, "block_here", lambda: int4.BLOCK // 2)
    there = quantize4(weight)
    assert there.block == int4.BLOCK // 2
    first = there.laid_out(int4.BLOCK).levels.view(GROUP, -1)[0]  # a column of 64 rows in 32 bytes
    column = int4.round_groups(weight)[0][:, 0]
    assert torch.equal((first & 15).float(), column[:32])
    assert torch.equal((first >> 4).float(), column[32:])
