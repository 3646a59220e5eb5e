"""Weights of 8 and 4 bits: the error of a product is that of rounding, and models still answer."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from checkpoints import hf_config, original_config, random_model
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from longctx import plan
from longctx.cli import main
from longctx.engine import Engine, pick_forms
from longctx.errors import ModelError
from longctx.hub import BUNDLED
from longctx.kernels import quantized
from longctx.kernels.linear import linear, prepared
from longctx.kernels.quantized import LEVELS, TOKENS, Activation, Int8Matrix, can_quantize, quantize
from longctx.machine import gib
from longctx.models.config_file import read_config
from longctx.models.weight import Weight
from longctx.tasks.haystack import load_haystack
from longctx.tasks.niah import niah
from longctx.tasks.results import Report

pytestmark = pytest.mark.skipif(not can_quantize(), reason="this torch has no 8 bit products for this CPU")
HALF = 2.0**-8  # bfloat16 rounds by at most this share, twice what is due


LAYOUTS = {"onednn": quantized.can_lay_out(), "fbgemm": quantized.can_pack(), "rows": True}
HERE = [layout for layout, able in LAYOUTS.items() if able]


def laid_out(layout: str, patch: pytest.MonkeyPatch) -> None:
    """Make this CPU one whose best product is that of a layout."""
    patch.setattr(quantized, "can_lay_out", lambda: layout == "onednn")
    patch.setattr(quantized, "can_pack", lambda: layout == "fbgemm")


@given(
    rows=st.integers(1, 300),
    shape=st.tuples(st.integers(1, 130), st.integers(1, 200)),
    activation=st.sampled_from(["none", "silu", "sigmoid"]),
    scale=st.sampled_from([1e-4, 1.0, 1e4]),
    layout=st.sampled_from(HERE),
)
def test_the_error_is_that_of_rounding(
    rows: int, shape: tuple[int, int], activation: Activation, scale: float, layout: str
) -> None:
    """If this fails --dtype int8 loses more than 8 bits have to lose.

    A sum of products differs from the exact one by at most half a step of either factor times the other. A
    token by itself, as in writing, has steps that are many times as small, or is rounded to bfloat16.
    """
    weight, x = torch.randn(shape), torch.randn(2, rows, shape[1]) * torch.rand(2, rows, 1) * scale
    wide, rounded = weight.double(), x.double()
    step_w = wide.abs().amax(1) / LEVELS / 2
    step_x = rounded.abs().amax(-1, keepdim=True) / LEVELS / 2
    of_weight = rounded.abs().sum(-1, keepdim=True) * step_w
    of_token = step_x * (wide.abs() + step_w[:, None]).sum(1)
    finest = {"onednn": 1 / (2 * LEVELS), "fbgemm": 1 / 60, "rows": 0}[layout]
    with pytest.MonkeyPatch.context() as patch:
        laid_out(layout, patch)
        matrix = quantize(weight)
        assert matrix.layout == layout
        out, alone = linear(x, matrix, activation), linear(x[0, 0], matrix, activation)
    exact = rounded @ wide.T
    expected = {"none": exact, "silu": F.silu(exact), "sigmoid": torch.sigmoid(exact)}[activation]
    # SiLU is at most 1.1 times as steep as the line.
    bound = 1.1 * (of_weight + of_token * (1 if layout == "onednn" else finest))
    assert ((out - expected).abs() <= bound + 1e-5 * (1 + expected.abs())).all()
    loss, slack = of_weight[0, 0] + of_token[0, 0] * finest, 1e-5
    if layout == "rows":
        loss, slack = loss + rounded[0, 0].abs() @ wide.abs().T * 4 * HALF, HALF
    assert ((alone - expected[0, 0]).abs() <= 1.1 * loss + slack * expected[0, 0].abs() + 1e-5).all()


def test_a_token_does_not_change_its_neighbours() -> None:
    """If this fails one loud token takes the digits of all others, and answers depend on the chunk size."""
    weight = quantize(torch.randn(70, 96))
    x = torch.randn(600, 96)
    whole = linear(x, weight)
    x[0] *= 1e6
    assert torch.equal(linear(x, weight)[1:], whole[1:])
    assert torch.equal(linear(x[300:310], weight), whole[300:310])


def test_rows_and_tokens_of_zeros_give_zeros() -> None:
    """If this fails padding rows of a checkpoint turn an answer into nan."""
    weight = torch.randn(8, 64)
    weight[3] = 0
    x = torch.randn(5, 64)
    x[2] = 0
    out = linear(x, quantize(weight))
    assert out.isfinite().all()
    assert not out[2].any()
    assert not out[:, 3].any()
    assert not linear(x[2], quantize(weight)).any()


@pytest.mark.parametrize("layout", HERE)
def test_the_size_of_a_chunk_changes_nothing(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails answers depend on the size of a chunk."""
    laid_out(layout, monkeypatch)
    matrix, x = quantize(torch.randn(70, 100)), torch.randn(300, 100)
    whole = linear(x, matrix)
    for tokens in (x, x[:1], x[None, :1]):  # rounded once for several matrices
        ready = prepared(tokens, matrix)
        torch.testing.assert_close(linear(ready, matrix), linear(tokens, matrix), rtol=0, atol=0)
    torch.testing.assert_close(linear(x[: TOKENS + 1], matrix), whole[: TOKENS + 1], rtol=1e-5, atol=1e-5)
    for size in (2, 33):
        pieces = torch.cat([linear(part, matrix) for part in x.split(size)])
        torch.testing.assert_close(pieces, whole, rtol=1e-5, atol=1e-5)


def test_wrong_products_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a CPU that cuts off sums of 8 bit products gives nonsense."""
    for name, tried in (("_of_laid_out", quantized.can_lay_out), ("_product", quantized.can_pack)):
        real = getattr(quantized, name)
        cut = lambda *args, real=real: real(*args).clamp(-32768, 32767)  # noqa: E731  # bound now
        with monkeypatch.context() as patch:
            patch.setattr(quantized, name, cut)
            assert not tried.__wrapped__()


def test_wrong_operators_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a torch whose private operators have changed gives nonsense instead of an error."""
    real = torch._weight_int8pack_mm
    laid_out("rows", monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "_weight_int8pack_mm", lambda x, w, s: real(x, w, s) * 1.1)
        assert not quantized.can_quantize.__wrapped__()
    monkeypatch.delattr(torch, "_weight_int8pack_mm")
    assert not quantized.can_quantize.__wrapped__()


@pytest.mark.parametrize(
    "config",
    [hf_config(), hf_config(layers="SLL", tie_word_embeddings=True), original_config()],
    ids=["experts", "lightning last, tied", "lightning last, odd sizes"],
)
def test_models_of_every_kind_run_and_stay_near(config: dict[str, object]) -> None:
    """If this fails --dtype int8 is wrong for mixture models, or for those that end in lightning."""
    tokens = torch.randint(0, 400, (1, 90), generator=torch.Generator().manual_seed(7))
    exact, small = random_model(config), random_model(config)
    small.convert("int8")
    with torch.inference_mode():
        state = small.new_state()
        small.absorb(tokens[:, :60], state)
        pieces = [small(tokens[:, 60:89], state), small(tokens[:, 89:], state)]
        found = small.logits(torch.cat(pieces, 1)[0])
        expected = exact.logits(exact(tokens, exact.new_state())[0, 60:])
    error = (found - expected).norm() / expected.norm()
    assert 1e-4 < error < 0.2, error


def test_the_bundled_model_still_finds_needles() -> None:
    """If this fails --dtype int8 cannot be used for the one thing the bundled model does."""
    engine = Engine.load(BUNDLED, "cpu", "int8")
    assert any(
        isinstance(m, Int8Matrix) for w in engine.model.modules() if isinstance(w, Weight) for m in w.packed
    )
    haystack = load_haystack(engine.tokenizer, None)
    grid = {"lengths": [1024], "depths": [10.0, 50.0, 90.0], "samples": 1}
    *_, report = niah(engine, haystack, **grid, kind="number", seed=11, chunk=1024)  # type: ignore[arg-type]  # a dict of mixed values
    assert isinstance(report, Report)
    assert report.share() == (3, 3)


def test_rounded_weights_are_for_the_cpu_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a GPU user gets a traceback from deep inside, or float32 in silence."""
    cpu, cuda, wide = torch.device("cpu"), torch.device("cuda"), torch.float32
    assert list(pick_forms("auto", "int8", cpu, wide)) == ["int8"]
    assert list(pick_forms("auto", "float32", cpu, wide)) == ["packed"]
    assert list(pick_forms("auto", "auto", cuda, torch.bfloat16)) == ["plain"]
    assert list(pick_forms("auto", "auto", cpu, wide)) == ["packed", "int8", "int4"]
    assert list(pick_forms("auto", "int8", cuda, torch.bfloat16)) == ["int8"]
    assert list(pick_forms("int4", "auto", cuda, torch.float16)) == ["int4"]
    for device, dtype, right in ((cuda, wide, "bfloat16"), (cpu, torch.bfloat16, "float32")):
        with pytest.raises(ModelError, match=f"--quant int4 computes in .*: --dtype {right}$"):
            next(pick_forms("int4", "auto", device, dtype))
    monkeypatch.setattr(quantized, "can_quantize", lambda: False)
    assert list(pick_forms("auto", "auto", cpu, wide)) == ["packed"]
    for quant in ("int8", "int4"):
        with pytest.raises(ModelError, match="use --quant none"):
            next(pick_forms(quant, "auto", cpu, wide))


def test_a_plan_with_int8_names_smaller_weights(tmp_path: Path) -> None:
    """If this fails a user cannot see what --dtype int8 would save."""
    text = tmp_path / "a.txt"
    text.write_text("One of the special magic numbers for quiet-lantern is: 4031775.\n" * 50)

    done = CliRunner().invoke(main, ["plan", str(text), "--dtype", "int8", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    config = read_config(BUNDLED)
    small, large = (plan.weight_bytes(config, torch.float32, form) for form in ("int8", "packed"))
    assert gib(small) in next(line for line in done.output.splitlines() if "weights" in line)
    assert small < 0.7 * large
