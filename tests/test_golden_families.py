"""Tiny checkpoints of more families with reference logits, where they are at hand beside the repository."""

import json
import random
from pathlib import Path

import pytest
import torch
from conftest import REFERENCE
from safetensors.torch import load_file

from longctx.models.config_file import read_config
from longctx.models.weights import load_model

FAMILIES = ("transnormer",)
CASES = sorted(path for name in FAMILIES for path in (REFERENCE / "golden").glob(f"{name}-*"))


@pytest.mark.skipif(not CASES, reason="the golden checkpoints are not beside this repository")
@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
@pytest.mark.parametrize("size", [1, 7, 64, 1 << 30, None])
def test_golden_logits_states_and_greedy_tokens(folder: Path, size: int | None) -> None:
    """If this fails a published model family gives wrong answers; size None cuts at random places."""
    golden = load_file(folder / "golden.safetensors")
    model = load_model(folder, read_config(folder), form="packed" if size in (7, None) else "plain")
    tokens, state, hidden = golden["input_ids"][None], model.new_state(), []
    cut = random.Random(folder.name)
    with torch.inference_mode():
        while state.position < tokens.shape[1]:
            step = size or cut.randint(1, 50)
            hidden.append(model(tokens[:, state.position : state.position + step], state))
        found = model.logits(torch.cat(hidden, 1)[0, golden["positions"]])
        assert (found - golden["logits"]).abs().max() < 5e-4
        remembered = state.tensors()
        for name, expected in golden.items():
            if name.startswith("state."):
                actual = remembered[f"{name.removeprefix('state.')}.kv"][0]
                assert (actual - expected).abs().max() <= 1e-3 * expected.abs().max()
        read = model.new_state()
        model.absorb(tokens, read)
        for name, tensor in read.tensors().items():
            torch.testing.assert_close(tensor, remembered[name], rtol=1e-3, atol=1e-3)
        last, greedy = hidden[-1][:, -1:], []
        for _ in range(len(golden["greedy"])):
            greedy.append(int(model.logits(last[0, -1]).argmax()))
            last = model(torch.tensor([greedy[-1:]]), state)
        assert greedy == golden["greedy"].tolist()


@pytest.mark.skipif(not CASES, reason="the golden checkpoints are not beside this repository")
@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_configurations_say_what_they_are(folder: Path) -> None:
    """If this fails a family's settings are read by another family's rules."""
    assert read_config(folder).family in json.loads((folder / "config.json").read_text())["model_type"]
