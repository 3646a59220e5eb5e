"""What a person is told in one line: of a question that is a file, an address, an option without effect."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from longctx.output import Output

WRITING = (
    "temperature",
    "top_p",
    "min_p",
    "repetition_penalty",
    "stop",
    "seed",
    "template",
    "strict",
    "system",
    "think",
)
COPYING = ("deep", "everything")


def check_question(question: str, inputs: Sequence[str]) -> None:
    """Refuse a question that is empty, or the name of what was to be read.

    Raises:
        click.UsageError: saying what to type.
    """
    if not question.strip():
        raise click.UsageError("the question is empty")
    if not inputs and len(question) < 4096 and "\0" not in question and Path(question).exists():
        raise click.UsageError(f'the question comes first: longctx ask "your question" {question}')


def check_inputs(inputs: Iterable[str]) -> None:
    """Refuse addresses, and patterns that match nothing.

    Raises:
        click.UsageError: saying what to type.
    """
    for name in inputs:
        if name.lower().startswith(("http://", "https://")):
            raise click.UsageError(
                f"{name}: longctx opens no addresses; save the page, or pipe it in: curl -L ... | longctx"
            )
        if any(sign in name for sign in "*?[") and "\0" not in name and not Path(name).exists():
            raise click.UsageError(
                f"{name}: no file has this name, and a pattern in quotation marks is not expanded"
            )


def note_idle(out: "Output", *, writes: bool) -> None:
    """Say which options were given that do nothing with the model at hand, or without another option."""
    if given := _given(COPYING if writes else WRITING):
        model = "a model that writes" if writes else "the bundled model, which writes nothing of its own"
        out.note(f"without effect with {model}: {', '.join(given)}")
    for name, other in (("budget", "quick"), ("every", "follow")):
        if _given((name,)) and not _given((other,)):
            out.note(f"without effect without --{other}: --{name}")


def _given(names: Iterable[str]) -> list[str]:
    """Return the options of these names that stand on the command line, as one writes them."""
    context = click.get_current_context()
    return [
        max(option.opts, key=len)
        for option in context.command.params
        if option.name in set(names)
        and context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE
    ]
