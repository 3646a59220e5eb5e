"""A loaded model and its sessions. An Engine owns weights and device; a Session owns the tokens read.

Neither knows what tokens mean to the user: tasks build prompts and interpret answers.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from longctx.errors import ModelError
from longctx.sampling import Sampling
from longctx.tokens.tokenizer import Tokenizer
from longctx.writing import Piece, Pointer, Writing

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from longctx.models.config import ModelConfig
    from longctx.models.decoder import Decoder
    from longctx.models.state import State
    from longctx.models.step import DecodeStep
    from longctx.models.weight import Form

LONGEST_PIECE = 4096  # tokens of a prompt read at once; documents have chunks of their own
AHEAD = 8  # tokens that are guessed at once: few answers that are copied are longer
# A position, a number -> so many tokens that were read from there on, or as many as are known.
Source = Callable[[int, int], list[int]]


@dataclass
class Engine:
    """Weights and tokenizer of one checkpoint on one device."""

    model: "Decoder"
    tokenizer: Tokenizer
    folder: Path
    form: "Form" = "plain"

    @classmethod
    def load(cls, folder: Path, device: str = "auto", dtype: str = "auto", quant: str = "none") -> "Engine":
        """Load a checkpoint folder.

        Raises:
            ModelError: when the checkpoint or its tokenizer is missing, corrupt or of an unknown kind.
        """
        from longctx.models.config_file import read_config

        config, where = read_config(folder), pick_device(device)
        tokenizer = Tokenizer.load(folder, config.vocab_size)
        kind = pick_dtype(dtype, where, config.stored_dtype)
        form = next(pick_forms(quant, dtype, where, kind, config.published))
        return cls.of(folder, config, tokenizer, where, kind, form)

    @classmethod
    def of(
        cls,
        folder: Path,
        config: "ModelConfig",
        tokenizer: Tokenizer,
        device: "torch.device",
        dtype: "torch.dtype",
        form: "Form",
        kept: int | None = None,
        host: int = 0,
    ) -> "Engine":
        """Load the weights in a folder whose other files have been read.

        Of experts, `kept` bytes or all are held on the device. The others come from memory of the host, if
        `host` bytes of them are to be there, or else from the disk.

        Raises:
            ModelError: when weights are missing, corrupt or of the wrong shape.
        """
        from longctx.models.lane import Lane
        from longctx.models.offload import ExpertCache
        from longctx.models.weights import load_model

        lane = Lane(device) if device.type == "cuda" else None
        cache = None if kept is None else ExpertCache(kept, lane, at_once=host > 0)
        return cls(load_model(folder, config, device, dtype, form, cache), tokenizer, folder, form)

    def session(self) -> "Session":
        """Start a session before the first token."""
        return Session(self, self.model.new_state())

    def writing(self, sampling: Sampling) -> Writing:
        """Begin an answer."""
        return Writing(self.tokenizer, self.model.config.stop_ids, self.forbidden, sampling)

    @cached_property
    def step(self) -> "DecodeStep | None":
        """The decode step in its own memory, built on first use; None if its kernels do not run."""
        from longctx.models.mixers.memory import StepError
        from longctx.models.step import DecodeStep

        try:
            return DecodeStep(self.model)
        except StepError:
            return None

    @cached_property
    def forbidden(self) -> "Tensor":
        """The ids that no answer may contain: padding rows of the embedding, and ids without text."""
        import torch

        unused = self.model.unused_ids()
        beyond = torch.arange(self.tokenizer.vocab_size, self.model.config.vocab_size, device=unused.device)
        return torch.cat((unused, beyond))

    @property
    def copies_facts(self) -> bool:
        """Tell whether the model only copies facts and shows where they stand."""
        return self.model.config.copies_facts

    @property
    def device(self) -> "torch.device":
        """Return the device the weights are on."""
        return self.model.device


class Session:
    """The state after some tokens. You can continue it, fork it and ask it."""

    def __init__(self, engine: Engine, state: "State", gone: tuple[int, ...] = ()):
        self.engine = engine
        self.state = state
        self.gone = gone  # tokens read but removed from softmax layers, in order

    @property
    def position(self) -> int:
        """Return the number of tokens read so far."""
        return self.state.position

    def fork(self) -> "Session":
        """Return an independent continuation; using it leaves this session unchanged."""
        return Session(self.engine, self.state.fork(), self.gone)

    def without(self, start: int, end: int) -> "Session":
        """Return a continuation that can find everything except tokens start..end.

        For models whose softmax layers have no positions: to these, the tokens were never there.
        """
        gone = [place for place in range(start, end) if place not in self.gone]
        first = start - sum(place < start for place in self.gone)
        state = self.state.without(first, first + len(gone))
        return Session(self.engine, state, tuple(sorted([*self.gone, *gone])))

    def read(self, tokens: Sequence[int]) -> None:
        """Read tokens without outputs, in pieces of bounded size."""
        import torch

        for start in range(0, len(tokens), LONGEST_PIECE):
            with torch.inference_mode():
                self.engine.model.absorb(self._tensor(tokens[start : start + LONGEST_PIECE]), self.state)

    def read_chunks(self, chunks: Iterable[Sequence[int]]) -> Iterator[int]:
        """Read chunk by chunk; yield the number of tokens of each once it is read, never 0.

        A GPU works on one chunk while the next is tokenised.
        """
        import torch

        ahead: tuple[int, torch.cuda.Event] | None = None
        for tokens in chunks:
            with torch.inference_mode():
                self.engine.model.absorb(self._tensor(tokens), self.state)
            if self.engine.device.type == "cpu":
                yield len(tokens)
                continue
            before, ahead = ahead, (len(tokens), _mark())
            if before:
                before[1].synchronize()
                yield before[0]
        if ahead:
            ahead[1].synchronize()
            yield ahead[0]

    def generate(
        self, prompt: Sequence[int], sampling: Sampling, source: Source | None = None
    ) -> Iterator[Piece]:
        """Read the prompt and write an answer, one piece per token; the last piece has `finish` set.

        This advances the state: fork first to keep it. The prompt must have at least one token.

        Args:
            source: of what was read. While the model writes what stands where it looks, some tokens that
                follow there are read in one go with the last one, and as many of them are taken as the model
                would have written. So the answer is the same, but for rounding in products.
        """
        import torch

        self.read(prompt[:-1])
        writing, token, likely = self.engine.writing(sampling), prompt[-1], list[int]()
        while not writing.ended:
            with torch.inference_mode():
                pieces = self._write(writing, token, likely)
            yield from pieces
            token, likely = writing.written[-1], []
            if source and self.engine.step is None and (pointer := pieces[-1].pointer):
                known = source(pointer.position, 1 + AHEAD)
                likely = known[1:] if known[:1] == [token] else []

    def _write(self, writing: Writing, token: int, likely: list[int]) -> list[Piece]:
        """Read a token, and others that it is likely to be followed by; write what follows."""
        before = self.state.fork() if likely else self.state
        pieces: list[Piece] = []
        for count, (logits, pointer) in enumerate(self._next([token, *likely])):
            pieces += writing.take(logits, pointer)
            if writing.ended or writing.written[-1:] != likely[count : count + 1]:
                break
        if count < len(likely):
            self.state = before
            self.read([token, *likely[:count]])
        return pieces

    def _next(self, tokens: Sequence[int]) -> Iterator[tuple["Tensor", Pointer | None]]:
        """Read tokens; yield the logits (V,) of the one after each, and where the model looked."""
        from longctx.models.mixers.memory import StepError

        model, step = self.engine.model, self.engine.step
        rows = None
        if step is not None:
            try:
                rows = step.run(tokens, [self.state])
            except StepError:  # the text has outgrown the step's table; no state has changed
                self.engine.step = None
        if rows is None:
            rows = model.logits(model(self._tensor(tokens), self.state)[0])
        pointed = self.state.pointed
        for row, logits in enumerate(rows):
            if pointed is None:
                yield logits, None
            else:
                position, mass = (each[0, row] for each in pointed)
                yield logits, self._as_read(Pointer(int(position), float(mass)))

    def _as_read(self, pointer: Pointer) -> Pointer:
        """Return the pointer as a position among all tokens read."""
        position = pointer.position
        for place in self.gone:
            position += position >= place
        return Pointer(position, pointer.mass)

    def _tensor(self, tokens: Sequence[int]) -> "Tensor":
        import torch

        device = self.engine.device
        # Only a copy from pinned memory does not wait for the device's queue.
        rows = torch.tensor([tokens], dtype=torch.int64, pin_memory=device.type == "cuda")
        return rows.to(device, non_blocking=True)


def _mark() -> "torch.cuda.Event":
    """Return an event that fires once the device has finished its queue."""
    import torch

    event = torch.cuda.Event()
    event.record()
    return event


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
        raise ModelError(f"--device {name}: no such CUDA device; use --device auto")
    if device.type not in ("cpu", "cuda"):
        raise ModelError(f"--device {name}: not supported; use cpu, cuda or cuda:N")
    return device


def pick_forms(
    quant: str, name: str, device: "torch.device", dtype: "torch.dtype", published: str = ""
) -> "Iterator[Form]":
    """Yield the forms that weights may be kept in, the best first; the first that fits is to be taken.

    Args:
        quant: as given: auto, none, int8, int4 or int4-all. Of itself nothing is rounded but on a CPU.
        name: of the dtype as given; whoever names one gets it, and "int8" asks for weights of 8 bits.
        device: to run on.
        dtype: to compute with.
        published: of the model's configuration; what was written in 8 or 4 bits stays so.

    Raises:
        ModelError: when the device cannot compute with weights of the form asked for.
    """
    import torch

    from longctx.kernels.int4 import can_quantize4
    from longctx.kernels.quantized import can_quantize
    from longctx.models.published import own_form

    quant, cpu = "int8" if name == "int8" else quant, device.type == "cpu"

    def able(form: str) -> bool:
        """Try it only when it is asked for: that takes as long as some answers."""
        return cpu and can_quantize() and (form == "int8" or can_quantize4())

    kept = own_form(published)
    if quant == name == "auto" and kept and able(kept):
        yield kept
        return
    if quant in ("auto", "none"):
        yield "packed" if cpu and dtype == torch.float32 else "plain"
    if quant == "none" or (quant == "auto" and not (cpu and name == "auto")):
        return
    if cpu != (dtype == torch.float32):
        right = "float32 on the CPU" if cpu else "bfloat16 or float16 on a GPU"
        raise ModelError(f"--quant {quant} computes in {right}: --dtype {right.split(maxsplit=1)[0]}")
    if not cpu:
        yield quant  # type: ignore[misc]  # one of them
        return
    if quant == "auto":
        forms: tuple[Form, ...] = ("int8", "int4")  # who wants int4-all says so
        yield from filter(able, forms)
    elif not able(quant):
        raise ModelError(f"--quant {quant}: this torch cannot compute with it on this CPU; use --quant none")
    else:
        yield quant  # type: ignore[misc]  # as above


def pick_dtype(name: str, device: "torch.device", stored: str = "bfloat16") -> "torch.dtype":
    """Return the dtype called `name`; "auto" is float32 on the CPU, elsewhere the checkpoint's own.

    Raises:
        ModelError: when the device cannot compute in it.
    """
    import torch

    from longctx.machine import check_reduced_precision

    if name in ("auto", "int8"):  # which is of weights alone
        name = "float32" if device.type == "cpu" else stored
        name = name if name in ("float32", "float16") else "bfloat16"
    elif device.type == "cpu" and name != "float32":
        check_reduced_precision(name)
    dtype: torch.dtype = getattr(torch, name)
    return dtype
