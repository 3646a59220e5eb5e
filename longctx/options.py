"""What the commands have in common on the command line: options and how they are parsed."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from longctx.output import Output

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Options:
    """What all commands that run a model have in common, as it was given."""

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
        from longctx.output import Output

        return Output(self.output, self.as_json, self.quiet, self.verbose)


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
    """Add the options of `Sampling`; the command receives them as one argument, `sampling`."""

    @functools.wraps(command)
    def wrapped(**given: Any) -> Any:
        from longctx.sampling import Sampling

        return command(sampling=Sampling(**{n: given.pop(n) for n in Sampling.__dataclass_fields__}), **given)

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
