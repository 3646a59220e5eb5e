"""What a decoder is made of, layer by layer: one frozen spec per kind of mixer and of feed-forward.

Families translate their files into this. Nothing here needs torch.
"""

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class RopeSpec:
    """Rotary positions: channel i of the first 2 N pairs with i + N (split halves).

    Attributes:
        frequencies: (N,) radians per token of each pair.
        scale: what cosine and sine are multiplied by.
    """

    frequencies: tuple[float, ...]
    scale: float = 1.0


@dataclass(frozen=True)
class LightningSpec:
    """Linear attention with a fixed decay per head, normed and gated.

    Attributes:
        n_kv_heads: query head h reads key head h // (n_heads / n_kv_heads).
        slopes: decay per token of each head.
        norm_eps: of the norm on the layer's output, and of the heads' norms.
        norm_groups: groups of channels that the output is normed in; one: all heads together.
        activated: what goes through SiLU.
        gate: activation of the gate.
        head_norm: each head's queries and keys are normed.
        rope: positions of queries and keys.
        lrpe: queries and keys become [x cos(theta t), x sin(theta t)] with a learned theta (TransNormer).
        scale: of queries.
    """

    n_heads: int
    n_kv_heads: int
    head_dim: int
    slopes: tuple[float, ...]
    norm_eps: float
    norm_groups: int = 1
    activated: Literal["qkv", "qk", ""] = ""
    gate: Literal["sigmoid", "none"] = "sigmoid"
    head_norm: bool = False
    rope: RopeSpec | None = None
    lrpe: bool = False
    scale: float = 1.0


@dataclass(frozen=True)
class SoftmaxSpec:
    """Grouped-query softmax attention with a KV log.

    Attributes:
        pointer_heads: query heads trained to point at the source of the token they predict.
        norm_eps: of the norm of each head's queries and keys; None: they are not normed.
        gated: the output is multiplied by a sigmoid gate.
        log_scale: queries at position p are multiplied by ln(p + a) / ln(a), so that attention stays sharp
            in long texts (HypeNet, arXiv 2601.22156).
        scale: of queries, beside 1/sqrt(head_dim).
    """

    n_heads: int
    n_kv_heads: int
    head_dim: int
    rope: RopeSpec | None
    pointer_heads: tuple[int, ...] = ()
    norm_eps: float | None = None
    gated: bool = False
    log_scale: float | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class BlockSparseSpec(SoftmaxSpec):
    """Softmax attention that looks at chosen blocks of long texts alone (InfLLM-v2).

    Attributes:
        stride: tokens; windows of keys are two strides long, and four times as long.
        block: tokens that are chosen together.
        first_blocks: blocks at the beginning that every query sees.
        window: tokens before a query that it always sees.
        top_blocks: chosen blocks besides.
        dense_length: a call sees everything as long as the text, with its own tokens, is shorter.
    """

    stride: int = 16
    block: int = 64
    first_blocks: int = 1
    window: int = 2048
    top_blocks: int = 64
    dense_length: int = 8192


@dataclass(frozen=True)
class LatentSpec:
    """Softmax attention over compressed keys and values (MLA).

    Attributes:
        q_rank, kv_rank: widths that queries, and keys with values, are compressed to; q_rank 0: not at all.
        plain_dim: channels of a head without position; those of `rope` come besides.
        value_dim: channels of a head's values.
        scale: of the scores.
    """

    n_heads: int
    q_rank: int
    kv_rank: int
    plain_dim: int
    value_dim: int
    norm_eps: float
    rope: RopeSpec
    scale: float


@dataclass(frozen=True)
class ExpertsSpec:
    """A router and its gated experts, each token through `top_k` of them.

    Attributes:
        shared_size: inner width of an expert that all tokens go through besides; 0: there is none.
        groups, top_groups: the router is a sigmoid with a bias, and chooses among the experts of the best
            groups; 0: it is a softmax over all experts.
        normalised: weights of the chosen experts sum up to `scale`.
    """

    intermediate_size: int
    n_experts: int
    top_k: int
    shared_size: int = 0
    groups: int = 0
    top_groups: int = 0
    normalised: bool = True
    scale: float = 1.0

    def sample(self) -> "ExpertsSpec":
        """Return experts that take a token as long as these, and far less memory."""
        count = min(self.n_experts, 2 * self.top_k)
        return replace(self, n_experts=count, groups=min(self.groups, 1), top_groups=min(self.groups, 1))


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

    mixer: LightningSpec | SoftmaxSpec | LatentSpec
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
        embed_scale, head_scale: what embeddings, and what the head is given, are multiplied by.
        stop_ids: tokens that end an answer.
        published: how weights are stored, where it is in few bits; a key of `published.FORMS`.
        stored_dtype: what the checkpoint says its weights are: float32, bfloat16 or float16.
        trained_tokens: the longest text that the model was trained for; None where nothing is said.
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
    head_scale: float = 1.0
    trained_tokens: int | None = None
    published: str = ""

    @property
    def has_experts(self) -> bool:
        """Tell whether most of the weights are those of experts."""
        return any(isinstance(layer.feedforward, ExpertsSpec) for layer in self.layers)

    @property
    def copies_facts(self) -> bool:
        """Tell whether the model was trained to copy facts out of a text; such a model cannot write."""
        return any(getattr(layer.mixer, "pointer_heads", ()) for layer in self.layers)
