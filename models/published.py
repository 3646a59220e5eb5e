"""Checkpoints published in few bits: which of them are read, and how their tensors become a plain weight.

A weight is decoded when it is asked for, and then takes whatever form the model is loaded in: nothing more is
rounded in a plain one, a little is in the form of 8 or 4 bits. Layouts: compressed-tensors' pack_quantized
compressor; DeepSeek-V3's weight_dequant; GPTQModel's QuantLinear, of checkpoint format 1 and 2.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from longctx.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

Shape = tuple[int, ...]
NIBBLES = 8  # in a number of 32 bits
OwnForm = Literal["int8", "int4", "int4-all"]
OURS, VERSION = "longctx ", 3  # what `models quantize` writes; see models/rounded
BLOCK = 128  # rows and columns that share a scale of fp8


@dataclass(frozen=True)
class Published:
    """How a weight called `X.weight` is stored.

    Attributes:
        parts: what follows `X.` in the names of its tensors, the first one holding the levels.
        shape: that of the weight, from that of the levels.
        decode: makes the weight, float32, of the parts in their order.
    """

    parts: tuple[str, ...]
    shape: Callable[[Shape], Shape]
    decode: "Callable[[Sequence[Tensor]], Tensor]"

    def weights(self, stored: Mapping[str, Shape]) -> dict[str, Shape]:
        """Return name and shape of every weight that is stored in this way."""
        found = {}
        for name, shape in stored.items():
            owner = name.removesuffix(self.parts[0])
            if owner != name and owner.endswith(".") and all(owner + part in stored for part in self.parts):
                found[f"{owner}weight"] = self.shape(shape)
        return found

    def names(self, weight: str) -> list[str]:
        """Return the names of the tensors that a weight is stored as."""
        return [weight.removesuffix("weight") + part for part in self.parts]


def own_form(published: str) -> OwnForm | Literal[""]:
    """Return the form of a checkpoint that `models quantize` wrote; empty for all others."""
    forms = get_args(OwnForm)
    return next((form for form in forms if published == OURS + form), "")


def published_form(settings: Mapping[str, Any]) -> str:
    """Return the key in FORMS of what a `quantization_config` describes.

    Raises:
        ModelError: naming the method, when it is none of them, or a kind of it that is not read.
    """
    method = settings.get("quant_method")
    read = {"longctx": _is_ours, "compressed-tensors": _is_packed, "fp8": _is_blocks, "gptq": _is_gptq}
    if method not in read:
        raise ModelError(
            f"config.json: checkpoints quantised by {method!r} are not supported; known: {', '.join(read)}"
        )
    if not (form := read[method](settings)):
        raise ModelError(f"config.json: this kind of {method} checkpoint is not supported ({WANTED[method]})")
    return form


WANTED = {
    "longctx": "written by another version; make it again with longctx models quantize",
    "compressed-tensors": "only pack-quantized: 4 bits, symmetric, in groups or by row, in their order",
    "fp8": f"only e4m3 in blocks of {BLOCK} x {BLOCK}",
    "gptq": "only 4 bits",
}


def _is_ours(settings: Mapping[str, Any]) -> str:
    form = str(settings.get("form"))
    return OURS + form if settings.get("version") == VERSION and form in get_args(OwnForm) else ""


def _is_packed(settings: Mapping[str, Any]) -> str:
    groups = list((settings.get("config_groups") or {}).values())
    kinds = [group.get("weights") or {} for group in groups]
    formats = {group.get("format") or settings.get("format") for group in groups}
    right = all(
        kind.get("num_bits") == 4
        and kind.get("type", "int") == "int"
        and kind.get("symmetric", True)
        and kind.get("strategy") in ("group", "channel")
        and not kind.get("actorder")
        for kind in kinds
    )
    return "packed" if kinds and right and formats == {"pack-quantized"} else ""


def _is_blocks(settings: Mapping[str, Any]) -> str:
    right = settings.get("weight_block_size") == [BLOCK, BLOCK] and settings.get("fmt", "e4m3") == "e4m3"
    return "fp8" if right else ""


def _is_gptq(settings: Mapping[str, Any]) -> str:
    kinds = {"gptq": "gptq", "gptq_v2": "gptq 2"}
    kind = kinds.get(settings.get("checkpoint_format") or "gptq", "")
    return kind if settings.get("bits") == 4 else ""


def _nibbles(words: "Tensor") -> "Tensor":
    """Return the numbers of 4 bits in (rows, n) of 32 bits, the lowest first: (rows, n * 8) int32."""
    import torch

    shifts = torch.arange(0, 4 * NIBBLES, 4, dtype=torch.int32)
    numbers: Tensor = (words[..., None] >> shifts).bitwise_and_(15)
    return numbers.reshape(len(words), -1)


def _packed(parts: "Sequence[Tensor]") -> "Tensor":
    levels, scales, shape = parts
    numbers = _nibbles(levels).sub_(8).float()
    if numbers.shape != tuple(shape.tolist()):
        raise ModelError(f"a packed weight of {tuple(numbers.shape)} says that it is {shape.tolist()}")
    made: Tensor = numbers.view(len(scales), scales.shape[1], -1) * scales.float()[..., None]
    return made.view(numbers.shape)


def _blocks(parts: "Sequence[Tensor]") -> "Tensor":
    levels, scales = parts
    made = levels.float()
    for rows, row in zip(made.split(BLOCK), scales.float(), strict=True):
        rows.mul_(row.repeat_interleave(BLOCK)[: made.shape[1]])
    return made


def _gptq(shift: int) -> "Callable[[Sequence[Tensor]], Tensor]":
    def decode(parts: "Sequence[Tensor]") -> "Tensor":
        levels, zeros, scales, groups = parts
        group = groups.long()
        below = (_nibbles(zeros) + shift).float()[group]  # format 1 stores a zero less one
        made: Tensor = (_nibbles(levels.t()).t() - below) * scales.float()[group]
        return made.t().contiguous()

    return decode


FORMS = {
    "packed": Published(
        ("weight_packed", "weight_scale", "weight_shape"), lambda s: (s[0], s[1] * NIBBLES), _packed
    ),
    "fp8": Published(("weight", "weight_scale_inv"), lambda s: s, _blocks),
    **{
        name: Published(
            ("qweight", "qzeros", "scales", "g_idx"), lambda s: (s[1], s[0] * NIBBLES), _gptq(shift)
        )
        for name, shift in (("gptq", 1), ("gptq 2", 0))
    },
}
