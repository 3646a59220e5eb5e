"""The kernels of softmax layers on the paged log against the torch versions, and what prefill may choose."""

import os
from typing import NamedTuple

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

pytest.importorskip("triton")
os.environ.setdefault("TRITON_INTERPRET", "1")

from longctx.kernels import attention as module
from longctx.kernels import select
from longctx.kernels.attention import Page, Partial, choose_attention
from longctx.kernels.attention_merge_triton import merge_partials
from longctx.kernels.attention_triton import attention_decode, attention_pointer, default_splits
from longctx.kernels.pages_triton import append_token, page_table
from longctx.kernels.pointing import pointing_attention
from longctx.kernels.select import Site

CPU = torch.device("cpu")
SITE = Site(CPU, torch.float32)


class Layout(NamedTuple):
    """Tokens of the pages of a log, and the room that each has beyond them."""

    tokens: list[int]
    room: list[int]


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    """Draw a log of 1 to 400 tokens: full pages, views of a fork's parent, pages of one token."""
    tokens = draw(st.lists(st.sampled_from([1, 2, 15, 16, 17, 64, 100]), min_size=1, max_size=4))
    return Layout(tokens, [draw(st.sampled_from([0, 1, 37])) for _ in tokens])


def log(layout: Layout, heads: int, width: int, dtype: torch.dtype, random: torch.Generator) -> list[Page]:
    """Return pages as the state of a model keeps them: views of the first tokens of a larger page."""
    pages = []
    for tokens, room in zip(*layout, strict=True):
        shape = (1, heads, tokens + room, width)
        # What lies beyond the tokens must never matter.
        k, v = (torch.full(shape, float("nan"), dtype=dtype) for _ in range(2))
        for x in (k, v):
            x[:, :, :tokens] = torch.randn(1, heads, tokens, width, generator=random).to(dtype)
        pages.append((k[:, :, :tokens], v[:, :, :tokens]))
    return pages


def joined(pages: list[Page]) -> Page:
    """Return all keys and all values of a log, float64."""
    return torch.cat([k for k, _ in pages], 2).double(), torch.cat([v for _, v in pages], 2).double()


def definition(q: Tensor, pages: list[Page]) -> tuple[Tensor, Tensor, Tensor]:
    """Return output (H, D), log-sum-exp (H,) and probabilities (H, n) of one query (H, D), float64."""
    k, v = (x[0].repeat_interleave(q.shape[0] // x.shape[1], 0) for x in joined(pages))
    scores = (k @ q.double()[..., None])[..., 0] * q.shape[1] ** -0.5
    probabilities = torch.softmax(scores, -1)
    return (probabilities[:, None] @ v)[:, 0], torch.logsumexp(scores, -1), probabilities


def close(actual: Tensor, expected: Tensor, tolerance: float = 2e-5) -> None:
    torch.testing.assert_close(actual.double(), expected.double(), rtol=tolerance, atol=tolerance)


@given(
    logs=st.lists(layouts(), min_size=1, max_size=2),
    kv_heads=st.integers(1, 2),
    groups=st.sampled_from([1, 3, 8, 20]),
    width=st.sampled_from([16, 24, 64]),
    splits=st.sampled_from([1, 2, 3, 8]),
    scale=st.sampled_from([1.0, 5.0]),
    seed=st.integers(0, 99),
)
@settings(max_examples=10)
def test_a_token_sees_its_whole_log(
    logs: list[Layout], kv_heads: int, groups: int, width: int, splits: int, scale: float, seed: int
) -> None:
    """If this fails an answer depends on how the memory of the text happens to be cut into pages."""
    random = torch.Generator().manual_seed(seed)
    pages = [log(layout, kv_heads, width, torch.float32, random) for layout in logs]
    q = torch.randn(len(logs), kv_heads * groups, width, generator=random) * scale
    table, counts = page_table(pages, 5), torch.tensor([len(each) for each in pages], dtype=torch.int32)
    out, lse = attention_decode(q, table, counts, n_kv_heads=kv_heads, splits=splits)
    for branch, each in enumerate(pages):
        expected, weight, _ = definition(q[branch], each)
        close(out[branch], expected)
        close(lse[branch], weight)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2e-2), (torch.float16, 3e-3)])
@pytest.mark.parametrize("width", [32, 128])
def test_halves_are_read_as_they_are(dtype: torch.dtype, tolerance: float, width: int) -> None:
    """If this fails a bfloat16 model attends by something else than its keys."""
    random = torch.Generator().manual_seed(0)
    pages = log(Layout([64, 100], [0, 28]), 2, width, dtype, random)
    q = torch.randn(1, 8, width, generator=random).to(dtype)
    counts = torch.tensor([2], dtype=torch.int32)
    out, lse = attention_decode(q, page_table([pages], 2), counts, n_kv_heads=2, splits=2)
    expected, weight, _ = definition(q[0], pages)
    assert out.dtype == dtype
    close(out[0], expected, tolerance)
    close(lse[0], weight, 1e-4)


def test_a_branch_without_tokens_is_empty_and_not_nan() -> None:
    """If this fails a decode step that was set up before its text writes nan into the other layers."""
    random = torch.Generator().manual_seed(0)
    pages = log(Layout([3], [1]), 1, 16, torch.float32, random)
    q = torch.randn(3, 2, 16, generator=random)
    nothing = (torch.empty(1, 1, 4, 16)[:, :, :0],) * 2
    table, counts = page_table([pages, [], [nothing]], 2), torch.tensor([1, 0, 1], dtype=torch.int32)
    out, lse = attention_decode(q, table, counts, n_kv_heads=1, splits=3)
    close(out[0], definition(q[0], pages)[0])
    assert not out[1:].any() and (lse[1:] == float("-inf")).all()
    place, value = attention_pointer(q, table, counts, lse, torch.tensor([0]), n_kv_heads=1, splits=3)
    assert place[1:].tolist() == [-1, -1] and not value[1:].any()


@given(
    before=st.sampled_from([[], [1], [5], [16, 30]]),
    used=st.sampled_from([0, 1, 9]),
    rotated=st.sampled_from([0, 2, 12, 16]),
    kv_heads=st.sampled_from([1, 2]),
    seed=st.integers(0, 99),
)
@example(before=[], used=1, rotated=12, kv_heads=17, seed=0)
@settings(max_examples=4)
def test_appending_and_attending_follow_the_torch_path(
    before: list[int], used: int, rotated: int, kv_heads: int, seed: int
) -> None:
    """If this fails a text is continued differently on a GPU than it was read."""
    random = torch.Generator().manual_seed(seed)
    width, heads = 16, 2 * kv_heads
    # Two branches of different length, one page with room each, two tokens one after another.
    pages = [log(Layout([*before, used], [1] * len(before) + [3 + b]), kv_heads, width, torch.float32, random)
             for b in range(2)]  # fmt: skip
    table = page_table(pages, 4)
    counts = torch.tensor([len(each) for each in pages], dtype=torch.int32)
    earlier: list[list[Page]] = [[page for page in each if page[0].shape[2]] for each in pages]
    for step in range(2):
        both = torch.randn(2, heads + 2 * kv_heads, width, generator=random)
        angle = torch.randn(2, rotated // 2, generator=random) * 3
        q, k, v = (x.clone() for x in both.split((heads, kv_heads, kv_heads), 1))
        # Views of one projection, as the model has them.
        own_q, own_k, own_v = both.split((heads, kv_heads, kv_heads), 1)
        append_token(own_q, own_k, own_v, angle.cos(), angle.sin(), table, counts)
        out, _ = attention_decode(own_q, table, counts, n_kv_heads=kv_heads, splits=2)
        assert table[:, len(before), 3].tolist() == [used + step + 1] * 2
        assert torch.equal(own_k, k) and torch.equal(own_v, v)
        for b in range(2):
            turned_q, turned_k = (turn(x[b], angle[b])[None, :, None] for x in (q, k))
            value = v[b][None, :, None]
            expected = choose_attention(SITE, width)(turned_q, turned_k, value, earlier[b])
            close(out[b], expected[0, :, 0], 2e-5)
            close(own_q[b], turned_q[0, :, 0], 1e-6)
            earlier[b].append((turned_k, value))


def turn(x: Tensor, angle: Tensor) -> Tensor:
    """Rotate (H, D) by (R / 2,) angles, split halves."""
    half = angle.shape[0]
    one, two, rest = x.split((half, half, x.shape[1] - 2 * half), dim=1)
    cos, sin = angle.cos(), angle.sin()
    return torch.cat((one * cos - two * sin, two * cos + one * sin, rest), dim=1)


@given(
    layout=layouts(),
    heads=st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True),
    splits=st.sampled_from([1, 2, 8]),
    seed=st.integers(0, 99),
)
@settings(max_examples=10)
def test_the_pointer_is_the_key_of_highest_mean_attention(
    layout: Layout, heads: list[int], splits: int, seed: int
) -> None:
    """If this fails an answer is checked against a place that the model did not look at."""
    random = torch.Generator().manual_seed(seed)
    pages = log(layout, 3, 16, torch.float32, random)
    q = torch.randn(1, 6, 16, generator=random) * 3
    table, counts = page_table([pages], 4), torch.tensor([len(pages)], dtype=torch.int32)
    _, lse = attention_decode(q, table, counts, n_kv_heads=3, splits=splits)
    place, value = attention_pointer(q, table, counts, lse, torch.tensor(heads), n_kv_heads=3, splits=splits)
    k, _ = joined(pages)
    own = k[:, :, -1:].float()
    before = k[:, :, :-1].float()
    _, (there, most) = pointing_attention(q[:, :, None], own, own, [(before, before)], heads)
    assert int(place) == int(there)
    close(value[0], most[0, 0])


def test_the_first_of_equal_keys_wins() -> None:
    """If this fails the cited line of a text that repeats itself changes from run to run."""
    k = torch.zeros(1, 1, 300, 16)
    k[:, :, [40, 41, 150, 299]] = 1.0
    q = torch.ones(1, 2, 16)
    table, counts = page_table([[(k, k)]], 1), torch.tensor([1], dtype=torch.int32)
    for splits in (1, 4):
        _, lse = attention_decode(q, table, counts, n_kv_heads=1, splits=splits)
        place, _ = attention_pointer(q, table, counts, lse, torch.tensor([0, 1]), n_kv_heads=1, splits=splits)
        assert place.tolist() == [40]


@given(
    shape=st.sampled_from([(5, 16), (2, 70, 24), (2, 3, 33, 16), (1, 2, 1, 128)]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    empty=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=10)
def test_partial_results_merge_exactly(
    shape: tuple[int, ...], dtype: torch.dtype, empty: bool, seed: int
) -> None:
    """If this fails a chunk of text weighs earlier pages wrongly."""
    random = torch.Generator().manual_seed(seed)
    out, more = torch.randn(2, *shape, generator=random)
    more = more.to(dtype)
    lse, more_lse = torch.randn(2, *shape[:-1], generator=random) * 5
    if empty:
        lse[..., 0] = float("-inf")
        more_lse[..., -1] = float("-inf")
    total = torch.logaddexp(lse.double(), more_lse.double())
    shares = (torch.exp(each.double() - total).nan_to_num(0)[..., None] for each in (lse, more_lse))
    expected = sum(x.double() * share for x, share in zip((out, more), shares, strict=True))
    # What torch's kernels return: heads after tokens in memory.
    if len(shape) == 4:
        more = more.transpose(1, 2).contiguous().transpose(1, 2)
    merge_partials(out, lse, more, more_lse)
    close(out, torch.as_tensor(expected), 1e-6)
    close(lse, total, 1e-6)


def test_prefill_merges_pages_with_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails the kernel is written but pages are merged without it, or wrongly."""
    random = torch.Generator().manual_seed(0)
    pages = log(Layout([20, 9], [3, 0]), 2, 16, torch.float32, random)
    q = torch.randn(1, 4, 6, 16, generator=random)
    k, v = torch.randn(2, 1, 2, 6, 16, generator=random)
    expected = choose_attention(SITE, 16)(q, k, v, pages)
    monkeypatch.setenv(select.SWITCH, "triton")
    merged: list[Tensor] = []

    def merge(out: Tensor, lse: Tensor, more: Tensor, more_lse: Tensor) -> Partial:
        merged.append(more)
        return merge_partials(out, lse, more, more_lse)

    monkeypatch.setattr("longctx.kernels.attention_merge_triton.merge_partials", merge)
    attention = choose_attention(SITE, 16)
    merged.clear()  # of its trial
    close(attention(q, k, v, pages), expected, 1e-6)
    assert len(merged) == 2


def test_pages_that_kernels_cannot_address_are_refused() -> None:
    """If this fails a kernel reads whatever lies next to the keys."""
    page = torch.zeros(1, 2, 8, 16)
    for k in (
        page[..., ::2],
        page[:, :, ::2],
        torch.zeros(1, 2, 8, 17)[..., :16],
        torch.zeros(129)[1:].view(1, 2, 4, 16),
    ):
        with pytest.raises(ValueError, match="page"):
            page_table([[(k, k)]], 1)
    with pytest.raises(ValueError, match="rows"):
        page_table([[(page, page)] * 2], 1)
    table, counts = page_table([[(page, page)]], 1), torch.ones(1, dtype=torch.int32)
    q, k = torch.zeros(1, 4, 16), torch.zeros(1, 2, 16)
    with pytest.raises(ValueError, match="KV heads"):
        attention_decode(q, table, counts, n_kv_heads=3, splits=1)
    with pytest.raises(ValueError, match="splits"):
        attention_decode(q, table, counts, n_kv_heads=2, splits=0)
    with pytest.raises(ValueError, match="table"):
        attention_decode(q, table.int(), counts, n_kv_heads=2, splits=1)
    with pytest.raises(ValueError, match="fit"):
        append_token(q, k, k[:, :1], torch.ones(1, 2), torch.ones(1, 2), table, counts)
    with pytest.raises(ValueError, match="fit"):
        append_token(q, k, k, torch.ones(1, 9), torch.ones(1, 9), table, counts)
    with pytest.raises(ValueError, match="heads"):
        attention_pointer(q, table, counts, torch.zeros(1, 4), torch.tensor([]), n_kv_heads=2, splits=1)
    with pytest.raises(ValueError, match="fit"):
        merge_partials(q, torch.zeros(1, 4), q[:, :2], torch.zeros(1, 4))
    assert default_splits(CPU, 1, 4) == 66 and default_splits(CPU, 1, 1) == 256


@pytest.mark.parametrize("causal", [True, False])
def test_the_plain_formula_is_the_same_in_parts(causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a GPU without fused kernels computes something else, or runs out of memory."""
    q, k, v = torch.randn(3, 1, 2, 50, 16, generator=torch.Generator().manual_seed(0))
    expected, weight = module.cpu(q, k, v, causal)
    monkeypatch.setattr(module, "MOST_SCORES", 2 * 50 * 7)
    out, lse = module.plain(q, k, v, causal)
    close(out, expected)
    close(lse, weight)


def right(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Partial:
    return module.plain(q, k, v, causal)


def in_bits(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Partial:
    """Compute as some kernels do: with a log-sum-exp to base 2."""
    out, lse = module.plain(q, k, v, causal)
    return out, lse / 0.6931


def never_causal(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Partial:
    return module.plain(q, k, v, False)


def whole_pages(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Partial:
    """Compute as a kernel that overlooks strides: on the page's memory as if it were full."""
    if k.is_contiguous() or causal:
        return module.plain(q, k, v, causal)
    k, v = (x.as_strided(x.shape, x.contiguous().stride()) for x in (k, v))
    return module.plain(q, k, v, causal)


def refused(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Partial:
    raise RuntimeError("No available kernel")


def test_only_kernels_that_compute_rightly_are_used() -> None:
    """If this fails a change inside torch turns every long text into noise without a word."""
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        assert module.computes(right, dtype, 16, CPU)
        for wrong in (in_bits, never_causal, whole_pages, refused):
            assert not module.computes(wrong, dtype, 16, CPU), wrong.__name__
    called = []

    def listed(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Partial:
        called.append(causal)
        return module.plain(q, k, v, causal)

    assert module.computes(listed, torch.float32, 16, CPU)
    assert called == [True, False]  # of a projection's layout, and on a page that is not full


def test_a_kernel_that_fails_at_work_is_left_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails one shape that torch's fastest kernel cannot take ends the run."""

    def brittle(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Partial:
        if q.shape[2] == 5:
            raise RuntimeError("shape not supported\nmore")
        return module.plain(q, k, v, causal)

    monkeypatch.setattr(select, "failures", {})
    q, k, v = torch.randn(3, 1, 2, 5, 16)
    with pytest.warns(UserWarning, match="attention_brittle cannot run here: shape not supported"):
        out, _ = module.first_that_runs([brittle], q, k, v, True)
    close(out, module.cpu(q, k, v, True)[0])
    assert select.failures == {"attention_brittle": "shape not supported"}
    module.first_that_runs([brittle], q, k, v, True)  # a second warning would be an error
