"""What the commands share: options, exit codes, and how failures become one line."""

import functools
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

from longctx.errors import DoesNotFitError, LongctxError
from longctx.machine import prepare_cpu, usable_threads

if TYPE_CHECKING:
    from pathlib import Path

    from longctx.engine import Engine
    from longctx.models.config import ModelConfig
    from longctx.plan import Plan
    from longctx.render import Output
    from longctx.text.source import Corpus

EXIT_CODES = """
\b
Exit codes:
  0    done
  1    unexpected failure
  2    wrong options
  3    an input is missing, empty, binary or unreadable
  4    a model or tokenizer is missing, corrupt or of an unknown kind
  5    the run does not fit into memory
  6    the answer cannot be written where -o says
  130  stopped with Ctrl-C
  141  the reader of the output went away
"""
Command = TypeVar("Command", bound=Callable[..., Any])


class ReaderGoneError(Exception):
    """Whoever read our stdout has stopped reading."""


class Commands(click.Group):
    """The command group, which turns failures into one line and an exit code."""

    def main(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102  # click's own
        prepare_cpu()
        warnings.showwarning = _say
        sys.exit(self._run(*args, **{**kwargs, "standalone_mode": False}))

    def invoke(self, ctx: click.Context) -> Any:  # noqa: D102  # click's own
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # click would exit with 1
            raise ReaderGoneError from error

    def _run(self, *args: Any, **kwargs: Any) -> int:
        try:
            code = super().main(*args, **kwargs)
            return code if isinstance(code, int) else 0
        except click.ClickException as error:
            error.show()
            return error.exit_code
        except (KeyboardInterrupt, click.Abort):
            return fail("stopped", 130)
        except LongctxError as error:
            return fail(str(error), error.exit_code)
        except ReaderGoneError:
            # Python would complain again when it flushes stdout at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, MemoryError) or "memory" in str(error).lower():
                return fail("out of memory; longctx plan tells what a run needs", DoesNotFitError.exit_code)
            raise


def _say(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning on stderr as people read it: one line, no code."""
    fail(str(message), 0)


def fail(message: str, code: int) -> int:
    """Print one line on stderr and return the exit code."""
    from longctx.render import clean

    click.echo(f"longctx: {clean(' '.join(message.split()))}", err=True)
    return code


@dataclass(frozen=True)
class Options:
    """What all commands that run a model have in common."""

    model: str | None
    device: str
    dtype: str
    threads: int | None
    chunk: int | None
    as_json: bool
    output: str | None
    quiet: bool
    verbose: bool

    def out(self) -> "Output":
        """Return where the answer goes; refuse an unwritable place now."""
        from longctx.render import Output

        return Output(self.output, self.as_json, self.quiet, self.verbose)

    def chunk_tokens(self) -> int:
        """Return the tokens fed at once: enough for full matrix speed, few enough for the caches."""
        from longctx.engine import pick_device

        return self.chunk or (2048 if pick_device(self.device).type == "cpu" else 16384)

    def folder(self) -> "Path":
        """Return the model's folder, downloading it when it is on the hub."""
        from longctx.hub import resolve

        return resolve(self.model)

    def config(self) -> "ModelConfig":
        """Return the model's specification."""
        from longctx.models.weights import read_config

        return read_config(self.folder())

    def plan(self, text: "Corpus | int", answer_tokens: int, *, calibrate: bool = False) -> "Plan":
        """Plan a reading of a corpus, or of so many tokens, and an answer."""
        import torch

        from longctx.engine import pick_device, pick_dtype
        from longctx.plan import count_tokens, make_plan
        from longctx.tokens.tokenizer import Tokenizer

        torch.set_num_threads(self.threads or usable_threads())
        config, device = self.config(), pick_device(self.device)
        tokenizer = Tokenizer.load(self.folder(), config.vocab_size)
        tokens, exact = (text, True) if isinstance(text, int) else count_tokens(tokenizer, text)
        return make_plan(
            config,
            tokens + answer_tokens,
            exact=exact,
            device=device,
            dtype=pick_dtype(self.dtype, device, config.stored_dtype),
            chunk=self.chunk_tokens(),
            calibrate=calibrate,
        )

    def engine(self, out: "Output", text: "Corpus | int", answer_tokens: int = 0) -> "Engine":
        """Load the model, once it is known that it and the text fit into memory."""
        from longctx.engine import Engine

        self.plan(text, answer_tokens).check()
        engine = Engine.load(self.folder(), self.device, self.dtype)
        kind = "int8" if self.dtype == "int8" else engine.model.dtype
        out.note(f"model {engine.folder}, {engine.device}, {kind}", detail=True)
        if engine.tokenizer.note:
            out.note(engine.tokenizer.note)
        return engine


def texts(inputs: tuple[str, ...]) -> "Corpus":
    """Gather what the command was given; with nothing named, standard input, unless a person sits there."""
    from longctx.text.source import gather

    if not inputs and sys.stdin.isatty():
        raise click.UsageError("there is nothing to read: name files or folders, or pipe text in")
    return gather(inputs, sys.stdin.buffer)


def report_sources(out: "Output", corpus: "Corpus") -> None:
    """Say on stderr what is read and what is not; nothing is left out silently."""
    for note in corpus.notes:
        out.note(note)
    for skipped in corpus.skipped:
        out.note(f"skipped {skipped.name}: {skipped.reason}", detail=True)
    if corpus.skipped:
        out.note(f"skipped {len(corpus.skipped)} files (-v or --json lists them)")


def source_values(corpus: "Corpus") -> dict[str, Any]:
    """Return what was read and what was not, for programs."""
    return {
        "documents": len(corpus.documents),
        "bytes": corpus.bytes,
        "skipped": [{"name": s.name, "reason": s.reason} for s in corpus.skipped],
        "notes": corpus.notes,
    }


def model_options(command: Command) -> Command:
    """Add the options of `Options`; the command receives them as one argument, `options`."""

    @functools.wraps(command)
    def wrapped(**given: Any) -> Any:
        names = Options.__dataclass_fields__
        options = Options(**{name: given.pop(name) for name in names})
        return command(options=options, **given)

    for option in reversed(
        (
            click.option(
                "--model",
                envvar="LONGCTX_MODEL",
                help="Folder or hub name (organisation/model). Default: bundled.",
            ),
            click.option(
                "--device", default="auto", help="cpu, cuda or cuda:N. Default: a GPU when there is one."
            ),
            click.option(
                "--dtype",
                type=click.Choice(["auto", "float32", "bfloat16", "float16", "int8"]),
                default="auto",
                help="Of weights and KV cache. Default: float32 on the CPU, as stored on a GPU. "
                "int8: of weights alone, on the CPU; faster and smaller, answers may differ.",
            ),
            click.option(
                "--threads", type=click.IntRange(1), help="CPU threads. Default: all this process may use."
            ),
            click.option(
                "--chunk", type=click.IntRange(1), help="Tokens fed at once; never changes an answer."
            ),
            click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text."),
            click.option("-o", "--output", help="Write the answer to this file."),
            click.option("-q", "--quiet", is_flag=True, help="No progress and no notes on stderr."),
            click.option("-v", "--verbose", is_flag=True, help="More notes on stderr."),
        )
    ):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]  # click wants the plain function's type


def sampling_options(command: Command) -> Command:
    """Add the options of `Sampling`; the command receives them as one argument, `how`."""

    @functools.wraps(command)
    def wrapped(**given: Any) -> Any:
        from longctx.sampling import Sampling

        return command(how=Sampling(**{n: given.pop(n) for n in Sampling.__dataclass_fields__}), **given)

    share = click.FloatRange(0, 1)
    for option in reversed(
        (
            click.option("--max-tokens", type=click.IntRange(1), default=1024, help="Of a written answer."),
            click.option(
                "--temperature", type=click.FloatRange(0), default=0.0, help="0 is greedy, the default."
            ),
            click.option("--top-p", type=share, default=1.0, help="Nucleus sampling."),
            click.option(
                "--min-p",
                type=share,
                default=0.0,
                help="Drop tokens less likely than this share of the best.",
            ),
            click.option("--repetition-penalty", type=click.FloatRange(0, min_open=True), default=1.0),
            click.option("--stop", multiple=True, help="End the answer at this string; may be repeated."),
            click.option("--seed", type=int, default=0, help="Of sampling."),
            click.option("--prompt", "template", type=str, help="File that replaces the prompt template."),
        )
    ):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]  # as above


class Length(click.ParamType[int]):
    """A number of tokens such as 4096, 64k or 1M (binary: 64k is 65,536)."""

    name = "length"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of tokens."""
        if isinstance(value, int):
            return value
        text = value.strip().lower()
        scale = {"k": 1 << 10, "m": 1 << 20}.get(text[-1:], 1)
        try:
            tokens = int(float(text[:-1] if scale > 1 else text) * scale)
        except (ValueError, OverflowError):
            tokens = 0
        if tokens < 1:
            self.fail(f"{value!r} is not a number of tokens such as 4096, 64k or 1M", param, ctx)
        return tokens
