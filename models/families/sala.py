"""MiniCPM-SALA: lightning layers as HypeNet's, softmax layers that look at chosen blocks of long texts.

Names and rules: openbmb/MiniCPM-SALA and sglang's models/minicpm; arXiv 2602.11761.
"""

from collections.abc import Mapping
from typing import Any

from longctx.errors import ModelError
from longctx.models.config import BlockSparseSpec, GatedSpec, LayerSpec, LightningSpec, ModelConfig
from longctx.models.families.common import alibi_slopes, require, rope, stop_ids, stored_dtype
from longctx.models.families.hypenet import LIGHTNING, SOFTMAX, layers_targets
from longctx.models.target import Target

IGNORED = r"rotary_emb\.inv_freq$"
KINDS = {"minicpm4": "softmax", "lightning-attn": "lightning"}
PLAIN = {ours: theirs for ours, theirs in SOFTMAX.items() if not ours.endswith("_norm")}


def translate(raw: Mapping[str, Any]) -> ModelConfig:
    """Turn a parsed config.json into a ModelConfig.

    Raises:
        ModelError: for a setting whose meaning is not certain.
    """
    _refuse_unknown(raw)
    hidden, heads, head_dim = (int(raw[key]) for key in ("hidden_size", "num_attention_heads", "head_dim"))
    eps, mlp = float(raw.get("rms_norm_eps", 1e-6)), GatedSpec(int(raw["intermediate_size"]))
    own, shared, width = (int(raw[f"lightning_{key}"]) for key in ("nh", "nkv", "head_dim"))
    lightning = LightningSpec(
        *(own, shared, width, alibi_slopes(own), eps),
        head_norm=True,
        rope=rope(raw, width),
        scale=width**-0.5,
    )
    sparse = raw["sparse_config"]
    softmax = BlockSparseSpec(
        *(heads, int(raw["num_key_value_heads"]), head_dim, None),
        gated=True,
        stride=int(sparse["kernel_stride"]),
        block=int(sparse["block_size"]),
        first_blocks=int(sparse["init_blocks"]),
        window=int(sparse["window_size"]),
        top_blocks=int(sparse["topk"]),
        dense_length=int(sparse["dense_len"]),
    )
    beta = float(raw["scale_depth"]) / int(raw["num_hidden_layers"]) ** 0.5
    mixers = [lightning if KINDS[kind] == "lightning" else softmax for kind in raw["mixer_types"]]
    return ModelConfig(
        family="sala",
        vocab_size=int(raw["vocab_size"]),
        hidden_size=hidden,
        norm_eps=eps,
        post_norm=False,
        tied_embeddings=bool(raw.get("tie_word_embeddings", False)),
        layers=tuple(LayerSpec(mixer, mlp, mixer_beta=beta, mlp_beta=beta) for mixer in mixers),
        stop_ids=stop_ids(raw),
        stored_dtype=stored_dtype(raw),
        embed_scale=float(raw["scale_emb"]),
        head_scale=int(raw["dim_model_base"]) / hidden,
    )


def weight_map(config: ModelConfig) -> list[Target]:
    """Return what each weight is made of."""
    return layers_targets(config, LIGHTNING, PLAIN)


def _refuse_unknown(raw: Mapping[str, Any]) -> None:
    kinds, count = raw.get("mixer_types"), raw["num_hidden_layers"]
    if not isinstance(kinds, list) or len(kinds) != count or not {*kinds} <= {*KINDS}:
        raise ModelError(f"config.json: mixer_types must name each of the {count} layers: {', '.join(KINDS)}")
    require(raw, hidden_act="silu", attention_bias=False, lightning_scale="1/sqrt(d)", attn_use_rope=False)
    require(raw, lightning_use_rope=True, qk_norm=True, use_output_norm=True, use_output_gate=True)
    require(raw, attn_use_output_gate=True)
    if raw.get("rope_scaling"):
        raise ModelError("config.json: rope_scaling is not supported for SALA")
    sparse = raw["sparse_config"]
    stride, block, window = (int(sparse[key]) for key in ("kernel_stride", "block_size", "window_size"))
    if sparse["kernel_size"] != 2 * stride or block != 4 * stride or window % block or sparse.get("use_nope"):
        raise ModelError("config.json: sparse_config: kernel_size must be 2 strides, block_size 4, no NoPE")
    if int(sparse["topk"]) <= int(sparse["init_blocks"]):  # the window itself would not always be seen
        raise ModelError("config.json: sparse_config: topk must be more than init_blocks")
