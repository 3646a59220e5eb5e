"""`niah`: proof of retrieval. A fact is hidden in a long text at each depth, the model is asked for it."""

import tempfile
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from time import perf_counter

from longctx.engine import Engine
from longctx.sampling import Sampling
from longctx.tasks.ask import LONGEST_FACT, copy_fact
from longctx.tasks.haystack import Haystack, Kind, Sample, make_sample
from longctx.tasks.prompt import build_prompt, read_template
from longctx.tasks.results import Progress, Report, Trial, Usage, read_text
from longctx.text.source import Document
from longctx.tokens.stream import TokenStream


def niah(
    engine: Engine,
    haystack: Haystack,
    *,
    lengths: Sequence[int],
    depths: Sequence[float],
    samples: int,
    kind: Kind,
    seed: int,
    chunk: int,
) -> Iterator[Progress | Trial | Report]:
    """Run every length, depth and sample: greedy, one needle, one question, one fresh reading each.

    Yields:
        Progress while reading, each Trial when it is done, and the Report last.
    """
    report = Report(kind, haystack.name, haystack.digest, seed, 1)
    for length in lengths:
        for depth in depths:
            for number in range(samples):
                sample = make_sample(
                    haystack, engine.tokenizer, length - LONGEST_FACT, depth, kind, number, seed
                )
                label = f"{length:,} tokens, depth {depth:g} %"
                trial = yield from _run(engine, sample, length, depth, label, chunk, report.usage)
                report.repeated = max(report.repeated, sample.repeated)
                report.trials.append(trial)
                yield trial
    yield report


def _run(
    engine: Engine, sample: Sample, length: int, depth: float, label: str, chunk: int, usage: Usage
) -> Generator[Progress, None, Trial]:
    started = perf_counter()
    retriever = bool(engine.model.config.pointer_heads)
    template = read_template(None, "lookup.md" if retriever else "ask.md")
    prompt = build_prompt(engine.tokenizer, engine.folder, template, question=sample.question)
    with tempfile.TemporaryDirectory(prefix="longctx-") as folder:
        text = Path(folder, "text")
        text.write_text((sample.before + sample.needle + sample.after).rstrip(), encoding="utf-8")
        document = Document("text", text, 0, text.stat().st_size, "utf-8")
        stream = TokenStream(engine.tokenizer, [document], chunk)
        session = engine.session()
        for progress in read_text(session, prompt.before, stream, document.end, usage):
            yield Progress(label, progress.bytes_done, progress.bytes_total, progress.tokens)
        asked = perf_counter()
        pointed = None
        if retriever:
            answer, pointers = copy_fact(session, prompt.after, usage)
            place = stream.locate(pointers[0].position - len(prompt.before)) if pointers else None
            at = len(sample.before.encode())
            pointed = bool(place and at <= place.byte_start < at + len(sample.needle.encode()))
        else:
            answer = "".join(p.text for p in session.generate(prompt.after, Sampling(max_tokens=128)))
        usage.write_seconds += perf_counter() - asked
    correct = sample.expected.lower() in answer.lower()
    seconds = perf_counter() - started
    return Trial(length, depth, session.position, sample.expected, answer, correct, pointed, seconds)


def depths_of(count: int) -> list[float]:
    """Return `count` depths in percent, evenly from 0 to 100; a single one is the middle."""
    return [50.0] if count == 1 else [100 * i / (count - 1) for i in range(count)]
