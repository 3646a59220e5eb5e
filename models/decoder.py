"""The one decoder that runs every family: embedding, layers, norm, head.

It knows token ids and states, never text, and never asks what kind a layer is. A token goes through this
file from top to bottom.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from longctx.kernels.attention import log_dtype
from longctx.kernels.norm import choose_norm
from longctx.kernels.select import Site
from longctx.models.config import (
    BlockSparseSpec,
    ExpertsSpec,
    GatedSpec,
    LatentSpec,
    LayerSpec,
    LightningSpec,
    ModelConfig,
    SoftmaxSpec,
)
from longctx.models.feedforward import Experts, Gated
from longctx.models.kv_form import KVForm
from longctx.models.mixers.block_sparse import BlockSparse
from longctx.models.mixers.latent import Latent
from longctx.models.mixers.lightning import Lightning
from longctx.models.mixers.memory import Memory, StepMemory
from longctx.models.mixers.softmax import Softmax
from longctx.models.offload import ExpertCache
from longctx.models.rotary import Positions
from longctx.models.state import State
from longctx.models.weight import BITS, Form, Keep, Weight

# Spec -> what is made of it; Any, for each takes specs of its own kind.
MIXERS: dict[type, Any] = {
    LightningSpec: Lightning,
    SoftmaxSpec: Softmax,
    BlockSparseSpec: BlockSparse,
    LatentSpec: Latent,
}
STORED = ("bfloat16", "float16")
ROWS = 4096
FEEDFORWARDS: dict[type, Any] = {ExpertsSpec: Experts, GatedSpec: Gated}


class Decoder(nn.Module):
    """A decoder of lightning and softmax layers.

    Weights are uninitialised; `weights.load_model` fills them and then calls `use`.

    Args:
        config: the specification.
        dtype: of the matrices. Norms, router, states, softmax and logits are float32.
        form: that the weights will be brought into.
    """

    def __init__(self, config: ModelConfig, dtype: torch.dtype = torch.float32, form: Form = "plain"):
        super().__init__()
        self.config = config
        self.dtype, self.form = dtype, form
        self.experts: ExpertCache | None = None  # where memory has no room for all of them
        self.kv = KVForm()  # of all logs
        size = config.vocab_size, config.hidden_size
        # A rounded head is smaller and several times as fast as a tied one, which must be float32.
        whole = form in ("plain", "packed")
        tied, rounded = config.tied_embeddings and whole, not whole and dtype == torch.float32
        looked_up = torch.float32 if tied or rounded else dtype if whole else _stored(config)
        self.embed = Weight(*size, dtype=looked_up, keep="rows" if rounded else "plain")
        last = len(config.layers) - 1
        self.layers = nn.ModuleList(Layer(config, x, dtype, i == last) for i, x in enumerate(config.layers))
        self.norm = Weight(config.hidden_size, dtype=torch.float32)
        self.head = self.embed if tied else Weight(*size, dtype=dtype, keep="fine")

    def use(self, gradients: bool = False) -> "Decoder":
        """Choose and try the kernels for where the weights are, or for training; return the model."""
        site = Site(self.device, self.dtype, gradients)
        self.rms_norm = choose_norm(site, self.config.hidden_size)
        for weight in self.weights():
            weight.use(site)
        for layer in self.blocks():
            layer.use(site)
        return self

    @property
    def device(self) -> torch.device:
        """Return the device the weights are on."""
        return self.embed.weight.device

    def new_state(self, batch: int = 1) -> State:
        """Return the state before the first token, for `batch` sequences of equal length."""
        dtype = log_dtype(Site(self.device, self.dtype), self.form in BITS)
        return State(0, [x.mixer.new_memory(batch, dtype, self.device, self.kv) for x in self.blocks()])

    def forward(self, tokens: Tensor, state: State) -> Tensor:
        """Run tokens through all layers and move the state past them.

        Args:
            tokens: (B, T) int64, T >= 1.
            state: from `new_state`; changed in place.

        Returns:
            Hidden states (B, T, hidden_size), normed, for `logits`.
        """
        positions = Positions.after(state.position, tokens.shape[1], tokens.device)
        x = self.embedded(tokens)
        for layer, memory in zip(self.layers, state.layers, strict=True):
            x = layer(x, memory, positions)
        state.position += tokens.shape[1]
        return self.normed(x)

    def absorb(self, tokens: Tensor, state: State) -> None:
        """Move the state past tokens (B, T) whose outputs nobody needs.

        Leaves the same state as `forward`, but skips the work that nothing reads: the last layer only
        updates its memory (keys and values; no queries, attention or experts), and there is no final norm.
        """
        positions = Positions.after(state.position, tokens.shape[1], tokens.device)
        x = self.embedded(tokens)
        *layers, last = self.blocks()
        for layer, memory in zip(layers, state.layers, strict=False):
            x = layer(x, memory, positions)
        normed = self.rms_norm(x, last.mixer_norm.weight, self.config.norm_eps)
        last.mixer.absorb(normed, state.layers[-1], positions)
        state.position += tokens.shape[1]

    def embedded(self, tokens: Tensor) -> Tensor:
        """Return the vectors (..., hidden_size) of tokens (...)."""
        x = self.embed.rows(tokens).to(self.dtype)
        return x if self.config.embed_scale == 1 else x * self.config.embed_scale

    def normed(self, x: Tensor) -> Tensor:
        """Return the last layer's output (..., hidden_size), normed for `logits`."""
        return self.rms_norm(x, self.norm.weight, self.config.norm_eps)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return (..., vocab_size) float32 logits of hidden states that `forward` returned."""
        return self.head.logits(hidden if self.config.head_scale == 1 else hidden * self.config.head_scale)

    def blocks(self) -> "Sequence[Layer]":
        """Return the layers, with their type."""
        return list(self.layers)  # type: ignore[arg-type]  # ModuleList does not know

    def weights(self) -> list[Weight]:
        """Return every weight once."""
        return [module for module in self.modules() if isinstance(module, Weight)]

    def convert(self, form: Form) -> None:
        """Convert all weights to a form; once, and for inference only."""
        self.form = form
        for weight in self.weights():
            weight.convert(form)

    def unused_ids(self) -> Tensor:
        """Return the ids whose embedding row is zero: padding rows that must never be sampled."""
        # Some rows at once: a large table of truth values takes hundreds of megabytes.
        ids = torch.arange(self.config.vocab_size, device=self.device)
        zero = [(self.embed.rows(some) == 0).all(dim=-1) for some in ids.split(ROWS)]
        return torch.cat(zero).nonzero()[:, 0]


class Layer(nn.Module):
    """One decoder layer: norm, mixer, residual, norm, feed-forward, residual."""

    def __init__(self, config: ModelConfig, spec: LayerSpec, dtype: torch.dtype, last: bool):
        super().__init__()
        self.spec, self.eps, self.post_norm = spec, config.norm_eps, config.post_norm
        hidden = config.hidden_size
        coarse: Keep = "" if config.has_experts else "coarse"
        self.mixer_norm = Weight(hidden, dtype=torch.float32)
        self.mixer = MIXERS[type(spec.mixer)](hidden, spec.mixer, dtype, last)
        self.mlp_norm = Weight(hidden, dtype=torch.float32)
        self.mlp = FEEDFORWARDS[type(spec.feedforward)](hidden, spec.feedforward, dtype, coarse)

    def use(self, site: Site) -> None:
        """Choose the kernels for where the weights are."""
        self.rms_norm = choose_norm(site, self.mixer_norm.shape[0])
        self.mixer.use(site)
        self.mlp.use(site)

    def forward(self, x: Tensor, memory: Memory, positions: Positions) -> Tensor:
        """Return the layer's output for x (B, T, hidden) and advance its memory."""
        normed = self.rms_norm(x, self.mixer_norm.weight, self.eps)
        return self.finish(x, normed, self.mixer(normed, memory, positions))

    def step(self, x: Tensor, memory: StepMemory[Any], positions: Positions) -> Tensor:
        """Do what `forward` does in a decode step: x (B, 1, hidden) is one token per branch."""
        normed = self.rms_norm(x, self.mixer_norm.weight, self.eps)
        return self.finish(x, normed, self.mixer.step(normed, memory, positions))

    def finish(self, x: Tensor, normed: Tensor, mixed: Tensor) -> Tensor:
        """Return the layer's output, given its input, the normed input and the mixer's output."""
        spec = self.spec
        x = _residual(normed if self.post_norm else x, mixed, spec.mixer_alpha, spec.mixer_beta)
        normed = self.rms_norm(x, self.mlp_norm.weight, self.eps)
        return _residual(normed if self.post_norm else x, self.mlp(normed), spec.mlp_alpha, spec.mlp_beta)


def _stored(config: ModelConfig) -> torch.dtype:
    """Return the dtype that loses nothing of a checkpoint's weights."""
    return getattr(torch, config.stored_dtype) if config.stored_dtype in STORED else torch.float32


def _residual(residual: Tensor, branch: Tensor, alpha: float, beta: float) -> Tensor:
    """Return alpha * residual + beta * branch, in the branch's memory."""
    if beta != 1.0:
        branch = branch.mul_(beta)
    return branch.add_(residual, alpha=alpha)
