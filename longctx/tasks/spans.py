"""Let the reader's encoder read passages, and find the words in each that are likeliest to answer."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer
    from torch import Tensor

    from longctx.models.encoder import Encoder

FIRST, SEPARATOR, PADDING = 101, 102, 0  # tokens of BERT's vocabulary
QUESTION, LONGEST = 48, 320  # tokens kept of a question, and of all: as in training
LONGEST_ANSWER = 30  # tokens
TAKEN = 0.3  # share of likely answers that hold a word beside the best one, for it to be shown
_APART = re.compile(r"\n[ \t]*\n")  # no answer goes on behind an empty line


@dataclass(frozen=True)
class Said:
    """The surest words of one passage.

    Attributes:
        start, end: characters of the passage; both 0 where nothing can be said.
        margin: how much likelier they are than that nothing answers, as a logarithm.
        first: probability that an answer starts where they do.
        lead: how much likelier they are than the best words that do not overlap them, as a logarithm.
    """

    start: int
    end: int
    margin: float
    first: float
    lead: float


class SpanReader:
    """Asks an encoder one question of several passages at once."""

    def __init__(self, encoder: "Encoder", tokenizer: "Tokenizer") -> None:
        self.encoder, self.tokenizer = encoder, tokenizer

    def ask(self, question: str, passages: Sequence[str]) -> list[Said]:
        """Return what is said of each passage."""
        import torch

        asked = self.tokenizer.encode(question, add_special_tokens=False).ids[:QUESTION]
        read = self.tokenizer.encode_batch(list(passages), add_special_tokens=False)
        at = len(asked) + 2
        rows = [[FIRST, *asked, SEPARATOR, *one.ids[: LONGEST - at - 1], SEPARATOR] for one in read]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [PADDING] * (longest - len(row)) for row in rows])
        parts = (torch.arange(longest) >= at).long().expand(len(rows), -1)
        with torch.inference_mode():
            scores = self.encoder(ids, parts, ids != PADDING).float()
        return [
            _said(scores[i, :, : len(row) - 1], at, one, passage)
            for i, (row, one, passage) in enumerate(zip(rows, read, passages, strict=True))
        ]


@cache
def load(folder: Path) -> SpanReader:
    """Load the encoder of a folder, its rounded rows brought to float32, and its tokenizer."""
    from tokenizers import Tokenizer

    from longctx.models.encoder import load_rounded

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return SpanReader(load_rounded(folder / "reader.safetensors"), tokenizer)


def _said(scores: "Tensor", at: int, read: "Encoding", passage: str) -> Said:
    """Find the best span of a passage by its scores (2, T), of which the first column stands for nothing."""
    import torch

    own = scores[:, at:]
    none = float(scores[0, 0] + scores[1, 0])
    offsets = read.offsets[: own.shape[1]]
    if not offsets:
        return Said(0, 0, -math.inf, 0.0, 0.0)
    both = own[0][:, None] + own[1][None, :]
    both = both.masked_fill(~_allowed(offsets, passage), -math.inf)
    first, last = divmod(int(both.argmax()), both.shape[1])
    rows = torch.arange(len(offsets))
    overlap = (rows[:, None] <= last) & (rows[None, :] >= first)
    score, other = float(both[first, last]), float(both.masked_fill(overlap, -math.inf).max())
    starts = torch.cat([scores[0, :1], own[0]]).softmax(0)
    begin, stop = _widest(both.masked_fill(~overlap, -math.inf), first, last)
    return Said(
        offsets[begin][0],
        offsets[stop][1],
        score - none,
        float(starts[first + 1]),
        min(99.0, score - other),
    )


def _widest(spans: "Tensor", first: int, last: int) -> tuple[int, int]:
    """Return the best span with the words beside it that other likely spans take, too.

    Args:
        spans: (T, T) scores of those that overlap the best one, from `first` to `last`; minus infinity else.
    """
    shares = spans.flatten().softmax(0).view_as(spans)
    starts, ends = shares.sum(1).cumsum(0), shares.sum(0).flip(0).cumsum(0).flip(0)
    while first > 0 and float(starts[first - 1]) >= TAKEN:
        first -= 1
    while last + 1 < len(ends) and float(ends[last + 1]) >= TAKEN:
        last += 1
    return first, last


def _allowed(offsets: Sequence[tuple[int, int]], passage: str) -> "Tensor":
    """Return which spans (T, T) are whole words, within a paragraph, and not too long."""
    import torch

    count = len(offsets)
    keep = torch.ones(count, count, dtype=torch.bool).triu().tril(LONGEST_ANSWER - 1)
    starts = [a == 0 or not (passage[a - 1].isalnum() and passage[a].isalnum()) for a, _ in offsets]
    ends = [b >= len(passage) or not (passage[b - 1].isalnum() and passage[b].isalnum()) for _, b in offsets]
    keep &= torch.tensor(starts)[:, None] & torch.tensor(ends)[None, :]
    for gap in _APART.finditer(passage):
        behind = sum(a < gap.start() for a, _ in offsets)
        keep[:behind, behind:] = False
    return keep
