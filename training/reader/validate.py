"""What the reader says of questions whose articles, stories, books and tables it has not seen."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer

from longctx.models.encoder import Encoder
from training.reader.batches import Encoded, Example, encode, tensors

LONGEST_ANSWER = 30  # tokens


@torch.inference_mode()
def spans(net: Encoder, batch: Sequence[Encoded]) -> list[tuple[int, int, float]]:
    """Return the best span of each, as tokens, and by how much it is likelier than no answer."""
    ids, parts, mask, allowed, _ = tensors(batch)
    with torch.autocast("cpu", torch.bfloat16):
        scores = net(ids, parts, mask)
    starts, ends = scores.float().masked_fill(~allowed[:, None], -1e4).unbind(1)
    both = starts[:, :, None] + ends[:, None, :]
    keep = torch.ones_like(both[0], dtype=torch.bool).triu().tril(LONGEST_ANSWER - 1)
    keep[0] = keep[:, 0] = False
    flat = both.masked_fill(~keep, -1e9).flatten(1)
    best, width = flat.argmax(1), both.shape[2]
    margins = flat.max(1).values - both[:, 0, 0]
    return [(int(b) // width, int(b) % width, float(m)) for b, m in zip(best, margins, strict=True)]


def validate(net: Encoder, tokenizer: Tokenizer, examples: Sequence[Example]) -> dict[str, Any]:
    """Return how many answers are exact, and how well answerable questions are told from others, by kind."""
    encoded = [(example, one) for example in examples if (one := encode(example, tokenizer))]
    encoded.sort(key=lambda pair: len(pair[1].ids))
    exact: dict[str, list[bool]] = defaultdict(list)
    margins: list[tuple[float, bool]] = []
    for start in range(0, len(encoded), 16):
        some = encoded[start : start + 16]
        for (example, one), (first, last, margin) in zip(
            some, spans(net, [one for _, one in some]), strict=True
        ):
            margins.append((margin, example.answer is not None))
            if example.answer is not None:
                right = any((first, last) == pair for pair in zip(one.starts, one.ends, strict=True))
                exact[example.kind.split(",")[0]].append(right)
    there = [m for m, answerable in margins if answerable]
    absent = [m for m, answerable in margins if not answerable]
    wins = sum(sum(a > b for b in absent) for a in there)
    return {
        "exact": {kind: f"{sum(own)}/{len(own)}" for kind, own in exact.items()},
        "all": round(sum(map(sum, exact.values())) / max(1, len(there)), 3),
        "auc": round(wins / max(1, len(there) * len(absent)), 3),
        "answered": round(sum(m > 0 for m in there) / max(1, len(there)), 3),
        "refused": round(sum(m <= 0 for m in absent) / max(1, len(absent)), 3),
    }
