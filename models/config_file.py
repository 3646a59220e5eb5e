"""config.json -> ModelConfig, translated by the checkpoint's family. Nothing here needs torch.

Checkpoints are untrusted: sizes are bounded, and uncertain settings are refused.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from longctx.checkpoint import AGAIN, read_json, shorten
from longctx.errors import ModelError
from longctx.models.config import ExpertsSpec, ModelConfig
from longctx.models.families.common import stop_ids
from longctx.models.published import published_form
from longctx.models.target import Target

# model_type in config.json (in lower case, underscores dropped) -> the family's module in `families`.
FAMILIES = {
    "minimax": "minimax",
    "minimaxtext01": "minimax",
    "minimaxm1": "minimax",
    "minimaxvl01": "minimax",
    "transnormer": "transnormer",
    "hypenet": "hypenet",
    "minicpmsala": "sala",
    "bailingmoelinear": "bailing",
    "bailinghybrid": "bailing",
    "llama": "llama",
}
# Beginning of a model_type, spelt as above -> why it is refused, though it may sound like one of ours.
REFUSED = {
    "minimaxm": "has softmax attention in every layer; of MiniMax only Text-01, M1 and VL-01 are hybrids",
    "kimi": "learns its decay (KDA), which is not supported",
    "qwen3next": "learns its decay (gated delta rule), which is not supported",
    "qwen35": "learns its decay (gated delta rule), which is not supported",
}

LARGEST_NUMBER = 1 << 40  # rotary bases are the largest: 10^11 has been seen
LARGEST_SIZE = 1 << 22  # of a width or a vocabulary
MOST_EXPERTS = 1 << 16  # of all layers together
MOST_COUNTED = 1 << 11  # layers, heads, experts
MOST_ENTRIES = 1 << 16  # of a list
_SIZES = re.compile(r"_dim|_size|_rank")
_COUNTS = re.compile(r"layer|head(?!_dim|_size)|expert(?!.*size)|group(?!_?norm)|_nh$|_nkv$")


def read_config(folder: Path) -> ModelConfig:
    """Return the specification of the checkpoint in `folder`.

    An answer ends at the ids of generation_config.json, or of config.json where that names none; and besides
    at the tokenizer's own end token, which is the end of a turn in models like Qwen.

    Raises:
        ModelError: when config.json is missing, is not JSON, or describes an unsupported model.
    """
    raw = read_json(folder / "config.json")
    config = translate(raw, folder / "config.json")
    return replace(config, stop_ids=_stop_ids(folder, config.stop_ids))


def _stop_ids(folder: Path, configured: tuple[int, ...]) -> tuple[int, ...]:
    """Return the tokens that end an answer."""
    wanted, told = folder / "generation_config.json", folder / "tokenizer_config.json"
    try:
        ids = (stop_ids(read_json(wanted)) if wanted.is_file() else ()) or configured
        settings = read_json(told) if told.is_file() else {}
        added = settings.get("added_tokens_decoder") or {}
        end = _content(settings.get("eos_token"))
        return tuple(
            dict.fromkeys([*ids, *(int(id) for id, token in added.items() if _content(token) == end)])
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelError(
            f"{folder}: generation_config.json or tokenizer_config.json is damaged: {error}"
        ) from error


def _content(token: Any) -> Any:
    """Return the text of a special token, which may be described or stand for itself."""
    return token.get("content") if isinstance(token, dict) else token


def translate(raw: dict[str, Any], origin: Path) -> ModelConfig:
    """Return the specification that a parsed config.json describes; `origin` is named in errors.

    Raises:
        ModelError: when it describes an unsupported model.
    """
    check_numbers(raw, origin)
    kind = str(raw.get("model_type", "")).lower().replace("_", "")
    if raw.get("architectures") == ["HybridForCausalLM"] and "mixer_types" in raw:
        kind = "hypenet"  # released under a model_type, `hybrid`, that could be anybody's
    if kind not in FAMILIES:
        known = ", ".join(dict.fromkeys(FAMILIES.values()))
        if reason := next((why for start, why in REFUSED.items() if kind.startswith(start)), None):
            raise ModelError(f"{origin}: {raw['model_type']} {reason}; families that run: {known}")
        named = shorten(repr(raw.get("model_type")))
        raise ModelError(f"{origin}: unknown architecture {named}; families that run: {known}")
    try:
        settings = (raw.get("text_config") or {}).get("quantization_config") or raw.get("quantization_config")
        config: ModelConfig = _family(FAMILIES[kind]).translate(raw)
        config = replace(config, trained_tokens=_trained_tokens(raw))
        config = replace(config, published=published_form(settings) if settings else "")
    except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise ModelError(f"{origin}: missing or malformed setting: {shorten(str(error))}") from error
    _check(config, origin)
    return config


def weight_map(config: ModelConfig) -> list[Target]:
    """Return the sources of each weight of a model."""
    targets: list[Target] = _family(config.family).weight_map(config)
    return targets


def ignored_tensors(config: ModelConfig) -> str:
    """Return a pattern of the names of stored tensors that no weight is made of."""
    family = _family(config.family)
    ignored: str = family.ignored(config) if hasattr(family, "ignored") else family.IGNORED
    # A tied head is the embedding again, whether the file repeats it or not.
    return ignored + (r"|^lm_head\.weight$" if config.tied_embeddings else "")


def _family(name: str) -> ModuleType:
    return import_module(f"longctx.models.families.{name}")


def _trained_tokens(raw: Mapping[str, Any]) -> int | None:
    """Return the longest text a model was trained for, with its positions scaled where they are."""
    if not (length := raw.get("max_position_embeddings")):
        return None
    scaling = raw.get("rope_scaling") or raw.get("rope_parameters") or {}
    kind = scaling.get("rope_type", scaling.get("type"))
    if kind == "yarn":
        length = scaling.get("original_max_position_embeddings") or length
    # For llama3 the length is stated as it is after scaling.
    return int(length * float(scaling["factor"] if kind in ("yarn", "linear") else 1))


def check_numbers(raw: Any, origin: Path) -> None:
    """Refuse numbers that no model has, before anything is built from them.

    Raises:
        ModelError: for a number that is not finite, or a size or a count beyond all published ones.
    """
    rest: list[tuple[str, Any]] = [("", raw)]
    while rest:
        key, value = rest.pop()
        if isinstance(value, dict):
            rest += value.items()
        elif isinstance(value, list):
            if len(value) > MOST_ENTRIES:
                raise ModelError(f"{origin}: {shorten(key)} has {len(value):,} entries; {AGAIN}")
            rest += ((key, one) for one in value)
        elif (value := _number(value)) is not None:
            most = LARGEST_SIZE if _SIZES.search(key) else LARGEST_NUMBER
            most = MOST_COUNTED if _COUNTS.search(key) else most
            if not abs(value) <= most:  # so that nan is refused too
                raise ModelError(f"{origin}: {shorten(key)} is {value}, beyond any model; {AGAIN}")


def _number(value: Any) -> float | None:
    """Return the number that a setting is, or spells."""
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None
    except OverflowError:
        return math.inf


def _check(config: ModelConfig, origin: Path) -> None:
    """Refuse sizes that do not fit each other, whatever the family."""
    experts = 0
    sizes = [config.vocab_size, config.hidden_size, len(config.layers)]
    fits = True
    for layer in config.layers:
        mixer, mlp = layer.mixer, layer.feedforward
        heads = getattr(mixer, "n_kv_heads", mixer.n_heads)
        sizes += [mixer.n_heads, heads, getattr(mixer, "head_dim", 1), mlp.intermediate_size]
        fits = fits and heads > 0 and mixer.n_heads % heads == 0
        if isinstance(mlp, ExpertsSpec):
            sizes += [mlp.n_experts, mlp.top_k]
            experts += mlp.n_experts
            inside = mlp.n_experts // max(mlp.groups, 1) * (mlp.top_groups or 1)
            fits = fits and mlp.top_k <= inside and mlp.n_experts % max(mlp.groups, 1) == 0
    fits = fits and max(sizes) <= LARGEST_SIZE and experts <= MOST_EXPERTS
    if min(sizes) < 1 or not fits:
        raise ModelError(f"{origin}: sizes do not fit each other; {AGAIN}")
    pointing = [layer.mixer for layer in config.layers if getattr(layer.mixer, "pointer_heads", ())]
    if any(not 0 <= head < mixer.n_heads for mixer in pointing for head in mixer.pointer_heads):  # type: ignore[union-attr]  # these have pointer heads
        raise ModelError(f"{origin}: pointer_heads names no head of the layer; download it again")
