"""A loaded model, and readings of it. An Engine owns weights and device; a Session owns what was read.

Neither knows what the tokens mean to the user: tasks build prompts and interpret answers.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from longctx.errors import ModelError
from longctx.sampling import Sampling, StopStrings, pick
from longctx.tokens import Chunk, Detokenizer, Tokenizer

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from longctx.models.hybrid import HybridModel
    from longctx.models.state import State


@dataclass(frozen=True)
class Pointer:
    """The token that the pointer heads attended to most, and how much of their attention it got."""

    position: int
    mass: float


@dataclass(frozen=True)
class Piece:
    """A step of an answer.

    Attributes:
        text: what may be shown now; may be empty while a character or a stop string is incomplete.
        token: the id written, None for the last piece when the answer ended without a token of its own.
        pointer: where the model looked when it wrote the token; None for models without pointer heads.
        finish: why the answer ended, on its last piece.
    """

    text: str
    token: int | None
    pointer: Pointer | None
    finish: Literal["stop", "length"] | None


@dataclass
class Engine:
    """Weights and tokenizer of one checkpoint on one device."""

    model: "HybridModel"
    tokenizer: Tokenizer
    folder: Path

    @classmethod
    def load(cls, folder: Path, device: str = "auto", dtype: str = "auto") -> "Engine":
        """Load a checkpoint folder.

        Raises:
            ModelError: when the checkpoint or its tokenizer is missing, corrupt or of an unknown kind.
        """
        from longctx.models.weights import load_model, read_config

        config = read_config(folder)
        tokenizer = Tokenizer.load(folder, config.vocab_size)
        where = pick_device(device)
        model = load_model(folder, pick_dtype(dtype, where), where)
        model.pack()
        return cls(model, tokenizer, folder)

    def session(self) -> "Session":
        """Start a reading."""
        return Session(self, self.model.new_state())

    @property
    def device(self) -> "torch.device":
        """Return the device the weights are on."""
        return self.model.embed.weight.device


class Session:
    """One reading: the state after some tokens, which can be continued, forked and asked."""

    def __init__(self, engine: Engine, state: "State"):
        self.engine = engine
        self.state = state

    @property
    def position(self) -> int:
        """Return the number of tokens read so far."""
        return self.state.position

    def fork(self) -> "Session":
        """Return an independent continuation; what it reads and writes does not touch this one."""
        return Session(self.engine, self.state.fork())

    def read(self, tokens: Sequence[int]) -> None:
        """Read tokens whose outputs nobody needs, in one piece."""
        import torch

        if tokens:
            with torch.inference_mode():
                self.engine.model.read(self._tensor(tokens), self.state)

    def read_chunks(self, chunks: Iterable[Chunk]) -> Iterator[int]:
        """Read chunk by chunk, yielding the number of tokens of each chunk once it is read."""
        for chunk in chunks:
            self.read(chunk.tokens)
            yield len(chunk.tokens)

    def generate(self, prompt: Sequence[int], how: Sampling) -> Iterator[Piece]:
        """Read the prompt and write an answer, one piece per token; the last piece has `finish` set.

        The state moves along: fork first to keep it. The prompt must have at least one token.
        """
        import torch

        model, config = self.engine.model, self.engine.model.config
        forbidden = self._forbidden()
        random = torch.Generator(self.engine.device).manual_seed(how.seed)
        detokenizer, stops = Detokenizer(self.engine.tokenizer), StopStrings(how.stop)
        written: list[int] = []
        self.read(prompt[:-1])
        token = prompt[-1]
        while len(written) < how.max_tokens:
            attended: list[Tensor] | None = [] if config.pointer_heads else None
            with torch.inference_mode():
                hidden = model(self._tensor([token]), self.state, attended)
                logits = model.logits(hidden[0, -1])
                logits[forbidden] = float("-inf")
                token = pick(logits, written, how, random)
                pointer = _pointer(attended[-1], config.pointer_heads) if attended else None
            written.append(token)
            if token in config.stop_ids:
                yield Piece(stops.push(detokenizer.flush())[0] + stops.flush(), None, None, "stop")
                return
            text, stopped = stops.push(detokenizer.push(token))
            yield Piece(text, token, pointer, "stop" if stopped else None)
            if stopped:
                return
        text, stopped = stops.push(detokenizer.flush())
        yield Piece(text if stopped else text + stops.flush(), None, None, "stop" if stopped else "length")

    def _tensor(self, tokens: Sequence[int]) -> "Tensor":
        import torch

        return torch.tensor([tokens], dtype=torch.int64, device=self.engine.device)

    def _forbidden(self) -> "Tensor":
        """Return the ids that no answer may hold: padding rows of the embedding, and ids without text."""
        import torch

        unused = self.engine.model.unused_ids()
        beyond = torch.arange(
            self.engine.tokenizer.vocab_size, self.engine.model.config.vocab_size, device=unused.device
        )
        return torch.cat((unused, beyond))


def _pointer(attended: "Tensor", heads: Sequence[int]) -> Pointer:
    """Return the most attended token of (1, H, n) attention, averaged over the pointer heads."""
    mean = attended[0, list(heads)].mean(dim=0)
    best = int(mean.argmax())
    return Pointer(best, float(mean[best]))


def pick_device(name: str) -> "torch.device":
    """Return the device called `name`; "auto" is the first CUDA device, or the CPU when there is none."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"--device {name}: not a device; use cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelError(f"--device {name}: there is no such CUDA device here")
    if device.type not in ("cpu", "cuda"):
        raise ModelError(f"--device {name}: only cpu and cuda are supported")
    return device


def pick_dtype(name: str, device: "torch.device") -> "torch.dtype":
    """Return the dtype called `name`; "auto" is float32 on the CPU and bfloat16 elsewhere."""
    import torch

    from longctx.machine import check_reduced_precision

    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    if device.type == "cpu" and name != "float32":
        check_reduced_precision(name)
    dtype: torch.dtype = getattr(torch, name)
    return dtype
