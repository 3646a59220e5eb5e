"""Write weights as a checkpoint folder that longctx and transformers load."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from training.shape import END_ID, Shape, Weights, config


def checkpoint_tensors(weights: Weights, shape: Shape) -> dict[str, Tensor]:
    """Add the routers of the single experts, which are not trained."""
    routers = {
        f"model.layers.{layer}.block_sparse_moe.gate.weight": torch.zeros(1, shape.hidden)
        for layer in range(shape.layers)
    }
    return {name: weight.detach() for name, weight in weights.items()} | routers


def write(folder: Path, weights: Weights, shape: Shape, tokenizer: Path) -> None:
    """Write every file of the checkpoint folder but the model card."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "model.safetensors"
    save_file(checkpoint_tensors(weights, shape), file, metadata={"format": "pt"})
    file.chmod(0o644)  # safetensors makes it private to its owner
    write_json(folder / "config.json", config(shape))
    stops = [END_ID, Tokenizer.from_file(str(tokenizer / "tokenizer.json")).token_to_id("Ċ")]  # a line end
    write_json(folder / "generation_config.json", {"eos_token_id": stops, "do_sample": False})
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tokenizer / name, folder / name)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write one JSON file as people like to read it."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
