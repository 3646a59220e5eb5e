"""`niah`: proof of retrieval. Hide a fact at each depth of a long text and ask the model for it."""

from collections.abc import Iterator, Sequence
from io import BytesIO
from time import perf_counter

from longctx.engine import Engine
from longctx.progress import Progress, Usage
from longctx.reading import Reading
from longctx.tasks import lookup
from longctx.tasks.frame import read_template
from longctx.tasks.haystack import Haystack, Kind, Sample, make_sample
from longctx.tasks.prompt import build_prompt
from longctx.tasks.results import Report, Trial
from longctx.text.source import Corpus, Document


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
                    haystack, engine.tokenizer, length - lookup.LONGEST_FACT, depth, kind, number, seed
                )
                label = f"{length:,} tokens, depth {depth:g} %"
                report.repeated = max(report.repeated, sample.repeated)
                for event in probe(engine, sample, length, depth, chunk, label, report.usage):
                    if isinstance(event, Trial):
                        report.trials.append(event)
                    yield event
    yield report


def probe(
    engine: Engine, sample: Sample, length: int, depth: float, chunk: int, label: str, usage: Usage
) -> Iterator[Progress | Trial]:
    """Read one text and ask for its fact; yield the Trial last and add its cost to `usage`."""
    started = perf_counter()
    template = read_template(None, lookup.template(engine))
    prompt = build_prompt(engine.tokenizer, engine.folder, template, question=sample.question)
    with Corpus() as corpus:
        text = corpus.spool(BytesIO((sample.before + sample.needle + sample.after).rstrip().encode()))
        document = Document("text", text, 0, text.stat().st_size, "utf-8")
        reading = Reading(engine, [document], prompt.before, chunk)
        yield from reading.read(label)
        answer, pointers = lookup.short_answer(reading, prompt.after)
        place = reading.locate(pointers[0].position) if pointers else None
    at = len(sample.before.encode())
    pointed = bool(place and at <= place.byte_start < at + len(sample.needle.encode()))
    usage.add(reading.usage)
    yield Trial(
        length,
        depth,
        tokens=reading.session.position,
        expected=sample.expected,
        answer=answer,
        correct=sample.expected.lower() in answer.lower(),
        pointed=None if pointers is None else pointed,
        seconds=perf_counter() - started,
    )


def depths_of(count: int) -> list[float]:
    """Return `count` evenly spaced depths from 0 to 100 percent; a single one is the middle."""
    return [50.0] if count == 1 else [100 * i / (count - 1) for i in range(count)]
