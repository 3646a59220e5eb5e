"""Tiny checkpoints of more families with reference logits, where they are at hand beside the repository."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import REFERENCE
from safetensors.torch import load_file

from longctx.models.config_file import read_config, translate
from longctx.models.decoder import Decoder
from longctx.models.weight import Form
from longctx.models.weights import load_model

FAMILIES = ("transnormer", "hypenet", "llama", "bailing", "sala")
CASES = sorted(path for name in FAMILIES for path in (REFERENCE / "golden").glob(f"{name}-*"))


@pytest.mark.skipif(not CASES, reason="the golden checkpoints are not beside this repository")
@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
@pytest.mark.parametrize("size", [1, 7, 64, 1 << 30, None])
def test_golden_logits_states_and_greedy_tokens(folder: Path, size: int | None) -> None:
    """If this fails a published model family gives wrong answers; size None cuts at random places."""
    golden = chosen(load_file(folder / "golden.safetensors"), "engine")
    form: Form = "packed" if size in (7, None) else "plain"
    between = json.loads((folder / "meta.json").read_text()).get("calls_must_not_end_between")
    check(golden, load_model(folder, read_config(folder), form=form), size, between)


VARIANTS = [
    (folder, name, changes)
    for folder in CASES
    for name, changes in json.loads((folder / "meta.json").read_text()).get("variants", {}).items()
]


@pytest.mark.skipif(not CASES, reason="the golden checkpoints are not beside this repository")
@pytest.mark.parametrize(("folder", "name", "changes"), VARIANTS, ids=lambda x: getattr(x, "name", None))
@pytest.mark.parametrize("size", [7, 1 << 30])
def test_other_settings_of_the_same_weights(
    folder: Path, name: str, changes: dict[str, Any], size: int
) -> None:
    """If this fails a long-context edition of a model, whose positions are stretched, reads them wrongly."""
    golden = load_file(folder / "golden.safetensors")
    raw = json.loads((folder / "config.json").read_text()) | changes
    golden |= {key: golden[f"{key}.{name}"] for key in ("logits", "greedy")}
    check(golden, load_model(folder, translate(raw, folder)), size)


def chosen(golden: dict[str, torch.Tensor], rule: str) -> dict[str, torch.Tensor]:
    """Return what a folder expects by one of two rules for decays, where it has both."""
    return golden | {name.replace(f".{rule}", ""): x for name, x in golden.items() if f".{rule}" in name}


@pytest.mark.skipif(not CASES, reason="the golden checkpoints are not beside this repository")
@pytest.mark.parametrize("folder", [c for c in CASES if c.name.startswith("bailing")], ids=lambda x: x.name)
def test_the_other_rule_for_decays(folder: Path) -> None:
    """If this fails nobody can find out by which rule a Bailing checkpoint was trained."""
    golden = {k: x for k, x in load_file(folder / "golden.safetensors").items() if "state" not in k}
    raw = json.loads((folder / "config.json").read_text()) | {"longctx_decay_rule": "hf"}
    check(chosen(golden, "hf"), load_model(folder, translate(raw, folder)), 64)


def check(
    golden: dict[str, torch.Tensor], model: Decoder, size: int | None, between: list[int] | None = None
) -> None:
    """Feed the text in pieces; compare logits, states, what `absorb` leaves, and greedy tokens."""
    tokens, state, hidden = golden["input_ids"][None], model.new_state(), []
    cut = random.Random(7)
    with torch.inference_mode():
        while state.position < tokens.shape[1]:
            end = state.position + (size or cut.randint(1, 50))
            if between and between[0] <= end < between[1]:
                end = between[1]  # a call that ends there is sparse, or is not: results differ by definition
            hidden.append(model(tokens[:, state.position : end], state))
        found = model.logits(torch.cat(hidden, 1)[0, golden["positions"]])
        assert (found - golden["logits"]).abs().max() < 5e-4
        remembered = state.tensors()
        for name, expected in golden.items():
            if name.startswith("state.") and name.count(".") == 1:
                actual = remembered[f"{name.removeprefix('state.')}.kv"][0]
                assert (actual - expected).abs().max() <= 1e-3 * expected.abs().max()
        read = model.new_state()
        model.absorb(tokens, read)
        for name, tensor in read.tensors().items():
            torch.testing.assert_close(tensor, remembered[name], rtol=1e-3, atol=1e-3)
        kept = model.new_state()
        kept.adopt(state.position, state.constants(), state.appended(dict.fromkeys(state.rows(), 0)))
        assert all(torch.equal(x, kept.tensors()[name]) for name, x in remembered.items())
        last, greedy = hidden[-1][:, -1:], []
        for _ in range(len(golden["greedy"])):
            greedy.append(int(model.logits(last[0, -1]).argmax()))
            last = model(torch.tensor([greedy[-1:]]), state)
        assert greedy == golden["greedy"].tolist()


@pytest.mark.skipif(not CASES, reason="the golden checkpoints are not beside this repository")
@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_configurations_say_what_they_are(folder: Path) -> None:
    """If this fails a family's settings are read by another family's rules."""
    assert folder.name.startswith(read_config(folder).family)
