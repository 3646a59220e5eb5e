"""A kernel that is wrong in any one respect is found out by its trial, and one that is right is used."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from longctx.kernels import attention, chips, linear, mixer, moe, norm, select
from longctx.kernels.lightning import Decay
from longctx.kernels.mixer import LightningMix, choose_lightning
from longctx.kernels.rounded import RoundedMatrix, rounded_linear
from longctx.kernels.select import Site

pytest.importorskip("triton")

CPU = torch.device("cpu")
SITE = Site(CPU, torch.float32)
Kernel = Callable[..., Any]


@pytest.fixture(autouse=True)
def _wanted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Want Triton's kernels; torch's stand in for them here, right or spoilt."""
    monkeypatch.setenv(select.SWITCH, "triton")
    monkeypatch.setattr(select, "failures", {})
    select._tried.cache_clear()
    yield
    select._tried.cache_clear()


def mix(qkv: Tensor, gate: Tensor, weight: Tensor, eps: float, decay: Decay, state: Tensor) -> Any:
    return mixer.TORCH.mix(F.silu(qkv), gate.sigmoid(), weight, eps, decay, state)


def absorb(kv: Tensor, decay: Decay, state: Tensor) -> None:
    mixer.TORCH.absorb(F.silu(kv), decay, state)


def wrong_in_chunks(*args: Any) -> Any:
    out, state = mix(*args)
    return (out * 1.1 if out.shape[1] > 64 else out), state


def wrong_token(*args: Any) -> Any:
    out, state = mix(*args)
    return (out * 1.1 if out.shape[1] == 1 else out), state


def wrong_state(*args: Any) -> Any:
    out, state = mix(*args)
    return out, state.mul_(1.1)


RAW = LightningMix(True, mix, absorb)
SPOILT_MIXES = [
    replace(RAW, mix=wrong_in_chunks),
    replace(RAW, mix=wrong_token),
    replace(RAW, mix=wrong_state),
    replace(RAW, absorb=lambda kv, decay, state: None),
    replace(RAW, absorb=mixer.TORCH.absorb),
]


@pytest.mark.parametrize("number", range(len(SPOILT_MIXES)))
def test_a_lightning_layer_that_computes_something_else_is_left_to_torch(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails a GPU whose compiler is broken remembers noise, layer after layer, without a word."""
    monkeypatch.setattr(mixer, "TRITON", SPOILT_MIXES[number])
    with pytest.warns(UserWarning, match="lightning cannot run here: its results are off"):
        assert choose_lightning(SITE, 2, 16) is mixer.TORCH
    assert choose_lightning(SITE, 2, 15) is mixer.TORCH  # narrower than what kernels take: not tried


def test_a_lightning_layer_that_is_right_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails every GPU reads with the slow kernels, though its own are right."""
    monkeypatch.setattr(mixer, "TRITON", RAW)
    assert choose_lightning(SITE, 2, 16) is RAW
    assert choose_lightning(replace(SITE, gradients=True), 2, 16) is mixer.DIFFERENTIABLE
    assert RAW.activations == ("none", "none") and mixer.TORCH.activations == ("silu", "sigmoid")
    monkeypatch.setenv(select.SWITCH, "torch")
    assert choose_lightning(SITE, 2, 16) is mixer.TORCH


def grouped(rows: Tensor, stack: RoundedMatrix, ends: Tensor, slots: None = None) -> Tensor:
    parts = torch.tensor_split(rows, ends[:-1].long())
    return torch.cat([part @ stack[i].widened(rows.dtype).T for i, part in enumerate(parts)])


def louder(out: Any, *_: Any) -> Any:
    return out * 1.2


def louder_weight(out: Any, *_: Any) -> Any:
    return out[0], out[1] + 0.2


def louder_value(out: Any, *_: Any) -> Any:
    return out[0] * 1.2, out[1]


HALF = Site(CPU, torch.bfloat16)
# The operation, what chooses its kernel, where that is, what may stand in for it, and what spoils that.
CASES: list[tuple[str, Kernel, str, Kernel, Kernel]] = [
    (
        "attention_merge",
        lambda: attention.choose_attention(SITE, 16),
        "attention_merge_triton.merge_partials",
        attention.torch_merge,
        louder_value,
    ),
    (
        "attention_merge",
        lambda: attention.choose_attention(SITE, 256),
        "attention_merge_triton.merge_partials",
        attention.torch_merge,
        louder_weight,
    ),
    ("rms_norm", lambda: norm.choose_norm(SITE, 16), "norm_triton.rms_norm", norm.torch_rms_norm, louder),
    ("rms_norm", lambda: norm.choose_norm(SITE, 65536), "norm_triton.rms_norm", norm.torch_rms_norm, louder),
    (
        "moe_decode",
        lambda: moe.choose_mixture(SITE, 16, 8, 4),
        "moe_triton.moe_decode",
        moe.one_by_one,
        louder,
    ),
    ("moe_combine", lambda: moe.choose_sum(SITE), "moe_triton.moe_combine", moe.weighted_sum, louder),
    *(
        (
            f"int{bits}_experts",
            lambda bits=bits: moe.choose_rounded_mixture(HALF, 64, 32, bits),
            f"rounded_triton.{name}",
            kernel,
            louder,
        )
        for bits in (4, 8)
        for name, kernel in (("moe_decode", moe.one_by_one), ("grouped_product", grouped))
    ),
    *(
        (
            f"int{bits}_linear",
            lambda bits=bits: linear.choose_product(HALF, bits, 64),
            "rounded_triton.rounded_linear",
            rounded_linear,
            lambda out, x, *_, few=few: out * 1.2 if (len(x) == 1) == few else out,
        )
        for bits in (4, 8)
        for few in (True, False)
    ),
]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_a_kernel_that_is_wrong_in_one_respect_is_found_out(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails a GPU whose compiler is broken answers with noise; or no GPU uses its kernels."""
    operation, choose, place, kernel, spoil = CASES[number]
    for name, right in (
        ("moe_decode", moe.one_by_one),
        ("grouped_product", grouped),
        ("rounded_linear", rounded_linear),
    ):
        monkeypatch.setattr(f"longctx.kernels.rounded_triton.{name}", right)  # the others of the operation
    monkeypatch.setattr(f"longctx.kernels.{place}", kernel)
    choose()
    assert not select.failures
    select._tried.cache_clear()
    monkeypatch.setattr(f"longctx.kernels.{place}", lambda *args: spoil(kernel(*args), *args))
    with pytest.warns(UserWarning, match=f"{operation} cannot run here: its results are off"):
        choose()
    assert list(select.failures) == [operation]


def elsewhere(out: Any) -> Any:
    return out[0] + 1, out[1]


SPOILT_STEPS: list[tuple[str, Kernel]] = [
    ("pages_triton.append_token", lambda out: out),  # replaced by nothing at all
    ("attention_triton.attention_decode", louder_value),
    ("attention_triton.attention_pointer", elsewhere),
    ("attention_triton.attention_pointer", louder_weight),
]


@pytest.mark.parametrize("number", range(len(SPOILT_STEPS)))
def test_a_step_that_attends_to_something_else_is_not_taken(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails a GPU writes an answer from other keys than it was shown, or cites another line."""
    from longctx.kernels import attention_triton, pages_triton

    place, spoil = SPOILT_STEPS[number]
    module, name = place.split(".")
    real = getattr({"pages_triton": pages_triton, "attention_triton": attention_triton}[module], name)

    def spoilt(*args: Any, **named: Any) -> Any:
        return None if name == "append_token" else spoil(real(*args, **named))

    monkeypatch.setattr(f"longctx.kernels.{place}", spoilt)
    with pytest.warns(UserWarning, match="attention_decode cannot run here"):
        assert attention.can_decode(SITE, 16) is False
    assert attention.can_decode(SITE, 15) is False
    assert attention.can_decode(SITE, 257) is False


def test_a_step_that_is_right_is_taken() -> None:
    """If this fails no GPU writes with its own kernels."""
    assert attention.can_decode(SITE, 16) is True


@pytest.mark.parametrize(("width", "tried"), [(15, False), (16, True), (65536, True), (65537, False)])
def test_rows_that_kernels_cannot_take_are_left_to_torch(
    width: int, tried: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails a model of an unusual width ends in an error of the compiler."""
    monkeypatch.setattr("longctx.kernels.norm_triton.rms_norm", partial(norm.torch_rms_norm))
    assert (norm.choose_norm(SITE, width) is not norm.torch_rms_norm) is tried
    assert norm.choose_norm(replace(SITE, gradients=True), width).__module__.endswith("differentiable")


def test_what_runs_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails `doctor` tells of other kernels than those that run."""
    from importlib.metadata import version

    assert select.describe(CPU) == f"triton {version('triton')} ({select.SWITCH}=triton)"
    monkeypatch.setenv(select.SWITCH, "torch")
    assert select.describe(CPU) == f"torch ({select.SWITCH}=torch)"
    monkeypatch.delenv(select.SWITCH)
    assert select.describe(CPU) == "torch"
    select.failures["a"] = "b"
    assert select.describe(CPU) == "torch; a fell back to torch: b"


def test_training_and_odd_numbers_are_left_to_torch() -> None:
    """If this fails training loses its gradients, or numbers that no kernel knows end in an error."""
    for site in (replace(SITE, gradients=True), replace(SITE, dtype=torch.float64)):
        assert select.works("never", lambda draw: pytest.fail("it was tried"), site) is False


def test_the_chip_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails an old GPU is given kernels that it cannot run, or a new one none."""
    gpu, found = torch.device("cuda"), {"capability": (8, 0)}
    monkeypatch.setattr(select, "capability", lambda device: found["capability"])
    assert select._wanted(gpu, "") and not select._wanted(gpu, "torch") and select._wanted(gpu, "triton")
    assert not select._wanted(CPU, "") and select._wanted(CPU, "triton")
    found["capability"] = (7, 5)
    assert not select._wanted(gpu, "")
    monkeypatch.setattr(select, "find_spec", lambda name: None)
    assert not select._wanted(CPU, "triton")


def test_chips_are_known_by_their_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails tiles are made for another chip: they do not fit, or leave most of it idle."""
    assert chips.capability(CPU) == (9, 0)
    for found, known in (((8, 6), 8), ((9, 0), 9), ((10, 3), 10), ((12, 0), 9)):
        monkeypatch.setattr(chips, "capability", lambda device, found=found: found)
        assert chips.chip(CPU) is chips.CHIPS[known]


def test_a_launch_goes_to_the_device_of_its_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a machine with several GPUs launches kernels on one with the memory of another."""
    entered: list[Tensor] = []

    class Of:
        def __init__(self, tensor: Tensor):
            self.tensor = tensor

        def __enter__(self) -> None:
            entered.append(self.tensor)

        def __exit__(self, *_: object) -> None:
            pass

    def launch(first: Tensor, more: int, *, named: int) -> tuple[int, int]:
        return more, named

    x = torch.zeros(1)
    monkeypatch.setattr(torch.cuda, "device_of", Of)
    for count, switched in ((0, 0), (1, 0), (2, 1)):
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        assert chips.on_device(launch)(x, 3, named=4) == (3, 4)
        assert len(entered) == switched
    assert entered[0] is x
