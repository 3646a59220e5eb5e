"""The options that commands share, and how they are parsed."""

import dataclasses
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from longctx.chat import Chat
from longctx.sampling import Sampling

if TYPE_CHECKING:
    from longctx.output import Output
    from longctx.store.folder import Folder
    from longctx.text.points import Point
    from longctx.text.source import Corpus

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
class KvBudget:
    """Bytes for keys and values: in the memory of a GPU, and of its host or of the CPU that computes."""

    device: int | None = None
    host: int | None = None


@dataclass(frozen=True)
class Options(Shown):
    """What all commands that run a model have in common, as it was given."""

    model: str | None
    device: str
    dtype: str
    quant: str
    threads: int | None
    chunk: int | None
    kv_budget: KvBudget | None = None
    kv_quant: str = "none"
    kv_pages: int | None = None


STORE = "LONGCTX_STORE"  # names a store in the environment


@dataclass(frozen=True)
class Keeping:
    """What is kept of a reading, and where, as it was given."""

    store: str | None = None
    store_budget: int | None = None
    fresh: bool = False
    no_store: bool = False

    def folder(self, out: "Output", corpus: "Corpus") -> "Folder | None":
        """Return where readings are kept; None when none is, having said why unless it was asked for.

        Of itself, neither a quick reading is kept nor what came through a pipe.
        """
        return self.place(corpus, out.note)

    def place(self, corpus: "Corpus", say: Callable[[str], None]) -> "Folder | None":
        """Return the same as `folder`, and say what there is to say in another way."""
        from longctx.store import folder
        from longctx.store.files import Unusable

        given = corpus.reading
        if not given and (self.no_store or (corpus.piped and not self.store)):
            return None
        root = given or (Path(self.store).absolute() if self.store else folder.default_root())
        least = 0.0 if self.store or given else folder.LEAST_SECONDS
        try:
            return folder.open_folder(root, say, self.store_budget, least, fresh=self.fresh)
        except Unusable as reason:
            say(f"store: nothing is kept or reused: {reason}")
            return None


@dataclass(frozen=True)
class Extent:
    """Which part of the texts is read, as it was given."""

    since: "Point | None" = None
    until: "Point | None" = None

    def cut(self, corpus: "Corpus") -> None:
        """Let the texts of a corpus begin and end there, as `points.cut` does."""
        if self.since or self.until:
            from longctx.text.points import cut

            cut(corpus, self.since, self.until)


def _as_one(
    name: str,
    values: type[Shown | Sampling | Chat | Keeping | Extent],
    *options: Callable[[Command], Command],
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


class Size(click.ParamType[int]):
    """A number of bytes such as 500MB or 8GiB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of bytes."""
        found = re.fullmatch(r"([0-9.]+) ?([kMGT]?)(i?)B?", value)
        try:
            size = float(found[1]) if found else -1.0
        except ValueError:
            size = -1.0
        if found is None or size < 0:
            self.fail(f"{value!r} is not a number of bytes such as 500MB or 8GiB", param, ctx)
        power = " kMGT".index(found[2] or " ")
        return int(size * (1024 if found[3] else 1000) ** power)


class Budgets(click.ParamType[KvBudget]):
    """Budgets such as device=8GiB,host=32GiB."""

    name = "budget"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> KvBudget:
        """Return the bytes of each."""
        given: dict[str, int] = {}
        for part in value.split(","):
            place, equals, size = part.strip().partition("=")
            if not equals or place in given or place not in ("device", "host"):
                self.fail(
                    f"{value!r} is not a budget such as host=8GiB or device=8GiB,host=32GiB", param, ctx
                )
            given[place] = Size().convert(size, param, ctx)
        return KvBudget(**given)


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
        type=click.Choice(["auto", "none", "int8", "int4", "int4-all"]),
        default="auto",
        help="Round the weights while they are loaded: smaller and faster, but answers may "
        "differ. int4 is for experts, or feed-forwards where there are none; all else gets 8 bits or more. "
        "int4-all gives 4 bits to all but the head: smallest, writes fastest, and loses most. "
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
    click.option(
        "--kv-budget",
        type=Budgets(),
        show_default="no limit",
        help="Hold so many bytes of keys and values in memory, such as host=8GiB, or on a GPU "
        "device=8GiB,host=32GiB. The rest is kept on disk; answers stay the same, to the last bit.",
    ),
    click.option(
        "--kv-quant",
        type=click.Choice(["none", "int8"]),
        default="none",
        help="Keep keys and values in 8 bits: about a quarter of float32's bytes, but answers may differ.",
    ),
    click.option(
        "--kv-pages",
        type=click.IntRange(0),
        show_default="all",
        help="Let each softmax layer attend to the first and the last tokens and to so many pages of 8 "
        "that it chooses by a bound on their keys: faster in long texts, but answers may differ.",
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


store_options = _as_one(
    "keeping",
    Keeping,
    click.option(
        "--store",
        envvar=STORE,
        show_envvar=True,
        show_default="in your own data folder, if reading takes more than a second",
        help="Keep what was read in this folder, and go on from what is kept there.",
    ),
    click.option(
        "--store-budget",
        type=Size(),
        show_default="a tenth of the free disk",
        help="Let the store take so many bytes, such as 8GiB; what was not used for longest goes first.",
    ),
    click.option("--fresh", is_flag=True, help="Read anew, whatever is kept of the text."),
    click.option("--no-store", is_flag=True, help="Neither keep what is read nor use what is kept."),
)


class Place(click.ParamType["Point"]):
    """A place in the texts: a line, a percentage or a regular expression."""

    name = "line|percent|regex"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "Point":
        """Return the point."""
        from longctx.text.points import Point

        try:
            return Point.parse(value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


extent_options = _as_one(
    "extent",
    Extent,
    click.option(
        "--since",
        type=Place(),
        help="Answer as if nothing had been written up to this line, up to this percentage of the text, or "
        "before the first line that matches this regular expression.",
    ),
    click.option(
        "--until",
        type=Place(),
        help="Answer as if nothing had been written after this line, after this percentage of the text, or "
        "from the first line on that matches this regular expression; with --since, the first behind that.",
    ),
)


class Age(click.ParamType[float]):
    """A span of time such as 12h, 30d or 2w, in seconds."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds."""
        if not (found := re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]+)?) ?(min|h|d|w)", value)):
            self.fail(f"{value!r} is not an age such as 12h, 30d or 2w", param, ctx)
        return float(found[1]) * {"min": 60, "h": 3600, "d": 86400, "w": 604800}[found[2]]


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
