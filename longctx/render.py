"""Results as people and programs read them. Answers go to stdout, everything else to stderr."""

import dataclasses
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from longctx.errors import OutputError
from longctx.machine import resident_memory
from longctx.plan import Plan, gib
from longctx.tasks import results
from longctx.text.span import Quote

SCHEMA = 1
QUOTE = 1200  # characters of a quoted passage that are shown to people; JSON has all of it
HOW = {
    "generated": "written by the model from what it read",
    "found": "copied out of the text by the model, and checked there",
    "not found": "the model found no such fact; the passages below match the question best",
    "extracted": "sentences of the text itself, chosen by LexRank; no model wrote them",
}
# Control characters other than tab and line feed, and marks that reorder text, must not reach a terminal.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def clean(text: str) -> str:
    """Return text that is safe on a terminal: line ends as line feeds, control characters as U+FFFD."""
    return _UNSAFE.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))


class Output:
    """Where one command's answer goes, and how much is said on stderr."""

    def __init__(self, path: str | None, as_json: bool, quiet: bool, verbose: bool):
        self.path, self.as_json, self.quiet, self.verbose = path, as_json, quiet, verbose
        self.console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        if path:
            _check_writable(Path(path))

    @property
    def live(self) -> bool:
        """Tell whether text is shown while it is written."""
        return self.path is None and not self.as_json

    def note(self, text: str, *, detail: bool = False) -> None:
        """Say something on stderr; details only with -v."""
        if not detail or self.verbose:
            self.console.print(clean(text), markup=False)

    def write(self, text: str, values: dict[str, Any]) -> None:
        """Write the result: `text` for people, or `values` as one JSON object."""
        if self.as_json:
            text = json.dumps({"schema": SCHEMA, **values}, indent=2)
        if self.path is None:
            click.echo(text)
            return
        try:
            _write_whole(Path(self.path), text + "\n")
        except OSError as error:
            click.echo(text)  # an hour of reading is not lost to a full disk
            raise OutputError(f"{self.path}: {error.strerror}; the answer went to stdout instead") from error

    def watch(self, events: Iterable[object]) -> Iterator[object]:
        """Draw a progress bar for Progress events and pass all others on."""
        with _bar(self.console) as (bar, task):
            for event in events:
                if isinstance(event, results.Progress):
                    _advance(bar, task, event)
                else:
                    bar.stop()
                    yield event
                    if not isinstance(event, results.Text):
                        bar.start()

    def stream(self, events: Iterable[results.Text | results.Answer | results.Progress]) -> results.Answer:
        """Show text as it is written, where people read it; return the Answer that comes last."""
        for event in self.watch(events):
            if isinstance(event, results.Answer):
                return event
            if self.live and isinstance(event, results.Text):
                click.echo(clean(event.text), nl=False)
        raise AssertionError("a task ends with its answer")


def answer_text(answer: results.Answer, *, streamed: bool) -> str:
    """Return an answer for people: the text unless it was streamed, how it came about, its evidence."""
    lines: list[str] = []
    if not streamed and answer.text:
        lines.append(clean(answer.text))
    if answer.parts:
        lines = [line for part in answer.parts for line in _part(part)]
    elif answer.source:
        lines.append(f"  {clean(str(answer.source.span))}: {_short(answer.source.text)}")
    lines += ["", f"[{HOW[answer.how]}]"]
    if answer.finish == "length":
        lines.append("[cut at the token limit; raise --max-tokens for more]")
    if answer.how != "extracted" and answer.evidence:
        lines += ["", "Passages that match the question best:"]
        lines += [f"\n{clean(str(e.span))}\n{_indent(_short(e.text))}" for e in answer.evidence]
    return "\n".join(lines).strip("\n")


def _part(part: results.Part) -> list[str]:
    """Return one of several answers, and under it the line it stands in."""
    key = f"{clean(part.key)}: " if part.key else ""
    if part.source is None:
        return [f"{key}not found"]
    return [f"{key}{clean(part.text)}", f"  {clean(str(part.source.span))}: {_short(part.source.text)}"]


def answer_values(answer: results.Answer) -> dict[str, Any]:
    """Return an answer for programs."""
    return {
        "how": answer.how,
        "answer": answer.text,
        "source": _quote_values(answer.source),
        "confidence": answer.confidence,
        "parts": [vars(part) | {"source": _quote_values(part.source)} for part in answer.parts],
        "evidence": [_quote_values(e) for e in answer.evidence],
        "finish": answer.finish,
        "usage": usage_values(answer.usage),
    }


def _quote_values(quote: Quote | None) -> dict[str, Any] | None:
    if quote is None:
        return None
    lines_and_bytes = ("first_line", "last_line", "byte_start", "byte_end")
    values = {name: getattr(quote.span, name) for name in lines_and_bytes}
    return {"path": quote.span.document.name, **values, "quote": quote.text, "score": quote.score}


def usage_values(usage: results.Usage) -> dict[str, Any]:
    """Return what a run cost, for programs."""
    return {
        **dataclasses.asdict(usage),
        "read_tokens_per_second": round(usage.read_rate, 1),
        "resident_bytes": resident_memory(),
    }


def usage_line(usage: results.Usage) -> str:
    """Return what a run cost, in one line."""
    return (
        f"read {usage.tokens_read:,} tokens in {usage.read_seconds:.1f} s ({usage.read_rate:,.0f} tokens/s), "
        f"state {gib(usage.state_bytes)}, memory {gib(resident_memory())}"
    )


def trial_line(trial: results.Trial) -> str:
    """Return one trial of `niah`."""
    mark = "found" if trial.correct else f"MISSED: said {clean(trial.answer)[:60]!r}, not {trial.expected!r}"
    return f"{trial.length:>10,} tokens  depth {trial.depth:5.1f} %  {mark}  ({trial.seconds:.1f} s)"


def report_text(report: results.Report) -> str:
    """Return the grid of a `niah` run: a row per length, a column per depth."""
    lengths, depths = ({t.length for t in report.trials}, {t.depth for t in report.trials})
    table = Table(title=f"single needle ({report.kind}), share of answers that hold it", title_justify="left")
    table.add_column("tokens", justify="right")
    for depth in sorted(depths):
        table.add_column(f"{depth:g} %", justify="right")
    table.add_column("all (95 % interval)", justify="right")
    for length in sorted(lengths):
        cells = [report.share(length, depth) for depth in sorted(depths)]
        low, high = results.wilson(*report.share(length))
        total = f"{_share(report.share(length))} ({low:.2f}-{high:.2f})"
        table.add_row(f"{length:,}", *(_share(cell) if cell[1] else "" for cell in cells), total)
    console = Console(width=120, no_color=True, highlight=False)
    with console.capture() as captured:
        console.print(table)
    facts = f"haystack: {report.haystack} (sha256 {report.digest[:12]}), seed {report.seed}, greedy"
    if report.repeated > 1:
        facts += f", text repeated up to {report.repeated} times"
    return f"{captured.get().rstrip()}\n{clean(facts)}"


def report_values(report: results.Report) -> dict[str, Any]:
    """Return a `niah` run for programs."""
    right, of = report.share()
    values = dataclasses.asdict(report) | {"usage": usage_values(report.usage)}
    return values | {"accuracy": right / max(of, 1), "interval_95": results.wilson(right, of)}


def plan_text(plan: Plan) -> str:
    """Return a plan for people."""
    about = "" if plan.exact else "about "
    rows = [
        ("tokens", f"{about}{plan.tokens:,}"),
        ("weights", gib(plan.weights)),
        ("state", gib(plan.state)),
        ("KV cache", gib(plan.kv)),
        ("workspace", gib(plan.workspace)),
        ("needed", gib(plan.needed)),
        ("available", gib(plan.available)),
        ("reading time", "unknown" if plan.seconds is None else f"about {duration(plan.seconds)}"),
        ("fits", "yes" if plan.needed <= plan.available else "NO"),
    ]
    return "\n".join(f"{name:<13} {value}" for name, value in rows)


def plan_values(plan: Plan) -> dict[str, Any]:
    """Return a plan for programs."""
    return dataclasses.asdict(plan) | {"needed": plan.needed, "fits": plan.needed <= plan.available}


def duration(seconds: float) -> str:
    """Return a time in words."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _share(cell: tuple[int, int]) -> str:
    return f"{cell[0]}/{cell[1]}"


def _short(quote: str) -> str:
    quote = clean(quote).strip("\n")
    return quote if len(quote) <= QUOTE else f"{quote[:QUOTE]} [... {len(quote) - QUOTE} more characters]"


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.split("\n"))


@contextmanager
def _bar(console: Console) -> Iterator[tuple[Progress, TaskID]]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[facts]}", markup=False),
        TimeRemainingColumn(),
    )
    bar = Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal or console.quiet
    )
    with bar:
        yield bar, bar.add_task("", total=None, facts="")


def _advance(bar: Progress, task: TaskID, event: results.Progress) -> None:
    if bar.disable:
        return
    if bar.tasks[task].description != event.label:
        bar.reset(task, description=clean(event.label))
    elapsed = bar.tasks[task].elapsed or 0.0
    rate = event.tokens / elapsed if elapsed else 0.0
    facts = f"{event.tokens:,} tokens  {rate:,.0f}/s  {gib(resident_memory())}" if event.tokens else ""
    bar.update(task, completed=event.bytes_done, total=event.bytes_total or None, facts=facts)


def _check_writable(path: Path) -> None:
    """Refuse an unwritable output before an hour of reading, not after."""
    if path.is_dir():
        raise OutputError(f"{path}: is a directory; -o takes a file")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the folder {path.parent} does not exist")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise OutputError(f"{path}: cannot be written; choose another place for -o")


def _write_whole(path: Path, text: str) -> None:
    """Write all or nothing: an existing file is replaced only by a complete one."""
    if path.exists() and not path.is_file():  # a device or a pipe
        path.write_text(text, encoding="utf-8")
        return
    scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
