"""Lightning attention against its token-by-token definition: outputs and state."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning_reference import lightning_attention_reference

from longctx.kernels.lightning import (
    CHUNK,
    SMALLEST_DECAY,
    decay_tables,
    lightning_absorb,
    lightning_attention,
)

CPU = torch.device("cpu")
SLOPES = (5e-5, 0.004, 0.3, 1.0)


Four = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def inputs(batch: int, tokens: int, dim: int = 16, seed: int = 0) -> Four:
    random = torch.Generator().manual_seed(seed)
    q, k, v = torch.randn(3, batch, tokens, len(SLOPES), dim, generator=random)
    return q, k, v, torch.randn(batch, len(SLOPES), dim, dim, generator=random)


def close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    # Sums of up to thousands of float32 products: relative to the largest entry.
    torch.testing.assert_close(actual.double(), expected, rtol=0, atol=2e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("tokens", [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 5 * CHUNK + 7, 2000])
@pytest.mark.parametrize("batch", [1, 3])
def test_outputs_and_state_follow_the_recurrence(tokens: int, batch: int) -> None:
    """If this fails every answer of every model is wrong."""
    q, k, v, state = inputs(batch, tokens)
    expected, expected_state = lightning_attention_reference(q, k, v, torch.tensor(SLOPES), state)
    out = lightning_attention(q, k, v, decay_tables(SLOPES, CPU), state)
    close(out, expected)
    close(state, expected_state)


@given(cuts=st.lists(st.integers(1, 200), min_size=1, max_size=6), seed=st.integers(0, 9))
def test_any_split_gives_the_same_outputs_and_state(cuts: list[int], seed: int) -> None:
    """If this fails an answer depends on how the text happened to be cut into chunks."""
    q, k, v, state = inputs(1, sum(cuts), seed=seed)
    decay = decay_tables(SLOPES, CPU)
    split_state = state.clone()
    whole = lightning_attention(q, k, v, decay, state)
    parts = zip(q.split(cuts, 1), k.split(cuts, 1), v.split(cuts, 1), strict=True)
    pieces = [lightning_attention(a, b, c, decay, split_state) for a, b, c in parts]
    close(torch.cat(pieces, 1), whole.double())
    close(split_state, state.double())


@given(tokens=st.integers(1, 300))
def test_absorbing_leaves_the_state_that_attending_leaves(tokens: int) -> None:
    """If this fails a question asked after a read is answered from a wrong memory."""
    q, k, v, state = inputs(2, tokens)
    absorbed = state.clone()
    decay = decay_tables(SLOPES, CPU)
    lightning_attention(q, k, v, decay, state)
    lightning_absorb(k, v, decay, absorbed)
    close(absorbed, state.double())


def test_strided_projections_are_taken_as_they_are() -> None:
    """If this fails the model, which passes views of one projection, computes something else."""
    packed = torch.randn(1, 150, 3, len(SLOPES), 16)
    q, k, v = packed.unbind(2)
    decay = decay_tables(SLOPES, CPU)
    states = torch.zeros(2, 1, len(SLOPES), 16, 16)
    whole = lightning_attention(q.contiguous(), k.contiguous(), v.contiguous(), decay, states[0])
    assert torch.equal(lightning_attention(q, k, v, decay, states[1]), whole)


def test_tables_hold_no_subnormal_numbers() -> None:
    """If this fails reading gets several times slower on CPUs for models with fast-fading heads."""
    decay = decay_tables((1.0, 3.0), CPU)
    for table in (decay.within, decay.query, decay.key):
        assert ((table == 0) | (table >= SMALLEST_DECAY)).all()
        assert (table == 0).any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_reduced_precision_inputs_keep_a_float32_state(dtype: torch.dtype) -> None:
    """If this fails slow heads stop accumulating and long texts are forgotten."""
    q, k, v, state = inputs(1, 200)
    q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
    expected, expected_state = lightning_attention_reference(q, k, v, torch.tensor(SLOPES), state)
    out = lightning_attention(q, k, v, decay_tables(SLOPES, CPU), state)
    assert out.dtype == dtype
    assert state.dtype == torch.float32
    close(state, expected_state)
    torch.testing.assert_close(out.double(), expected, rtol=0.02, atol=0.02 * float(expected.abs().max()))
