"""Load a checkpoint folder into a Decoder, weight by weight, each straight into its final form and device.

Checkpoints are untrusted: only safetensors is read, files stay inside the folder, and every tensor must be
expected, present and of the right shape before any is loaded.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from longctx.checkpoint import read_json
from longctx.errors import ModelError
from longctx.models.config import ModelConfig
from longctx.models.config_file import ignored_tensors, weight_map
from longctx.models.decoder import Decoder
from longctx.models.published import FORMS, Published, Shape
from longctx.models.target import Target
from longctx.models.weight import Form, Weight

CPU = torch.device("cpu")
FLOATS = ("F32", "F16", "BF16")
# A multimodal checkpoint keeps the language model under this prefix; the rest of it is not ours to run.
TEXT_PREFIX = "language_model."

# File, shape and kind of numbers of each stored tensor.
Located = dict[str, tuple[Path, Shape, str]]


def load_model(
    folder: Path,
    config: ModelConfig,
    device: torch.device = CPU,
    dtype: torch.dtype = torch.float32,
    form: Form = "plain",
) -> Decoder:
    """Return the model in `folder`, ready for inference.

    Args:
        folder: holds the safetensors files.
        config: from the folder's config.json.
        device: to put the weights on.
        dtype: of the matrices; float32 for "int8" and "int4", which are computed in it.
        form: of the matrices.

    Raises:
        ModelError: naming every missing, unexpected or misshapen tensor, or the corrupt file.
    """
    located, packing = _locate(folder), FORMS.get(config.published)
    found, packed = _decoded(located, packing)
    with torch.device("meta"):
        model = Decoder(config, dtype, form)
    targets = [_chosen(target, found) for target in targets_of(model)]
    shapes: dict[str, Shape] = {}
    for target in targets:
        shapes |= target.shapes(model.get_submodule(target.weight).shape)  # type: ignore[arg-type]  # a Weight
    _compare(folder, ignored_tensors(config), found, shapes)
    with ExitStack() as opened:
        files: dict[Path, Any] = {}

        def stored(name: str) -> Tensor:
            if packing and name in packed:
                return packing.decode([read(part) for part in packing.names(name)])
            return read(name)

        def read(name: str) -> Tensor:
            path = located[name][0]
            if path not in files:
                files[path] = opened.enter_context(safe_open(path, framework="pt"))
                prefixed = any(key.startswith(TEXT_PREFIX) for key in files[path].keys())  # noqa: SIM118  # no dict
                prefixes[path] = TEXT_PREFIX if prefixed else ""
            tensor: Tensor = files[path].get_tensor(prefixes[path] + name)
            return tensor

        prefixes: dict[Path, str] = {}
        return assemble(model, targets, stored, device, form)


def targets_of(model: Decoder) -> list[Target]:
    """Return what each weight of a model is made of."""
    targets = weight_map(model.config)
    if model.config.tied_embeddings and model.head is not model.embed:
        targets += [replace(target, weight="head") for target in targets if target.weight == "embed"]
    return targets


def assemble(
    model: Decoder,
    targets: list[Target],
    stored: Callable[[str], Tensor],
    device: torch.device = CPU,
    form: Form = "plain",
) -> Decoder:
    """Fill a model made on the meta device with weights made of `stored(name)`, and choose its kernels."""
    with torch.no_grad():
        for target in targets:
            weight: Weight = model.get_submodule(target.weight)  # type: ignore[assignment]  # by the map
            shape = weight.shape if target.member is None else weight.shape[1:]
            sources = [stored(name) for name in target.sources]
            made = target.join(sources).reshape(shape) if sources else torch.ones(shape)
            weight.fill(made, form, device, target.member)
    return model.requires_grad_(False).eval().use()


def _chosen(target: Target, located: Mapping[str, Any]) -> Target:
    """Return the target with the source that is stored, if there are two to choose from."""
    if target.instead is None or target.sources[0] in located:
        return target
    return replace(target, sources=(target.instead,), instead=None)


def _decoded(located: Located, packing: Published | None) -> tuple[dict[str, Shape], set[str]]:
    """Return the shape of every tensor as it will be once decoded, and the names of those that are packed."""
    found = {name: shape for name, (_, shape, _) in located.items()}
    packed = packing.weights(found) if packing else {}
    parts = {part for name in packed for part in (packing.names(name) if packing else ())}
    for name, (path, _, kind) in located.items():
        if kind not in FLOATS and name not in parts:
            raise ModelError(f"{path}: {name} is stored as {kind}; only {FLOATS} are read")
    return {name: shape for name, shape in found.items() if name not in parts} | packed, set(packed)


def _locate(folder: Path) -> Located:
    """Return where and what every tensor of the language model is, from the files' headers alone."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        names = set(map(str, dict(read_json(index).get("weight_map", {})).values()))
        if any(Path(name).name != name for name in names):
            raise ModelError(f"{index}: names a file outside the checkpoint")
        files = sorted(folder / name for name in names)
    else:
        files = [folder / "model.safetensors"]
    located: Located = {}
    for path in files:
        if not path.is_file():
            raise ModelError(f"{path}: no such file; the checkpoint is incomplete (only safetensors is read)")
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118  # a safetensors handle is no dict
                    part = file.get_slice(name)
                    located[name] = (path, tuple(part.get_shape()), part.get_dtype())
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path}: truncated or corrupt safetensors file: {error}") from error
    if any(name.startswith(TEXT_PREFIX) for name in located):
        return {n.removeprefix(TEXT_PREFIX): at for n, at in located.items() if n.startswith(TEXT_PREFIX)}
    return located


def _compare(folder: Path, ignored: str, found: dict[str, Shape], wanted: dict[str, Shape]) -> None:
    problems = [f"missing {name}" for name in sorted(wanted.keys() - found.keys())]
    problems += [
        f"unexpected {name}" for name in sorted(found.keys() - wanted.keys()) if not re.search(ignored, name)
    ]
    problems += [
        f"{name} is {list(found[name])}, not {list(shape)}"
        for name, shape in sorted(wanted.items())
        if name in found and found[name] != shape
    ]
    if problems:
        raise ModelError(f"{folder}: weights do not match config.json: " + "; ".join(problems))
