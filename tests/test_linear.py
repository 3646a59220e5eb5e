"""Matrix products in the CPU's own weight layout against plain ones."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from longctx.kernels.linear import Activation, can_pack, linear, pack


def definition(x: torch.Tensor, weight: torch.Tensor, activation: Activation) -> torch.Tensor:
    out = x.double() @ weight.double().T
    return {"none": out, "silu": F.silu(out), "sigmoid": torch.sigmoid(out)}[activation]


@given(
    rows=st.integers(1, 200),
    shape=st.tuples(st.integers(1, 130), st.integers(1, 130)),
    activation=st.sampled_from(["none", "silu", "sigmoid"]),
    strided=st.booleans(),
)
def test_packed_and_plain_products_follow_the_definition(
    rows: int, shape: tuple[int, int], activation: Activation, strided: bool
) -> None:
    """If this fails answers depend on the make of the CPU."""
    weight = torch.randn(shape)
    x = torch.randn(2, rows, 2 * shape[1])[..., : shape[1]] if strided else torch.randn(2, rows, shape[1])
    for matrix in (weight, pack(weight)) if can_pack() else (weight,):
        out = linear(x, matrix, activation)
        torch.testing.assert_close(out.double(), definition(x, weight, activation), rtol=1e-4, atol=1e-4)


def test_packing_is_used_where_torch_has_it() -> None:
    """If this fails reading is half as fast as it could be, and nothing says so."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no oneDNN")
    assert can_pack()
