"""The options that commands share, and how they are parsed."""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from longctx.chat import Chat
from longctx.preferences import default_model
from longctx.sampling import Sampling

if TYPE_CHECKING:
    from longctx.output import Output

Inputs = tuple[str, ...]  # files and folders
Lengths = tuple[int, ...]  # in tokens
Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Shown:
    """How the result of a command is shown, as it was given."""

    as_json: bool
    output: str | None
    quiet: bool
    verbose: bool

    def out(self) -> "Output":
        """Return where the result goes; refuse an unwritable place now."""
        from longctx.output import Output

        return Output(self.output, self.as_json, self.quiet, self.verbose)


@dataclass(frozen=True)
class Options(Shown):
    """What all commands that run a model have in common, as it was given."""

    model: str | None
    device: str
    dtype: str
    quant: str
    threads: int | None
    chunk: int | None


def _as_one(
    name: str, values: type[Shown | Sampling | Chat], *options: Callable[[Command], Command]
) -> Callable[[Command], Command]:
    """Return a decorator that adds options; the command receives the fields of `values` as one argument."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapped(**given: Any) -> Any:
            fields = {field.name: given.pop(field.name) for field in dataclasses.fields(values)}
            return command(**{name: values(**fields)}, **given)

        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped  # type: ignore[return-value]  # click wants the plain function's type

    return decorate


_SHOWN = (
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text."),
    click.option("-o", "--output", help="Write the answer to this file instead of standard output."),
    click.option("-q", "--quiet", is_flag=True, help="Show no progress and no notes."),
    click.option("-v", "--verbose", is_flag=True, help="Show more notes."),
)
shown_options = _as_one("shown", Shown, *_SHOWN)
model_options = _as_one(
    "options",
    Options,
    click.option(
        "--model",
        envvar="LONGCTX_MODEL",
        show_envvar=True,
        default=default_model,
        show_default="bundled, or what `longctx models use` says",
        help="Use this model: a folder, a short name that `longctx models` lists, or a hub repository "
        "(organisation/model, organisation/model@revision).",
    ),
    click.option(
        "--device", default="auto", help="Run on cpu, cuda or cuda:N; auto takes a GPU if you have one."
    ),
    click.option(
        "--dtype",
        type=click.Choice(["auto", "float32", "bfloat16", "float16", "int8"]),
        default="auto",
        help="Compute with these numbers; auto is float32 on a CPU and those of the checkpoint on "
        "a GPU. int8 is short for --quant int8.",
    ),
    click.option(
        "--quant",
        type=click.Choice(["auto", "none", "int8", "int4"]),
        default="auto",
        help="Round the weights while they are loaded: smaller and faster, but answers may "
        "differ. int4 is for experts, or feed-forwards where there are none; all else gets 8 bits or more. "
        "auto rounds only on a CPU, and only what would not fit into memory.",
    ),
    click.option(
        "--threads",
        type=click.IntRange(1),
        show_default="all that longctx may use",
        help="Use this many CPU threads.",
    ),
    click.option(
        "--chunk",
        type=click.IntRange(1),
        show_default="2048 on a CPU, 4096 there with experts, 16384 on a GPU",
        help="Read this many tokens at once. It changes the speed, and with --quant perhaps the answer.",
    ),
    *_SHOWN,
)
sampling_options = _as_one(
    "sampling",
    Sampling,
    click.option(
        "--max-tokens", type=click.IntRange(1), default=1024, help="Write at most this many tokens."
    ),
    click.option(
        "--temperature",
        type=click.FloatRange(0),
        default=0.0,
        help="Choose tokens more freely the higher this is; 0 always takes the likeliest.",
    ),
    click.option(
        "--top-p",
        type=click.FloatRange(0, 1),
        default=1.0,
        help="Choose among the likeliest tokens that together have this probability.",
    ),
    click.option(
        "--min-p",
        type=click.FloatRange(0, 1),
        default=0.0,
        help="Drop tokens that are less likely than this share of the likeliest.",
    ),
    click.option(
        "--repetition-penalty",
        type=click.FloatRange(0, min_open=True),
        default=1.0,
        help="Make tokens that were already written less likely; 1 leaves them alone.",
    ),
    click.option("--stop", multiple=True, help="End the answer before this string. May be repeated."),
    click.option("--seed", type=int, default=0, help="Choose tokens by this seed."),
)
chat_options = _as_one(
    "chat",
    Chat,
    click.option("--prompt", "template", help="Use this file instead of the built-in prompt template."),
    click.option(
        "--strict",
        is_flag=True,
        help="Fail (exit code 7) if the answer quotes what does not stand in the text.",
    ),
    click.option("--system", help="Say this to the model before all else (the system prompt)."),
    click.option(
        "--think",
        type=click.Choice(["off", "on", "show"]),
        default="off",
        help="For models that think before they answer: not to, to do so silently, or to show it on stderr.",
    ),
)


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
