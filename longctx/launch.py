"""From options to a loaded model: each part is resolved once per command, on first use."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from longctx import hub
from longctx.machine import usable_threads
from longctx.options import Options

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from longctx.engine import Engine
    from longctx.models.config import ModelConfig
    from longctx.output import Output
    from longctx.plan import Plan
    from longctx.text.source import Corpus
    from longctx.tokens.tokenizer import Tokenizer


@dataclass(frozen=True)
class Launch:
    """What a command is going to run.

    Attributes:
        options: as given.
        to_plan: nothing will be loaded, so a known model need not be downloaded.
    """

    options: Options
    to_plan: bool = False

    @cached_property
    def folder(self) -> "Path":
        """Return the folder of the model's configuration and tokenizer; its weights may still be missing."""
        return hub.settings(self.options.model, to_plan=self.to_plan)

    @cached_property
    def config(self) -> "ModelConfig":
        """Return the model's specification."""
        from longctx.models.config_file import read_config

        return read_config(self.folder)

    @cached_property
    def tokenizer(self) -> "Tokenizer":
        """Return the model's tokenizer."""
        from longctx.tokens.tokenizer import Tokenizer

        return Tokenizer.load(self.folder, self.config.vocab_size)

    @cached_property
    def device(self) -> "torch.device":
        """Return the device to run on, and set torch's threads."""
        import torch

        from longctx.engine import pick_device

        torch.set_num_threads(self.options.threads or usable_threads())
        return pick_device(self.options.device)

    @cached_property
    def dtype(self) -> "torch.dtype":
        """Return the dtype; int8 applies to weights only."""
        from longctx.engine import pick_dtype

        return pick_dtype(self.options.dtype, self.device, self.config.stored_dtype)

    @cached_property
    def chunk(self) -> int:
        """Return the tokens per chunk: enough for full matrix speed, few enough for the caches."""
        return self.options.chunk or (2048 if self.device.type == "cpu" else 16384)

    def plan(self, text: "Corpus | int", answer_tokens: int, *, calibrate: bool = False) -> "Plan":
        """Plan reading a corpus (or a number of tokens) and an answer."""
        from longctx.plan import count_tokens, guess_tokens, make_plan

        if isinstance(text, int):
            tokens, exact = text, True
        elif self.folder == hub.SKETCH:
            tokens, exact = guess_tokens(text), False
        else:
            tokens, exact = count_tokens(self.tokenizer, text)
        return make_plan(
            self.config,
            tokens + answer_tokens,
            exact=exact,
            device=self.device,
            dtype=self.dtype,
            chunk=self.chunk,
            calibrate=calibrate,
        )

    def engine(self, out: "Output", text: "Corpus | int", answer_tokens: int) -> "Engine":
        """Load the model, after checking that it and the text fit into memory.

        Raises:
            DoesNotFitError: when they do not; no weights were fetched.
            ModelError: when the model cannot be downloaded or its files are damaged.
        """
        from longctx.engine import Engine

        self.plan(text, answer_tokens).check()
        folder = hub.weights(self.options.model, self.folder)
        engine = Engine.of(folder, self.config, self.tokenizer, self.device, self.dtype)
        kind = "int8" if self.options.dtype == "int8" else engine.model.dtype
        out.note(f"model {folder}, {self.device}, {kind}", detail=True)
        if self.tokenizer.note:
            out.note(self.tokenizer.note)
        return engine
