"""The one hybrid decoder that runs every family: norms, mixers and experts as the specification lists them.

It knows token ids and states, never text. A token goes through this file from top to bottom.
"""

from collections.abc import Callable, Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longctx.kernels.attention import attention, attention_weights
from longctx.kernels.lightning import Decay, decay_tables
from longctx.kernels.linear import Activation, Matrix, can_pack, linear, pack
from longctx.kernels.mixer import absorb, lightning_mixer
from longctx.kernels.moe import mixture_of_experts
from longctx.kernels.norm import rms_norm
from longctx.kernels.quantized import quantize
from longctx.kernels.select import HALVES
from longctx.models.config import LayerSpec, ModelConfig, RopeSpec
from longctx.models.device_log import DeviceLog
from longctx.models.state import KVState, LightningState, State, new_state

LayerState = LightningState | KVState | DeviceLog

# cos and sin of the chunk's positions, each (T, rotary_dim / 2) float32.
Angles = tuple[Tensor, Tensor]


class HybridModel(nn.Module):
    """A decoder of lightning and softmax layers.

    Weights are created uninitialised; `weights.load_model` fills them.

    Args:
        config: the specification.
        dtype: of the matrices and the KV cache. Norms, router, states, softmax and logits are float32.
    """

    def __init__(self, config: ModelConfig, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.config = config
        self.dtype = dtype
        embed_dtype = torch.float32 if config.tied_embeddings else dtype
        self.embed = Weight(config.vocab_size, config.hidden_size, dtype=embed_dtype)
        self.layers = nn.ModuleList(Layer(config, layer, dtype) for layer in config.layers)
        self.norm = Weight(config.hidden_size, dtype=torch.float32)
        self.head = (
            self.embed
            if config.tied_embeddings
            else Weight(config.vocab_size, config.hidden_size, dtype=dtype)
        )

    def new_state(self, batch: int = 1) -> State:
        """Return the state before the first token."""
        return new_state(self.config, batch, self.dtype, self.embed.weight.device)

    def forward(self, tokens: Tensor, state: State, attended: list[Tensor] | None = None) -> Tensor:
        """Run tokens through all layers and move the state past them.

        Args:
            tokens: (B, T) int64, T >= 1.
            state: from `new_state`; changed in place.
            attended: when given (T must be 1), each softmax layer appends its attention
                probabilities, (B, H, n + 1) float32 over all tokens read so far and this one.

        Returns:
            Hidden states (B, T, hidden_size), normed, for `logits`.
        """
        angles = rotary_angles(self.config.rope, state.position, tokens.shape[1], tokens.device)
        hidden = self.run(tokens, state.layers, angles, attended)
        state.position += tokens.shape[1]
        return hidden

    def run(
        self,
        tokens: Tensor,
        states: Sequence[LayerState],
        angles: Angles,
        attended: list[Tensor] | None = None,
    ) -> Tensor:
        """Do what `forward` does, with the layers' states and the angles of the positions given apart."""
        x = self.embedded(tokens)
        for layer, state in zip(self.layers, states, strict=True):
            x = layer(x, state, angles, attended)
        return rms_norm(x, self.norm.weight, self.config.norm_eps)

    def read(self, tokens: Tensor, state: State) -> None:
        """Move the state past tokens (B, T) whose outputs nobody needs.

        The same state as `forward` leaves, without the work that nothing reads: of the last layer only
        what its state takes (keys and values; no queries, attention or experts), and no final norm.
        """
        angles = rotary_angles(self.config.rope, state.position, tokens.shape[1], tokens.device)
        x = self.embedded(tokens)
        for layer, layer_state in zip(self.layers[:-1], state.layers, strict=False):
            x = layer(x, layer_state, angles, None)
        self.layers[-1].absorb(x, state.layers[-1], angles)  # type: ignore[operator]  # a Layer, as ModuleList does not know
        state.position += tokens.shape[1]

    def logits(self, hidden: Tensor) -> Tensor:
        """Return (..., vocab_size) float32 logits of hidden states that `forward` returned."""
        weight = self.head.weight
        if weight.dtype not in HALVES:
            out: Tensor = self.head(hidden.float())
            return out
        if weight.device.type == "cpu":
            return F.linear(hidden.float(), weight.float())
        rows = hidden.flatten(0, -2).to(weight.dtype)
        return torch.mm(rows, weight.t(), out_dtype=torch.float32).view(*hidden.shape[:-1], -1)

    def pack(self, int8: bool = False) -> None:
        """Move float32 CPU matrices into the layout that multiplies fastest; inference only, once.

        Args:
            int8: round most of them to 8 bit integers; needs `can_quantize()`.
        """
        if self.dtype != torch.float32 or self.embed.weight.device.type != "cpu":
            return
        small = set(self.quantizable()) if int8 else set()
        for module in self._packable():
            if module in small:
                module.pack(quantize)
            elif can_pack():
                module.pack(pack)

    def quantizable(self) -> list["Weight"]:
        """Return the matrices that `pack(int8=True)` rounds: all it packs, but for the head.

        The head's error comes on top of all others, right before the choice of a token.
        """
        return [module for module in self._packable() if module is not self.head]

    def _packable(self) -> list["Weight"]:
        # The embedding is looked up, the router is float32 everywhere, and of a lightning layer that comes
        # last `read` multiplies by rows of the projection: these stay plain.
        last = self.layers[-1].mixer
        plain = {self.embed, getattr(last, "qkv", None), *(layer.experts.router for layer in self.layers)}  # type: ignore[union-attr]  # Layers
        found = [module for module in self.modules() if isinstance(module, Weight)]
        return [module for module in found if module.weight.ndim > 1 and module not in plain]

    def unused_ids(self) -> Tensor:
        """Return the ids whose embedding row is zero: padding rows that must never be sampled."""
        return (self.embed.weight == 0).all(dim=-1).nonzero()[:, 0]

    def embedded(self, tokens: Tensor) -> Tensor:
        """Return the vectors (..., hidden_size) of tokens (...)."""
        return F.embedding(tokens, self.embed.weight).to(self.dtype)


class Weight(nn.Module):
    """An uninitialised matrix (out, in), a stack of them, or a vector of norm weights."""

    def __init__(self, *shape: int, dtype: torch.dtype):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(*shape, dtype=dtype))
        self.packed: tuple[Matrix, ...] = ()  # the matrices in the CPU's own layout, once packed

    def forward(self, x: Tensor, activation: Activation = "none") -> Tensor:
        """Return activation(x W^T)."""
        return linear(x, self.packed[0] if self.packed else self.weight, activation)

    def matrices(self) -> Tensor | Sequence[Matrix]:
        """Return the matrices of a stack, as one tensor where they are in one."""
        return self.packed or self.weight

    def pack(self, form: Callable[[Tensor], Matrix]) -> None:
        """Replace the weight by its packed form; the plain one is given up, or memory would double."""
        stack = self.weight[None] if self.weight.ndim == 2 else self.weight
        self.packed = tuple(form(matrix) for matrix in stack)
        self.weight = nn.Parameter(self.weight.new_empty(0), requires_grad=False)


class Layer(nn.Module):
    """One decoder layer: norm, mixer, residual, norm, experts, residual."""

    def __init__(self, config: ModelConfig, spec: LayerSpec, dtype: torch.dtype):
        super().__init__()
        self.spec, self.eps, self.post_norm = spec, config.norm_eps, config.post_norm
        self.mixer_norm = Weight(config.hidden_size, dtype=torch.float32)
        mixer = LightningMixer if spec.mixer == "lightning" else SoftmaxMixer
        self.mixer = mixer(config, spec, dtype)
        self.mlp_norm = Weight(config.hidden_size, dtype=torch.float32)
        self.experts = Experts(config, dtype)

    def forward(
        self,
        x: Tensor,
        state: LayerState,
        angles: Angles,
        attended: list[Tensor] | None = None,
    ) -> Tensor:
        """Return the layer's output for x (B, T, hidden) and move its state on."""
        normed = rms_norm(x, self.mixer_norm.weight, self.eps)
        return self.finish(x, normed, self.mixer(normed, state, angles, attended))

    def finish(self, x: Tensor, normed: Tensor, mixed: Tensor) -> Tensor:
        """Return the layer's output from its input, the same normed, and what the mixer made of it."""
        x = _residual(normed if self.post_norm else x, mixed, self.spec.mixer_alpha, self.spec.mixer_beta)
        normed = rms_norm(x, self.mlp_norm.weight, self.eps)
        branch = self.experts(normed)
        return _residual(normed if self.post_norm else x, branch, self.spec.mlp_alpha, self.spec.mlp_beta)

    def absorb(self, x: Tensor, state: LightningState | KVState, angles: Angles) -> None:
        """Update the state with x and compute nothing else."""
        normed = rms_norm(x, self.mixer_norm.weight, self.eps)
        self.mixer.absorb(normed, state, angles)  # type: ignore[arg-type]  # the state that this mixer made


class LightningMixer(nn.Module):
    """Linear attention with a fixed decay per head, normed over all heads and gated."""

    def __init__(self, config: ModelConfig, spec: LayerSpec, dtype: torch.dtype):
        super().__init__()
        self.n_heads, self.head_dim = config.n_heads, config.head_dim
        self.slopes, self.eps = spec.slopes, config.lightning_norm_eps
        width = config.n_heads * config.head_dim
        self.qkv = Weight(3 * width, config.hidden_size, dtype=dtype)  # rows: q of all heads, then k, then v
        self.gate = Weight(width, config.hidden_size, dtype=dtype)
        self.norm = Weight(width, dtype=torch.float32)
        self.out = Weight(config.hidden_size, width, dtype=dtype)

    def forward(
        self, x: Tensor, state: LightningState, angles: Angles, attended: list[Tensor] | None
    ) -> Tensor:
        """Return (B, T, hidden) for x (B, T, hidden)."""
        mixed, state.kv = lightning_mixer(
            x, self.qkv, self.gate, self.norm.weight, self.eps, self._decay(x), state.kv
        )
        out: Tensor = self.out(mixed)
        return out

    def absorb(self, x: Tensor, state: LightningState, angles: Angles) -> None:
        """Update the state: keys and values only."""
        keys_values = self.qkv.weight[self.n_heads * self.head_dim :]
        absorb(x, lambda x, activation: linear(x, keys_values, activation), self._decay(x), state.kv)

    def _decay(self, x: Tensor) -> Decay:
        return decay_tables(self.slopes, x.device)


class SoftmaxMixer(nn.Module):
    """Grouped-query softmax attention with partial rotary positions and a KV log."""

    def __init__(self, config: ModelConfig, spec: LayerSpec, dtype: torch.dtype):
        super().__init__()
        self.head_dim = config.head_dim
        self.q = Weight(config.n_heads * config.head_dim, config.hidden_size, dtype=dtype)
        self.k = Weight(config.n_kv_heads * config.head_dim, config.hidden_size, dtype=dtype)
        self.v = Weight(config.n_kv_heads * config.head_dim, config.hidden_size, dtype=dtype)
        self.out = Weight(config.hidden_size, config.n_heads * config.head_dim, dtype=dtype)

    def forward(
        self, x: Tensor, state: KVState | DeviceLog, angles: Angles, attended: list[Tensor] | None
    ) -> Tensor:
        """Return (B, T, hidden) for x (B, T, hidden)."""
        if isinstance(state, DeviceLog):
            q, k, v = (self._heads(project(x))[:, :, 0] for project in (self.q, self.k, self.v))
            last: Tensor = self.out(state.attend(q, k, v, angles).flatten(1)[:, None])
            return last
        q = rotate(self._heads(self.q(x)), angles)
        k, v = self.keys_values(x, angles)
        earlier = state.pages()
        if attended is not None:
            attended.append(attention_weights(q, k, earlier))
        mixed = attention(q, k, v, earlier)
        state.append(k, v)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out

    def absorb(self, x: Tensor, state: KVState, angles: Angles) -> None:
        """Append keys and values."""
        state.append(*self.keys_values(x, angles))

    def keys_values(self, x: Tensor, angles: Angles) -> tuple[Tensor, Tensor]:
        """Return rotated keys and values, each (B, Hkv, T, D)."""
        return rotate(self._heads(self.k(x)), angles), self._heads(self.v(x))

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], -1, self.head_dim).transpose(1, 2)


class Experts(nn.Module):
    """The feed-forward half of a layer: a router and its gated experts."""

    def __init__(self, config: ModelConfig, dtype: torch.dtype):
        super().__init__()
        n, inner, hidden = config.n_experts, config.intermediate_size, config.hidden_size
        self.top_k = config.n_experts_per_token
        self.router = Weight(n, hidden, dtype=torch.float32)
        self.w1 = Weight(n, inner, hidden, dtype=dtype)
        self.w3 = Weight(n, inner, hidden, dtype=dtype)
        self.w2 = Weight(n, hidden, inner, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, T, hidden) for x (B, T, hidden)."""
        matrices = (self.w1.matrices(), self.w3.matrices(), self.w2.matrices())
        flat = mixture_of_experts(x.flatten(0, -2), self.router.weight, *matrices, self.top_k)
        return flat.view_as(x)


def rotary_angles(rope: RopeSpec, position: int, tokens: int, device: torch.device) -> Angles:
    """Return cos and sin, each (tokens, rotary_dim / 2) float32, for the tokens from `position` on."""
    positions = torch.arange(position, position + tokens, dtype=torch.float64, device=device)
    return angles_at(rope, positions)


def angles_at(rope: RopeSpec, positions: Tensor) -> Angles:
    """Return cos and sin, each (N, rotary_dim / 2) float32, of angles formed in float64.

    Float32 angles are off by 0.016 rad at position 1M; float64 costs nothing here.

    Args:
        positions: (N,) float64.
    """
    angles = positions[:, None] * _frequencies(rope, positions.device)
    return angles.cos().float(), angles.sin().float()


@cache
def _frequencies(rope: RopeSpec, device: torch.device) -> Tensor:
    """Return radians per token of each pair of channels, float64."""
    with torch.inference_mode(False):  # they outlive the call, and may serve training next
        exponent = torch.arange(0, rope.rotary_dim, 2, dtype=torch.float64, device=device) / rope.rotary_dim
        frequencies: Tensor = rope.theta**-exponent / rope.factor
        return frequencies


def rotate(x: Tensor, angles: Angles) -> Tensor:
    """Turn the first channels of x (B, H, T, D) by the angles; split halves, the rest passes unchanged."""
    cos, sin = angles
    first, second, rest = x.split((cos.shape[-1], cos.shape[-1], x.shape[-1] - 2 * cos.shape[-1]), dim=-1)
    turned = (first * cos - second * sin, second * cos + first * sin)  # float32, rounded once
    return torch.cat((*(part.to(x.dtype) for part in turned), rest), dim=-1)


def _residual(residual: Tensor, branch: Tensor, alpha: float, beta: float) -> Tensor:
    """Return alpha * residual + beta * branch, in the branch's memory."""
    if beta != 1.0:
        branch = branch.mul_(beta)
    return branch.add_(residual, alpha=alpha)
