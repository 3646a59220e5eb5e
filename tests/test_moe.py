"""Mixtures of experts: the ways to run one agree, and the one without host counts is repeatable."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from longctx.kernels import moe, select
from longctx.kernels.linear import can_pack, pack
from longctx.kernels.moe import (
    GroupedProduct,
    Stack,
    WeightedSum,
    choose_mixture,
    choose_sum,
    grouped_experts,
    grouped_product,
    groups_rightly,
    route,
)
from longctx.kernels.select import Site

CPU = torch.device("cpu")


def layer(n_experts: int, inner: int, width: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    w1, w3 = (torch.randn(n_experts, inner, width) * width**-0.5 for _ in range(2))
    return [w.to(dtype) for w in (w1, w3, torch.randn(n_experts, width, inner) * inner**-0.5)]


def written_out(x: Tensor, router: Tensor, weights: list[Tensor], top_k: int) -> Tensor:
    """The definition, token by token, in float64."""
    w1, w3, w2 = (w.double() for w in weights)
    out = torch.zeros(x.shape, dtype=torch.float64)
    for t, row in enumerate(x.double()):
        shares = torch.softmax(router.double() @ row, 0)
        best = shares.topk(top_k)
        for share, e in zip(best.values / best.values.sum(), best.indices.tolist(), strict=True):
            gate = w1[e] @ row
            out[t] += share * (w2[e] @ (gate * torch.sigmoid(gate) * (w3[e] @ row)))
    return out


@settings(max_examples=20)
@given(
    tokens=st.integers(1, 40),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 40), st.integers(1, 40)),
    top_k=st.integers(1, 6),
    form=st.sampled_from(["stacked", "apart", "packed"]),
)
def test_every_form_of_the_weights_gives_the_definition(
    tokens: int, shape: tuple[int, int, int], top_k: int, form: str
) -> None:
    """If this fails answers of a mixture model depend on how its weights are kept, or on the chunk size."""
    top_k = min(top_k, shape[0])
    x, router, weights = torch.randn(tokens, shape[2]), torch.randn(shape[0], shape[2]), layer(*shape)
    given_forms: dict[str, Sequence[Stack]] = {
        "stacked": weights,
        "apart": [w.unbind() for w in weights],
        "packed": [tuple(pack(m) if can_pack() else m for m in w) for w in weights],
    }
    w1, w3, w2 = given_forms[form]
    mixture = choose_mixture(Site(CPU, torch.float32), shape[2], shape[1], shape[0])
    found = mixture(x, *route(F.linear(x.float(), router), top_k), w1, w3, w2)
    expected = written_out(x, router, weights, top_k)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)


class Counted(Sequence[Tensor]):
    """The matrices of a stack, and which of them were used."""

    def __init__(self, stack: Tensor):
        self.stack, self.used = stack, list[int]()

    def __len__(self) -> int:
        """Return the number of matrices, however many are used."""
        return len(self.stack)

    def __getitem__(self, index: Any) -> Any:
        """Return a matrix."""
        self.used.append(index)
        return self.stack[index]


@pytest.mark.parametrize("tokens", [1, 3])
def test_only_chosen_experts_cost_anything(tokens: int) -> None:
    """If this fails writing with 256 experts on a CPU visits all of them for every token."""
    weights, router = layer(256, 4, 8), torch.randn(256, 8)
    w1, w3, w2 = (Counted(w) for w in weights)
    x = torch.randn(tokens, 8)
    chosen, shares = route(F.linear(x.float(), router), 8)
    found = choose_mixture(Site(CPU, torch.float32), 8, 4, 256)(x, chosen, shares, w1, w3, w2)
    torch.testing.assert_close(found.double(), written_out(x, router, weights, 8), rtol=1e-4, atol=1e-4)
    for stack in (w1, w3, w2):
        assert sorted(stack.used) == sorted(set(chosen.flatten().tolist()))


def test_few_tokens_go_to_the_kernel_and_many_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails decoding on a GPU waits for the host at every layer, and nothing says so."""
    triton_moe = pytest.importorskip("longctx.kernels.moe_triton")
    seen = []
    real = triton_moe.moe_decode

    def watched(x: Tensor, *rest: Tensor) -> Tensor:
        seen.append(len(x))
        out: Tensor = real(x, *rest)
        return out

    monkeypatch.setattr(triton_moe, "moe_decode", watched)
    monkeypatch.setenv(select.SWITCH, "triton")
    weights, router = layer(4, 2, 16), torch.randn(4, 16)
    w1, w3, w2 = weights
    mixture = choose_mixture(Site(CPU, torch.float32), 16, 2, 4)
    seen.clear()  # of its trial
    for tokens in (1, 16, 17):
        x = torch.randn(tokens, 16)
        found = mixture(x, *route(F.linear(x.float(), router), 1), w1, w3, w2)
        expected = written_out(x, router, weights, 1)
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
    assert seen == [1, 16]


needs_grouping = pytest.mark.skipif(
    not groups_rightly(CPU), reason="this torch has no grouped product for the CPU"
)


@needs_grouping
@settings(max_examples=12)
@given(
    tokens=st.integers(1, 30),
    n_experts=st.integers(2, 9),
    top_k=st.integers(1, 4),
    kernels=st.sampled_from(["torch", "triton"]),
)
def test_grouped_products_give_the_definition(tokens: int, n_experts: int, top_k: int, kernels: str) -> None:
    """If this fails reading with a mixture model on a GPU is wrong; most groups here are small or empty."""
    top_k = min(top_k, n_experts)
    weights = layer(n_experts, 24, 16, torch.bfloat16)
    x, router = torch.randn(tokens, 16).bfloat16(), torch.randn(n_experts, 16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(select.SWITCH, kernels)
        add = choose_sum(Site(CPU, torch.bfloat16))
        found = grouped_experts(add, grouped_product, x, *route(F.linear(x.float(), router), top_k), *weights)
    expected = written_out(x, router, weights, top_k)
    assert found.shape == x.shape
    assert (found.double() - expected).norm() / expected.norm() < 0.02


@needs_grouping
def test_tokens_go_to_the_grouped_product_where_it_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails prefill on a GPU sends counts to the host in every layer, or misaligned rows crash it."""
    calls = []

    def watched(add: WeightedSum, product: GroupedProduct, x: Tensor, *rest: Tensor) -> Tensor:
        calls.append(x.shape)
        return grouped_experts(add, product, x, *rest)

    monkeypatch.setattr(moe, "grouped_experts", watched)
    monkeypatch.setattr(moe, "can_group", lambda device: True)
    for inner, width, dtype in ((24, 16, torch.bfloat16), (20, 16, torch.bfloat16), (24, 16, torch.float32)):
        weights, router = layer(4, inner, width, dtype), torch.randn(4, width)
        w1, w3, w2 = weights
        mixture = choose_mixture(Site(CPU, dtype), width, inner, 4)
        for tokens in (30, 3):  # few ones too, where their own kernel does not run
            x = torch.randn(tokens, width).to(dtype)
            found, expected = (
                mixture(x, *route(F.linear(x.float(), router), 2), w1, w3, w2),
                written_out(x, router, weights, 2),
            )
            assert (found.double() - expected).norm() / expected.norm() < 0.02
    assert calls == [(30, 16), (3, 16)]


def test_a_wrong_grouped_product_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a torch whose private operator has changed gives nonsense instead of the slow way."""

    def shifted(rows: Tensor, stack: Tensor, ends: Tensor) -> Tensor:
        parts = torch.tensor_split(rows, ends[:-1].cpu())
        return torch.cat([part @ m.T for part, m in zip(parts, stack.roll(1, 0), strict=True)])

    monkeypatch.setattr(moe, "grouped_product", shifted)
    assert not groups_rightly(CPU)
