"""Weights of 8 and 4 bits as GPUs keep them: one definition, and kernels held to it in float64."""

import pytest
import torch
from torch import Tensor

from longctx.kernels import moe
from longctx.kernels.int4 import can_quantize4, int4_linear, quantize4
from longctx.kernels.rounded import Bits, RoundedMatrix
from longctx.kernels.select import Site
from longctx.models.weight import Form, Weight

CPU = torch.device("cpu")
BF16 = torch.bfloat16
BOTH: tuple[Bits, ...] = (4, 8)


def rounded(*shape: int, bits: Bits) -> RoundedMatrix:
    made = RoundedMatrix.empty(*shape, bits=bits, device=CPU)
    made.round(torch.randn(shape, generator=torch.Generator().manual_seed(bits)) * shape[-1] ** -0.5)
    return made


def exact(stack: RoundedMatrix) -> list[Tensor]:
    return [stack[i].widened(torch.float64) for i in range(len(stack))]


def close(found: Tensor, right: Tensor, share: float) -> None:
    error = (found.double() - right).abs().max() / right.abs().max()
    assert error <= share, f"off by {float(error):.2%}"


@pytest.mark.parametrize(("bits", "loss"), [(4, 0.1), (8, 0.01)])
def test_rounding_keeps_a_matrix_within_its_bits(bits: Bits, loss: float) -> None:
    """If this fails a model of few bits on a GPU is another model."""
    weight = torch.randn(70, 96)
    weight[3] = 0
    matrix = RoundedMatrix.empty(70, 96, bits=bits, device=CPU)
    matrix.round(weight)
    assert (matrix.widened(torch.float32) - weight).norm() < loss * weight.norm()
    assert not matrix.widened(torch.float32)[3].any()
    assert matrix.levels.nbytes + matrix.steps.nbytes == RoundedMatrix.nbytes(70, 96, bits)


@pytest.mark.skipif(not can_quantize4(), reason="this torch has no products of 4 bits on this CPU")
def test_four_bits_are_the_same_numbers_as_on_the_cpu() -> None:
    """If this fails a checkpoint answers differently by device, and `doctor` blames the kernels."""
    weight = torch.randn(70, 96)
    matrix = RoundedMatrix.empty(70, 96, bits=4, device=CPU)
    matrix.round(weight)
    on_cpu = int4_linear(torch.eye(96)[:16], quantize4(weight)).T
    # Its results are of bfloat16.
    torch.testing.assert_close(matrix.widened(torch.float32)[:, :16], on_cpu, rtol=2**-8, atol=0)


def test_a_weight_takes_the_layout_of_its_device_and_the_planned_bytes() -> None:
    """If this fails the plan of a quantised model on a GPU is not what it takes."""
    cases: list[tuple[tuple[int, ...], Form]] = [((6, 5, 64), "int4"), ((5, 64), "int8"), ((5, 40), "int4")]
    for shape, form in cases:
        weight = Weight(*shape, dtype=BF16, keep="coarse")
        planned, values = weight.bytes_as(form), torch.randn(shape)
        weight.fill(values, form, CPU)
        assert weight.rounded is not None
        assert weight.rounded.shape == shape
        assert weight.rounded.levels.nbytes + weight.rounded.steps.nbytes == planned
        last, right = (weight.rounded[5], values[5]) if len(shape) == 3 else (weight.rounded, values)
        torch.testing.assert_close(last.widened(torch.float32), right, atol=0.4, rtol=0)


def test_a_head_in_few_bits_gives_logits_of_float32() -> None:
    """If this fails tokens are chosen by logits of bfloat16, where many are equal."""
    head = Weight(40, 64, dtype=BF16)
    head.fill(torch.randn(40, 64), "int4", CPU)
    hidden = torch.randn(1, 3, 64).bfloat16()
    assert head.rounded is not None
    found = head.logits(hidden)
    assert found.dtype == torch.float32
    close(found, hidden.double() @ head.rounded.widened(torch.float64).T, 1e-5)


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the Triton kernels, in few programs: each of them takes the interpreter a while."""
    pytest.importorskip("triton")
    from longctx.kernels import rounded_triton

    monkeypatch.setenv("LONGCTX_KERNELS", "triton")
    monkeypatch.setattr(rounded_triton, "ROWS", 32)


@pytest.mark.parametrize("bits", BOTH)
@pytest.mark.parametrize(("tokens", "columns"), [(1, 32), (3, 96), (1, 2080)])
def test_a_few_tokens_times_a_matrix(bits: Bits, tokens: int, columns: int, kernels: None) -> None:
    """If this fails every token written on a GPU with --quant is wrong."""
    from longctx.kernels.rounded_triton import rounded_linear as kernel

    weight, x = rounded(7, columns, bits=bits), torch.randn(tokens, columns)
    right = x.double() @ weight.widened(torch.float64).T
    torch.testing.assert_close(kernel(x, weight).double(), right, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(kernel(x, weight, "sigmoid").double(), right.sigmoid(), rtol=1e-5, atol=1e-5)
    short = kernel(x.bfloat16(), weight, "silu", torch.float32)
    close(short, torch.nn.functional.silu(x.bfloat16().double() @ weight.widened(torch.float64).T), 1e-5)


@pytest.mark.parametrize("bits", BOTH)
@pytest.mark.parametrize(("rows", "columns"), [(3, 32), (37, 2080)])
def test_a_matrix_is_widened_for_many_tokens(bits: Bits, rows: int, columns: int, kernels: None) -> None:
    """If this fails every text read on a GPU with --quant is misread."""
    from longctx.kernels.rounded_triton import widen

    weight = rounded(rows, columns, bits=bits)
    assert torch.equal(widen(weight, torch.float16), weight.widened(torch.float16))


@pytest.mark.parametrize("bits", BOTH)
def test_experts_of_a_few_tokens(bits: Bits, kernels: None) -> None:
    """If this fails every token that a quantised mixture writes on a GPU is wrong."""
    from longctx.kernels.rounded_triton import moe_decode

    w1, w3, w2 = rounded(4, 32, 64, bits=bits), rounded(4, 32, 64, bits=bits), rounded(4, 64, 32, bits=bits)
    x, chosen, weights = torch.randn(3, 64), torch.tensor([[3, 0], [1, 3], [2, 1]]), torch.rand(3, 2)
    plain = [torch.stack(exact(stack)) for stack in (w1, w3, w2)]
    right = moe.one_by_one(x.double(), chosen, weights.double(), *plain)
    torch.testing.assert_close(
        moe_decode(x, chosen, weights, w1, w3, w2).double(), right, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("bits", BOTH)
@pytest.mark.parametrize("ends", [[1, 1, 1], [0, 19, 37], [40, 40, 41]], ids=["one row", "odd", "one expert"])
def test_groups_of_rows_meet_their_own_experts(bits: Bits, ends: list[int], kernels: None) -> None:
    """If this fails a quantised mixture misreads texts on a GPU: tokens get another's expert, or none."""
    from longctx.kernels.rounded_triton import grouped_product

    stack, rows = rounded(3, 130, 160, bits=bits), torch.randn(ends[-1], 160).bfloat16()
    found = grouped_product(rows, stack, torch.tensor(ends, dtype=torch.int32))
    starts = [0, *ends[:-1]]
    parts = [rows[a:b].double() @ m.T for a, b, m in zip(starts, ends, exact(stack), strict=True)]
    # Weights are rounded to bfloat16, and the interpreter cuts results off to it: by up to 2^-7.
    close(found, torch.cat(parts), 2**-7 + 2**-8)


@pytest.mark.parametrize("bits", BOTH)
@pytest.mark.parametrize("tokens", [2, 17])
def test_experts_in_slots_are_computed_as_in_one_piece(bits: Bits, tokens: int, kernels: None) -> None:
    """If this fails a mixture too large for a GPU answers otherwise than on a larger one."""
    stacks = [rounded(3, *shape, bits=bits) for shape in ((32, 64), (32, 64), (64, 32))]
    places = [4, 0, 3]
    apart = []
    for stack in stacks:
        pool = RoundedMatrix.empty(5, *stack.shape[1:], bits=bits, device=CPU)
        pool.levels[places], pool.steps[places] = stack.levels, stack.steps
        apart.append(moe.Slotted(pool, torch.tensor(places), places))
    x, weights = torch.randn(tokens, 64).bfloat16(), torch.rand(tokens, 2)
    chosen = torch.stack([torch.randperm(3)[:2] for _ in range(tokens)])
    mixture = moe.choose_rounded_mixture(Site(CPU, BF16), 64, 32, bits)
    assert torch.equal(mixture(x, chosen, weights, *apart), mixture(x, chosen, weights, *stacks))


@pytest.mark.parametrize("tokens", [1, 20])
def test_experts_without_kernels(tokens: int) -> None:
    """If this fails a GPU on which Triton does not run cannot use a quantised mixture."""
    stacks = rounded(4, 32, 64, bits=4), rounded(4, 32, 64, bits=4), rounded(4, 64, 32, bits=4)
    x, weights = torch.randn(tokens, 64).bfloat16(), torch.rand(tokens, 2)
    chosen = torch.stack([torch.randperm(4)[:2] for _ in range(tokens)])
    mixture = moe.choose_rounded_mixture(Site(CPU, BF16), 64, 32, 4)
    plain = [torch.stack(exact(stack)) for stack in stacks]
    right = moe.one_by_one(x.double(), chosen, weights.double(), *plain)
    close(mixture(x, chosen, weights, *stacks), right, 0.02)
