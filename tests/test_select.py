"""Implementations are tried once, where a model is loaded, and what fails is replaced and named."""

import pytest
import torch
from torch import Tensor

from longctx.errors import OptionError
from longctx.kernels import norm, select
from longctx.kernels.norm import choose_norm
from longctx.kernels.select import Site

CPU = torch.device("cpu")
SITE = Site(CPU, torch.float32)


def broken(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    raise RuntimeError("ptxas died\nmore")


def wrong(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return norm.torch_rms_norm(x, weight + 0.1, eps)


def empty(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return torch.full_like(x, torch.nan)


@pytest.mark.parametrize(
    ("kernel", "why"),
    [(broken, "RuntimeError: ptxas died"), (wrong, "its results are off by"), (empty, "off by nan")],
)
def test_a_kernel_that_fails_its_trial_is_left_to_torch(
    kernel: norm.Norm, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails a GPU on which a kernel cannot be built, or is wrong, ends in an error or in noise."""
    pytest.importorskip("triton")
    monkeypatch.setattr("longctx.kernels.norm_triton.rms_norm", kernel)
    monkeypatch.setattr(select, "failures", {})
    monkeypatch.setenv(select.SWITCH, "triton")
    select._tried.cache_clear()
    with pytest.warns(UserWarning, match=f"rms_norm cannot run here: .*{why}"):
        assert choose_norm(SITE, 17) is norm.torch_rms_norm
    assert choose_norm(SITE, 17) is norm.torch_rms_norm  # a second warning would be an error here
    assert f"rms_norm fell back to torch: {select.failures['rms_norm']}" in select.describe(CPU)
    select._tried.cache_clear()


def test_a_kernel_that_works_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails every layer of a model compares its kernels anew, and loading takes minutes."""
    kernels = pytest.importorskip("longctx.kernels.norm_triton")
    monkeypatch.setenv(select.SWITCH, "triton")
    random = torch.get_rng_state()
    assert choose_norm(SITE, 19) is kernels.rms_norm
    before = select._tried.cache_info().misses
    assert choose_norm(SITE, 19) is kernels.rms_norm
    assert select._tried.cache_info().misses == before
    assert torch.equal(torch.get_rng_state(), random)  # answers drawn with a seed stay as they are


def test_the_switch_and_the_device_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails LONGCTX_KERNELS is ignored, or a CPU waits for Triton's interpreter."""
    monkeypatch.delenv(select.SWITCH, raising=False)
    assert choose_norm(SITE, 32) is norm.torch_rms_norm
    monkeypatch.setenv(select.SWITCH, "cuda")
    with pytest.raises(OptionError, match="LONGCTX_KERNELS=cuda: use torch or triton"):
        choose_norm(SITE, 32)
