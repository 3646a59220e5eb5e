"""Softmax attention over pages, and the mixture of experts, against their definitions."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from longctx.kernels import attention, pointing, select
from longctx.kernels.attention import choose_attention, log_dtype
from longctx.kernels.moe import choose_mixture, route
from longctx.kernels.pointing import pointing_attention
from longctx.kernels.select import Site
from longctx.machine import ONEDNN_LIMIT

HERE = Site(torch.device("cpu"), torch.float32)


def definition(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return outputs and probabilities of the last T queries over all n keys, float64."""
    groups, tokens, total = q.shape[1] // k.shape[1], q.shape[2], k.shape[2]
    k, v = (x.double().repeat_interleave(groups, dim=1) for x in (k, v))
    scores = q.double() @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    hidden = torch.ones(tokens, total, dtype=torch.bool).triu(1 + total - tokens)
    probabilities = torch.softmax(scores.masked_fill(hidden, float("-inf")), -1)
    return probabilities @ v, probabilities


@given(
    pages=st.lists(st.integers(1, 90), max_size=4),
    tokens=st.integers(1, 70),
    heads=st.sampled_from([(4, 4), (4, 2), (6, 1)]),
    batch=st.integers(1, 2),
    scale=st.sampled_from([0.1, 1.0, 20.0]),
)
def test_pages_merge_to_plain_attention(
    pages: list[int], tokens: int, heads: tuple[int, int], batch: int, scale: float
) -> None:
    """If this fails what a model sees of earlier text depends on where a page of memory ends."""
    total = sum(pages) + tokens
    q = torch.randn(batch, heads[0], tokens, 8) * scale
    k, v = torch.randn(2, batch, heads[1], total, 8)
    expected, _ = definition(q, k, v)
    earlier = (
        list(zip(*(x[:, :, : sum(pages)].split(pages, dim=2) for x in (k, v)), strict=True)) if pages else []
    )
    own_k, own_v = k[:, :, sum(pages) :], v[:, :, sum(pages) :]
    out = choose_attention(HERE, 8)(q, own_k, own_v, earlier)
    torch.testing.assert_close(out.double(), expected, rtol=1e-4, atol=1e-5)


@given(
    pages=st.lists(st.integers(0, 90), max_size=4),
    tokens=st.integers(1, pointing.MOST),
    heads=st.sampled_from([(4, 4), (4, 2), (6, 1)]),
    pointers=st.sampled_from([[0], [1, 3], [0, 1, 2, 3]]),
    batch=st.integers(1, 2),
    scale=st.sampled_from([0.1, 1.0, 20.0]),
    block=st.sampled_from([1, 7, 512]),
    seed=st.integers(0, 99),
)
def test_what_heads_look_at_most_is_told_exactly(
    pages: list[int],
    tokens: int,
    heads: tuple[int, int],
    pointers: list[int],
    batch: int,
    scale: float,
    block: int,
    seed: int,
) -> None:
    """If this fails an answer is cited from a place that the model did not look at."""
    torch.manual_seed(seed)
    total = sum(pages) + tokens
    q = torch.randn(batch, heads[0], tokens, 8) * scale
    k, v = torch.randn(2, batch, heads[1], total, 8)
    expected, probabilities = definition(q, k, v)
    earlier = list(zip(*(x.split([*pages, tokens], dim=2)[:-1] for x in (k, v)), strict=True))
    own_k, own_v = k[:, :, sum(pages) :], v[:, :, sum(pages) :]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pointing, "BLOCK", block)
        out, (position, mass) = pointing_attention(q, own_k, own_v, earlier, pointers)
    torch.testing.assert_close(out.double(), expected, rtol=1e-4, atol=1e-5)
    mean = probabilities[:, pointers].mean(1)
    torch.testing.assert_close(mass.double(), mean.amax(-1), rtol=1e-4, atol=1e-6)
    there = mean.gather(-1, position[..., None])[..., 0]
    torch.testing.assert_close(there, mean.amax(-1), rtol=1e-4, atol=1e-6)


def test_of_equal_keys_the_first_is_told() -> None:
    """If this fails the cited line of a text that repeats itself changes from run to run."""
    k = torch.zeros(1, 1, 300, 8)
    k[:, :, [40, 41, 150, 299]] = 1.0
    pages = [(k[:, :, :100], k[:, :, :100]), (k[:, :, 100:200], k[:, :, 100:200])]
    own = k[:, :, 299:]
    _, (position, _) = pointing_attention(torch.ones(1, 2, 1, 8), own, own, pages, [0, 1])
    assert position.tolist() == [[40]]


@given(
    before=st.integers(0, 700),
    tokens=st.integers(1, 70),
    heads=st.sampled_from([(4, 4), (4, 1)]),
    width=st.sampled_from([16, 128]),
    scale=st.sampled_from([0.1, 1.0, 5.0]),
)
def test_a_log_in_half_the_bytes_errs_by_rounding_alone(
    before: int, tokens: int, heads: tuple[int, int], width: int, scale: float
) -> None:
    """If this fails a rounded model loses track of long texts, which its weights of 8 bits do not explain."""
    total = before + tokens
    q = torch.randn(1, heads[0], tokens, width) * scale
    k, v = torch.randn(2, 1, heads[1], total, width)
    short_k, short_v = k.bfloat16(), v.bfloat16()
    earlier = [(short_k[:, :, :before], short_v[:, :, :before])] if before else []
    out = choose_attention(HERE, width)(q, short_k[:, :, before:], short_v[:, :, before:], earlier)
    assert out.dtype == torch.float32
    expected, _ = definition(q, k, v)
    # Queries and keys are each off by 2^-9 of themselves, and scores by twice that of the sum of |q k|;
    # what follows from it multiplies. Values, probabilities and results are rounded once more.
    wide = k.double().abs().repeat_interleave(heads[0] // heads[1], dim=1)
    reach = (q.double().abs() @ wide.transpose(-1, -2)).amax(-1)
    bound = torch.expm1(2 * reach * width**-0.5 * 2**-8 * 1.01) + 5 * 2**-9
    largest = v.double().abs().amax()
    assert ((out.double() - expected).abs() <= bound[..., None] * largest + 1e-6).all()


@pytest.mark.parametrize(
    ("limit", "supported", "computed", "right"),
    [
        ("", True, True, True),
        ("DEFAULT", True, True, True),
        ("ALL", True, True, True),
        ("AVX512_CORE_AMX", True, True, True),
        ("AVX512_CORE_AMX_FP16", True, True, True),
        ("AVX512_CORE_BF16", True, True, True),
        ("AVX512_CORE_VNNI", True, True, False),
        ("", False, True, False),
        ("ALL", True, False, False),
    ],
)
def test_logs_are_halved_where_that_is_allowed_costs_nothing_and_is_right(
    limit: str, supported: bool, computed: bool, right: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails the log of a rounded model takes twice the memory, or a virtual machine kills the run."""
    monkeypatch.setenv(ONEDNN_LIMIT, limit)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: supported)
    monkeypatch.setattr(attention, "computes", lambda *_: computed)
    assert attention.has_bfloat16.__wrapped__() is right
    monkeypatch.setattr(attention, "has_bfloat16", lambda: right)
    monkeypatch.delenv(select.SWITCH, raising=False)
    assert log_dtype(HERE, rounded=True) == (torch.bfloat16 if right else torch.float32)
    assert log_dtype(HERE, rounded=False) == torch.float32
    assert log_dtype(Site(torch.device("cuda"), torch.float32), rounded=True) == torch.float32
    assert log_dtype(Site(torch.device("cpu"), torch.float16), rounded=True) == torch.float16
    monkeypatch.setenv(select.SWITCH, "triton")
    assert log_dtype(HERE, rounded=True) == torch.float32


def test_a_gpu_takes_those_of_its_kernels_that_compute_rightly(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a GPU attends by a kernel that is wrong for its chip, or by the slow formula alone."""
    seen: list[tuple[object, ...]] = []
    right = {attention.flash, attention.efficient}

    def computes(*given: object) -> bool:
        seen.append(given)
        return given[0] in right

    monkeypatch.setattr(attention, "computes", computes)
    gpu = Site(torch.device("cuda"), torch.bfloat16)
    chosen = attention.choose_attend(gpu, 64)
    assert isinstance(chosen, partial)
    assert chosen.args == ([attention.flash, attention.efficient],)
    assert {given[1:] for given in seen} == {(gpu.dtype, 64, gpu.device)}
    assert attention.choose_attend(HERE, 64) is attention.cpu
    rows = torch.arange(64.0).view(1, 2, 32)
    for told in (rows[..., None], rows, rows.flatten(0, 1)):  # the forms that kernels give sums in
        assert torch.equal(attention._rows(told, torch.empty(1, 2, 30, 8)), rows[:, :, :30])


@pytest.mark.parametrize(("n_experts", "top_k"), [(1, 1), (4, 1), (4, 4), (32, 2)])
@pytest.mark.parametrize("tokens", [1, 5, 64])
def test_experts_are_chosen_and_weighted(n_experts: int, top_k: int, tokens: int) -> None:
    """If this fails tokens go through wrong experts and the text turns to noise."""
    hidden, inner = 12, 10
    x, router = torch.randn(tokens, hidden), torch.randn(n_experts, hidden)
    w1, w3 = torch.randn(2, n_experts, inner, hidden)
    w2 = torch.randn(n_experts, hidden, inner)
    expected = torch.zeros(tokens, hidden, dtype=torch.float64)
    for t in range(tokens):
        chosen = torch.softmax(router.double() @ x[t].double(), 0).topk(top_k)
        for share, e in zip(chosen.values / chosen.values.sum(), chosen.indices.tolist(), strict=True):
            gate, up = w1[e].double() @ x[t].double(), w3[e].double() @ x[t].double()
            expected[t] += share * (w2[e].double() @ (F.silu(gate) * up))
    mixture = choose_mixture(HERE, hidden, inner, n_experts)
    out = mixture(x, *route(F.linear(x.float(), router), top_k), w1.unbind(), w3.unbind(), w2.unbind())
    torch.testing.assert_close(out.double(), expected, rtol=1e-4, atol=1e-4)
