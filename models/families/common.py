"""What the files of most families share: settings, rotary frequencies, slopes, and names of tensors."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from longctx.errors import ModelError
from longctx.models.config import ModelConfig, RopeSpec
from longctx.models.target import Target


def stop_ids(raw: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the tokens that end an answer."""
    ids = raw.get("eos_token_id")
    if ids is None:
        return ()
    return tuple(map(int, ids)) if isinstance(ids, list) else (int(ids),)


def stored_dtype(raw: Mapping[str, Any]) -> str:
    """Return what the weights are stored as."""
    return str(raw.get("dtype") or raw.get("torch_dtype") or "bfloat16")


def require(raw: Mapping[str, Any], **wanted: Any) -> None:
    """Refuse a configuration in which a setting is neither absent, null nor as wanted."""
    for key, value in wanted.items():
        if (found := raw.get(key)) is not None and found != value:
            raise ModelError(f"config.json: {key} {found!r} is not supported (only {value!r})")


def alibi_slopes(heads: int, factor: float = 1.0) -> tuple[float, ...]:
    """Return the ALiBi slope of each head (arXiv 2108.12409), times a factor."""

    def power_of_two(n: int) -> list[float]:
        return [2.0 ** (-8.0 * (h + 1) / n) for h in range(n)]

    below = 1 << (heads.bit_length() - 1)
    base = power_of_two(below) + power_of_two(2 * below)[0::2][: heads - below]
    return tuple(slope * factor for slope in base)


def rope(raw: Mapping[str, Any], head_dim: int, kinds: Iterable[str] = ()) -> RopeSpec:
    """Return the rotary positions that a configuration describes.

    Both spellings are read: `rope_parameters`, and `rope_theta` beside `rope_scaling`, which wins.

    Args:
        raw: the configuration.
        head_dim: channels of a head.
        kinds: that the family is known to have; all, if none is named.

    Raises:
        ModelError: for a kind whose meaning is not certain, or one with settings missing.
    """
    settings = {**raw, **(raw.get("rope_scaling") or raw.get("rope_parameters") or {})}
    kind = settings.get("rope_type", settings.get("type", "default"))
    if kind not in (known := tuple(kinds) or tuple(KINDS)):
        raise ModelError(f"config.json: rope_type {kind!r} is not supported here (only {', '.join(known)})")
    theta = float(settings.get("rope_theta", 10000.0))
    width = int(raw.get("rotary_dim") or head_dim * settings.get("partial_rotary_factor", 1.0))
    if width % 2 or not 0 < width <= head_dim:
        raise ModelError(f"config.json: rotary_dim {width} must be even and at most head_dim {head_dim}")
    plain = tuple(theta ** -(2 * i / width) for i in range(width // 2))
    return KINDS[kind](settings, theta, plain)


def _default(settings: Mapping[str, Any], theta: float, plain: tuple[float, ...]) -> RopeSpec:
    return RopeSpec(plain)


def _linear(settings: Mapping[str, Any], theta: float, plain: tuple[float, ...]) -> RopeSpec:
    return RopeSpec(tuple(f / float(settings["factor"]) for f in plain))


def _llama3(settings: Mapping[str, Any], theta: float, plain: tuple[float, ...]) -> RopeSpec:
    """Slow down the frequencies that turn less than `high_freq_factor` times in the original window."""
    factor, low, high = (float(settings[key]) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    turns = [float(settings["original_max_position_embeddings"]) * f / (2 * math.pi) for f in plain]
    kept = [min(max((turn - low) / (high - low), 0.0), 1.0) for turn in turns]
    return RopeSpec(tuple(f * (m + (1 - m) / factor) for f, m in zip(plain, kept, strict=True)))


def _yarn(settings: Mapping[str, Any], theta: float, plain: tuple[float, ...]) -> RopeSpec:
    """Return YaRN's frequencies and scale (arXiv 2309.00071)."""
    factor, width = float(settings["factor"]), 2 * len(plain)
    window = settings.get("original_max_position_embeddings") or settings["max_position_embeddings"]

    def channel(turns: float) -> float:
        return width * math.log(float(window) / (2 * math.pi * turns)) / (2 * math.log(theta))

    low, high = channel(settings.get("beta_fast") or 32), channel(settings.get("beta_slow") or 1)
    if settings.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    high += 0.001 if high == low else 0
    ramps = [min(max((i - low) / (high - low), 0.0), 1.0) for i in range(len(plain))]
    frequencies = tuple(f * (1 - r) + f / factor * r for f, r in zip(plain, ramps, strict=True))

    def magnitude(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1 if factor > 1 else 1.0

    weight, over = (float(settings.get(key) or 0) for key in ("mscale", "mscale_all_dim"))
    scale = magnitude(weight) / magnitude(over) if weight and over else magnitude(1.0)
    return RopeSpec(frequencies, float(settings.get("attention_factor") or scale))


KINDS = {"default": _default, "linear": _linear, "llama3": _llama3, "yarn": _yarn}


def outer_targets(config: ModelConfig, embedding: str = "model.embed_tokens.weight") -> list[Target]:
    """Return where embedding, last norm and head come from."""
    targets = [Target("embed", (embedding,)), Target("norm", ("model.norm.weight",))]
    return targets if config.tied_embeddings else [*targets, Target("head", ("lm_head.weight",))]


def layer_targets(index: int, names: Mapping[str, str]) -> Iterator[Target]:
    """Yield where a layer's norms come from, and its weights named as ours -> the checkpoint's."""
    norms = {"mixer_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}
    for ours, theirs in (norms | dict(names)).items():
        yield Target(f"layers.{index}.{ours}", (f"model.layers.{index}.{theirs}.weight",))


GATED = {f"mlp.{name}": f"mlp.{name}_proj" for name in ("gate", "up", "down")}
