"""TransNormerLLM: lightning attention alone, norms without weights, LRPE positions on some layers.

Names and rules: the authors' modeling_transnormer.py (OpenNLPLab on the Hugging Face hub), arXiv 2307.14995.
"""

from collections.abc import Mapping
from typing import Any

from longctx.errors import ModelError
from longctx.models.config import GatedSpec, LayerSpec, LightningSpec, ModelConfig
from longctx.models.families.common import stop_ids, stored_dtype
from longctx.models.families.minimax import original_slopes
from longctx.models.target import Target

NORM_EPS = 1e-6
IGNORED = r"$^"
ACTIVATED = {"silu": "qk", "swish": "qk", "none": ""}


def translate(raw: Mapping[str, Any]) -> ModelConfig:
    """Turn a parsed config.json into a ModelConfig.

    Raises:
        ModelError: for a setting of uncertain meaning.
    """
    hidden, heads, layers = (int(raw[f"decoder_{x}"]) for x in ("embed_dim", "attention_heads", "layers"))
    _refuse_unknown(raw, hidden, layers)
    inner = int(raw["glu_dim"])
    feedforward = GatedSpec(hidden if inner == -1 else inner, activation="none")
    mixers = [
        LightningSpec(
            heads,
            heads,
            hidden // heads,
            original_slopes(heads, index, layers),
            NORM_EPS,
            activated=ACTIVATED[raw["linear_act_fun"]],  # type: ignore[arg-type]  # one of the literals
            gate="none",
            lrpe=bool(lrpe),
        )
        for index, lrpe in enumerate(raw["linear_use_lrpe_list"])
    ]
    return ModelConfig(
        family="transnormer",
        vocab_size=int(raw["vocab_size"]),
        hidden_size=hidden,
        norm_eps=NORM_EPS,
        post_norm=False,
        tied_embeddings=False,
        layers=tuple(LayerSpec(mixer, feedforward) for mixer in mixers),
        stop_ids=stop_ids(raw),
        stored_dtype=stored_dtype(raw),
        embed_scale=1.0 if raw.get("no_scale_embedding") else hidden**0.5,
    )


def weight_map(config: ModelConfig) -> list[Target]:
    """Return the sources of each weight."""
    embedding = "model.embed_tokens.weight"
    targets = [
        Target("embed", (embedding,)),
        Target("norm", ()),
        Target("head", ("lm_head.weight",), instead=embedding),
    ]
    width = config.hidden_size
    for index, layer in enumerate(config.layers):
        theirs, ours = f"model.layers.{index}", f"layers.{index}"
        qkvu = (f"{theirs}.token_mixer.qkvu_proj.weight",)
        targets += [
            *(Target(f"{ours}.{norm}", ()) for norm in ("mixer_norm", "mixer.norm", "mlp_norm")),
            Target(f"{ours}.mixer.qkv", qkvu, (4 * width,), lambda sources: sources[0][: 3 * width]),
            Target(f"{ours}.mixer.gate", qkvu, (4 * width,), lambda sources: sources[0][3 * width :]),
            Target(f"{ours}.mixer.out", (f"{theirs}.token_mixer.out_proj.weight",)),
            *(
                Target(f"{ours}.mlp.{our}", (f"{theirs}.channel_mixer.{their}.weight",))
                for our, their in (("gate", "l1"), ("up", "l2"), ("down", "l3"))
            ),
        ]
        if layer.mixer.lrpe:  # type: ignore[union-attr]  # as translated
            targets.append(Target(f"{ours}.mixer.theta", (f"{theirs}.token_mixer.lrpe.theta",)))
    return targets


def _refuse_unknown(raw: Mapping[str, Any], hidden: int, layers: int) -> None:
    if "gate_dim" in raw:
        raise ModelError("config.json: gate_dim: TransNormerLLM3 mixes tokens in another way; not supported")
    if raw.get("hidden_dim", hidden) != hidden:
        raise ModelError("config.json: hidden_dim must be decoder_embed_dim")
    if raw.get("norm_type", "simplermsnorm") != "simplermsnorm" or raw.get("bias"):
        raise ModelError("config.json: only norm_type simplermsnorm without bias is supported")
    if raw["linear_act_fun"] not in ACTIVATED:
        raise ModelError(f"config.json: linear_act_fun {raw['linear_act_fun']!r} is not supported")
    if len(raw["linear_use_lrpe_list"]) != layers:
        raise ModelError(
            f"config.json: linear_use_lrpe_list must have a flag for each of the {layers} layers"
        )
