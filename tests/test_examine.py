"""What `doctor` says of a model that is no toy of ours: here small random ones, which predict nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import VOCABULARY, hf_config, write_checkpoint
from click.testing import CliRunner

from longctx.cli import main
from longctx.engine import Engine
from longctx.examine import log_probs, perplexity

BAILING = {
    "architectures": ["BailingMoeLinearV2ForCausalLM"],
    "model_type": "bailing_moe_linear",
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "head_dim": 16,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 4,
    "layer_group_size": 4,
    "group_norm_size": 2,
    "intermediate_size": 64,
    "moe_intermediate_size": 32,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "num_shared_experts": 1,
    "n_group": 2,
    "topk_group": 1,
    "partial_rotary_factor": 0.5,
    "rope_theta": 600000.0,
}


def examined(folder: Path, *options: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return the exit code of `doctor`, and its checks by name."""
    result = CliRunner().invoke(main, ["doctor", "--model", str(folder), "--json", *options])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, {check["name"]: check for check in json.loads(result.stdout)["checks"]}


def test_a_model_is_examined(tmp_path: Path) -> None:
    """If this fails a user with real weights cannot show that they work, or that they do not."""
    report = tmp_path / "report.json"
    folder = write_checkpoint(tmp_path / "model", hf_config(), seed=3)
    code, checks = examined(folder)
    assert (code, checks["perplexity"]["ok"]) == (1, False)  # random weights predict nothing
    assert "no better than chance" in checks["perplexity"]["value"]
    assert checks["perplexity"]["numbers"]["perplexity"] > VOCABULARY / 4
    for name in ("model", "speed", "chunks of 7", "chunks of 64"):
        assert checks[name]["ok"], checks[name]
    assert checks["chunks of 7"]["numbers"]["kl"] < 1e-5
    assert checks["speed"]["numbers"]["write_rate"] > 0
    assert checks["speed"]["numbers"]["bytes"] > 1 << 26  # of a process with torch in it
    CliRunner().invoke(main, ["doctor", "--model", str(folder), "-o", str(report)])
    assert "FAIL perplexity" in report.read_text()


def test_rounded_weights_are_compared_with_whole_ones(tmp_path: Path) -> None:
    """If this fails nobody sees what --quant costs a model."""
    folder = write_checkpoint(tmp_path / "model", hf_config(), seed=3)
    _, checks = examined(folder, "--quant", "int8")
    assert "compared with float32 on the CPU" in checks["int8 weights"]["value"]
    assert 0 < checks["int8 weights"]["numbers"]["kl"] < 0.1


def test_both_decay_rules_of_bailing_are_compared(tmp_path: Path) -> None:
    """If this fails nobody finds out by which of two published rules the real models forget."""
    _, checks = examined(write_checkpoint(tmp_path / "model", BAILING, seed=3))
    numbers = checks["decay rule"]["numbers"]
    assert set(numbers) == {"engine", "hf"}
    assert numbers["engine"] != numbers["hf"]
    assert checks["decay rule"]["ok"] == (numbers["engine"] <= numbers["hf"])


def test_a_model_that_does_not_load_fails_in_one_line(tmp_path: Path) -> None:
    """If this fails a report about a broken model is a traceback."""
    folder = write_checkpoint(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"cut")
    code, checks = examined(folder)
    assert (code, checks["model"]["ok"]) == (1, False)
    assert "truncated or corrupt" in checks["model"]["value"]


def test_perplexity_is_that_of_the_definition(tmp_path: Path) -> None:
    """If this fails numbers of the report cannot be compared with anybody else's."""
    engine = Engine.load(write_checkpoint(tmp_path / "model", seed=3), "cpu", "float32")
    ids = [5, 17, 300, 2, 41]
    tokens, state = torch.tensor([ids]), engine.model.new_state()
    with torch.inference_mode():
        logits = engine.model.logits(engine.model(tokens, state))[0]
        loss = torch.nn.functional.cross_entropy(logits[:-1], tokens[0, 1:])
    assert perplexity(log_probs(engine, ids, 2), ids) == pytest.approx(float(loss.exp()), rel=1e-4)
