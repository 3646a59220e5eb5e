"""Results as text for people and as JSON values for programs."""

import dataclasses
import math
from typing import Any

from longctx.away import told
from longctx.machine import gib, resident_memory
from longctx.output import clean
from longctx.plan import Plan
from longctx.progress import Usage
from longctx.styles import PLAIN, Style
from longctx.tasks import results
from longctx.text.source import Corpus
from longctx.text.span import Quote

TIMED = 1 << 14  # tokens, of which reading takes long enough to tell how long more would take
QUOTE = 1200  # characters of a quoted passage that are shown to people; JSON has all of it
HOW = {
    "generated": "written by the model from what it read",
    "found": "found in the text; the line is quoted",
    "read": "read in the text by the small reader, which is less certain than a look-up; the line is quoted",
    "closest": "no answer is sure enough to be shown; this sentence is the closest to the question",
    "not found": "the model found no such fact",
    "extracted": "sentences of the text itself, chosen to cover its words; no model wrote them",
    "counted": "counted in the files themselves, and quoted from them; no model wrote this",
}
MATCHING = "Passages that match the question best:"
WIDER = "Passages without the question's words, that hold related ones or begin the text:"
RIGHT_IN_TEN = 8  # of the reader's answers, of those measured, 94 of 107 were right
LOOKED_UP = "looked up in the text itself; no model was asked"


def answer_text(answer: results.Answer, *, streamed: bool, style: Style = PLAIN) -> str:
    """Return an answer for people: its text unless streamed, where it comes from, and evidence."""
    lines: list[str] = []
    if not streamed:
        lines += [clean(f"## {one.title}\n\n{one.text}\n") for one in answer.sections]
        lines += ["## The whole\n"] * bool(answer.sections)
    if answer.text:
        lines.append(
            "" if streamed else style.strong(clean(answer.text)) if answer.source else clean(answer.text)
        )
    if answer.parts:
        lines = [line for part in answer.parts for line in _part(part, style)]
    elif answer.source:
        lines.append(f"  {_place(answer.source, style)}: {style.quoted(short(answer.source.text))}")
    below = f"; places are below {clean(style.below)}" if style.below else ""
    lines += ["", style.faint(f"[{_how(answer)}{below}]")]
    if answer.closest and answer.how == "closest":
        lines += _passage(answer.closest, style)
    if answer.finish == "length" and answer.thinking and not answer.text:
        lines.append("[cut at the token limit while it was thinking; raise --max-tokens for an answer]")
    elif answer.finish == "length":
        lines.append("[cut at the token limit; raise --max-tokens for more]")
    if answer.quotations:
        lines += ["", "Quotations, looked up word for word:"]
        lines += [f"  {place(one)}: {short(' '.join(one.text.split()))}" for one in answer.quotations]
    if answer.how not in ("extracted", "counted"):
        lines += evidence(answer, style)
    return "\n".join(lines) if answer.text else "\n".join(lines).strip("\n")


def _how(answer: results.Answer) -> str:
    """Return how sure an answer is, in words."""
    if answer.by == "look-up":
        return LOOKED_UP
    if answer.how == "not found":
        matching = any(one.score for one in answer.evidence)
        if answer.by == "model":
            how = HOW["not found"]
        else:
            how = (
                "no telling word of the question stands in the text"
                if answer.matched is False
                else "no answer was found"
            )
        return how + "; the passages below match the question best" * matching
    if answer.how == "found" and answer.confidence is not None:
        return f"{HOW['found']}; {_likely(answer)}"
    if answer.how == "read":
        return f"{HOW['read']}; about {RIGHT_IN_TEN} in 10 such answers are right"
    return HOW[answer.how]


def _likely(answer: results.Answer) -> str:
    """Say how likely copied words are to be right, in whole percent and never as certainty."""
    found = [part.confidence for part in answer.parts if part.confidence is not None]
    each = "each at least " if len(found) > 1 else ""
    return f"{each}{min(99, math.floor(100 * min(found or [answer.confidence or 0.0])))} % likely to be right"


def evidence(answer: results.Answer, style: Style = PLAIN) -> list[str]:
    """Return the passages, those apart that hold no word of the question."""
    lines: list[str] = []
    for heading, wider in ((MATCHING, False), (WIDER, True)):
        passages = [one for one in answer.evidence if (one.score == 0.0) is wider]
        lines += ["", style.faint(heading)] * bool(passages)
        lines += [line for one in passages for line in ("", *_passage(one, style))]
    return lines


def _passage(quote: Quote, style: Style) -> list[str]:
    return [_place(quote, style), _indent(style.quoted(short(quote.text)))]


def _place(quote: Quote, style: Style) -> str:
    return style.place(clean(str(quote.span)))


def shown(answer: results.Answer) -> list[str]:
    """Return the names of the documents that an answer quotes."""
    quotes = [answer.source, answer.closest, *(part.source for part in answer.parts), *answer.evidence]
    return [clean(quote.span.document.name) for quote in quotes if quote]


def _part(part: results.Part, style: Style) -> list[str]:
    """Return one of several answers, with the line it stands in below."""
    key = f"{clean(part.key)}: " if part.key else ""
    if part.source is None:
        return [f"{key}not found"]
    source = f"  {_place(part.source, style)}: {style.quoted(short(part.source.text))}"
    return [f"{key}{style.strong(clean(part.text))}", source]


def place(quotation: results.Quotation) -> str:
    """Return where a quotation stands."""
    return clean(str(quotation.place.span)) if quotation.place else "NOT IN THE TEXT"


def answer_values(answer: results.Answer) -> dict[str, Any]:
    """Return an answer for programs."""
    return {
        "how": answer.how,
        "by": answer.by,
        "answer": answer.text,
        "closest": _quote_values(answer.closest),
        "source": _quote_values(answer.source),
        "confidence": answer.confidence,
        "parts": [vars(part) | {"source": _quote_values(part.source)} for part in answer.parts],
        "evidence": [_quote_values(e) for e in answer.evidence],
        "finish": answer.finish,
        "thinking": answer.thinking or None,
        "sections": [vars(one) for one in answer.sections],
        "structures": [dataclasses.asdict(one) for one in answer.structures],
        "quotations": [
            {"text": one.text, "found": one.place is not None, "place": _quote_values(one.place)}
            for one in answer.quotations
        ],
        "tokens_in_all": answer.tokens_in_all,
        "passages_read": answer.passages_read,
        "estimated": answer.estimated,
        "usage": usage_values(answer.usage),
    }


def result_values(command: str, answer: results.Answer, corpus: Corpus, **more: object) -> dict[str, Any]:
    """Return all that a command says of one answer, for programs."""
    return {"command": command, **more, **answer_values(answer), "sources": source_values(corpus)}


def quick_line(answer: results.Answer) -> str:
    """Return how much of the text was read where it was not all."""
    about = "about " if answer.estimated else ""
    read = f"read {answer.usage.tokens_read:,} of {about}{answer.tokens_in_all:,} tokens"
    if answer.passages_read is None:
        assert answer.tokens_in_all is not None
        # The speed of a short reading says nothing.
        rate = answer.usage.read_rate if answer.usage.tokens_read >= TIMED else 0.0
        longer = f", about {duration(answer.tokens_in_all / rate)}" if rate else ""
        return f"{read}, chosen by their words; --all reads everything{longer}"
    return f"{read}: the {answer.passages_read} passages that match the question best"


def _quote_values(quote: Quote | None) -> dict[str, Any] | None:
    if quote is None:
        return None
    lines_and_bytes = ("first_line", "last_line", "byte_start", "byte_end")
    values = {name: getattr(quote.span, name) for name in lines_and_bytes}
    return {
        "path": quote.span.document.name,
        "place": str(quote.span),
        **values,
        "quote": quote.text,
        "score": quote.score,
    }


def source_values(corpus: Corpus) -> dict[str, Any]:
    """Return what was read and what was skipped, for programs."""
    return {
        "documents": len(corpus.documents),
        "bytes": corpus.bytes,
        "skipped": [{"name": s.name, "reason": s.reason, "advice": s.advice} for s in corpus.skipped],
        "notes": corpus.notes,
        "since": vars(corpus.since) if corpus.since else None,
        "until": vars(corpus.until) if corpus.until else None,
    }


def usage_values(usage: Usage) -> dict[str, Any]:
    """Return the cost of a run, for programs."""
    return {
        **dataclasses.asdict(usage),
        "read_tokens_per_second": round(usage.read_rate, 1),
        "resident_bytes": resident_memory(),
    }


def usage_line(usage: Usage) -> str:
    """Return the cost of a run in one line."""
    reused = f"reused {usage.tokens_reused:,} tokens, " if usage.tokens_reused else ""
    rate = f" ({usage.read_rate:,.0f} tokens/s)" if usage.tokens_read else ""
    return (
        f"{reused}read {usage.tokens_read:,} tokens in {usage.read_seconds:.1f} s{rate}, "
        f"state {gib(usage.state_bytes)}, memory {gib(resident_memory())}"
    )


def trial_line(trial: results.Trial) -> str:
    """Return one trial of `niah`."""
    mark = "found" if trial.correct else f"MISSED: said {clean(trial.answer)[:60]!r}, not {trial.expected!r}"
    return f"{trial.length:>10,} tokens  depth {trial.depth:5.1f} %  {mark}  ({trial.seconds:.1f} s)"


def report_text(report: results.Report) -> str:
    """Return the grid of a `niah` run: a row per length, a column per depth."""
    from rich.console import Console
    from rich.table import Table

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
        ("weights", f"{gib(plan.weights)} ({plan.kind})"),
        ("", ", ".join(f"{gib(size)} in {kind}" for kind, size in plan.forms.items() if kind != plan.kind)),
        ("experts", "" if plan.kept is None else told(plan)),
        ("state", gib(plan.state)),
        ("KV cache", f"{gib(plan.kv)}{' (int8)' if plan.kv_rounded else ''}"),
        ("", f"{gib(plan.kv_here)} of it in memory" if plan.kv_here < plan.kv else ""),
        ("", "" if plan.kv_pages is None else _pages(plan)),
        ("workspace", gib(plan.workspace)),
        ("needed", gib(plan.needed)),
        ("available", gib(plan.available)),
        ("host memory", gib(plan.host) if plan.host else ""),
        ("reading time", "unknown" if plan.seconds is None else f"about {duration(plan.seconds)}"),
        ("fits", "yes" if plan.fits else "NO"),
    ]
    return "\n".join(f"{name:<13} {value}" for name, value in rows if value)


def _pages(plan: Plan) -> str:
    return f"attention chooses {plan.kv_pages:,} pages of it, by {gib(plan.kv_bounds)} of bounds on its keys"


def plan_values(plan: Plan) -> dict[str, Any]:
    """Return a plan for programs."""
    return dataclasses.asdict(plan) | {"needed": plan.needed, "fits": plan.needed <= plan.available}


def duration(seconds: float) -> str:
    """Return a duration as text."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _share(cell: tuple[int, int]) -> str:
    return f"{cell[0]}/{cell[1]}"


def short(quote: str) -> str:
    """Return a quote for people: cleaned, and what is cut from a very long one is said."""
    quote = clean(quote).strip("\n")
    return quote if len(quote) <= QUOTE else f"{quote[:QUOTE]} [... {len(quote) - QUOTE} more characters]"


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.split("\n"))
