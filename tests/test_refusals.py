"""Every setting that a family refuses, one by one; and that leaving it out, or null, is no reason to."""

import re
from pathlib import Path
from typing import Any

import pytest
from checkpoints import hf_config, original_config
from test_families import CONFIGS

from longctx.errors import ModelError
from longctx.models.config_file import translate
from longctx.models.families.hypenet import NEEDED

HERE = Path("config.json")
SPARSE = CONFIGS["sala"]["sparse_config"]
WRONG: dict[str, list[dict[str, Any]]] = {
    "transnormer": [{"hidden_dim": 24}, {"norm_type": "layernorm"}, {"bias": True}],
    "llama": [
        {"hidden_act": "gelu"},
        {"mlp_bias": True},
        {"rope_interleaved": True},
        {"partial_rotary_factor": 0.5},
    ],
    "hypenet": [
        *({key: False} for key in NEEDED),
        {"hidden_act": "gelu"},
        {"attention_bias": True},
        {"attn_sqrtd": False},
        {"mixer_types": ["attn"]},
        {"mixer_types": "attn"},
        {"attn_logits_scaling": "other 10"},
        {"attn_logits_scaling": "hype 10 10"},
        {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
    ],
    "sala": [
        {"hidden_act": "gelu"},
        {"attention_bias": True},
        {"lightning_scale": "1"},
        {"attn_use_rope": True},
        {"lightning_use_rope": False},
        {"use_output_norm": False},
        {"use_output_gate": False},
        {"attn_use_output_gate": False},
        {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
        {"mixer_types": ["minicpm4"]},
        {"mixer_types": None},
        {"sparse_config": SPARSE | {"block_size": SPARSE["kernel_stride"]}},
        {"sparse_config": SPARSE | {"window_size": SPARSE["window_size"] + 1}},
        {"sparse_config": SPARSE | {"use_nope": True}},
        {"sparse_config": SPARSE | {"topk": SPARSE["init_blocks"]}},
    ],
    "bailing": [
        {"hidden_act": "gelu"},
        {"use_qkv_bias": True},
        {"use_bias": True},
        {"use_qk_norm": False},
        {"moe_router_enable_expert_bias": False},
    ],
    "bailing-latent": [
        {"rope_scaling": {"type": "yarn", "factor": 2.0, "mscale_all_dim": 1.0}},
    ],
    "hf": [
        {"layer_types": ["full_attention"]},
        {"layer_types": ["other"] * 3},
        {"layer_types": None},
        {"hidden_act": "gelu"},
        {"sliding_window": 4096},
        {"shared_intermediate_size": 32},
        {"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}},
        {"rotary_dim": 7},
        {"rotary_dim": 18},
    ],
    "original": [{"shared_intermediate_size": [0, 8]}, {"attn_type_list": [0]}, {"rotary_dim": 21}],
}
RAW = {**CONFIGS, "hf": hf_config(), "original": original_config()}


@pytest.mark.parametrize(("name", "changes"), [(name, one) for name, many in WRONG.items() for one in many])
def test_a_setting_that_means_another_model_is_refused(name: str, changes: dict[str, Any]) -> None:
    """If this fails a model runs under a guess, and answers wrongly without a word."""
    with pytest.raises(ModelError, match=r"^config\.json: ") as caught:
        translate(RAW[name] | changes, HERE)
    (key,) = changes
    assert re.search(key.removesuffix("s").split("_")[0] + "|mscale", str(caught.value))
    assert "malformed" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(WRONG))
def test_settings_that_are_null_are_left_as_they_are_by_default(name: str) -> None:
    """If this fails a checkpoint is refused for a setting that it does not even make."""
    whole = translate(RAW[name], HERE)
    keys = {key for one in WRONG[name] for key in one} - {*RAW[name], "partial_rotary_factor"}
    null = dict.fromkeys(keys)
    assert translate(RAW[name] | null, HERE) == whole
