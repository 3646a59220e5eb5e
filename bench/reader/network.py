"""The reader's weights, run over prompts side by side, and over many continuations of each at once."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional as F

from training.reader.network import TOGETHER, Sizes, load_base, rms_norm, rotary, rotated

RANK, ALPHA = 16, 32.0  # where the file of the update does not say
LONGEST = 2048


@dataclass
class Cache:
    """Keys and values of prompts, per layer (B, heads, T, D); `lengths` (B) without padding."""

    layers: list[tuple[Tensor, Tensor]]
    lengths: Tensor


class Network:
    """The base with its update merged in float32, then kept in `dtype`: what runs is what is measured.

    Args:
        base: a checkpoint's folder, its numbers those of the 4-bit file.
        update: low-rank matrices by their PEFT names; None is the base as it is.
    """

    def __init__(self, base: Path, update: Path | None, dtype: torch.dtype = torch.bfloat16) -> None:
        config = json.loads((base / "config.json").read_text(encoding="utf-8"))
        tensors, rank, alpha = load_base(base), RANK, ALPHA
        if update is not None:
            with safe_open(update, "pt") as file:
                said = file.metadata() or {}
                rank, alpha = int(said.get("rank", RANK)), float(said.get("alpha", ALPHA))
                low = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
            for name in [name for name in low if name.endswith("lora_A.weight")]:
                b = low[name.replace("lora_A", "lora_B")]
                tensors[name.replace("lora_A.", "")] += b @ low[name] * (alpha / b.shape[1])
        self.sizes = Sizes.of(config, rank, alpha)
        self.dtype = dtype
        self.embedding = tensors["model.embed_tokens.weight"].to(dtype)
        self.head = tensors.get("lm_head.weight", tensors["model.embed_tokens.weight"]).to(dtype)
        self.norm = tensors["model.norm.weight"].float()
        self.head_size = self.embedding.shape[1] // self.sizes.heads
        self.angles = [each.to(dtype) for each in rotary(LONGEST, self.head_size, self.sizes.theta)]
        self.layers = []
        for i in range(self.sizes.layers):
            at = f"model.layers.{i}."
            norms = [
                tensors[f"{at}{name}.weight"].float()
                for name in ("input_layernorm", "post_attention_layernorm")
            ]
            mats = [
                torch.cat([tensors[f"{at}{name}.weight"] for name in group]).to(dtype) for group in TOGETHER
            ]
            self.layers.append((*norms, *mats))

    @torch.inference_mode()
    def read(self, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Cache]:
        """Return the log-probabilities (B, vocab) of what comes after each prompt, and what was read."""
        lengths = torch.tensor([len(ids) for ids in prompts])
        longest = int(lengths.max())
        ids = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in prompts])
        cache = Cache([], lengths)
        where = torch.arange(longest).expand(len(prompts), -1)
        x = self._run(ids, where, None, cache)
        return self.predict(x[torch.arange(len(prompts)), lengths - 1]), cache

    @torch.inference_mode()
    def follow(self, cache: Cache, branches: Tensor) -> Tensor:
        """Return what is known (B, K, L, hidden) after each token of K continuations of each prompt.

        Args:
            branches: (B, K, L) token ids; padding on the right does no harm.
        """
        b, k, length = branches.shape
        longest = cache.layers[0][0].shape[2]
        own = torch.eye(k, dtype=torch.bool).repeat_interleave(length, 0).repeat_interleave(length, 1)
        own &= torch.ones(length, length, dtype=torch.bool).tril().repeat(k, k)
        read = torch.arange(longest) < cache.lengths[:, None]
        mask = torch.cat([read[:, None].expand(-1, k * length, -1), own.expand(b, -1, -1)], -1)
        where = (cache.lengths[:, None] + torch.arange(length)).repeat(1, k)
        return self._run(branches.reshape(b, -1), where, mask[:, None], cache).view(b, k, length, -1)

    @torch.inference_mode()
    def predict(self, x: Tensor) -> Tensor:
        """Return the log-probabilities (..., vocab) of what comes next; some 200 KB for each place."""
        logits = F.linear(rms_norm(x, self.norm, self.sizes.eps), self.head)
        return logits.float().log_softmax(-1)

    def _run(self, ids: Tensor, where: Tensor, mask: Tensor | None, cache: Cache) -> Tensor:
        """Run tokens (B, T) through all layers; without a mask they are prompts, and fill the cache."""
        b, t = ids.shape
        heads, kv = self.sizes.heads, self.sizes.kv_heads
        cos, sin = (each[where][:, None] for each in self.angles)
        x = F.embedding(ids, self.embedding)
        for number, (first, second, qkv, out, gate_up, down) in enumerate(self.layers):
            mixed = F.linear(rms_norm(x, first, self.sizes.eps), qkv).view(b, t, -1, self.head_size)
            q, k, v = mixed.transpose(1, 2).split([heads, kv, kv], dim=1)
            q, k = rotated(q, cos, sin), rotated(k, cos, sin)
            k, v = (each.repeat_interleave(heads // kv, 1) for each in (k, v))
            if mask is None:
                cache.layers.append((k, v))
                y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            else:
                k, v = (torch.cat(pair, 2) for pair in zip(cache.layers[number], (k, v), strict=True))
                y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            x = x + F.linear(y.transpose(1, 2).reshape(b, t, -1), out)
            gate, up = F.linear(rms_norm(x, second, self.sizes.eps), gate_up).chunk(2, dim=-1)
            x = x + F.linear(F.silu(gate) * up, down)
        return x
