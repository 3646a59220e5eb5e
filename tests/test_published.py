"""Checkpoints published in few bits: each kind decodes to the weights that its authors meant."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import write_checkpoint
from safetensors.torch import load_file, save_file
from test_families import BAILING

from longctx.errors import ModelError
from longctx.models.config_file import read_config
from longctx.models.weights import load_model

CONFIG = BAILING | {"hidden_size": 256, "moe_intermediate_size": 160, "torch_dtype": "float32"}
PACKED: dict[str, Any] = {
    "quant_method": "compressed-tensors",
    "format": "pack-quantized",
    "config_groups": {
        "group_0": {
            "weights": {
                "num_bits": 4,
                "type": "int",
                "symmetric": True,
                "strategy": "group",
                "group_size": 32,
            }
        }
    },
}
FP8: dict[str, Any] = {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}
GPTQ: dict[str, Any] = {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": True}
Tensors = dict[str, torch.Tensor]


def words(numbers: torch.Tensor) -> torch.Tensor:
    """Put eight numbers of 4 bits, one after the other in a row, into one of 32, the first lowest."""
    parts = numbers.long().unflatten(1, (-1, 8))
    total = torch.zeros(parts.shape[:2], dtype=torch.int64)
    for place in range(8):
        total |= parts[..., place] << (4 * place)
    return torch.where(total >= 1 << 31, total - (1 << 32), total).to(torch.int32)


def packed(weight: torch.Tensor) -> tuple[Tensors, torch.Tensor]:
    """Write what compressed-tensors writes, and the weight that it means."""
    groups = weight.unflatten(1, (-1, 32))
    scales = (groups.abs().amax(2) / 7).bfloat16()
    levels = (groups / scales.float()[..., None]).round().clamp(-8, 7)
    shape = torch.tensor(weight.shape)
    stored = {"weight_packed": words(levels.flatten(1) + 8), "weight_scale": scales, "weight_shape": shape}
    return stored, (levels * scales.float()[..., None]).flatten(1)


def blocks(weight: torch.Tensor) -> tuple[Tensors, torch.Tensor]:
    """Write fp8 in blocks of 128 by 128, some of them cut, and the weight that it means."""
    grid = [-(-size // 128) for size in weight.shape]
    scales, levels, meant = torch.empty(grid), torch.empty_like(weight), torch.empty_like(weight)
    for i in range(grid[0]):
        for j in range(grid[1]):
            part = slice(i * 128, i * 128 + 128), slice(j * 128, j * 128 + 128)
            scales[i, j] = weight[part].abs().max() / 448
            levels[part] = (weight[part] / scales[i, j]).to(torch.float8_e4m3fn).float()
            meant[part] = levels[part] * scales[i, j]
    return {"weight": levels.to(torch.float8_e4m3fn), "weight_scale_inv": scales}, meant


def gptq(weight: torch.Tensor, less: int) -> tuple[Tensors, torch.Tensor]:
    """Write columns in an order of their own, zeros that differ, less one in the first format."""
    rows, columns = weight.shape
    groups = torch.arange(columns)[torch.randperm(columns)] // 32
    scales = torch.rand(columns // 32, rows).half() * 0.02 + 0.01
    zeros = torch.randint(1, 16, scales.shape)
    levels = (weight.T / scales.float()[groups] + zeros[groups]).round().clamp(0, 15)
    stored = {
        "qweight": words(levels.T).T.contiguous(),
        "qzeros": words(zeros - less),
        "scales": scales,
        "g_idx": groups.to(torch.int32),
    }
    return stored, ((levels - zeros[groups]) * scales.float()[groups]).T.contiguous()


CASES: dict[str, tuple[dict[str, Any], Any, str]] = {
    "packed experts": (PACKED, packed, r"mlp\.experts\."),
    "fp8": (FP8, blocks, r"mlp\.experts\.|query_key_value|dense"),
    "gptq": (GPTQ, lambda w: gptq(w, 1), r"mlp\.experts\.|attention\.dense"),
    "gptq, format 2": (GPTQ | {"checkpoint_format": "gptq_v2"}, lambda w: gptq(w, 0), r"mlp\.experts\."),
}


@pytest.mark.parametrize("name", CASES)
def test_published_forms_are_read_as_they_are_meant(name: str, tmp_path: Path) -> None:
    """If this fails a checkpoint of few bits is refused, or runs with other weights than its authors'."""
    settings, encode, pattern = CASES[name]
    torch.manual_seed(0)
    plain, small = tmp_path / "plain", tmp_path / "small"
    for folder in (plain, small):
        write_checkpoint(folder, CONFIG)
    tensors, meant = load_file(plain / "model.safetensors"), {}
    for key in list(tensors):
        if re.search(pattern, key):
            stored, meant[key] = encode(tensors.pop(key))
            tensors |= {key.removesuffix("weight") + part: x for part, x in stored.items()}
    assert len(meant) > 20
    save_file({k: x.contiguous() for k, x in tensors.items()}, small / "model.safetensors")
    (small / "config.json").write_text(json.dumps(CONFIG | {"quantization_config": settings}))
    save_file(load_file(plain / "model.safetensors") | meant, plain / "model.safetensors")
    expected = load_model(plain, read_config(plain)).state_dict()
    for key, tensor in load_model(small, read_config(small)).state_dict().items():
        torch.testing.assert_close(tensor, expected[key], rtol=1e-6, atol=1e-7, msg=key)
    load_model(small, read_config(small), form="int4")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quant_method": "awq"}, "quantised by 'awq'"),
        ({"bits": 4}, "quantised by None"),
        (GPTQ | {"bits": 3}, "gptq"),
        (FP8 | {"weight_block_size": None}, "blocks of 128 x 128"),
        (PACKED | {"format": "nvfp4-pack-quantized"}, "only pack-quantized"),
        (PACKED | {"config_groups": {"a": {"weights": {"num_bits": 8, "strategy": "group"}}}}, "4 bits"),
        ([], "malformed"),
    ],
)
def test_other_forms_are_refused_by_name(settings: Any, message: str, tmp_path: Path) -> None:
    """If this fails codes of another kind are used as if they were weights."""
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"quantization_config": settings or [1]}))
    with pytest.raises(ModelError, match=message) as caught:
        read_config(tmp_path)
    assert "\n" not in str(caught.value)


def test_numbers_of_few_bits_without_their_scales_are_refused(tmp_path: Path) -> None:
    """If this fails a checkpoint that lost a shard runs on bare codes."""
    write_checkpoint(tmp_path, CONFIG)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"quantization_config": FP8}))
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["lm_head.weight"] = tensors["lm_head.weight"].to(torch.float8_e4m3fn)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"lm_head\.weight is stored as F8_E4M3"):
        load_model(tmp_path, read_config(tmp_path))
