"""What a decoder is made of, layer by layer: one frozen spec per kind of mixer and of feed-forward.

Families translate their files into this. Nothing here needs torch.
"""

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class RopeSpec:
    """Rotary positions: channel i of the first `rotary_dim` pairs with i + rotary_dim / 2 (split halves).

    Angles are position / factor * theta^(-2i / rotary_dim); a huge factor means no positions at all.
    """

    theta: float
    rotary_dim: int
    factor: float


@dataclass(frozen=True)
class LightningSpec:
    """Linear attention with a fixed decay per head, normed over all heads and gated.

    Attributes:
        slopes: each head's decay rate per token.
        norm_eps: epsilon of the norm on the layer's output.
        activation: of queries and keys, and of values if the gate has one too. gate: the gate's.
        lrpe: queries and keys become [x cos(theta t), x sin(theta t)] with a learned theta (TransNormer).
    """

    n_heads: int
    head_dim: int
    slopes: tuple[float, ...]
    norm_eps: float
    activation: Literal["silu", "none"] = "silu"
    gate: Literal["sigmoid", "none"] = "sigmoid"
    lrpe: bool = False


@dataclass(frozen=True)
class SoftmaxSpec:
    """Grouped-query softmax attention with a KV log.

    Attributes:
        pointer_heads: query heads trained to point at the source of the token they predict.
    """

    n_heads: int
    n_kv_heads: int
    head_dim: int
    rope: RopeSpec
    pointer_heads: tuple[int, ...] = ()


@dataclass(frozen=True)
class ExpertsSpec:
    """A router and its gated experts, each token through `top_k` of them; one expert is a plain gated MLP."""

    intermediate_size: int
    n_experts: int
    top_k: int

    def sample(self) -> "ExpertsSpec":
        """Return fewer experts that take as long per token, in far less memory."""
        return replace(self, n_experts=min(self.n_experts, 2 * self.top_k))


@dataclass(frozen=True)
class GatedSpec:
    """A dense gated MLP."""

    intermediate_size: int
    activation: Literal["silu", "none"] = "silu"

    def sample(self) -> "GatedSpec":
        """Return self: a dense MLP has nothing to leave out."""
        return self


@dataclass(frozen=True)
class LayerSpec:
    """One decoder layer.

    Attributes:
        mixer: how tokens see each other. feedforward: what each token then goes through.
        mixer_alpha, mixer_beta: the first residual is alpha * residual + beta * mixer(x).
        mlp_alpha, mlp_beta: the same for the second, with the feed-forward.
    """

    mixer: LightningSpec | SoftmaxSpec
    feedforward: ExpertsSpec | GatedSpec
    mixer_alpha: float = 1.0
    mixer_beta: float = 1.0
    mlp_alpha: float = 1.0
    mlp_beta: float = 1.0


@dataclass(frozen=True)
class ModelConfig:
    """Everything the decoder needs to know, computed once from the checkpoint's configuration.

    Attributes:
        family: the module of `families` that translated the configuration and knows the weights' names.
        norm_eps: epsilon of the norms before mixers and feed-forwards, and of the final norm.
        post_norm: the residual is the normed input, not the input (MiniMax's "postnorm").
        embed_scale: factor on the embeddings.
        stop_ids: tokens that end an answer.
        stored_dtype: dtype of the weights according to the checkpoint: float32, bfloat16 or float16.
    """

    family: str
    vocab_size: int
    hidden_size: int
    norm_eps: float
    post_norm: bool
    tied_embeddings: bool
    layers: tuple[LayerSpec, ...]
    stop_ids: tuple[int, ...]
    stored_dtype: str
    embed_scale: float = 1.0

    @property
    def copies_facts(self) -> bool:
        """Tell whether the model was trained to copy facts out of a text; such a model cannot write."""
        return any(getattr(layer.mixer, "pointer_heads", ()) for layer in self.layers)
