"""An answer while it is written: which token comes next, and what of its text is certain."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from longctx.sampling import Sampling, StopStrings, pick
from longctx.tokens.tokenizer import Detokenizer, Tokenizer

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Pointer:
    """The token that got most of the pointer heads' attention, and its share."""

    position: int
    mass: float


@dataclass(frozen=True)
class Piece:
    """A step of an answer.

    Attributes:
        text: to show now; may be empty while a character or a stop string is incomplete.
        token: the id written; None if the answer ended without one.
        pointer: where the model looked when it wrote the token; None for models without pointer heads.
        finish: why the answer ended, on its last piece.
    """

    text: str
    token: int | None
    pointer: Pointer | None
    finish: Literal["stop", "length"] | None


class Writing:
    """An answer while it is written, a token at a time.

    Args:
        stop_ids: end an answer.
        forbidden: ids that no answer may contain, on the device of the logits.

    Attributes:
        written: the ids so far, one that ended the answer included.
        ended: the last piece has been given.
    """

    def __init__(
        self, tokenizer: Tokenizer, stop_ids: Collection[int], forbidden: "Tensor", sampling: Sampling
    ) -> None:
        import torch

        self.written: list[int] = []
        self.ended = False
        self._sampling, self._stop_ids, self._forbidden = sampling, stop_ids, forbidden
        self._random = torch.Generator(forbidden.device).manual_seed(sampling.seed)
        self._detokenizer, self._stops = Detokenizer(tokenizer), StopStrings(sampling.stop)

    def take(self, logits: "Tensor", pointer: Pointer | None = None) -> list[Piece]:
        """Choose the next token from logits (V,), which are changed; return what is new, `finish` last."""
        stops, sampling = self._stops, self._sampling
        logits[self._forbidden] = float("-inf")
        token = pick(logits, self.written, sampling, self._random)
        self.written.append(token)
        if token in self._stop_ids:
            self.ended = True
            return [Piece(stops.push(self._detokenizer.flush())[0] + stops.flush(), None, None, "stop")]
        text, self.ended = stops.push(self._detokenizer.push(token))
        pieces = [Piece(text, token, pointer, "stop" if self.ended else None)]
        if not self.ended and len(self.written) >= sampling.max_tokens:
            self.ended = True
            text, stopped = stops.push(self._detokenizer.flush())
            reason: Literal["stop", "length"] = "stop" if stopped else "length"
            pieces.append(Piece(text if stopped else text + stops.flush(), None, None, reason))
        return pieces
