"""Room for experts in one piece, where a GPU takes them so; a CPU stands in for it here."""

from functools import partial

import pytest
import torch
from torch import Tensor

from longctx.kernels.linear import Matrix
from longctx.kernels.rounded import Bits, RoundedMatrix
from longctx.models.lane import Lane
from longctx.models.rotary import Positions, rotate
from longctx.models.slots import AtOnce, Expert, Kind, Slots, parts

CPU = torch.device("cpu")
SHAPES = ((6, 32), (6, 32), (32, 64))


def matrix(rows: int, columns: int, kind: torch.dtype | Bits) -> Matrix:
    drawn = torch.randn(rows, columns)
    if isinstance(kind, torch.dtype):
        return drawn.to(kind)
    made = RoundedMatrix.empty(rows, columns, bits=kind, device=CPU)
    made.round(drawn)
    return made


def expert_of(kind: torch.dtype | Bits) -> Expert:
    w1, w3, w2 = (matrix(*shape, kind) for shape in SHAPES)
    return w1, w3, w2


def taken_as(expert: Expert) -> Expert:
    return expert


def plain(held: Matrix) -> Tensor:
    return held.widened(torch.float32) if isinstance(held, RoundedMatrix) else held  # type: ignore[return-value]


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, 8, 4])
def test_an_expert_is_found_in_the_slot_it_was_put_into(kind: torch.dtype | Bits) -> None:
    """If this fails tokens go through the weights of another expert, and the text turns to noise."""
    lane = Lane(CPU)
    slots = Slots(lane, 3, [Kind(*shape, kind) for shape in SHAPES])
    experts = [expert_of(kind) for _ in range(4)]
    taken = [slots.take() for _ in range(3)]
    assert sorted(slot for slot, _ in taken) == [0, 1, 2]
    with pytest.raises(IndexError):
        slots.take()
    for (slot, free), expert in zip(taken, experts, strict=False):
        assert slots.fill(slot, partial(taken_as, expert), free) is None
    first = taken[0][0]
    slots.give(first, None)
    again, free = slots.take()
    assert (again, free) == (first, None)
    slots.fill(again, partial(taken_as, experts[3]), free)
    places = [again, taken[2][0], taken[1][0]]
    for stack, number in zip(slots.stacks(places), range(3), strict=True):
        assert len(stack) == 3
        assert stack.slots.tolist() == places
        for member, expert in enumerate((experts[3], experts[2], experts[1])):
            assert torch.equal(plain(stack[member]), plain(expert[number]))
            assert stack.pool.shape == (3, *SHAPES[number])  # in one piece


def test_the_tensors_of_a_matrix_are_all_of_them() -> None:
    """If this fails half of an expert is copied: the levels without their steps."""
    held = matrix(6, 32, 8)
    assert isinstance(held, RoundedMatrix)
    levels, steps = parts(held)
    assert levels is held.levels and steps is held.steps
    x = torch.zeros(2, 2)
    assert parts(x) == (x,)


def test_what_runs_at_once_tells_its_result_or_its_error() -> None:
    """If this fails an expert that cannot be read ends in a wait for ever, or is taken for one of zeros."""
    executor = AtOnce()
    assert executor.submit(lambda a, b: a - b, 5, b=3).result(timeout=1) == 2
    failed = executor.submit({"here": 1}.__getitem__, "gone")
    with pytest.raises(KeyError, match="gone"):
        failed.result(timeout=1)


def test_on_a_cpu_a_copy_is_done_when_it_is_asked_for() -> None:
    """If this fails a CPU computes with what was in memory before."""
    lane, target, source = Lane(CPU), torch.zeros(3), torch.ones(3)
    assert lane.mark() is None
    assert lane.copy([(target, source)], None) is None
    assert torch.equal(target, source)
    assert lane.owns(target) is target
    assert lane.pinned(source) is source
    lane.wait(None)


def test_angles_are_computed_once_for_all_layers() -> None:
    """If this fails each of eighty layers computes the same sines, in float64."""
    from longctx.models.config import RopeSpec

    rope, other = RopeSpec((1.0, 0.5), 2.0), RopeSpec((0.25,))
    positions = Positions.after(7, 3, CPU)
    cos, sin = positions.angles(rope)
    assert positions.angles(rope)[0] is cos
    at = torch.tensor([[7.0], [8.0], [9.0]], dtype=torch.float64) * torch.tensor([1.0, 0.5])
    torch.testing.assert_close(cos, 2 * at.cos().float())
    torch.testing.assert_close(sin, 2 * at.sin().float())
    assert positions.angles(other)[0].shape == (3, 1)
    x = torch.randn(1, 2, 3, 6)
    assert rotate(x, positions.angles(None)) is x
    a, b, rest = x.split([2, 2, 2], dim=-1)
    turned = torch.cat((a * cos - b * sin, b * cos + a * sin, rest), dim=-1)
    torch.testing.assert_close(rotate(x, (cos, sin)), turned)
