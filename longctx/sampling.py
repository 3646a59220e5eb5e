"""Pick the next token from logits: greedy, or temperature with top-p, min-p and a repetition penalty."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from longctx.errors import ModelError

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class Sampling:
    """How an answer is written.

    Attributes:
        max_tokens: the most tokens to write.
        temperature: 0 is greedy; otherwise logits are divided by it.
        top_p: keep the likeliest tokens that together have at least this probability.
        min_p: keep tokens at least this fraction as likely as the likeliest.
        repetition_penalty: > 1 makes tokens already written less likely (arXiv 1909.05858, section 4.1);
            tokens of the document are not penalised, so that they can be quoted.
        stop: strings that end the answer; they are not part of it.
        seed: for the random choice.
    """

    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0


def pick(logits: "Tensor", written: Sequence[int], sampling: Sampling, random: "Generator") -> int:
    """Return the next token id.

    Args:
        logits: (V,) float32; changed in place. Forbidden ids are -inf.
        written: ids written so far.
        random: a generator on the logits' device.

    Raises:
        ModelError: when the model computed no numbers.
    """
    import torch

    if bool(logits.isnan().any()):
        raise ModelError("the model computed no numbers (NaN): its weights are damaged; download it again")

    if sampling.repetition_penalty != 1.0 and written:
        seen = torch.tensor(sorted(set(written)), device=logits.device)
        values = logits[seen]
        logits[seen] = torch.where(
            values > 0, values / sampling.repetition_penalty, values * sampling.repetition_penalty
        )
    if sampling.temperature == 0:
        return int(logits.argmax())
    probabilities = torch.softmax(logits / sampling.temperature, dim=-1)
    if sampling.min_p > 0:
        probabilities = probabilities.where(probabilities >= sampling.min_p * probabilities.max(), 0.0)
    if sampling.top_p < 1:
        ordered, ids = probabilities.sort(descending=True)
        # Drop a token if those before it already have top_p of the rest; always keep the first.
        before = ordered.cumsum(0) - ordered
        probabilities[ids[1:][before[1:] >= sampling.top_p * ordered.sum()]] = 0.0
    return int(torch.multinomial(probabilities, 1, generator=random))


class StopStrings:
    """Cut a stream of text at the first stop string, even when it arrives in pieces.

    The first is the one that is whole first; of several that end together, the longest.
    """

    def __init__(self, stop: Sequence[str]):
        self._stop = [s for s in stop if s]
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """Return the text that may be shown now, and whether a stop string ended it."""
        self._held += text
        found = [(at + len(s), at) for s in self._stop if (at := self._held.find(s)) >= 0]
        if found:
            return self._held[: min(found)[1]], True
        keep = max((_overlap(self._held, s) for s in self._stop), default=0)
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown, False

    def flush(self) -> str:
        """Return the held text once the text ended without a stop string."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` that begins `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
