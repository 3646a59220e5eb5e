"""What commands begin with: the texts are gathered, the model is loaded; and `read`, which does no more."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from longctx import manners
from longctx.chat import Chat
from longctx.errors import OutputError
from longctx.launch import Launch
from longctx.options import Extent, Inputs, Keeping, Options, chat_options, model_options, store_options
from longctx.progress import Progress
from longctx.sampling import Sampling

if TYPE_CHECKING:
    from longctx.engine import Engine
    from longctx.output import Output
    from longctx.text.source import Corpus

SUFFIX = ".lctx"  # of a reading in one file
LONG = 1 << 20  # bytes of texts that take a while


def read_inputs(out: "Output", inputs: Inputs, extent: Extent | None = None) -> "Corpus":
    """Gather the inputs, or a part of them; without any, read standard input unless it is a terminal."""
    from longctx.text.source import gather

    manners.check_inputs(inputs)
    out.spare(inputs)
    stdin = sys.stdin.buffer if sys.stdin else None  # closed in services, and by <&-
    if not inputs and (stdin is None or stdin.isatty()):
        raise click.UsageError("there is nothing to read: name files or folders, or pipe text in")
    if any(item.endswith(SUFFIX) for item in inputs):
        corpus = _portable(inputs)
    else:
        corpus = gather(inputs, stdin, out.show)
    if extent:
        extent.cut(corpus)
    out.report_sources(corpus)
    if corpus.bytes > LONG:
        out.show(Progress("starting", 0, corpus.bytes, 0))  # what works is imported only now
    return corpus


def _portable(inputs: Inputs) -> "Corpus":
    """Open a reading with its text, which stands alone."""
    from longctx.store.portable import unpack

    if len(inputs) > 1:
        raise click.UsageError(f"a {SUFFIX} file is read alone; leave the other inputs out")
    return unpack(Path(inputs[0]))


def load_writer(
    launch: Launch,
    out: "Output",
    text: "Corpus | int",
    sampling: Sampling,
    chat: Chat,
    template: str,
    **asked: str | int,
) -> "Engine":
    """Load the model that answers, with room for what it is asked, and say how it is going to be."""
    from longctx.tasks import frame
    from longctx.tasks.prompt import build_prompt

    source = frame.read_template(chat.template, template)
    prompt = build_prompt(launch.tokenizer, launch.folder, source, chat, **asked)
    engine = launch.engine(out, text, prompt.tokens + sampling.max_tokens)
    launch.say(out, *frame.notes(engine.tokenizer, engine.folder, sampling))
    return engine


@click.command()
@click.argument("inputs", nargs=-1, type=click.Path())
@chat_options
@store_options
@model_options
def read(inputs: Inputs, options: Options, keeping: Keeping, chat: Chat) -> None:
    """Read ahead of the first question, and keep what was read.

    `ask` goes on from it. With -o FILE.lctx it is written to a file of its own,
    which holds the text, too: whoever has the same model can ask it.

    \b
    Examples:
      longctx read book.txt --model hypenet-2b -o book.lctx
      longctx ask "Who is the captain?" book.lctx --model hypenet-2b
    """
    from longctx import render
    from longctx.store import portable
    from longctx.tasks.ask import ahead
    from longctx.tasks.lookup import cannot_write

    path = Path(options.output) if options.output else None
    if path is not None and path.suffix != SUFFIX:
        raise click.UsageError(f"-o {path}: name a file that ends with {SUFFIX}")
    launch, out = Launch(options), options.out()
    out.path = None
    with out, read_inputs(out, inputs) as corpus:
        folder = keeping.folder(out, corpus)
        if folder is None:
            raise OutputError("nothing can be kept; name a folder of your own with --store")
        folder = replace(folder, least_seconds=0.0)
        if cannot_write(launch.config):
            engine = launch.engine(out, corpus, Sampling().max_tokens)
        else:
            engine = load_writer(launch, out, corpus, Sampling(), chat, "ask.md", question="")
        reading = ahead(engine, corpus, launch.chunk, chat, folder)
        for event in reading.read():
            out.show(event)
        reading.close()
        if not reading.kept:
            raise OutputError("the reading was not kept; see the line above")
        values = {"command": "read", "notes": launch.notes, "usage": render.usage_values(reading.usage)}
        told = f"kept {reading.session.position:,} tokens"
        if path is not None:
            size = portable.pack(reading.kept, reading.documents, path)
            told = f"{path}: {reading.session.position:,} tokens, {size:,} bytes; it contains the text"
        out.write(
            told, {**values, "file": str(path) if path else None, "sources": render.source_values(corpus)}
        )
        out.note(render.usage_line(reading.usage))
