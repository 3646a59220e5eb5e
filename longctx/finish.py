"""What commands that answer end with: the answer is written, then what it cost."""

import sys
from typing import TYPE_CHECKING

from longctx.errors import QuotationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from longctx.output import Output
    from longctx.tasks.results import Answer
    from longctx.text.source import Corpus


def answer_of(events: "Iterable[object]", out: "Output") -> "Answer":
    """Show what a task yields up to its answer, which is not kept waiting for what comes after it."""
    from longctx.tasks.results import Answer

    return next(event for event in map(out.show, events) if isinstance(event, Answer))


def finish(
    out: "Output", command: str, answer: "Answer", corpus: "Corpus", strict: bool, **more: object
) -> None:
    """Write an answer, then what it cost.

    Raises:
        QuotationError: when it is strict, and a quotation does not stand in the documents.
    """
    from longctx import render
    from longctx.styles import PLAIN, for_stdout

    values = render.result_values(command, answer, corpus, **more)
    style = for_stdout(str(more.get("question", "")), render.shown(answer)) if out.live else PLAIN
    out.write(
        render.answer_text(answer, streamed=out.live and answer.how == "generated", style=style), values
    )
    if answer.tokens_in_all:
        out.note(render.quick_line(answer))
    if answer.usage.tokens_read or answer.usage.tokens_reused:
        out.note(render.usage_line(answer.usage))
    wrong = sum(one.place is None for one in answer.quotations)
    if strict and wrong:
        raise QuotationError(f"{wrong} of {len(answer.quotations)} quotations do not stand in the text")
    if answer.how in ("not found", "closest"):
        sys.exit(1)
