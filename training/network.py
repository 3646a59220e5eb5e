"""The model in the form training needs: whole documents at once, question branches, a supervised pointer.

Same weights and mathematics as models/ (a test compares the two), with a third of the cost: documents are not
padded, questions share their document, and of the last layer only the answer positions are computed. Tensors
go by their checkpoint names. The shape says of every layer whether it is lightning or softmax attention; the
model that ships has one softmax layer, the last, without positions.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from training.data import Batch

NORM_EPS, MIXER_EPS = 1e-5, 1e-6
BLOCK = 64
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Shape:
    """Sizes of the model; heads are hidden / heads wide."""

    hidden: int = 128
    mixers: str = "LLLS"  # of every layer, L for lightning and S for softmax attention
    heads: int = 4
    kv_heads: int = 2
    ffn: int = 256
    vocab: int = 4096
    alpha: float = 3.0
    pointers: int = 2  # heads 0 .. pointers-1 of a softmax layer that comes last are supervised
    theta: float = 0.0  # base of the rotary positions in softmax layers; 0 for none

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.mixers)

    @property
    def width(self) -> int:
        """Width of one head."""
        return self.hidden // self.heads


def names(shape: Shape) -> dict[str, tuple[int, ...]]:
    """List every trained tensor by checkpoint name, with its size."""
    d, kv = shape.hidden, shape.kv_heads * shape.width
    table: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (shape.vocab, d),
        "model.norm.weight": (d,),
    }
    for layer, mixer_kind in enumerate(shape.mixers):
        at = f"model.layers.{layer}"
        table |= {f"{at}.input_layernorm.weight": (d,), f"{at}.post_attention_layernorm.weight": (d,)}
        if mixer_kind == "L":
            mixer = {"qkv_proj": (3 * d, d), "output_gate": (d, d), "norm": (d,), "out_proj": (d, d)}
        else:
            mixer = {"q_proj": (d, d), "k_proj": (kv, d), "v_proj": (kv, d), "o_proj": (d, d)}
        table |= {f"{at}.self_attn.{name}.weight": size for name, size in mixer.items()}
        expert = {"w1": (shape.ffn, d), "w3": (shape.ffn, d), "w2": (d, shape.ffn)}
        table |= {f"{at}.block_sparse_moe.experts.0.{name}.weight": size for name, size in expert.items()}
    return table


def new_weights(shape: Shape, seed: int) -> Weights:
    """Draw the first weights: ones for norms, a small embedding, matrices that keep their input's size."""
    generator = torch.Generator().manual_seed(seed)
    weights: Weights = {}
    for name, size in names(shape).items():
        if len(size) == 1:
            weights[name] = torch.ones(size)
        else:
            spread = 0.02 if "embed" in name else size[1] ** -0.5
            weights[name] = torch.randn(size, generator=generator) * spread
        weights[name].requires_grad_()
    return weights


class _RMSNorm(torch.autograd.Function):
    """RMS norm whose backward pass goes over memory few times: far faster on a CPU than the built-in."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        scale = (
            torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        )
        normed = x * scale
        ctx.save_for_backward(normed, scale, weight)
        return torch.mul(normed, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor, None]:
        normed, scale, weight = ctx.saved_tensors
        product = grads[0] * normed
        inner = (product @ weight).unsqueeze(-1).div_(normed.shape[-1])
        return (grads[0] * weight).sub_(normed * inner).mul_(scale), product.sum(0), None


class _SiLU(torch.autograd.Function):
    """SiLU that keeps its sigmoid, so that the backward pass computes no exponential."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        gate = torch.sigmoid(x)
        out = x * gate
        ctx.save_for_backward(gate, out)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Tensor:
        gate, out = ctx.saved_tensors
        return torch.addcmul(gate, out, 1 - gate).mul_(grads[0])


def rms_norm(x: Tensor, weight: Tensor, eps: float = NORM_EPS) -> Tensor:
    """Normalise the last axis of a (tokens, channels) tensor."""
    result: Tensor = _RMSNorm.apply(x, weight, eps)  # type: ignore[no-untyped-call]  # torch leaves apply untyped
    return result


def silu(x: Tensor) -> Tensor:
    """Apply x * sigmoid(x)."""
    result: Tensor = _SiLU.apply(x)  # type: ignore[no-untyped-call]  # torch leaves apply untyped
    return result


@dataclass(frozen=True)
class Decay:
    """Tables of one layer's decay for blocks of one size and count; all exponents are <= 0."""

    inner: Tensor  # (H, C, C) lower triangle: exp(-s (i - j))
    reach: Tensor  # (H, C, 1) exp(-s (i + 1)): the state before a block, seen from inside it
    keep: Tensor  # (H, C, 1) exp(-s (C - 1 - i)): a key, seen from the end of its block
    carry: Tensor  # (H, N + 1, N) a block's sum, seen from the start of each later block


def slopes(shape: Shape, layer: int) -> Tensor:
    """Compute the decay slope of every head of a layer as transformers' MiniMax does."""
    base = 2.0 ** (-8.0 * torch.arange(1, shape.heads + 1, dtype=torch.float64) / shape.heads)
    return base * (1 - layer / (shape.layers - 1 + 1e-5) + 1e-5)


def decay_tables(slope: Tensor, size: int, count: int) -> Decay:
    """Tabulate the decay for `count` blocks of `size` tokens."""
    s = slope.view(-1, 1, 1)
    i = torch.arange(size, dtype=torch.float64)
    n = torch.arange(count + 1, dtype=torch.float64)
    gap = i.view(-1, 1) - i
    blocks = n.view(-1, 1) - 1 - n[:-1]
    inner = torch.where(gap >= 0, torch.exp(-s * gap.clamp(min=0)), 0.0)
    carry = torch.where(blocks >= 0, torch.exp(-s * size * blocks.clamp(min=0)), 0.0)
    reach, keep = torch.exp(-s * (i.view(-1, 1) + 1)), torch.exp(-s * (size - 1 - i.view(-1, 1)))
    return Decay(inner.float(), reach.float(), keep.float(), carry.float())


def lightning_documents(qkv: Tensor, decay: Decay) -> tuple[Tensor, Tensor]:
    """Mix whole documents, qkv (3, B, H, N, C, d); return the mixed values and each document's last state."""
    q, k, v = qkv.unbind(0)
    b, h, n, _, d = q.shape
    scores = (q @ k.transpose(-1, -2)) * decay.inner.unsqueeze(1)
    sums = (k * decay.keep.unsqueeze(1)).transpose(-1, -2) @ v  # (B, H, N, d, d)
    states = (decay.carry @ sums.reshape(b, h, n, d * d)).view(b, h, n + 1, d, d)
    mixed = scores @ v + (q * decay.reach.unsqueeze(1)) @ states[:, :, :-1]
    return mixed, states[:, :, -1]


def lightning_tails(qkv: Tensor, state: Tensor, decay: Decay) -> Tensor:
    """Mix branches, qkv (3, B, Q, H, L, d), that start from their document's state (B, H, d, d)."""
    q, k, v = qkv.unbind(0)
    scores = (q @ k.transpose(-1, -2)) * decay.inner
    return scores @ v + (q * decay.reach) @ state.unsqueeze(1)


def rotate(x: Tensor, positions: Tensor, theta: float) -> Tensor:
    """Turn x (..., N, d) by its positions (N,) as MiniMax does, split halves; theta 0 turns nothing."""
    if not theta:
        return x
    half = x.shape[-1] // 2
    speed = theta ** -(torch.arange(half, dtype=torch.float64) / half)
    angle = positions.double().unsqueeze(-1) * speed
    cos, sin = angle.cos().float(), angle.sin().float()
    first, second = x.split(half, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class Network:
    """Runs a batch through the weights and returns its losses."""

    def __init__(self, shape: Shape) -> None:
        if set(shape.mixers) - {"L", "S"}:
            raise ValueError(f"mixers {shape.mixers!r}: each must be L (lightning) or S (softmax)")
        self.shape = shape
        self._tables: dict[tuple[int, int, int], Decay] = {}

    def decay(self, layer: int, size: int, count: int) -> Decay:
        """Look up or make the decay tables of a layer."""
        at = (layer, size, count)
        if at not in self._tables:
            self._tables[at] = decay_tables(slopes(self.shape, layer), size, count)
        return self._tables[at]

    def lightning(self, w: Weights, layer: int, n1: Tensor, batch: Batch) -> Tensor:
        """Run the lightning mixer over documents and, from their states, over the branches."""
        at, shape = f"model.layers.{layer}.self_attn", self.shape
        h, d = shape.heads, shape.width
        b, t = batch.documents.shape
        tails, length = batch.tails.shape
        block = min(BLOCK, t)
        qkv, tail_qkv = torch.split(silu(F.linear(n1, w[f"{at}.qkv_proj.weight"])), [b * t, tails * length])
        documents = qkv.view(b, t // block, block, h, 3, d).permute(4, 0, 3, 1, 2, 5).contiguous()
        branches = tail_qkv.view(b, tails // b, length, h, 3, d).permute(4, 0, 1, 3, 2, 5).contiguous()
        mixed, state = lightning_documents(documents, self.decay(layer, block, t // block))
        branched = lightning_tails(branches, state, self.decay(layer, length, 1))
        out = torch.cat(
            [
                mixed.permute(0, 2, 3, 1, 4).reshape(-1, h * d),
                branched.permute(0, 1, 3, 2, 4).reshape(-1, h * d),
            ]
        )
        gate = torch.sigmoid(F.linear(n1, w[f"{at}.output_gate.weight"]))
        return F.linear(rms_norm(out, w[f"{at}.norm.weight"], MIXER_EPS) * gate, w[f"{at}.out_proj.weight"])

    def softmax(self, w: Weights, layer: int, n1: Tensor, batch: Batch) -> Tensor:
        """Run a softmax mixer over documents and over branches, which see their document and themselves."""
        at, shape = f"model.layers.{layer}.self_attn", self.shape
        h, g, d = shape.heads, shape.kv_heads, shape.width
        b, t = batch.documents.shape
        tails, length = batch.tails.shape
        each = tails // b
        after = (t + torch.arange(length)).repeat(each)  # positions of a document's branches

        def split(name: str, heads: int) -> tuple[Tensor, Tensor]:
            projected = F.linear(n1, w[f"{at}.{name}_proj.weight"])
            far, near = torch.split(projected, [b * t, tails * length])
            parts = far.view(b, t, heads, d), near.view(b, each * length, heads, d)
            long, short = (part.transpose(1, 2) for part in parts)
            if name == "v":
                return long, short
            return rotate(long, torch.arange(t), shape.theta), rotate(short, after, shape.theta)

        q, tail_q = split("q", h)
        (k, tail_k), (v, tail_v) = (
            tuple(part.repeat_interleave(h // g, dim=1) for part in split(name, g)) for name in ("k", "v")
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        branch = torch.arange(each * length) // length
        near = branch.unsqueeze(1) == branch
        seen = torch.cat([torch.ones(each * length, t, dtype=torch.bool), near.tril()], dim=1)
        branched = F.scaled_dot_product_attention(
            tail_q, torch.cat([k, tail_k], dim=2), torch.cat([v, tail_v], dim=2), attn_mask=seen
        )
        out = [part.transpose(1, 2).reshape(-1, h * d) for part in (mixed, branched)]
        return F.linear(torch.cat(out), w[f"{at}.o_proj.weight"])

    def feed_forward(self, w: Weights, layer: int, n2: Tensor) -> Tensor:
        """Run the single expert."""
        at = f"model.layers.{layer}.block_sparse_moe.experts.0"
        return F.linear(
            silu(F.linear(n2, w[f"{at}.w1.weight"])) * F.linear(n2, w[f"{at}.w3.weight"]),
            w[f"{at}.w2.weight"],
        )

    def attention(self, w: Weights, n1: Tensor, asked: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Look back from the answer positions only.

        Returns:
            Their mix (H, M, d), the weights (H, M, keys), and every head's values (H, tokens, d).
        """
        at, shape = f"model.layers.{self.shape.layers - 1}.self_attn", self.shape
        b, t = batch.documents.shape
        tails, length = batch.tails.shape
        m, h, g, d = len(batch.target), shape.heads, shape.kv_heads, shape.width
        k = F.linear(n1, w[f"{at}.k_proj.weight"]).view(-1, g, d).transpose(0, 1)  # (G, tokens, d)
        v = F.linear(n1, w[f"{at}.v_proj.weight"]).view(-1, g, d).transpose(0, 1)
        q = F.linear(asked, w[f"{at}.q_proj.weight"]).view(m, g, h // g, d)
        q = rotate(q.permute(1, 2, 0, 3) * d**-0.5, t + batch.position, shape.theta)  # (G, h/g, M, d)
        here = torch.cat([torch.arange(t).repeat(b), (t + torch.arange(length)).repeat(tails)])
        k = rotate(k, here, shape.theta)
        far_k, near_k = torch.split(k, [b * t, tails * length], dim=1)
        far_v, near_v = torch.split(v, [b * t, tails * length], dim=1)
        tail_k, tail_v = (
            x.reshape(g, tails, length, d)[:, batch.row] for x in (near_k, near_v)
        )  # (G, M, L, d)
        far = q.reshape(g, -1, d) @ far_k.transpose(-1, -2)  # (G, h/g * M, B*T)
        near = q.transpose(1, 2) @ tail_k.transpose(-1, -2)  # (G, M, h/g, L)
        hidden = torch.arange(length) > batch.position.view(-1, 1)
        near = near.masked_fill(hidden.view(1, m, 1, length), -math.inf).transpose(1, 2)
        far = far.view(g, h // g, m, b * t) + far_bias(batch)[batch.row // (tails // b)]
        weights = torch.cat([far, near], dim=-1).softmax(-1)
        on_far, on_tail = torch.split(weights, [b * t, length], dim=-1)
        mixed = (on_far.reshape(g, -1, b * t) @ far_v).view(g, h // g, m, d)
        mixed = mixed + (on_tail.transpose(1, 2) @ tail_v).transpose(1, 2)
        return mixed.reshape(h, m, d), weights.view(h, m, -1), v.repeat_interleave(h // g, dim=0)

    def finish(self, w: Weights, asked: Tensor, out: Tensor) -> Tensor:
        """Take the output (M, hidden) of the last mixer to logits (M, vocab)."""
        last, alpha = self.shape.layers - 1, self.shape.alpha
        at = f"model.layers.{last}"
        n2 = rms_norm(torch.add(out, asked, alpha=alpha), w[f"{at}.post_attention_layernorm.weight"])
        y = torch.add(self.feed_forward(w, last, n2), n2, alpha=alpha)
        return F.linear(rms_norm(y, w["model.norm.weight"]), w["model.embed_tokens.weight"])

    def body(self, w: Weights, batch: Batch) -> Tensor:
        """Run all layers but the last; return the normed input of the last, documents before tails."""
        alpha = self.shape.alpha
        tokens = torch.cat([batch.documents.flatten(), batch.tails.flatten()])
        x = F.embedding(tokens, w["model.embed_tokens.weight"])
        for layer in range(self.shape.layers - 1):
            at = f"model.layers.{layer}"
            n1 = rms_norm(x, w[f"{at}.input_layernorm.weight"])
            mixer = self.lightning if self.shape.mixers[layer] == "L" else self.softmax
            h = torch.add(mixer(w, layer, n1, batch), n1, alpha=alpha)
            n2 = rms_norm(h, w[f"{at}.post_attention_layernorm.weight"])
            x = torch.add(self.feed_forward(w, layer, n2), n2, alpha=alpha)
        return rms_norm(x, w[f"model.layers.{self.shape.layers - 1}.input_layernorm.weight"])

    def forward(self, w: Weights, batch: Batch) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return, for the answer positions, the logits, the attention (H, M, keys), and the copying logits.

        Copying logits are what would be written if the pointer heads stood on `batch.copied` alone. A
        lightning layer in last place has no attention: then the second and third are None.
        """
        n1 = self.body(w, batch)
        places = batch.documents.numel() + batch.row * batch.tails.shape[1] + batch.position
        asked, last = n1[places], self.shape.layers - 1
        if self.shape.mixers[last] == "L":
            return self.finish(w, asked, self.lightning(w, last, n1, batch)[places]), None, None
        mixed, weights, values = self.attention(w, n1, asked, batch)
        pointers = self.shape.pointers
        copied = torch.cat([values[:pointers, batch.copied], mixed[pointers:]])
        answer, copies = (
            F.linear(heads.transpose(0, 1).flatten(1), w[f"model.layers.{last}.self_attn.o_proj.weight"])
            for heads in (mixed, copied)
        )
        return self.finish(w, asked, answer), weights, self.finish(w, asked, copies)

    def losses(self, w: Weights, batch: Batch) -> tuple[Tensor, Tensor, Tensor, dict[str, float]]:
        """Return the losses of answers, pointer and copying, and figures for the log."""
        logits, weights, copies = self.forward(w, batch)
        answer = F.cross_entropy(logits, batch.target, reduction="none") @ batch.weight
        parts = {"right": (logits.argmax(-1) == batch.target).float()}
        pointer = copying = logits.new_zeros(())
        if weights is not None and copies is not None:
            copying = F.cross_entropy(copies, batch.documents.flatten()[batch.copied])
            # Sources in the branch itself, as an absent key's, lie behind the document keys.
            sources = batch.source.clamp(min=0).expand(self.shape.pointers, -1, -1)
            each = weights[: self.shape.pointers].gather(-1, sources)
            mass = each.masked_fill(batch.source < 0, 0).sum(-1)
            pointer = -mass.clamp(min=1e-9).log().mean(0) @ batch.weight
            parts["mass"] = mass.detach().mean(0)
        masks = {"": batch.target >= 0, "_first": batch.first & ~batch.absent, "_absent": batch.absent}
        figures = {
            key + at: value[mask].mean().item()
            for key, value in parts.items()
            for at, mask in masks.items()
            if mask.any()
        }
        return answer, pointer, copying, figures


def far_bias(batch: Batch) -> Tensor:
    """Return, per document, what is added to the score of every document key (B, B*T).

    The haystack counts as many times over; other documents are seen or not.
    """
    b, t = batch.documents.shape
    bias = batch.amplify.view(b, 1, 1) * batch.hay.view(1, b, t)
    other = ~torch.eye(b, dtype=torch.bool).view(b, b, 1) & ~batch.pooled.view(b, 1, 1)
    return bias.masked_fill(other, -math.inf).view(b, b * t)
