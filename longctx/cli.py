"""The command line: each command parses, calls one task and renders its result."""

import sys
from typing import TYPE_CHECKING

import click

import longctx
from longctx import manners
from longctx.asking import Asker, answer_all, questions_and_inputs
from longctx.begin import load_writer, read, read_inputs
from longctx.chat import Chat
from longctx.failures import EXIT_CODES, Commands
from longctx.finish import answer_of, finish
from longctx.guide import completion, help_
from longctx.keep import store
from longctx.launch import Launch
from longctx.options import (
    Extent,
    Inputs,
    Keeping,
    Length,
    Lengths,
    Options,
    chat_options,
    extent_options,
    model_options,
    sampling_options,
    store_options,
)
from longctx.sampling import Sampling
from longctx.shelf import models

if TYPE_CHECKING:
    from longctx.tasks.haystack import Kind


@click.group(
    cls=Commands,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.version_option(longctx.__version__, prog_name="longctx")
def main() -> None:
    """Ask questions about long texts (a book, a log, a folder of code), and see for each answer its line.

    Nothing that is read leaves your machine.

    \b
    Examples:
      longctx summarize book.txt
      longctx ask "What is the timeout of the database?" config/
      repomix --stdout | longctx ask "where is auth done?"
      longctx help ask
    """


@main.command()
@click.argument("inputs", nargs=-1, type=click.Path())
@click.option("--words", type=click.IntRange(10), default=300, help="Aim for this many words.")
@extent_options
@sampling_options
@chat_options
@store_options
@model_options
def summarize(
    inputs: Inputs,
    words: int,
    extent: Extent,
    options: Options,
    keeping: Keeping,
    sampling: Sampling,
    chat: Chat,
) -> None:
    """Summarize files, folders or standard input.

    The bundled model cannot write prose, so the summary quotes the sentences that matter most, section by
    section, and says where each one stands. A model that you choose with --model writes a summary of
    its own; of a long text it writes about each section as soon as it has read it, then about the whole.

    \b
    Examples:
      longctx summarize report.pdf --words 150
      longctx summarize src/
      zcat big.log.gz | longctx summarize
    """
    launch, out = Launch(options), options.out()
    with out, read_inputs(out, inputs, extent) as corpus:
        from longctx.tasks import summarize as task
        from longctx.tasks.extract import extract
        from longctx.tasks.lookup import cannot_write

        manners.note_idle(out, writes=not cannot_write(launch.config))
        if cannot_write(launch.config):
            events = extract(corpus, words=words)
        else:
            engine = load_writer(launch, out, corpus, sampling, chat, "summarize.md", words=words)
            events = task.summarize(
                engine,
                corpus,
                words=words,
                sampling=sampling,
                chunk=launch.chunk,
                chat=chat,
                store=keeping.folder(out, corpus),
            )
        answer = answer_of(events, out)
        finish(out, "summarize", answer, corpus, chat.strict, notes=launch.notes)


@main.command()
@click.argument("words", nargs=-1, metavar="QUESTION [INPUTS]...")
@click.option(
    "-Q", "more", multiple=True, help="Ask this; may be repeated. All that is no option is then read."
)
@click.option("--questions", "file", type=click.Path(), help="Ask each line of this file.")
@click.option("--passages", type=click.IntRange(0), default=3, help="Quote this many passages.")
@click.option("--quick", is_flag=True, help="Read only the passages that match the question best.")
@click.option("--budget", type=click.IntRange(1), default=4096, help="With --quick, read this many tokens.")
@click.option("--deep", is_flag=True, help="Let the bundled model read the text whatever the question.")
@click.option("--all", "everything", is_flag=True, help="Let it read all of a very long text, part by part.")
@extent_options
@click.option("--follow", is_flag=True, help="Ask again whenever the files have grown, until Ctrl-C.")
@click.option(
    "--every", type=click.FloatRange(0.1), default=5.0, help="With --follow, look every so many seconds."
)
@sampling_options
@chat_options
@store_options
@model_options
def ask(
    words: Inputs,
    more: Inputs,
    file: str | None,
    passages: int,
    quick: bool,
    budget: int,
    deep: bool,
    everything: bool,
    extent: Extent,
    follow: bool,
    every: float,
    options: Options,
    keeping: Keeping,
    sampling: Sampling,
    chat: Chat,
) -> None:
    """Answer QUESTION from files, folders or standard input.

    The answer comes with passages to check it against. What the text says of a name outright (where it is
    defined, what it is set to) is looked up. Facts about things with names such as amber-lamp are copied out
    by the bundled model, if it finds them. Ordinary questions are read by a small reader, which is less
    certain. Otherwise you see the sentence closest to the question, which may not answer it. A model that
    you choose with --model answers in its own words.

    Many questions (-Q, --questions) are answered off one reading; a model that writes works on several of
    them at a time.

    With --follow the question is asked again whenever the files have grown; an answer is shown when it is
    another one, in JSON as one line.

    \b
    Examples:
      longctx ask "What is the timeout of the database?" config/
      longctx ask "When did the upload fail first?" app.log
      longctx ask "Who signed the lease?" lease.docx --model hypenet-2b
      longctx ask --questions questions.txt book.epub --json
      longctx ask --until "Chapter 9" "Who is the thief?" novel.epub
      longctx ask --since "2024-03-02T" "What failed first?" app.log
      longctx ask --follow app.log "What failed last?"
    """
    questions, inputs = questions_and_inputs(words, more, file)
    for asked in questions:
        manners.check_question(asked, inputs)
    if follow:
        from longctx import following

        following.check(inputs, extent.since, extent.until, chat.strict, options.output, questions[1:])
    launch, out = Launch(options), options.out()
    if len(questions) > 1:
        if quick or everything:
            raise click.UsageError("--quick and --all go with one question; ask one by one")
        from longctx.book import Book

        how = {"passages": passages, "deep": deep, "sampling": sampling, "chat": chat}
        corpus = read_inputs(out, inputs, extent)
        with out, Book(corpus, launch, out.show, out, keeping.folder(out, corpus)) as book:
            answer_all(book, questions, out, chat.strict, **how)
        return
    asker = Asker(
        launch,
        out,
        keeping,
        sampling,
        chat,
        question=questions[0],
        passages=passages,
        budget=budget if quick else None,
        deep=deep,
        everything=everything,
    )
    if follow:
        with out:
            following.follow(asker, inputs, every)
    with out, read_inputs(out, inputs, extent) as corpus:
        answer = answer_of(asker.events(corpus), out)
        finish(out, "ask", answer, corpus, chat.strict, question=asker.question, notes=launch.notes)


@main.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path())
@extent_options
@sampling_options
@chat_options
@store_options
@model_options
def chat(
    inputs: Inputs,
    extent: Extent,
    options: Options,
    keeping: Keeping,
    sampling: Sampling,
    chat: Chat,
) -> None:
    """Talk about files and folders, question after question.

    They are read once. Questions are typed, or piped in, one to a line. A model that you choose with --model
    remembers the conversation; the bundled model answers each question by itself. /help lists what else you
    can type. With --json every answer is one line of JSON.

    \b
    Examples:
      longctx chat book.txt --model hypenet-2b
      longctx chat src/ < questions.txt
    """
    from longctx.book import Book
    from longctx.talk import Questions, converse
    from longctx.tasks.lookup import cannot_write

    launch, out = Launch(options), options.out()
    if options.output:
        raise click.UsageError("chat has no -o; type /save FILE, or send standard output there")
    if "-" in inputs or sys.stdin is None:
        raise click.UsageError("chat takes its questions from standard input; name files or folders to read")
    corpus = read_inputs(out, inputs, extent)
    with out, Book(corpus, launch, out.show, out, keeping.folder(out, corpus)) as book:
        talk = Questions(book) if cannot_write(launch.config) else book.conversation(sampling, chat)
        converse(talk, book.corpus, out)


@main.command()
@click.option(
    "--length",
    type=Length(),
    multiple=True,
    default=("64k",),
    help="Make texts of this many tokens, such as 4096, 64k or 1M. May be repeated.",
)
@click.option(
    "--depths",
    type=click.IntRange(1, 100),
    default=5,
    help="Hide the fact at this many depths, evenly from the beginning to the end.",
)
@click.option(
    "--samples", type=click.IntRange(1), default=1, help="Try this many texts at each length and depth."
)
@click.option(
    "--kind", type=click.Choice(["number", "word", "uuid"]), default="number", help="Hide this kind of fact."
)
@click.option(
    "--haystack",
    multiple=True,
    type=click.Path(),
    show_default="two novels",
    help="Hide it in this file or folder. May be repeated.",
)
@click.option("--seed", type=int, default=0, help="Choose places, keys and values by this seed.")
@model_options
def niah(
    length: Lengths, depths: int, samples: int, kind: "Kind", haystack: Inputs, seed: int, options: Options
) -> None:
    """Prove that a model finds what it has read.

    A fact is hidden in a long text (a needle in a haystack) and asked for. The table shows how many answers
    held the fact, by the length of the text and the depth of the fact.

    \b
    Examples:
      longctx niah
      longctx niah --length 64k --length 256k --depths 10 --kind uuid
    """
    from longctx import render
    from longctx.tasks.results import Report, Trial
    from longctx.text.source import Corpus, gather

    launch, out = Launch(options), options.out()
    with out, gather(haystack, sys.stdin.buffer if sys.stdin else None) if haystack else Corpus() as corpus:
        from longctx.tasks import niah as task
        from longctx.tasks.haystack import load_haystack

        engine = launch.engine(out, max(length), 0)
        hay = load_haystack(engine.tokenizer, corpus if haystack else None)
        at = task.depths_of(depths)
        events = task.niah(
            engine, hay, lengths=length, depths=at, samples=samples, kind=kind, seed=seed, chunk=launch.chunk
        )
        for event in map(out.show, events):
            if isinstance(event, Trial):
                out.note(render.trial_line(event))
            elif isinstance(event, Report):
                out.write(render.report_text(event), {"command": "niah", **render.report_values(event)})
                out.note(render.usage_line(event.usage))


@main.command()
@click.argument("inputs", nargs=-1, type=click.Path())
@click.option("--length", type=Length(), help="Plan for this many tokens instead of inputs.")
@click.option(
    "--max-tokens",
    type=click.IntRange(1),
    default=1024,
    help="Leave room for a question and an answer of this many together.",
)
@model_options
def plan(inputs: Inputs, length: int | None, max_tokens: int, options: Options) -> None:
    """Tell what a run needs (tokens, memory, time) and load nothing.

    \b
    Examples:
      longctx plan book.txt
      longctx plan --length 1M --model ring-mini
    """
    launch, out = Launch(options, to_plan=True), options.out()
    if length is None:
        with out, read_inputs(out, inputs) as corpus:
            planned = launch.plan(corpus, max_tokens, calibrate=out.show)
    else:
        with out:
            planned = launch.plan(length, max_tokens, calibrate=out.show)
    from longctx import render

    out.write(render.plan_text(planned), {"command": "plan", **render.plan_values(planned)})
    planned.check()


main.add_command(read)
main.add_command(models)
main.add_command(store)
main.add_command(help_)
main.add_command(completion)


@main.command()
@model_options
def doctor(options: Options) -> None:
    """Check your machine, and a model on it.

    The bundled model is to find a fact. A model that you choose with --model is to predict a page of a novel,
    and to say the same in chunks, with rounded weights and on another device; its speed and memory are shown.
    -o FILE writes a report that you can attach to an issue.

    \b
    Examples:
      longctx doctor
      longctx doctor --model ring-mini -o report.txt
    """
    from longctx import doctor as checks

    with options.out() as out:
        rows = checks.check(Launch(options), out)
    text = "\n".join(f"{'ok  ' if row.ok else 'FAIL'} {row.name:<14} {row.value}" for row in rows)
    out.write(text, {"command": "doctor", "checks": [vars(row) for row in rows]})
    sys.exit(0 if all(row.ok for row in rows) else 1)
