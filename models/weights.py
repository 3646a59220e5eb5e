"""Load a checkpoint folder into a Decoder, weight by weight, each straight into its final form and device.

Checkpoints are untrusted: every tensor must be expected, present and of the right shape before any is loaded.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longctx.errors import ModelError
from longctx.kernels.linear import Matrix
from longctx.kernels.rounded import RoundedMatrix
from longctx.kernels.select import HALVES
from longctx.machine import give_back_memory
from longctx.models import rounded
from longctx.models.config import ModelConfig
from longctx.models.config_file import ignored_tensors, weight_map
from longctx.models.decoder import Decoder
from longctx.models.feedforward import Experts
from longctx.models.offload import AwayExperts, ExpertCache
from longctx.models.published import FORMS, Published, Shape, own_form
from longctx.models.shards import KINDS, WINDOW, Located, Shards
from longctx.models.slots import Expert, Kind, parts
from longctx.models.target import Target
from longctx.models.weight import Form, Weight

CPU = torch.device("cpu")
EXPERT = ("w1", "w3", "w2")  # the matrices of an expert, in the order of their use
FLOATS = ("F32", "F16", "BF16")


def load_model(
    folder: Path,
    config: ModelConfig,
    device: torch.device = CPU,
    dtype: torch.dtype = torch.float32,
    form: Form = "plain",
    cache: ExpertCache | None = None,
) -> Decoder:
    """Return the model in `folder`, ready for inference.

    Args:
        folder: holds the safetensors files.
        config: from the folder's config.json.
        device: to put the weights on.
        dtype: of the matrices; on the CPU float32 for "int8" and "int4", which are computed in it.
        form: of the matrices.
        cache: what brings experts to the device when they are used; None: all of them are there.

    Raises:
        ModelError: naming every missing, unexpected or misshapen tensor, or the corrupt file.
    """
    if written := own_form(config.published):
        return load_rounded(folder, config, device, dtype, form, written, cache)
    opened = Opened(folder, config, dtype, form)
    targets = opened.targets if cache is None or cache.at_once else _leave(opened, cache, form)
    model = assemble(opened.model, targets, opened.stored, device, form, CPU if cache else None)
    opened.shards.close()
    return put_aside(model, cache, form) if cache and cache.at_once else model


def _leave(opened: "Opened", cache: ExpertCache, form: Form) -> list[Target]:
    """Leave a checkpoint's experts in its files; return the targets of all other weights."""

    def make(target: Target, weight: Weight) -> Matrix:
        return weight.converted(made_of(target, weight, opened.copied), form)

    weights, makers = named(opened.model), dict[str, list[Callable[[], Matrix]]]()
    for target in opened.targets:
        if target.member is not None:
            makers.setdefault(target.weight, []).append(partial(make, target, weights[target.weight]))
    _connect(opened.model, cache, makers, form)
    return [target for target in opened.targets if target.member is None]


def put_aside(model: Decoder, cache: ExpertCache, form: Form) -> Decoder:
    """Move the experts of a model to memory of the host, from where the cache brings them."""
    makers: dict[str, list[Callable[[], Matrix]]] = {}
    for name, weight in named(model).items():
        if _is_stack(name):
            stack = weight.leave()
            give_back_memory()
            tensors = [cache.pinned(part.to(CPU)) for part in parts(stack)]
            aside = tensors[0] if isinstance(stack, Tensor) else RoundedMatrix(*tensors)
            makers[name] = [partial(aside.__getitem__, e) for e in range(len(aside))]
    _connect(model, cache, makers, form)
    return model.use()


def _connect(
    model: Decoder, cache: ExpertCache, makers: Mapping[str, list[Callable[[], Matrix]]], form: Form
) -> None:
    """Let the layers ask the cache for their experts."""
    before: AwayExperts | None = None
    for index, layer in enumerate(model.blocks()):
        if isinstance(layer.mlp, Experts):
            names = [f"layers.{index}.mlp.{name}" for name in EXPERT]
            weights = [named(model)[name] for name in names]
            together = [partial(_made, each) for each in zip(*(makers[name] for name in names), strict=True)]
            size = sum(weight.bytes_as(form) for weight in weights) // len(together)
            kinds = [Kind(weight.shape[1], weight.shape[2], weight.kind_as(form)) for weight in weights]
            for weight in weights:
                weight.leave()
            layer.mlp.away = cache.layer(together, size, kinds)
            if before:
                before.following = layer.mlp.away
            before = layer.mlp.away
    model.experts = cache


def _made(makers: Sequence[Callable[[], Matrix]]) -> Expert:
    w1, w3, w2 = (make() for make in makers)
    return w1, w3, w2


def _is_stack(name: str) -> bool:
    """Tell whether a weight, by its name, is a matrix of each expert of a layer."""
    return ".mlp." in name and name.rsplit(".", 1)[-1] in EXPERT


class Opened:
    """A checkpoint that was compared with its configuration, before any weight is read.

    Attributes:
        model: on the meta device.
        targets: what each of its weights is made of.
        shards: the stored tensors.
    """

    def __init__(self, folder: Path, config: ModelConfig, dtype: torch.dtype, form: Form):
        self.shards, self._packing = Shards(folder), FORMS.get(config.published)
        found, self._packed = _decoded(self.shards.located, self._packing)
        with torch.device("meta"):
            self.model = Decoder(config, dtype, form)
        self.targets = [_chosen(target, found) for target in targets_of(self.model)]
        shapes: dict[str, Shape] = {}
        for target in self.targets:
            shapes |= target.shapes(self.model.get_submodule(target.weight).shape)  # type: ignore[arg-type]  # a Weight
        _compare(folder, ignored_tensors(config), found, shapes)

    def stored(self, name: str) -> Tensor:
        """Return a tensor, decoded if it was published in few bits."""
        return self._decoded(name, self.shards)

    def copied(self, name: str) -> Tensor:
        """Return the same in memory of its own, read while the model runs."""
        return self._decoded(name, self.shards.copy)

    def _decoded(self, name: str, read: Callable[[str], Tensor]) -> Tensor:
        if self._packing and name in self._packed:
            return self._packing.decode([read(part) for part in self._packing.names(name)])
        return read(name)

    def kind(self, target: Target) -> torch.dtype:
        """Return the numbers that lose nothing of what a target is made of."""
        kinds = {self.shards.located[name][2] for name in target.sources if name not in self._packed}
        return next((dtype for dtype, kind in KINDS.items() if kinds == {kind}), torch.float32)


def load_rounded(
    folder: Path,
    config: ModelConfig,
    device: torch.device,
    dtype: torch.dtype,
    form: Form,
    kept: Form,
    cache: ExpertCache | None = None,
) -> Decoder:
    """Return a model that `models quantize` wrote in the form `kept`.

    Matrices of 4 bits are mapped, unless experts stay in the files: then nothing is, for a file that shrinks
    under a mapping kills the process.
    """
    shards = Shards(folder)
    with torch.device("meta"):
        model, written = Decoder(config, dtype, form), Decoder(config, torch.float32, kept)
    found = {name: shape for name, (_, shape, _) in shards.located.items()}
    wanted: dict[str, Shape] = {}
    for name, weight in named(written).items():
        wanted |= {key: shape for key, (_, shape) in rounded.kinds_of(name, weight, kept).items()}
    _compare(folder, "^$", found, wanted)
    makers: dict[str, list[Callable[[], Matrix]]] = {}
    stored = shards.copy if cache and not cache.at_once else shards

    def make(name: str, weight: Weight, kind: Weight, member: int) -> Matrix:
        matrix = rounded.read(shards.copy, name, kind, kept, member)
        same = weight.final(form) == kind.final(kept) and weight.weight.dtype not in HALVES
        return rounded.in_memory(weight, matrix, same, form)

    with torch.no_grad():
        for name, weight in named(model).items():
            source = name if name in named(written) else "embed"  # a head of its own
            kind = written.get_submodule(source)
            assert isinstance(kind, Weight)
            aside = cache is not None and _is_stack(name)
            if cache and aside and not cache.at_once:
                makers[name] = [partial(make, source, weight, kind, e) for e in range(weight.shape[0])]
                continue
            rounded.fill(weight, stored, source, kind, kept, form, CPU if aside else device)
    if cache and not cache.at_once:
        _connect(model, cache, makers, form)
    shards.close()
    model.requires_grad_(False).eval()
    return put_aside(model, cache, form) if cache and cache.at_once else model.use()


def named(model: Decoder) -> dict[str, Weight]:
    """Return every weight once, by its name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Weight)}


def made_of(target: Target, weight: Weight, stored: Callable[[str], Tensor]) -> Tensor:
    """Return the weight, or the matrix of a stack, that a target describes."""
    shape = weight.shape if target.member is None else weight.shape[1:]
    sources = [stored(name) for name in target.sources]
    return target.join(sources).reshape(shape) if sources else torch.ones(shape)


def targets_of(model: Decoder) -> list[Target]:
    """Return what each weight of a model is made of."""
    targets = weight_map(model.config)
    if model.config.tied_embeddings and model.head is not model.embed:
        # First, for what is largest is read into the least memory then.
        targets[:0] = [replace(target, weight="head") for target in targets if target.weight == "embed"]
    return targets


def assemble(
    model: Decoder,
    targets: list[Target],
    stored: Callable[[str], Tensor],
    device: torch.device = CPU,
    form: Form = "plain",
    of_experts: torch.device | None = None,
) -> Decoder:
    """Fill a model made on the meta device with weights made of `stored(name)`, and choose its kernels.

    Args:
        of_experts: the device for matrices of experts, if it is another one.
    """
    done = 0
    with torch.no_grad():
        for target in targets:
            weight: Weight = model.get_submodule(target.weight)  # type: ignore[assignment]  # by the map
            made = made_of(target, weight, stored)
            weight.fill(made, form, device if target.member is None else of_experts or device, target.member)
            if (done := done + made.nbytes) > WINDOW:
                done = 0
                give_back_memory()
    give_back_memory()
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
