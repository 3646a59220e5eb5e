"""Loading checkpoints: what is refused, what is named, and what is read."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import hf_config, original_config, published_config, random_model, write_checkpoint
from safetensors.torch import load_file, save_file

from longctx.errors import ModelError
from longctx.models.config import SoftmaxSpec
from longctx.models.config_file import read_config
from longctx.models.families.minimax import hf_slopes, original_slopes, translate
from longctx.models.weights import load_model

CPU = torch.device("cpu")


def load(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_model(folder, read_config(folder)).state_dict())


def edit(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("config", [hf_config(), original_config()], ids=["hf", "original"])
def test_a_written_checkpoint_loads_as_it_was(tmp_path: Path, config: dict[str, Any]) -> None:
    """If this fails weights are mixed up on their way into the model."""
    write_checkpoint(tmp_path, config)
    for name, tensor in random_model(config).state_dict().items():
        assert torch.equal(load(tmp_path)[name], tensor), name


def test_shards_decay_buffers_and_a_multimodal_prefix_are_read(tmp_path: Path) -> None:
    """If this fails published checkpoints, which come in many files, do not load."""
    write_checkpoint(tmp_path)
    expected = load(tmp_path)
    tensors = {f"language_model.{k}": v for k, v in load_file(tmp_path / "model.safetensors").items()}
    tensors["language_model.model.layers.0.self_attn.slope_rate"] = torch.zeros(4, 1, 1)
    tensors["vision_tower.weight"] = torch.zeros(2)
    names = sorted(tensors)
    (tmp_path / "model.safetensors").unlink()
    weight_map: dict[str, str] = {}
    for index, part in enumerate((names[:9], names[9:])):
        save_file({name: tensors[name] for name in part}, tmp_path / f"part{index}.safetensors")
        weight_map |= dict.fromkeys(part, f"part{index}.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "minimax_vl_01", "text_config": config}))
    found = load(tmp_path)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_every_wrong_tensor_is_named_in_one_error(tmp_path: Path) -> None:
    """If this fails a user repairs a checkpoint one error at a time."""
    write_checkpoint(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.norm.weight"], tensors["model.layers.0.self_attn.norm.weight"]
    tensors["model.layers.1.extra.weight"] = torch.zeros(1)
    tensors["lm_head.weight"] = torch.zeros(400, 63)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ModelError) as caught:
        load(tmp_path)
    message = str(caught.value)
    for part in (
        "missing model.norm.weight",
        "missing model.layers.0.self_attn.norm.weight",
        "unexpected model.layers.1.extra.weight",
        "lm_head.weight is [400, 63], not [400, 64]",
    ):
        assert part in message
    assert "\n" not in message


@pytest.mark.parametrize("keep", [0, 4, 200, 20000])
def test_a_truncated_file_is_named_and_refused(tmp_path: Path, keep: int) -> None:
    """If this fails an interrupted download gives garbage answers or a traceback."""
    write_checkpoint(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"model\.safetensors: truncated or corrupt"):
        load(tmp_path)


def test_pickles_are_never_read(tmp_path: Path) -> None:
    """If this fails a checkpoint can run code on the user's machine."""
    write_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="only safetensors is read"):
        load(tmp_path)


def test_an_index_cannot_reach_outside_the_folder(tmp_path: Path) -> None:
    """If this fails a downloaded index reads other files of the user."""
    write_checkpoint(tmp_path / "model")
    index = tmp_path / "model" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"model.norm.weight": "../other.safetensors"}}))
    with pytest.raises(ModelError, match="outside the checkpoint"):
        load(tmp_path / "model")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "mamba"}, "unknown architecture 'mamba'"),
        ({"model_type": None}, "unknown architecture"),
        ({"layer_types": ["linear_attention"]}, "layer_types must list"),
        ({"layer_types": ["conv", "conv", "conv"]}, "layer_types must list"),
        ({"shared_intermediate_size": 64}, "shared experts"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"sliding_window": 4096}, "sliding_window"),
        ({"rotary_dim": 7}, "rotary_dim 7"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_type 'yarn'"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
        ({"hidden_size": "wide"}, "malformed"),
        ({"num_key_value_heads": 3}, "sizes do not fit"),
        ({"pointer_heads": [9]}, "pointer_heads"),
    ],
)
def test_settings_of_uncertain_meaning_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    """If this fails a model runs under a guess and answers wrongly without a word."""
    write_checkpoint(tmp_path)
    edit(tmp_path, **changes)
    with pytest.raises(ModelError, match=message):
        read_config(tmp_path)


def test_quantised_tensors_are_refused(tmp_path: Path) -> None:
    """If this fails integer codes are used as if they were weights."""
    write_checkpoint(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"].to(torch.int8)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="stored as I8"):
        load(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"a": 1e999999}', "\x00"])
def test_a_broken_config_is_one_clear_error(tmp_path: Path, text: str) -> None:
    """If this fails a broken download ends in a traceback."""
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelError, match=r"config\.json|unknown architecture"):
        read_config(tmp_path)


def test_slopes_of_the_released_size() -> None:
    """If this fails the published weights forget at the wrong rate (H = 64, L = 80)."""
    first, middle, last = (original_slopes(64, layer, 80) for layer in (0, 40, 78))
    assert first[0] == pytest.approx(0.917004 * 1.00001, rel=1e-5)
    assert first[31] == pytest.approx(0.0625 * 1.00001)
    assert middle[63] == pytest.approx(0.00390625 * 0.493681, rel=1e-5)
    assert last[63] == pytest.approx(0.00390625 * 0.0126682, rel=1e-4)
    assert hf_slopes(64, 40, 80) == pytest.approx(middle, rel=1e-5)


def test_the_published_configuration_translates() -> None:
    """If this fails MiniMax-Text-01 itself cannot be planned or loaded."""
    config = translate(published_config())
    assert config.stop_ids == (200020,)
    softmax = [i for i, layer in enumerate(config.layers) if isinstance(layer.mixer, SoftmaxSpec)]
    assert softmax == list(range(7, 80, 8))
