"""Load a checkpoint folder (config.json and safetensors) into a HybridModel, tensor by tensor, in place.

Checkpoints are untrusted: only safetensors is read, sizes are bounded, files stay inside the folder, and
every tensor must be expected, present and of the right shape before any is loaded.
"""

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from longctx.errors import ModelError
from longctx.models.config import ModelConfig
from longctx.models.decoder import HybridModel
from longctx.models.families import minimax

# model_type in config.json (in lower case, underscores dropped) -> the family's translation.
FAMILIES: dict[str, ModuleType] = {
    "minimax": minimax,
    "minimaxtext01": minimax,
    "minimaxm1": minimax,
    "minimaxvl01": minimax,
}
LARGEST_JSON = 64 << 20
FLOATS = ("F32", "F16", "BF16")
# A multimodal checkpoint keeps the language model under this prefix; the rest of it is not ours to run.
TEXT_PREFIX = "language_model."


def read_config(folder: Path) -> ModelConfig:
    """Return the specification of the checkpoint in `folder`.

    Raises:
        ModelError: when there is no config.json, or it is not JSON, or of an unknown or refused kind.
    """
    raw = read_json(folder / "config.json")
    family = _family(raw, folder)
    try:
        config: ModelConfig = family.translate(raw)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{folder / 'config.json'}: missing or malformed setting: {error}") from error
    _check(config, folder)
    return config


def load_model(folder: Path, dtype: torch.dtype, device: torch.device) -> HybridModel:
    """Return the model in `folder`, its matrices in `dtype` on `device`, ready for inference.

    Raises:
        ModelError: naming every missing, unexpected or misshapen tensor, or the corrupt file.
    """
    config = read_config(folder)
    with torch.device("meta"):
        model = HybridModel(config, dtype)
    family = _family(read_json(folder / "config.json"), folder)
    targets = family.weight_map(config)
    located = _locate(folder)
    shapes = {name: _target_shape(model, *targets[name]) for name in targets}
    # A tied head is the embedding again, whether the file repeats it or not.
    ignored = family.IGNORED + (r"|^lm_head\.weight$" if config.tied_embeddings else "")
    _compare(folder, ignored, {name: size for name, (_, size) in located.items()}, shapes)
    model = model.to_empty(device=device)
    by_file: dict[Path, list[str]] = {}
    for name in targets:
        by_file.setdefault(located[name][0], []).append(name)
    with torch.no_grad():
        for path, names in by_file.items():
            _load_file(model, path, {name: targets[name] for name in names})
    return model.requires_grad_(False).eval()


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file of the checkpoint; ModelError when there is none."""
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise ModelError(f"{path}: larger than {LARGEST_JSON >> 20} MiB; not a file of a checkpoint")
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such file; --model takes a folder with config.json in it") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path}: holds no JSON object")
    return value


def _family(raw: dict[str, Any], folder: Path) -> ModuleType:
    kind = str(raw.get("model_type", "")).lower().replace("_", "")
    if kind not in FAMILIES:
        raise ModelError(
            f"{folder}: unknown architecture {raw.get('model_type')!r}; "
            "known are minimax, minimax_text_01, minimax_m1 and the text part of minimax_vl_01"
        )
    return FAMILIES[kind]


def _check(config: ModelConfig, folder: Path) -> None:
    sizes: tuple[int, ...] = (
        config.vocab_size,
        config.hidden_size,
        config.n_heads,
        config.n_kv_heads,
        config.head_dim,
    )
    sizes += (config.intermediate_size, config.n_experts, config.n_experts_per_token, len(config.layers))
    if min(sizes) < 1 or config.n_heads % config.n_kv_heads or config.n_experts_per_token > config.n_experts:
        raise ModelError(f"{folder / 'config.json'}: sizes do not fit each other")
    if any(not 0 <= head < config.n_heads for head in config.pointer_heads):
        raise ModelError(f"{folder / 'config.json'}: pointer_heads names a head that is not there")


def _locate(folder: Path) -> dict[str, tuple[Path, tuple[int, ...]]]:
    """Return file and shape of every tensor of the language model, from the files' headers alone."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        names = set(map(str, dict(read_json(index).get("weight_map", {})).values()))
        if any(Path(name).name != name for name in names):
            raise ModelError(f"{index}: names a file outside the checkpoint")
        files = sorted(folder / name for name in names)
    else:
        files = [folder / "model.safetensors"]
    located: dict[str, tuple[Path, tuple[int, ...]]] = {}
    for path in files:
        if not path.is_file():
            raise ModelError(f"{path}: no such file; the checkpoint is incomplete (only safetensors is read)")
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118  # a safetensors handle is no dict
                    part = file.get_slice(name)
                    if part.get_dtype() not in FLOATS:
                        raise ModelError(
                            f"{path}: {name} is stored as {part.get_dtype()}; only {FLOATS} are read"
                        )
                    located[name] = (path, tuple(part.get_shape()))
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path}: truncated or corrupt safetensors file: {error}") from error
    if any(name.startswith(TEXT_PREFIX) for name in located):
        return {n.removeprefix(TEXT_PREFIX): at for n, at in located.items() if n.startswith(TEXT_PREFIX)}
    return located


def _target_shape(model: HybridModel, parameter: str, view: Any) -> tuple[int, ...]:
    return tuple(view(model.get_parameter(parameter)).shape)


def _compare(
    folder: Path,
    ignored: str,
    found: dict[str, tuple[int, ...]],
    wanted: dict[str, tuple[int, ...]],
) -> None:
    def flat(shape: tuple[int, ...]) -> tuple[int, ...]:
        return (int(torch.Size(shape[:-1]).numel()), shape[-1]) if len(shape) > 1 else shape

    problems = [f"missing {name}" for name in sorted(wanted.keys() - found.keys())]
    problems += [
        f"unexpected {name}" for name in sorted(found.keys() - wanted.keys()) if not re.search(ignored, name)
    ]
    problems += [
        f"{name} is {list(found[name])}, not {list(flat(shape))}"
        for name, shape in sorted(wanted.items())
        if name in found and flat(found[name]) != flat(shape)
    ]
    if problems:
        raise ModelError(f"{folder}: weights do not match config.json: " + "; ".join(problems))


def _load_file(model: HybridModel, path: Path, targets: dict[str, minimax.Target]) -> None:
    prefix = ""
    with safe_open(path, framework="pt") as file:
        names = set(file.keys())
        if any(name.startswith(TEXT_PREFIX) for name in names):
            prefix = TEXT_PREFIX
        for name, (parameter, view) in targets.items():
            destination = view(model.get_parameter(parameter))
            destination.copy_(file.get_tensor(prefix + name).view(destination.shape))
