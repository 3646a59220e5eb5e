"""Texts too long to be read in one piece by a model that copies: read in parts, one after the other.

Memory holds one part at a time. Parts overlap, so that a fact at a border stands whole in one of them; places
are those in the documents. Where reading takes minutes, only what stands around the question's words is read.
"""

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from longctx.engine import Engine
from longctx.launch import Launch
from longctx.plan import count_tokens
from longctx.progress import Progress, Usage
from longctx.quotes.index import PassageIndex
from longctx.quotes.scan import Cells
from longctx.reading import Reading
from longctx.store.folder import Folder
from longctx.tasks import lookup
from longctx.tasks.prompt import Prompt, header
from longctx.tasks.questions import asks_for_all, names, one_by_one
from longctx.tasks.results import Answer, Part
from longctx.text.source import Corpus
from longctx.text.span import Span
from longctx.text.stretches import parts, whole

if TYPE_CHECKING:
    from longctx.output import Output

MOST_READ = 1 << 20  # tokens that are read without being asked to: one or two minutes on one core
PART = 1 << 18  # tokens: about 256 MiB of memory with the bundled model
OVERLAP = 1 << 12  # bytes
CLOSE = 0.6  # share of the best cell's score, from which a cell is read


@dataclass(frozen=True)
class Finder:
    """A model that copies, and what it is to read.

    Attributes:
        tokens: of all documents; `exact` when they were counted, not estimated.
        room: tokens that fit into memory at once.
        kv: bytes of keys and values of all tokens.
    """

    engine: Engine
    chunk: int
    tokens: int
    exact: bool
    room: int
    kv: int = 0

    @property
    def in_one_piece(self) -> bool:
        """Tell whether all is read at once."""
        return self.tokens <= self.room


def load(
    launch: Launch, out: "Output", corpus: Corpus, answer_tokens: int, engine: Engine | None = None
) -> Finder:
    """Load a model that copies, with room for all of a text, or else for as much as fits and is read soon.

    Args:
        engine: the model, if it is loaded already.

    Raises:
        DoesNotFitError: when not even a short text fits beside the model.
        ModelError: when its files are damaged.
    """
    with ThreadPoolExecutor(1) as beside:
        counted = beside.submit(count_tokens, launch.tokenizer, corpus)
        _ = launch.device  # imports torch, which takes longer
        tokens, exact = counted.result()
    room = launch.fitting(tokens if tokens <= MOST_READ else PART, answer_tokens)
    engine = engine or launch.engine(out, room, answer_tokens)
    kv = launch.plan(tokens, answer_tokens).kv if tokens > room else 0
    return Finder(engine, launch.chunk, tokens, exact, room, kv)


def read_in_parts(
    finder: Finder,
    corpus: Corpus,
    index: PassageIndex,
    question: str,
    prompt: Callable[[str], Prompt],
    cells: Cells | None,
    store: Folder | None = None,
) -> Generator[Progress, None, Answer]:
    """Let the model look an answer up in each part, and merge what it finds.

    Args:
        prompt: makes the prompt of a question.
        cells: where the question's words stand, if only that is to be read.
        store: where parts are kept and found again, if all are read and there is room for all of them.
    """
    room = min(PART, finder.room)  # what fits but takes minutes is read in parts, too
    size = max(2, int(room * corpus.bytes / finder.tokens))
    spans = [whole(document) for document in corpus.documents]
    if cells is not None:
        store = None  # another question has other cells
        spans = cells.best(int(MOST_READ * corpus.bytes / finder.tokens), CLOSE)
    asked = {key: (one, prompt(one)) for key, one in one_by_one(question).items()}
    found: dict[str, list[Part]] = {key: [] for key in asked}
    usage, reading = Usage(), None
    # Else each part would drive out the one before, and each run all others.
    kept = store if store and finder.kv <= store.limit() else None
    total, done = sum(map(_bytes, spans)), 0
    for part in parts(spans, size, min(OVERLAP, size // 2)):
        reading = Reading(finder.engine, part, prompt("").before, finder.chunk, header(corpus), index, kept)
        for event in reading.read():
            yield replace(
                event,
                bytes_done=min(total, done + event.bytes_done),
                bytes_total=total,
                tokens=usage.tokens_read + event.tokens,
            )
        for key, (one, asking) in asked.items():
            found[key] += lookup.answers(reading, one, asking.after)
        usage.add(reading.usage)
        reading.close()
        done += sum(map(_bytes, part))
    answer = _merged(asked, found, reading, usage)
    if cells is not None:
        answer.tokens_in_all, answer.estimated = finder.tokens, not finder.exact
    return answer


def _merged(
    asked: dict[str, tuple[str, Prompt]], found: dict[str, list[Part]], reading: Reading | None, usage: Usage
) -> Answer:
    """Return the answer to all keys: the best of all parts, or what the last reading finds in a passage."""
    told: list[Part] = []
    for key, (one, asking) in asked.items():
        best = _best(found[key], one)
        if not best and reading:
            reading.usage = Usage()
            best = lookup.closer(reading, one, asking.after)
            usage.add(reading.usage)
        told += [replace(part, key=key) for part in best] or [Part(key, "", None, None)]
    answer = lookup.told(told)
    answer.usage = usage
    return answer


def _best(found: list[Part], question: str) -> list[Part]:
    """Return the surest answer of all parts, and each other value that a line gives for the same key.

    Where all answers are asked for, all that differ are. They come in reading order.
    """
    if not found:
        return []
    right = found
    if not asks_for_all(question):
        surest = max(found, key=lambda part: part.confidence or 0.0)
        named = _named(surest, question)
        right = [part for part in found if part is surest or (named and named <= _named(part, question))]
    first: dict[str, Part] = {}
    for part in right:
        first.setdefault(part.text, part)
    return list(first.values())[: lookup.MOST_ANSWERS]


def _named(part: Part, question: str) -> set[str]:
    """Return the names in a question that the line of an answer holds."""
    line = part.source.text.lower() if part.source else ""
    return {name for name in map(str.lower, names(question)) if name in line}


def _bytes(span: Span) -> int:
    return span.byte_end - span.byte_start
