"""Write a trained run, or the mean of several, as a checkpoint folder that longctx and transformers load.

python -m training.export --run runs/tiny --tokenizer runs/tokenizer --out models/bundled
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from training.shape import END_ID, Shape, Weights, averaged, config
from training.train import CHECKPOINT


def checkpoint_tensors(weights: Weights, shape: Shape, sharpen: float) -> dict[str, Tensor]:
    """Add the routers of the single experts and sharpen the last layer's attention."""
    tensors = {name: weight.detach().clone() for name, weight in weights.items()}
    for layer in range(shape.layers):
        tensors[f"model.layers.{layer}.block_sparse_moe.gate.weight"] = torch.zeros(1, shape.hidden)
    if sharpen != 1.0:
        tensors[f"model.layers.{shape.layers - 1}.self_attn.q_proj.weight"] *= sharpen
    return tensors


def read_run(folder: Path) -> tuple[Weights, Shape, dict[str, Any]]:
    """Read the weights, the shape and the progress of a run."""
    with safe_open(folder / CHECKPOINT, framework="pt") as file:
        progress = json.loads(file.metadata()["progress"])
        names = [name for name in list(file.keys()) if name.startswith("model.")]
        weights = {name: file.get_tensor(name) for name in names}
    return weights, Shape(**progress["settings"]["shape"]), progress


def write(folder: Path, weights: Weights, shape: Shape, tokenizer: Path, sharpen: float) -> None:
    """Write every file of the checkpoint folder but the model card."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "model.safetensors"
    save_file(checkpoint_tensors(weights, shape, sharpen), file, metadata={"format": "pt"})
    file.chmod(0o644)  # safetensors makes it private to its owner
    write_json(folder / "config.json", config(shape))
    stops = [END_ID, Tokenizer.from_file(str(tokenizer / "tokenizer.json")).token_to_id("Ċ")]  # a line end
    write_json(folder / "generation_config.json", {"eos_token_id": stops, "do_sample": False})
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if tokenizer.resolve() != folder.resolve():
            shutil.copyfile(tokenizer / name, folder / name)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write one JSON file as people like to read it."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Read the arguments and export."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, nargs="+", required=True, help="folders with runs' checkpoints")
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sharpen", type=float, default=1.0, help="factor on the last layer's queries")
    args = parser.parse_args()
    runs = [read_run(folder) for folder in args.run]
    write(args.out, averaged([weights for weights, _, _ in runs]), runs[0][1], args.tokenizer, args.sharpen)


if __name__ == "__main__":
    main()
