"""The decode kernel of lightning layers against the recurrence and the norm behind it, in float64."""

import os
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

pytest.importorskip("triton")
os.environ.setdefault("TRITON_INTERPRET", "1")

from longctx.kernels import lightning_decode_triton
from longctx.kernels.lightning_decode_triton import lightning_decode

CPU = torch.device("cpu")
EPS = 0.1  # large enough to matter: the norm would hide a wrong scale otherwise


@dataclass
class Case:
    """The arguments of one layer; heads forget at rates from one in 25 million tokens to one in 1.5."""

    batch: int = 1
    heads: int = 2
    width: int = 32
    dtype: torch.dtype = torch.float32
    seed: int = 0

    def __post_init__(self) -> None:
        self.random = torch.Generator().manual_seed(self.seed)
        self.slopes = torch.logspace(-7.4, 0, self.heads) if self.heads > 1 else torch.tensor([4e-8])
        self.weight = self.normal(self.heads * self.width)
        self.state = self.normal(self.batch, self.heads, self.width, self.width)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.random)

    def token(self) -> tuple[Tensor, Tensor]:
        row = self.heads * self.width
        # Rows of a longer projection, as a fused matrix product would leave them.
        both = self.normal(self.batch, 4 * row + 8).to(self.dtype)
        return both[:, : 3 * row], both[:, 3 * row : 4 * row]

    def step(self, token: tuple[Tensor, Tensor]) -> Tensor:
        return lightning_decode(*token, self.weight, self.slopes, self.state, EPS)

    def expect(self, token: tuple[Tensor, Tensor], state: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output and all states after it, from float64 states before it."""
        qkv, gate = token
        q, k, v = F.silu(qkv.double()).view(self.batch, 3, self.heads, self.width).unbind(1)
        decay = torch.exp(-self.slopes.double())[:, None, None]
        state = decay * state + k[..., None] * v[..., None, :]
        out = (q[..., None, :] @ state).view(self.batch, -1)
        normed = out * (out.square().mean(-1, keepdim=True) + EPS).rsqrt()
        return normed * self.weight.double() * torch.sigmoid(gate.double()), state

    def check(self, tolerance: float = 2e-5) -> None:
        token, before = self.token(), self.state.double()
        expected, state = self.expect(token, before)
        out = self.step(token)
        assert out.dtype == self.dtype
        close(out, expected, tolerance)
        close(self.state, state, 1e-5)


def close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    # Sums over a head: relative to the largest entry.
    bound = tolerance * float(expected.abs().max())
    torch.testing.assert_close(actual.double(), expected, rtol=0, atol=bound)


@pytest.mark.parametrize("width", [16, 32, 64, 96, 128])
def test_a_token_goes_through_heads_of_any_width(width: int) -> None:
    """If this fails models of that head size write nonsense on a GPU."""
    Case(width=width).check()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 8e-3), (torch.float16, 8e-4)])
def test_halves_are_rounded_once_at_the_end(dtype: torch.dtype, tolerance: float) -> None:
    """If this fails a bfloat16 model loses digits that its weights still had."""
    Case(dtype=dtype, batch=2).check(tolerance)


@given(batch=st.integers(1, 3), heads=st.sampled_from([1, 2, 4]), seed=st.integers(0, 99))
@settings(max_examples=6)
def test_branches_and_heads_keep_to_their_own(batch: int, heads: int, seed: int) -> None:
    """If this fails an answer continues somebody else's document."""
    Case(batch=batch, heads=heads, width=24, seed=seed).check()


def test_a_slow_head_keeps_its_memory_over_many_steps() -> None:
    """If this fails what the slowest heads read long ago fades at a wrong rate.

    exp(-4e-8) is off by half of what a token takes away once it is rounded to float32.
    """
    case = Case(heads=1, width=16)
    exact = case.state.double()
    for _ in range(60):
        token = case.token()
        expected, exact = case.expect(token, exact)
        out = case.step(token)
    close(out, expected, 1e-5)
    # The part of the error that all entries share: roundings cancel in it, a wrong rate adds up to 1e-6.
    drift = ((case.state.double() - exact) * exact).sum() / exact.square().sum()
    assert abs(float(drift)) < 1e-7


def test_a_fast_head_forgets_quietly() -> None:
    """If this fails a head that keeps one token's worth of memory writes inf or nan."""
    case = Case(heads=2)
    case.slopes = torch.tensor([1.0, 120.0])
    case.state *= 1e10
    out = case.step(case.token())
    assert out.isfinite().all()
    case.state[:, 0] = 0
    case.check()


@pytest.mark.parametrize("rate", [0.003, 0.1, 0.499, 0.501, 2.0])
def test_rates_between(rate: float) -> None:
    """If this fails heads of one layer forget at a rate they were not trained with."""
    case = Case(heads=1, width=16)
    case.slopes = torch.tensor([rate])
    token = case.token()
    _, expected = case.expect(token, case.state.double())
    case.step(token)
    close(case.state, expected, 3e-7)


def test_launches_leave_the_counters_as_they_found_them() -> None:
    """If this fails the second token of an answer is never normed: no program knows that it is the last."""
    case = Case(batch=2, heads=4)
    for _ in range(2):
        case.check()
    assert not lightning_decode_triton._counters(case.state.device, 2).any()
    Case(batch=4, heads=2).check()


def test_a_row_longer_than_a_tile_is_finished_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails models with more than 8192 channels norm the first of them only."""
    monkeypatch.setattr(lightning_decode_triton, "ROW", 64)
    Case(heads=3, width=48).check()


def test_blocks_of_values_are_chosen_by_the_number_of_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails large models run with blocks that no test has seen."""
    monkeypatch.setattr(lightning_decode_triton, "_tile", lambda rows, width, device: (64, 8))
    Case(width=128, heads=2).check()
    monkeypatch.undo()
    assert lightning_decode_triton._tile(64, 128, CPU) == (64, 8)
    assert lightning_decode_triton._tile(16, 128, CPU) == (16, 4)
    assert lightning_decode_triton._tile(4, 32, CPU) == (16, 4)


def test_what_does_not_fit_is_refused() -> None:
    """If this fails a kernel reads or writes memory of something else."""
    case = Case(batch=2, heads=2)
    qkv, gate = case.token()
    good = [qkv, gate, case.weight, case.slopes, case.state]
    wrong = [(0, qkv[:, :-1]), (1, gate[:1]), (2, case.weight[1:]), (3, case.slopes[:1])]
    wrong += [(4, case.state.double()), (4, case.state[:1]), (4, case.state.transpose(2, 3))]
    for number, value in wrong:
        q, g, w, s, state = (value if i == number else x for i, x in enumerate(good))
        with pytest.raises(ValueError, match=r"\d"):
            lightning_decode(q, g, w, s, state, EPS)
