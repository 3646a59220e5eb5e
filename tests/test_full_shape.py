"""Models of published shapes and random weights, which speed and memory are measured with."""

import pytest
import torch

from bench.full_shape import CPU, built, measured, published, sketch
from bench.gpu.shapes import LAYERS, NARROW
from longctx.plan import weight_bytes


def test_sala_has_its_published_size() -> None:
    """If this fails the speed of another model is reported as MiniCPM-SALA's."""
    model, *_ = sketch(published("sala"), "plain", torch.bfloat16)
    assert sum(weight.weight.numel() for weight in model.weights()) == pytest.approx(9.48e9, rel=2e-3)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_built_model_is_whole(name: str, dtype: torch.dtype) -> None:
    """If this fails a model is measured that lacks experts, or weights that the plan counts."""
    raw = published(name, LAYERS[name])
    model = built(raw | {k: v for k, v in NARROW.items() if k in raw}, "int4", CPU, dtype)
    held = 0
    for weight in model.weights():
        parts: list[torch.Tensor] = [weight.weight]
        for matrix in [*weight.packed, *([weight.rounded] if weight.rounded else [])]:
            if isinstance(matrix, torch.Tensor):  # oneDNN's layout does not tell its size
                held += 4 * matrix.numel()
            parts += [part for part in vars(matrix).values() if isinstance(part, torch.Tensor)]
            if getattr(matrix, "layout", "") == "fbgemm":  # does not tell its size
                held += matrix.levels.unpack()[0].numel()  # type: ignore[union-attr]  # of 8 bits
        held += sum(part.nbytes for part in parts)
    assert held == pytest.approx(weight_bytes(model.config, dtype, "int4"), rel=0.02)
    found = measured(model, 12, 2, 5)
    assert found["read_tokens_per_second"] > 0
    assert found["state_bytes"] > 0
