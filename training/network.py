"""The losses of a batch: whole documents at once, question branches, a supervised pointer.

The layers are those of models/, run by the kernels' differentiable forms, so that training and inference
cannot drift apart. Here is only what training alone has: questions share the reading of their document, and
of a last softmax layer only the answer positions are computed, against keys that count many times over.
"""

import math

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from longctx.models.decoder import Decoder, Layer
from longctx.models.families.minimax import translate, weight_map
from longctx.models.mixers.memory import Memory
from longctx.models.mixers.softmax import Softmax
from longctx.models.rotary import Positions, rotate
from training.data import Batch
from training.shape import Shape, Weights, config


class Network(nn.Module):
    """Runs a batch through the weights and returns its losses.

    The weights stay outside, by their checkpoint names: the model here is only its structure.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        with torch.device("meta"):
            self.model = Decoder(translate(config(shape))).use(gradients=True)
        self.targets = weight_map(self.model.config)

    def run(self, weights: Weights, batch: Batch) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Do what `forward` does, with weights given by their checkpoint names."""
        # Untied, for the head is the embedding itself: swapped twice, it would not come back.
        parameters = self.bound(weights)
        result: tuple[Tensor, Tensor | None, Tensor | None] = functional_call(
            self, parameters, batch, tie_weights=False
        )
        return result

    def bound(self, weights: Weights) -> Weights:
        """Return our parameters as functions of checkpoint tensors, by the map that loading goes by."""
        parts: dict[str, list[Tensor]] = {}
        for target in self.targets:
            path = f"model.{target.weight}.weight"
            shape = self.get_parameter(path).shape[0 if target.member is None else 1 :]
            # Of the tensors of a checkpoint only the routers are not trained.
            sources = [weights[name] for name in target.sources if name in weights]
            some = next(iter(weights.values()))
            made = target.join(sources).view(shape) if sources else some.new_zeros(shape)
            parts.setdefault(path, []).append(made)
        stacks = {f"model.{target.weight}.weight" for target in self.targets if target.member is not None}
        return {path: torch.stack(made) if path in stacks else made[0] for path, made in parts.items()}

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return, for the answer positions, the logits, the attention (H, M, keys), and the copying logits.

        Copying logits are what would be written if the pointer heads stood on `batch.copied` alone. A
        lightning layer in last place has no attention: then the second and third are None.
        """
        (count, length), width = batch.documents.shape, batch.tails.shape[1]
        device = batch.documents.device
        places = Positions.after(0, length, device), Positions.after(length, width, device)
        states = self.model.new_state(count).layers
        x, y = self.model.embedded(batch.documents), self.model.embedded(batch.tails)
        *layers, last = self.model.blocks()
        each = len(batch.tails) // count
        for layer, state in zip(layers, states, strict=False):
            x = layer(x, state, places[0])
            y = layer(y, branched(layer, state, each), places[1])
        if not self.shape.mixers.endswith("S"):
            last(x, states[-1], places[0])
            y = last(y, branched(last, states[-1], each), places[1])
            return self.logits(y[batch.row, batch.position]), None, None
        far, near = (last.rms_norm(each, last.mixer_norm.weight, last.eps) for each in (x, y))
        mixed, weights, values = attention(last.mixer, far, near, places, batch)
        pointers = self.shape.pointers
        copied = torch.cat([values[:pointers, batch.copied], mixed[pointers:]])
        asked, normed = (each[batch.row, batch.position] for each in (y, near))
        answer, copies = (
            self.logits(last.finish(asked, normed, last.mixer.out(heads.transpose(0, 1).flatten(1))))
            for heads in (mixed, copied)
        )
        return answer, weights, copies

    def logits(self, x: Tensor) -> Tensor:
        """Return logits (M, vocab) for what the last layer made (M, hidden)."""
        return self.model.logits(self.model.normed(x))

    def losses(self, weights: Weights, batch: Batch) -> tuple[Tensor, Tensor, Tensor, dict[str, float]]:
        """Return the losses of answers, pointer and copying, and figures for the log."""
        logits, attended, copies = self.run(weights, batch)
        answer = F.cross_entropy(logits, batch.target, reduction="none") @ batch.weight
        parts = {"right": (logits.argmax(-1) == batch.target).float()}
        pointer = copying = logits.new_zeros(())
        if attended is not None and copies is not None:
            copying = F.cross_entropy(copies, batch.documents.flatten()[batch.copied])
            # Sources in the branch itself, as an absent key's, lie behind the document keys.
            sources = batch.source.clamp(min=0).expand(self.shape.pointers, -1, -1)
            each = attended[: self.shape.pointers].gather(-1, sources)
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


def branched(layer: Layer, memory: Memory, each: int) -> Memory:
    """Return the memory of `each` branches of every document, one after another."""
    rows = {name: tensor.repeat_interleave(each, dim=0) for name, tensor in memory.tensors().items()}
    some = next(iter(rows.values()))
    branches: Memory = layer.mixer.new_memory(len(some), some.dtype, some.device)
    branches.restore(rows)
    return branches


def attention(
    mixer: Softmax, far: Tensor, near: Tensor, places: tuple[Positions, Positions], batch: Batch
) -> tuple[Tensor, Tensor, Tensor]:
    """Look back from the answer positions only, at all documents of the batch as far as a branch sees them.

    Args:
        far, near: the normed input (B, T, hidden) of documents and (B * Q, L, hidden) of tails.

    Returns:
        Their mix (H, M, D), the weights (H, M, keys), and every head's values (H, B * T, D).
    """
    (b, t), length = batch.documents.shape, batch.tails.shape[1]
    # (G, B * T, D) of documents and (G, M, L, D) of the tails of the answer positions.
    far_k, far_v = (x.transpose(0, 1).flatten(1, 2) for x in mixer.keys_values(far, places[0]))
    tail_k, tail_v = (x[batch.row].transpose(0, 1) for x in mixer.keys_values(near, places[1]))
    g, m, _, d = tail_k.shape
    cos, sin = places[1].angles(mixer.spec.rope)
    q = mixer.q(near[batch.row, batch.position]).view(1, m, -1, d).transpose(1, 2)
    q = rotate(q, (cos[batch.position], sin[batch.position])).view(g, -1, m, d) * d**-0.5
    scores = (q.flatten(1, 2) @ far_k.transpose(-1, -2)).view(g, -1, m, b * t) + far_bias(batch)
    own = q.transpose(1, 2) @ tail_k.transpose(-1, -2)  # (G, M, H/G, L)
    later = torch.arange(length, device=q.device) > batch.position.view(-1, 1)
    own = own.masked_fill(later.view(1, m, 1, length), -math.inf).transpose(1, 2)
    weights = torch.cat([scores, own], dim=-1).softmax(-1)
    on_far, on_tail = torch.split(weights, [b * t, length], dim=-1)
    mixed = (on_far.flatten(1, 2) @ far_v).view(g, -1, m, d)
    mixed = mixed + (on_tail.transpose(1, 2) @ tail_v).transpose(1, 2)
    heads = mixed.shape[0] * mixed.shape[1]
    values = far_v.repeat_interleave(heads // g, dim=0)
    return mixed.reshape(heads, m, d), weights.reshape(heads, m, -1), values


def far_bias(batch: Batch) -> Tensor:
    """Return, per answer position, what is added to the score of every document key, (M, B * T).

    The haystack counts as many times over, but not the token that is asked for; other documents are seen or
    not; what was found before is gone.
    """
    (b, t), device = batch.documents.shape, batch.documents.device
    document = batch.row // (len(batch.tails) // b)
    bias = batch.amplify.view(b, 1, 1) * batch.hay.view(1, b, t)
    other = ~torch.eye(b, dtype=torch.bool, device=device).view(b, b, 1) & ~batch.pooled.view(b, 1, 1)
    bias = bias.masked_fill(other, -math.inf)[document]
    rows = torch.arange(len(document), device=device)
    bias[rows, document] = bias[rows, document].masked_fill(batch.gone[batch.row], -math.inf)
    bias = bias.view(-1, b * t)
    sources = (batch.source >= 0) & (batch.source < b * t)
    bias[rows.unsqueeze(1).expand_as(sources)[sources], batch.source[sources]] = 0
    return bias
