"""Weights rounded while they are loaded: models of every family stay near, and plans name their bytes."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import hf_config, original_config, write_checkpoint
from click.testing import CliRunner, Result
from conftest import REFERENCE
from test_families import BAILING, CONFIGS

from longctx import plan
from longctx.cli import main
from longctx.kernels.int4 import Int4Matrix, can_quantize4
from longctx.kernels.quantized import Int8Matrix, can_quantize
from longctx.models.config_file import read_config, translate
from longctx.models.decoder import Decoder
from longctx.models.state import State
from longctx.models.weight import Form
from longctx.models.weights import load_model

pytestmark = pytest.mark.skipif(
    not (can_quantize() and can_quantize4()), reason="this torch has no such products for this CPU"
)
# Relative error of the logits and share of the likeliest tokens that stay: 8 bits, 4, 4 all over. Weights are
# random: every logit is near the next one, and where there are routers, so are the experts.
BOUNDS = {
    "minimax-hf-long": ((0.1, 0.9), (0.25, 0.75), (0.4, 0.55)),
    "minimax-hf-pure-linear": ((0.1, 0.9), (0.35, 0.65), (0.5, 0.55)),
    "minimax-orig-text01": ((0.15, 0.85), (0.15, 0.85), (0.45, 0.5)),
    "hypenet-a": ((0.15, 0.8), (0.15, 0.8), (0.45, 0.45)),  # 56 wide, no multiple of a group: 8 bits all over
    "hypenet-b": ((0.12, 0.85), (0.35, 0.65), (0.35, 0.65)),
    "bailing-linear-yarn": ((0.35, 0.7), (0.45, 0.5), (0.9, 0.15)),
    "llama-a": ((0.1, 0.85), (0.35, 0.6), (0.65, 0.25)),
}
CASES = [folder for name in BOUNDS if (folder := REFERENCE / "golden" / name).is_dir()]


def logits(model: Decoder, tokens: torch.Tensor, size: int, state: State | None = None) -> torch.Tensor:
    state = state or model.new_state()
    with torch.inference_mode():
        hidden = [model(part, state) for part in tokens[None].split(size, dim=1)]
        return model.logits(torch.cat(hidden, 1)[0])


def distance(found: torch.Tensor, expected: torch.Tensor) -> tuple[float, float]:
    """Return the relative error, and the share of tokens whose likeliest next one is the same."""
    same = (found.argmax(-1) == expected.argmax(-1)).float().mean()
    return float((found - expected).norm() / expected.norm()), float(same)


@pytest.mark.skipif(not CASES, reason="the golden checkpoints are not beside this repository")
@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
@pytest.mark.parametrize("form", ["int8", "int4", "int4-all"])
def test_rounded_models_stay_near(folder: Path, form: Form) -> None:
    """If this fails --quant gives answers of another model, or others for every size of a chunk."""
    config = read_config(folder)
    tokens = torch.randint(config.vocab_size, (200,), generator=torch.Generator().manual_seed(0))
    model = load_model(folder, config, form=form)
    whole = logits(model, tokens, 200)
    error, same = distance(whole, logits(load_model(folder, config), tokens, 200))
    most, least = BOUNDS[folder.name][["int8", "int4", "int4-all"].index(form)]
    assert 1e-3 < error < most, error
    assert same > least
    for size in (64, 33):  # the last one leaves few tokens, which some products round in another way
        error, same = distance(logits(model, tokens, size), whole)
        assert error < 0.2, (size, error)
        assert same > 0.85


@pytest.mark.parametrize("name", CONFIGS)
def test_a_state_restored_gives_the_same(name: str, tmp_path: Path) -> None:
    """If this fails a reading that was forked or kept is answered otherwise with rounded weights."""
    raw = CONFIGS[name] | {"torch_dtype": "float32"}
    tokens = torch.randint(90, (60,), generator=torch.Generator().manual_seed(7))
    model = load_model(write_checkpoint(tmp_path, raw), read_config(tmp_path), form="int4")
    state = model.new_state()
    logits(model, tokens[:40], 40, state)
    copy = model.new_state()
    copy.position = state.position
    for ours, theirs in zip(copy.layers, state.layers, strict=True):
        ours.restore(theirs.tensors())
    assert torch.equal(logits(model, tokens[40:], 7, copy), logits(model, tokens[40:], 7, state))


WIDER = BAILING | {"hidden_size": 64, "moe_intermediate_size": 32, "num_experts": 16}


@pytest.mark.parametrize("form", ["plain", "int8", "int4", "int4-all"])
@pytest.mark.parametrize(
    "raw",
    [
        hf_config(layers="LSL"),
        hf_config(layers="SL", num_local_experts=1, tie_word_embeddings=True),
        original_config(),
        WIDER,
        *CONFIGS.values(),
    ],
)
def test_planned_weights_are_the_weights(raw: dict[str, Any], form: Form, tmp_path: Path) -> None:
    """If this fails `plan --quant` is wrong by gigabytes."""
    config = translate({**raw, "torch_dtype": "bfloat16"}, tmp_path)
    model = load_model(write_checkpoint(tmp_path, raw), config, form=form)
    held = sum(p.nbytes for p in model.parameters())
    for matrix in (matrix for weight in model.weights() for matrix in weight.packed):
        if isinstance(matrix, Int8Matrix | Int4Matrix):
            fields = (getattr(matrix, field.name) for field in dataclasses.fields(matrix))
            held += sum(x.nbytes for x in fields if isinstance(x, torch.Tensor))
            if isinstance(matrix, Int8Matrix) and matrix.layout == "fbgemm":  # does not tell its size
                held += matrix.levels.unpack()[0].numel()
        else:  # oneDNN's layout does not tell its size
            assert isinstance(matrix, torch.Tensor)
            held += 4 * matrix.numel()
    assert plan.weight_bytes(config, torch.float32, form) == held


def test_four_bits_are_for_what_is_large(tmp_path: Path) -> None:
    """If this fails --quant int4 rounds what every token goes through, and answers get worse for nothing."""
    model = load_model(write_checkpoint(tmp_path, WIDER), read_config(tmp_path), form="int4")
    kinds = {
        name: type(module.packed[0]).__name__ if module.packed else "plain"
        for name, module in model.named_modules()
        if hasattr(module, "packed")
    }
    assert {kinds[f"layers.1.mlp.{w}"] for w in ("w1", "w2", "w3")} == {"Int4Matrix"}
    for name in (
        "head",
        "layers.0.mixer.qkv",
        "layers.0.mlp.up",
        "layers.1.mlp.shared.up",
        "layers.1.mixer.q",
    ):
        assert kinds[name] == "Int8Matrix"
    assert kinds["layers.1.mlp.router"] in ("plain", "Tensor")  # oneDNN's layout of float32
    assert kinds["embed"] == "Int8Matrix"
    dense = hf_config(layers="LS", num_local_experts=1, tie_word_embeddings=True)
    model = load_model(write_checkpoint(tmp_path, dense), read_config(tmp_path), form="int4")
    layer: Any = model.layers[0]
    assert isinstance(layer.mlp.up.packed[0], Int4Matrix)
    assert isinstance(model.head.packed[0], Int8Matrix)  # of its own, though tied
    assert isinstance(model.embed.packed[0], Int8Matrix)  # rows of 8 bits, as they are looked up


def test_what_does_not_fit_is_rounded_and_said(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails a model that would run in 8 bits is refused, or answers are rounded without a word."""
    text = tmp_path / "a.txt"
    text.write_text("Nobody in the village knew why the river had changed its course.\n" * 9)
    given = str(text), "--model", str(checkpoint), "--max-tokens", "3", "--chunk", "16"
    whole = json.loads(invoked("plan", *given, "--json").stdout)
    assert whole["form"] == "packed"
    assert whole["forms"]["float32"] == whole["weights"]
    less = whole["needed"] - (whole["weights"] - whole["forms"]["int8"]) // 2
    monkeypatch.setattr(plan, "_available", lambda device: less)
    asked = "ask", "Why?", *given
    done = invoked(*asked)
    assert done.exit_code == 0, done.output
    assert "do not fit; rounded to int8" in done.stderr
    for choice in ("--quant", "none"), ("--dtype", "float32"):
        refused = invoked(*asked, *choice)
        assert refused.exit_code == 5
        assert "(float32)" in refused.stderr
    assert invoked(*asked, "--quant", "int4").exit_code == 0
    assert "(int4)" in invoked("plan", *given, "--quant", "int4").stdout


def invoked(*arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--device", "cpu"])


def test_reading_with_rounded_experts_is_timed() -> None:
    """If this fails `plan --quant int4` of a model with dense layers and experts ends in a traceback."""
    config = translate(WIDER | {"torch_dtype": "float32"}, Path("config.json"))
    seconds = plan.read_seconds(config, 64, torch.device("cpu"), torch.float32, 32, "int4")
    assert seconds is not None
    assert seconds > 0
