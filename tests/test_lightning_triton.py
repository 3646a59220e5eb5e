"""The prefill kernels of lightning layers against the recurrence, the norm and the gate in float64."""

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

pytest.importorskip("triton")
os.environ.setdefault("TRITON_INTERPRET", "1")

from lightning_reference import lightning_attention_reference

from longctx.kernels import chips, lightning_triton
from longctx.kernels.lightning_triton import lightning_absorb, lightning_prefill
from longctx.kernels.norm_triton import norm_gate

# Memories of 25 million tokens, of 20,000, of 3 and of 1.
SLOPES = torch.tensor([4e-8, 5e-5, 0.3, 1.0])
HEADS = len(SLOPES)
# Largest error as a share of the largest value. Triton's interpreter cuts bfloat16 off where a GPU rounds
# it: each of the three numbers that a bfloat16 kernel rounds is then up to 2^-7 too small.
TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 2.5e-2}

SMALL = settings(max_examples=4, derandomize=True)


def inputs(
    batch: int,
    tokens: int,
    width: int = 16,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    states: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return q, k, v as views of one projection, and states."""
    random = torch.Generator().manual_seed(seed)
    packed = torch.randn(batch, tokens, 3, HEADS, width, generator=random).to(dtype)
    q, k, v = packed.unbind(2)
    return q, k, v, torch.randn(states or batch, HEADS, width, width, generator=random)


def close(actual: Tensor, expected: Tensor, tolerance: float = 2e-6) -> None:
    assert actual.isfinite().all()
    expected = expected.double()
    torch.testing.assert_close(
        actual.double(), expected, rtol=0, atol=tolerance * float(expected.abs().max())
    )


@pytest.fixture(params=[(9, 0), (8, 0)], ids=["hopper", "ampere"])
def chip(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the tiles of a chip: sm_90 loads by descriptors, sm_80 by pointers and masks."""
    monkeypatch.setattr(chips, "capability", lambda device: request.param)


@pytest.mark.usefixtures("chip")
@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("segments", [1, 3])
def test_outputs_and_state_follow_the_recurrence(
    dtype: torch.dtype, segments: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails every answer on a GPU is wrong."""
    monkeypatch.setattr(lightning_triton, "choose_segments", lambda *_: segments)
    q, k, v, state = inputs(2, 100, 32, dtype)
    expected, expected_state = lightning_attention_reference(q, k, v, SLOPES, state)
    absorbed = state.clone()
    out, squares = lightning_prefill(q, k, v, SLOPES, state)
    lightning_absorb(k, v, SLOPES, absorbed)
    assert out.dtype == dtype
    for head in range(HEADS):
        close(out[:, :, head], expected[:, :, head], TOLERANCE[dtype])
        close(state[:, head], expected_state[:, head], TOLERANCE[dtype])
    close(squares.sum(-1), expected.square().sum(-1), 2 * TOLERANCE[dtype])
    assert torch.equal(absorbed, state)


@SMALL
@given(tokens=st.integers(1, 60), segments=st.sampled_from([1, 2, 4]), seed=st.integers(0, 9))
def test_any_number_of_tokens_is_served(tokens: int, segments: int, seed: int) -> None:
    """If this fails the end of a text is lost, or rows after it enter the memory."""
    q, k, v, state = inputs(1, tokens, seed=seed)
    expected, expected_state = lightning_attention_reference(q, k, v, SLOPES, state)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lightning_triton, "choose_segments", lambda *_: segments)
        out, _ = lightning_prefill(q, k, v, SLOPES, state)
    close(out, expected)
    close(state, expected_state)


@SMALL
@given(cuts=st.lists(st.integers(1, 25), min_size=2, max_size=3), seed=st.integers(0, 9))
def test_any_split_gives_the_same_outputs_and_state(cuts: list[int], seed: int) -> None:
    """If this fails an answer depends on how the text happened to be cut into chunks."""
    q, k, v, state = inputs(1, sum(cuts), seed=seed)
    split_state = state.clone()
    whole, _ = lightning_prefill(q, k, v, SLOPES, state)
    parts = zip(q.split(cuts, 1), k.split(cuts, 1), v.split(cuts, 1), strict=True)
    pieces = [lightning_prefill(a, b, c, SLOPES, split_state)[0] for a, b, c in parts]
    close(torch.cat(pieces, 1), whole)
    close(split_state, state)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("width", [64, 96, 128, 256])
def test_head_widths(dtype: torch.dtype, width: int) -> None:
    """If this fails models with heads of this width cannot be read."""
    q, k, v, state = inputs(1, 20, width, dtype)
    q, k, v, state = q[:, :, 2:], k[:, :, 2:], v[:, :, 2:], state[:, 2:].contiguous()
    expected, expected_state = lightning_attention_reference(q, k, v, SLOPES[2:], state)
    out, squares = lightning_prefill(q, k, v, SLOPES[2:], state)
    close(out, expected, TOLERANCE[dtype])
    close(state, expected_state, TOLERANCE[dtype])
    close(squares.sum(-1), expected.square().sum(-1), 2 * TOLERANCE[dtype])


@pytest.mark.usefixtures("chip")
def test_keys_and_values_of_different_widths() -> None:
    """If this fails a state that is not square is read or written in the wrong order."""
    random = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 70, HEADS, 16, generator=random).bfloat16()
    v = torch.randn(1, 70, HEADS, 48, generator=random).bfloat16()
    state = torch.randn(1, HEADS, 16, 48, generator=random)
    expected, expected_state = lightning_attention_reference(q, k, v, SLOPES, state)
    out, _ = lightning_prefill(q, k, v, SLOPES, state)
    close(out, expected, 0.03)
    close(state, expected_state, 0.03)


def test_a_slow_head_forgets_at_its_own_rate() -> None:
    """If this fails long texts fade too fast or not at all: s = 4e-8 is less than float32's step at 1."""
    _, k, v, _ = inputs(1, 64)
    # Entries of many sizes: each rounds its loss to a whole number of steps, their mean does not.
    state = 0.5 + 0.5 * torch.rand(1, HEADS, 16, 16, generator=torch.Generator().manual_seed(0))
    before = state.double()
    lightning_absorb(torch.zeros_like(k), v, SLOPES, state)
    lost = (1 - state.double() / before).mean(dim=(0, 2, 3))
    expected = -torch.expm1(-64 * SLOPES.double())
    torch.testing.assert_close(lost, expected, rtol=0.01, atol=0)


@pytest.mark.parametrize("slope", [0.0, 30.0])
def test_extreme_slopes_and_inputs_stay_finite(slope: float) -> None:
    """If this fails one outlier turns everything after it into nan."""
    q, k, v, state = inputs(1, 100, dtype=torch.float16)
    v *= 200
    k[0, :50] += 40
    slopes = torch.full((HEADS,), slope)
    q, k, v = q.float(), k.float(), v.float()
    expected, expected_state = lightning_attention_reference(q, k, v, slopes, state)
    out, _ = lightning_prefill(q, k, v, slopes, state)
    close(out, expected, 2e-3)
    close(state, expected_state, 2e-3)


def test_few_heads_are_cut_into_segments_and_short_texts_are_not() -> None:
    """If this fails models with few heads idle most of the device, or short prompts pay for two passes."""

    def chosen(heads: int, tokens: int) -> int:
        return lightning_triton.choose_segments(tokens, 2 * heads, torch.device("cpu"))

    assert [chosen(64, 16384), chosen(16, 16384), chosen(32, 16384)] == [1, 8, 4]
    assert [chosen(16, 600), chosen(16, 1024), chosen(1, 1 << 20)] == [1, 2, 128]


def test_what_the_kernels_would_misread_is_refused() -> None:
    """If this fails a wrong shape reads another tensor's memory."""
    q, k, v, state = inputs(1, 8)
    for args in (
        (q, k[:, :4], v, SLOPES, state),
        (q, k, v, SLOPES[:2], state),
        (q, k, v, SLOPES, state[:, :, :8]),
        (q, k, v.half(), SLOPES, state),
        (q, k, v.transpose(2, 3).contiguous().transpose(2, 3), SLOPES, state),
        (q, k, v, SLOPES, state.double()),
        (q, k, v, SLOPES, state.transpose(2, 3)),
    ):
        with pytest.raises(ValueError, match="lightning attention"):
            lightning_prefill(*args)
    with pytest.raises(ValueError, match="norm_gate"):
        norm_gate(torch.ones(1, 8, 4, 16), torch.ones(1, 8, 3, 1), torch.ones(64), torch.ones(1, 8, 64), 1e-6)


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
def test_norm_and_gate(parts: int, dtype: torch.dtype) -> None:
    """If this fails every lightning layer's output has the wrong size."""
    random = torch.Generator().manual_seed(0)
    mixed = (3 * torch.randn(2, 5, HEADS, 24, generator=random)).to(dtype)
    squares = mixed.float().square().view(2, 5, HEADS, parts, -1).sum(-1)
    weight = torch.randn(96, generator=random)
    gate = torch.randn(2, 5, 96, generator=random).to(dtype)
    flat = mixed.double().flatten(2)
    normed = flat * torch.rsqrt(flat.square().mean(-1, keepdim=True) + 0.1)
    expected = normed * weight.double() * torch.sigmoid(gate.double())
    out = norm_gate(mixed, squares, weight, gate, 0.1)
    assert out.dtype == dtype
    close(out, expected, {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}[dtype])


def test_the_norm_of_wide_layers_spans_all_blocks() -> None:
    """If this fails layers over 1,024 channels are normed in pieces."""
    random = torch.Generator().manual_seed(0)
    mixed = torch.randn(1, 6, 24, 128, generator=random)
    weight, gate = torch.randn(3072, generator=random), torch.randn(1, 6, 3072, generator=random)
    flat = mixed.double().flatten(2)
    normed = flat * torch.rsqrt(flat.square().mean(-1, keepdim=True) + 1e-6)
    squares = mixed.square().sum(-1, keepdim=True)
    close(norm_gate(mixed, squares, weight, gate, 1e-6), normed * weight * torch.sigmoid(gate.double()))
