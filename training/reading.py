"""A text read as `ask` reads it, for whoever asks many questions about many texts."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from longctx.engine import Engine
from longctx.quotes.index import PassageIndex
from longctx.quotes.passages import passages
from longctx.reading import Reading
from longctx.tasks.frame import read_template
from longctx.tasks.prompt import Prompt, build_prompt
from longctx.text.source import Document


@contextmanager
def reading_of(engine: Engine, text: str) -> Iterator[Reading]:
    """Read and index a text, as `ask` does; its file lives while places in it are looked up."""
    with tempfile.TemporaryDirectory() as folder, PassageIndex() as index:
        path = Path(folder, "text")
        path.write_text(text, encoding="utf-8")
        document = Document("text", path, 0, path.stat().st_size, "utf-8")
        for passage in passages(document):
            index.add(passage)
        reading = Reading(engine, [document], prompt(engine, "").before, 2048, index=index)
        for _ in reading.read():
            pass
        yield reading


def prompt(engine: Engine, question: str) -> Prompt:
    """Return what stands before and after a text that is asked about."""
    return build_prompt(engine.tokenizer, engine.folder, read_template(None, "lookup.md"), question=question)
