"""The decode kernel of lightning layers against the recurrence and the norm behind it, in float64."""

import os
from dataclasses import dataclass
from typing import Any

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
from longctx.kernels.norm import HeadNorm

CPU = torch.device("cpu")
EPS = 0.1  # large enough to matter: the norm would hide a wrong scale otherwise


@dataclass
class Case:
    """The arguments of one layer; heads forget at rates from one in 25 million tokens to one in 1.5."""

    batch: int = 1
    heads: int = 2
    width: int = 32
    dtype: torch.dtype = torch.float32
    swish: bool = True
    rotated: int = 0
    head_norm: bool = False
    scale: float = 1.0
    groups: int = 1
    slots: tuple[int, ...] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        self.random = torch.Generator().manual_seed(self.seed)
        rates = torch.logspace(-7.4, 0, self.heads) if self.heads > 1 else torch.tensor([4e-8])
        self.slopes = rates
        self.weight = self.normal(self.heads * self.width)
        states = max(self.slots) + 2 if self.slots else self.batch
        self.state = self.normal(states, self.heads, self.width, self.width)
        self.norm = (
            HeadNorm(self.normal(self.width), self.normal(self.width), 1e-5) if self.head_norm else None
        )

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.random)

    def token(self) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None]:
        row = self.heads * self.width
        # Rows of a longer projection, as a fused matrix product would leave them.
        both = self.normal(self.batch, 4 * row + 8).to(self.dtype)
        angle = self.normal(self.batch, self.rotated // 2) * 3
        return (
            both[:, : 3 * row],
            both[:, 3 * row : 4 * row],
            (angle.cos(), angle.sin()) if self.rotated else None,
        )

    def step(self, token: tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None]) -> Tensor:
        qkv, gate, rope = token
        slots = torch.tensor(self.slots) if self.slots else None
        return lightning_decode(
            qkv, gate, self.weight, self.slopes, self.state, EPS, slots=slots, swish=self.swish,
            head_norm=self.norm, rope=rope, scale=self.scale, groups=self.groups,
        )  # fmt: skip

    def expect(
        self, token: tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None], state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the output and all states after it, from float64 states before it."""
        qkv, gate, rope = token
        q, k, v = qkv.double().view(self.batch, 3, self.heads, self.width).unbind(1)
        if self.swish:
            q, k, v = F.silu(q), F.silu(k), F.silu(v)
        if self.norm:
            q, k = (
                x * (x.square().mean(-1, keepdim=True) + self.norm.eps).rsqrt() * weight.double()
                for x, weight in ((q, self.norm.q), (k, self.norm.k))
            )
        if rope:
            q, k = turn(q, *rope), turn(k, *rope)
        state, chosen = state.clone(), list(self.slots or range(self.batch))
        decay = torch.exp(-self.slopes.double())[:, None, None]
        state[chosen] = decay * state[chosen] + k[..., None] * v[..., None, :]
        out = ((self.scale * q)[..., None, :] @ state[chosen]).view(self.batch, self.groups, -1)
        normed = out * (out.square().mean(-1, keepdim=True) + EPS).rsqrt()
        return normed.view(self.batch, -1) * self.weight.double() * torch.sigmoid(gate.double()), state

    def check(self, tolerance: float = 2e-5) -> None:
        token, before = self.token(), self.state.double()
        expected, state = self.expect(token, before)
        out = self.step(token)
        assert out.dtype == self.dtype
        close(out, expected, tolerance)
        close(self.state, state, 1e-5)


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate (B, H, D) by angles (B, R / 2), split halves."""
    half = cos.shape[1]
    cos, sin = cos.double()[:, None], sin.double()[:, None]
    one, two, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat((one * cos - two * sin, two * cos + one * sin, rest), dim=-1)


def close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    # Sums over a head: relative to the largest entry.
    bound = tolerance * float(expected.abs().max())
    torch.testing.assert_close(actual.double(), expected, rtol=0, atol=bound)


@pytest.mark.parametrize("width", [16, 32, 64, 96, 128])
def test_a_token_goes_through_heads_of_any_width(width: int) -> None:
    """If this fails models of that head size write nonsense on a GPU."""
    Case(width=width).check()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 6e-3), (torch.float16, 8e-4)])
def test_halves_are_rounded_once_at_the_end(dtype: torch.dtype, tolerance: float) -> None:
    """If this fails a bfloat16 model loses digits that its weights still had."""
    Case(dtype=dtype, rotated=8, head_norm=True, batch=2).check(tolerance)


@given(
    batch=st.integers(1, 3),
    heads=st.sampled_from([1, 2, 4]),
    swish=st.booleans(),
    rotated=st.sampled_from([0, 2, 14, 24]),
    head_norm=st.booleans(),
    scale=st.sampled_from([1.0, 0.25]),
    split=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=10)
def test_every_family_s_prologue_and_norm(
    batch: int, heads: int, swish: bool, rotated: int, head_norm: bool, scale: float, split: bool, seed: int
) -> None:
    """If this fails one family's keys are read without its norm, its rotation or its scale."""
    groups = 2 if split and heads > 1 else 1
    Case(
        batch=batch, heads=heads, width=24, swish=swish, rotated=rotated, head_norm=head_norm, scale=scale,
        groups=groups, seed=seed,
    ).check()  # fmt: skip


def test_branches_use_the_states_of_their_slots_alone() -> None:
    """If this fails an answer continues somebody else's document."""
    case = Case(batch=3, slots=(4, 0, 2))
    others = case.state[[1, 3, 5]].clone()
    case.check()
    assert torch.equal(case.state[[1, 3, 5]], others)


def test_a_slow_head_keeps_its_memory_over_many_steps() -> None:
    """If this fails what the slowest heads read long ago fades at a wrong rate.

    exp(-4e-8) is off by half of what a token takes away once it is rounded to float32.
    """
    case = Case(heads=1, width=16, swish=False)
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
    case = Case(batch=2, heads=4, groups=2)
    for _ in range(2):
        case.check()
    assert not lightning_decode_triton._counters(case.state.device, 4).any()
    Case(batch=4, heads=2).check()


def test_two_kernels_give_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails the two variants cannot be compared by their speed alone."""
    one, two = (Case(batch=2, heads=4, width=64, groups=2) for _ in range(2))
    out = one.step(one.token())
    monkeypatch.setattr(lightning_decode_triton, "ONE_KERNEL", False)
    close(two.step(two.token()), out.double(), 1e-6)
    assert torch.equal(one.state, two.state)


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
    qkv, gate, _ = case.token()
    good: dict[str, Any] = {
        "qkv": qkv,
        "gate": gate,
        "weight": case.weight,
        "slopes": case.slopes,
        "state": case.state,
    }
    wrong = [("qkv", qkv[:, :-1]), ("gate", gate[:1]), ("weight", case.weight[1:])]
    wrong += [("slopes", case.slopes[:1]), ("state", case.state.double()), ("state", case.state[:1])]
    wrong += [("state", case.state.transpose(2, 3))]
    for name, value in wrong:
        with pytest.raises(ValueError, match=r"\d|own"):
            lightning_decode(**{**good, name: value}, eps=EPS)
    with pytest.raises(ValueError, match="groups"):
        lightning_decode(**good, eps=EPS, groups=3)
    with pytest.raises(ValueError, match="cos"):
        lightning_decode(**good, eps=EPS, rope=(torch.ones(2, 20), torch.ones(2, 20)))
    with pytest.raises(ValueError, match="own"):
        lightning_decode(**good, eps=EPS, slots=torch.tensor([0]))
