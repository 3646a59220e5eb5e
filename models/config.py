"""What a hybrid-lightning decoder is made of, layer by layer. Families translate their files into this."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class LayerSpec:
    """One decoder layer.

    Attributes:
        mixer: how tokens see each other.
        slopes: decay per token of each head of a lightning layer; empty for softmax.
        mixer_alpha, mixer_beta: the layer's first residual is alpha * residual + beta * mixer(x).
        mlp_alpha, mlp_beta: the same for the second residual, with the experts.
    """

    mixer: Literal["lightning", "softmax"]
    slopes: tuple[float, ...]
    mixer_alpha: float
    mixer_beta: float
    mlp_alpha: float
    mlp_beta: float


@dataclass(frozen=True)
class RopeSpec:
    """Rotary positions: channel i of the first `rotary_dim` pairs with i + rotary_dim / 2 (split halves).

    Angles are position / factor * theta^(-2i / rotary_dim); a huge factor means no positions at all.
    """

    theta: float
    rotary_dim: int
    factor: float


@dataclass(frozen=True)
class ModelConfig:
    """Everything the decoder needs to know, computed once from the checkpoint's configuration.

    Attributes:
        n_heads, head_dim: of both kinds of layers; n_heads * head_dim need not be hidden_size.
        n_kv_heads: of softmax layers.
        intermediate_size: of one expert.
        post_norm: the residual is the normed input, not the input (MiniMax's "postnorm").
        norm_eps, lightning_norm_eps: of the decoder's norms and of the norm on a lightning layer's output.
        stop_ids: tokens that end an answer.
        pointer_heads: query heads of the last softmax layer trained to point at the source of the
            token they predict; empty when the model has none.
        stored_dtype: what the checkpoint says its weights are: float32, bfloat16 or float16.
    """

    vocab_size: int
    hidden_size: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    intermediate_size: int
    n_experts: int
    n_experts_per_token: int
    norm_eps: float
    lightning_norm_eps: float
    post_norm: bool
    tied_embeddings: bool
    rope: RopeSpec
    layers: tuple[LayerSpec, ...]
    stop_ids: tuple[int, ...]
    pointer_heads: tuple[int, ...]
    stored_dtype: str

    @property
    def copies_facts(self) -> bool:
        """Tell whether the model was trained to copy facts out of a text; such a model cannot write."""
        return bool(self.pointer_heads)

    @property
    def n_softmax_layers(self) -> int:
        """Return the number of layers that keep a KV cache."""
        return sum(layer.mixer == "softmax" for layer in self.layers)

    @property
    def kv_numbers_per_token(self) -> int:
        """Return how many numbers the KV cache holds per token, over all layers."""
        return self.n_softmax_layers * 2 * self.n_kv_heads * self.head_dim

    @property
    def state_numbers(self) -> int:
        """Return how many numbers the recurrent state holds, whatever the length."""
        return (len(self.layers) - self.n_softmax_layers) * self.n_heads * self.head_dim**2
