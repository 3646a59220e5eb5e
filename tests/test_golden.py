"""Published-shape checkpoints with reference logits, where they are at hand beside the repository."""

import json
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from conftest import REFERENCE
from safetensors.torch import load_file

from longctx.models.config_file import read_config
from longctx.models.decoder import Decoder
from longctx.models.weights import load_model

CASES = sorted((REFERENCE / "golden").glob("minimax-*")) if REFERENCE.is_dir() else []
EVERYTHING = 1 << 30
# Chunks of a few tokens are fed at both ends of a text alone: there lie most of the positions compared, and
# in several texts the first page's end. What comes between is computed from the states they left.
END, BETWEEN = 130, 256


@cache
def loaded(folder: Path, packed: bool) -> Decoder:
    """Load each model once in each form: the CPU's own weight layout is what commands run."""
    return load_model(folder, read_config(folder), form="packed" if packed else "plain")


def chunks(length: int, size: int | None, cut: random.Random) -> Iterator[tuple[int, int]]:
    """Yield where each chunk of a text begins and ends."""
    start = 0
    while start < length:
        end = start + (size or cut.randint(1, 300))
        if size in (1, 7) and END <= start < length - END:
            end = min(start + BETWEEN, length - END)
        yield start, end
        start = end


@pytest.mark.skipif(not CASES, reason="the golden checkpoints are not beside this repository")
@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
@pytest.mark.parametrize("size", [1, 7, 255, 256, 257, EVERYTHING, None])
def test_golden_logits_states_and_greedy_tokens(folder: Path, size: int | None) -> None:
    """If this fails a published model family gives wrong answers; size None cuts at random places."""
    golden = load_file(folder / "golden.safetensors")
    tolerance = json.loads((folder / "golden.json").read_text())["suggested_tolerance_float32"]
    model = loaded(folder, packed=size in (7, 256, None))
    lengths = sorted(int(name[1:].split(".")[0]) for name in golden if name.endswith("input_ids"))
    cut = random.Random(folder.name)
    with torch.inference_mode():
        for length in lengths:
            tokens, state, hidden = golden[f"t{length}.input_ids"][None], model.new_state(), []
            for start, end in chunks(length, size, cut):
                hidden.append(model(tokens[:, start:end], state))
            assert state.position == length
            found = model.logits(torch.cat(hidden, 1)[0, golden[f"t{length}.positions"]])
            assert (found - golden[f"t{length}.logits"]).abs().max() <= tolerance["logits_max_abs"]
            for name, tensor in state.tensors().items():
                if (expected := golden.get(f"t{length}.state.{name.removesuffix('.kv')}")) is not None:
                    worst = (tensor[0] - expected).abs().max() / expected.abs().max()
                    assert worst <= tolerance["state_max_rel"]
            last, greedy = hidden[-1][:, -1:], []
            for _ in range(16):
                greedy.append(int(model.logits(last[0, -1]).argmax()))
                last = model(torch.tensor([greedy[-1:]]), state)
            assert greedy == golden[f"t{length}.greedy"].tolist()
