"""Write a trained run as a checkpoint folder that longctx and transformers load.

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

from training.network import Shape, Weights
from training.train import CHECKPOINT

END_ID = 0
CONTEXT = 10_485_760


def config(shape: Shape) -> dict[str, Any]:
    """Describe the model in the words of transformers' MiniMax; the huge factor switches positions off."""
    kinds = [{"L": "linear_attention", "S": "full_attention"}[mixer] for mixer in shape.mixers]
    rope = {"rope_type": "default", "rope_theta": shape.theta}
    if not shape.theta:
        rope = {"rope_type": "linear", "factor": 1e12, "rope_theta": 10000.0}
    residual = {"alpha": shape.alpha, "beta": 1.0}
    alphas = {
        f"{part}_{kind}_factor": value
        for part in ("linear_attn", "full_attn", "mlp")
        for kind, value in residual.items()
    }
    return {
        "architectures": ["MiniMaxForCausalLM"],
        "model_type": "minimax",
        "dtype": "float32",
        "vocab_size": shape.vocab,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.ffn,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.width,
        "layer_types": kinds,
        "num_local_experts": 1,
        "num_experts_per_tok": 1,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_parameters": rope,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": True,
        "block_size": 256,
        **alphas,
        "bos_token_id": None,
        "eos_token_id": END_ID,
        "pad_token_id": None,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "sliding_window": None,
        "use_cache": True,
        "pointer_heads": list(range(shape.pointers)) if shape.mixers.endswith("S") else [],
    }


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
    parser.add_argument("--run", type=Path, required=True, help="folder with the run's checkpoint")
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sharpen", type=float, default=1.0, help="factor on the last layer's queries")
    args = parser.parse_args()
    weights, shape, _ = read_run(args.run)
    write(args.out, weights, shape, args.tokenizer, args.sharpen)


if __name__ == "__main__":
    main()
