"""From options to a loaded model: each part is resolved once per command, on first use."""

import os
import shutil
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from longctx import hub, preferences
from longctx.errors import DoesNotFitError, ModelError, OptionError
from longctx.machine import available_memory, gib, usable_threads
from longctx.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import torch

    from longctx.engine import Engine
    from longctx.models.config import ModelConfig
    from longctx.models.kv_room import Room
    from longctx.models.weight import Form
    from longctx.output import Output
    from longctx.plan import Plan
    from longctx.progress import Progress
    from longctx.text.source import Corpus
    from longctx.tokens.tokenizer import Tokenizer

FEWEST = 4096  # tokens that are worth reading at once


@dataclass(frozen=True)
class Launch:
    """What a command is going to run.

    Attributes:
        options: as given.
        to_plan: nothing will be loaded, so that a known model need not be fetched.
        notes: what was said to the user of how the model is used.
    """

    options: Options
    to_plan: bool = False
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse more threads than CPUs, used or not: far more crash the libraries below.

        Raises:
            OptionError: naming the number of CPUs.
        """
        threads = self.options.threads or 1
        if threads > (most := os.cpu_count() or 1):
            raise OptionError(f"--threads {threads}: this machine has {most} CPUs; leave --threads out")

    def say(self, out: "Output", *notes: str) -> None:
        """Say something of how the model is used, and keep it for programs."""
        for note in notes:
            self.notes.append(note)
            out.note(note)

    @cached_property
    def folder(self) -> "Path":
        """Return the folder of the model's configuration and tokenizer; its weights may still be missing."""
        try:
            return hub.settings(self.options.model, to_plan=self.to_plan)
        except ModelError as error:
            raise ModelError(f"{preferences.named_by('model')}{error}") from error

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
        """Return the kind of numbers to compute with; weights may have fewer bits."""
        from longctx.engine import pick_dtype

        return pick_dtype(self.options.dtype, self.device, self.config.stored_dtype)

    @cached_property
    def chunk(self) -> int:
        """Return the tokens per chunk."""
        from longctx.away import hiding_chunk
        from longctx.plan import default_chunk

        if self.options.chunk or self.device.type == "cpu":
            return self.options.chunk or default_chunk(self.config, self.device.type)
        *_, form = self._forms()
        return hiding_chunk(self.config, self.device, self.dtype, form)

    def _forms(self) -> "Iterator[Form]":
        from longctx.engine import pick_forms

        options, published = self.options, self.config.published
        return pick_forms(options.quant, options.dtype, self.device, self.dtype, published)

    def plan(
        self,
        text: "Corpus | int",
        answer_tokens: int,
        *,
        calibrate: "Callable[[Progress], object] | None" = None,
    ) -> "Plan":
        """Plan a reading of a corpus, or of so many tokens, and an answer, in the best form that fits.

        Args:
            calibrate: time some layers, and call this with the progress.
        """
        from longctx.away import away
        from longctx.plan import count_tokens, guess_tokens, make_plan, read_seconds

        if isinstance(text, int):
            tokens, exact = text, True
        elif hub.is_sketch(self.folder):
            tokens, exact = guess_tokens(text), False
        else:
            tokens, exact = count_tokens(self.tokenizer, text)
        tokens += answer_tokens
        here, host = self._kv_budget
        rounded = self.options.kv_quant == "int8"
        at = self.config, tokens, self.device, self.dtype, self.chunk
        for form in self._forms():
            plan = make_plan(*at, form, exact=exact, kv_rounded=rounded, kv_pages=self._kv_pages)
            plan = replace(plan, kv_budget=here, kv_host=host)
            if plan.fits:
                break
        else:
            plan = away(plan, self.device)
        seconds = read_seconds(*at, plan.form, calibrate) if calibrate else None
        if seconds is None:
            return plan
        # Experts come while others are computed.
        chunks = -(-tokens // self.chunk)
        return replace(plan, seconds=max(seconds, chunks * plan.away_seconds[1]))

    @cached_property
    def _kv_budget(self) -> tuple[int | None, int]:
        """Return the bytes of keys and values on the device, None for all, and of those on a GPU's host.

        Raises:
            OptionError: when it is not of this device.
        """
        given = self.options.kv_budget
        if given is None:
            return None, 0
        if self.device.type == "cpu":
            if given.device is not None or given.host is None:
                raise OptionError("--kv-budget: a CPU has the memory of the host alone, as in host=8GiB")
            return given.host, 0
        if given.device is None:
            raise OptionError("--kv-budget: say what the GPU may hold, as in device=8GiB,host=32GiB")
        from longctx.plan import ROOM

        host = int(available_memory() * ROOM) if given.host is None else given.host
        return given.device, host

    @cached_property
    def _kv_pages(self) -> int | None:
        """Return how many pages of keys and values layers choose to attend to, None for all.

        Raises:
            OptionError: when no layer of the model can choose.
        """
        from longctx.models.config import BlockSparseSpec, LatentSpec
        from longctx.models.kv_chosen import chooses

        kinds = [layer.mixer for layer in self.config.layers]
        if self.options.kv_pages is None or any(map(chooses, kinds)):
            return self.options.kv_pages
        if any(isinstance(kind, BlockSparseSpec) for kind in kinds):
            why = "this model's layers choose blocks of a long text themselves"
        elif any(isinstance(kind, LatentSpec) for kind in kinds):
            why = "not for latent attention (MLA), whose keys are formed anew out of what is kept"
        else:
            why = "this model has no layer that attends to its text"
        raise OptionError(f"--kv-pages: {why}; leave it out")

    def _form_logs(self, plan: "Plan", engine: "Engine", out: "Output") -> None:
        """Let an engine's logs keep keys and values as was asked for, and say so."""
        from longctx.models.kv_chosen import FIRST, LATEST, PAGE
        from longctx.models.kv_form import KVForm

        if plan.kv_rounded:
            self.say(out, f"keys and values are rounded to 8 bits: {gib(plan.kv)}; answers may differ")
        if plan.kv_pages is not None:
            seen = f"the first {FIRST} tokens, the last {LATEST:,} and {plan.kv_pages:,} pages of {PAGE}"
            self.say(out, f"attention sees {seen} that it chooses, not the whole text; answers may differ")
        engine.model.kv = KVForm(plan.kv_rounded, self._room(plan, out), plan.kv_pages)

    def _room(self, plan: "Plan", out: "Output") -> "Room | None":
        """Return where the pages of logs go that have a budget, and say where that is.

        Raises:
            OptionError: when the budget is too small to work with. DoesNotFitError: when the disk is.
        """
        from longctx.models.kv_file import spill_folder
        from longctx.models.kv_room import Room

        if plan.kv_budget is None:
            return None
        if plan.kv_budget < plan.kv_least:
            raise OptionError(f"--kv-budget: this model needs {gib(plan.kv_least)} at least to work with")
        folder = spill_folder()
        if plan.kv_on_disk > (free := shutil.disk_usage(folder).free):
            raise DoesNotFitError(
                f"{gib(plan.kv_on_disk)} of keys and values do not fit in {folder}: {gib(free)} are free; "
                "name another folder with TMPDIR, or raise --kv-budget"
            )
        if plan.kv > plan.kv_here:
            host = f", {gib(plan.kv_host)} on the host" if plan.kv_host else ""
            here = f"{gib(plan.kv_here)} of {gib(plan.kv)} stay in memory{host}"
            self.say(out, f"keys and values: {here}; the others come from a file in {folder}, for each token")
        return Room(self.device, plan.kv_budget, plan.kv_host, folder)

    def fitting(self, tokens: int, answer_tokens: int) -> int:
        """Return how many of so many tokens fit into memory at once, or FEWEST if not even those do."""
        while tokens > FEWEST and not self.plan(tokens, answer_tokens).fits:
            tokens = max(FEWEST, tokens // 2)
        return tokens

    def _quick(self, tokens: int, answer_tokens: int) -> str:
        """Say how many tokens of a text that does not fit can be read; nothing if none can, or it fits."""
        if (plan := self.plan(tokens, answer_tokens)).fits or plan.weights > plan.available:
            return ""
        room = self.fitting(tokens, answer_tokens)
        fits = self.plan(room, answer_tokens).fits
        return f", or ask with --quick --budget {room} to read what matches best" if fits else ""

    def engine(self, out: "Output", text: "Corpus | int", answer_tokens: int) -> "Engine":
        """Load the model, after checking that it and the text fit into memory.

        Raises:
            DoesNotFitError: when they do not; no weights were fetched.
            ModelError: when the model cannot be downloaded or its files are damaged.
        """
        from longctx.away import notes
        from longctx.engine import Engine
        from longctx.models.config_file import read_config

        plan = self.plan(text, answer_tokens)
        advice = "" if isinstance(text, int) else self._quick(plan.tokens - answer_tokens, answer_tokens)
        place = "device" if plan.gpu else "host"
        if plan.kv_room and plan.kv_budget is None:
            advice += f", or leave keys and values on disk with --kv-budget {place}={plan.kv_room >> 20}MiB"
        plan.check(advice)
        self.say(out, *beyond_training(self.config, plan.tokens - answer_tokens, plan.exact))
        # It is written for the products of a CPU; a GPU rounds in its own way.
        folder = hub.rounded(self.folder, plan.form) if self.device.type == "cpu" else None
        folder = folder or hub.weights(self.options.model, self.folder, out.show)
        config = self.config if folder == self.folder else read_config(folder)
        at = self.tokenizer, self.device, self.dtype, plan.form
        engine = Engine.of(folder, config, *at, plan.kept, plan.host)
        self._form_logs(plan, engine, out)
        if plan.kept is not None:
            self.say(out, *notes(plan, bool(config.published), self.options.model))
        out.note(f"model {folder}, {self.device}, {plan.kind}", detail=True)
        if plan.rounded and self.options.quant == "auto" and self.options.dtype == "auto":
            whole = gib(plan.forms["float32"])
            out.note(f"weights of {whole} in float32 do not fit; rounded to {plan.kind}: {gib(plan.weights)}")
        if self.tokenizer.note:
            out.note(self.tokenizer.note)
        return engine


def beyond_training(config: "ModelConfig", tokens: int, exact: bool) -> list[str]:
    """Return a warning when a text is longer than what a model's positions were trained for."""
    from longctx.models.config import LatentSpec, SoftmaxSpec

    mixers = [layer.mixer for layer in config.layers]
    # Decays and attention without positions go on as they were; rotary positions never seen do not.
    rotary = any(isinstance(mixer, SoftmaxSpec | LatentSpec) and mixer.rope for mixer in mixers)
    if config.trained_tokens is None or tokens <= config.trained_tokens or not rotary:
        return []
    trained = f"the model was trained for {config.trained_tokens:,} tokens"
    return [f"{trained}; this text has {'' if exact else 'about '}{tokens:,}: expect nonsense beyond"]
