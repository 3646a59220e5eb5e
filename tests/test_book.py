"""The Python API: what was read is kept, results are typed, and importing it costs nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

import longctx

TALE = "The otter swam along the river and the heron watched it from the bank.\n\n" * 40
FACT = "One of the special magic numbers for amber-lamp is: 4031775.\n"
OTHER = "One of the special magic numbers for quiet-lantern is: 9120446.\n"
MAGIC = "What is the special magic number for {}?"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "tale.txt"
    path.write_text(TALE + FACT + TALE + OTHER + TALE)
    return path


def _reading(seen: list[longctx.Progress]) -> int:
    return sum(event.label == "reading" for event in seen)


def test_a_second_question_does_not_read_again(text: Path) -> None:
    """If this fails every question about a book costs as much as the first."""
    seen: list[longctx.Progress] = []
    with longctx.read(text, threads=1, progress=seen.append) as book:
        first = book.ask(MAGIC.format("amber-lamp"), deep=True)
        tokens, told = book.usage.tokens_read, _reading(seen)
        second = book.ask(MAGIC.format("quiet-lantern"), deep=True)
        assert (first.text, second.text) == ("4031775", "9120446")
        assert first.source and second.source
        assert str(first.source.span) == f"{text}:81"
        assert second.source.text == OTHER.strip()
        assert first.by == second.by == "model"
        assert tokens > 500
        assert first.usage.tokens_read == second.usage.tokens_read == book.usage.tokens_read == tokens
        assert _reading(seen) == told > 0


def test_a_model_that_writes_reads_once(text: Path, checkpoint: Path) -> None:
    """If this fails an hour of reading is spent again on each question, or one question changes the next."""
    question = "What did the heron do?"
    sampling = longctx.Sampling(max_tokens=4)
    with longctx.read(text, model=str(checkpoint), threads=1) as book:
        first = book.ask(question, sampling=sampling)
        book.ask("Who swam?", sampling=sampling)
        again = book.ask(question, sampling=sampling)
        assert first.how == "generated"
        assert first.text == again.text
        assert again.usage.tokens_read == first.usage.tokens_read > 500
        assert again.usage.tokens_written > first.usage.tokens_written
        assert again.evidence


def test_an_answer_that_does_not_fit_is_refused(text: Path, checkpoint: Path) -> None:
    """If this fails the machine swaps, or kills the program, far into a long answer."""
    with longctx.read(text, model=str(checkpoint), threads=1) as book:
        with pytest.raises(longctx.DoesNotFitError):
            book.ask("Who swam?", sampling=longctx.Sampling(max_tokens=10**12))
        assert book.usage.tokens_read == 0


def test_the_command_and_the_library_say_the_same(text: Path) -> None:
    """If this fails a script gets another answer than its author saw in the terminal."""
    import json

    from click.testing import CliRunner

    from longctx.cli import main

    arguments = [
        "ask",
        MAGIC.format("amber-lamp"),
        str(text),
        "--json",
        "--model",
        "bundled",
        "--threads",
        "1",
    ]
    said = json.loads(CliRunner().invoke(main, arguments).stdout)
    with longctx.read(text, threads=1) as book:
        answer = book.ask(MAGIC.format("amber-lamp"))
    assert (said["answer"], said["how"], said["by"]) == (answer.text, answer.how, answer.by)
    assert answer.source and said["source"]["quote"] == answer.source.text


def test_a_summary_has_places(text: Path) -> None:
    """If this fails a program cannot tell where a sentence of a summary stands."""
    with longctx.read(text) as book:
        summary = book.summarize(words=40)
    assert summary.how == "extracted"
    assert summary.evidence
    assert all(quote.span.document.name == str(text) for quote in summary.evidence)


def test_what_is_wrong_is_one_kind_of_error(tmp_path: Path, text: Path) -> None:
    """If this fails a program that catches LongctxError still crashes on a bad name."""
    with pytest.raises(longctx.InputError, match="no such file"):
        longctx.read(tmp_path / "none.txt")
    book = longctx.read(text)
    with pytest.raises(longctx.LongctxError, match="empty"):
        book.ask("  ")
    with pytest.raises(longctx.LongctxError, match="words=0"):
        book.summarize(words=0)
    book.close()
    book.close()
    with pytest.raises(longctx.LongctxError, match="closed"):
        book.ask("Who swam?")


def test_every_public_name_is_there_and_nothing_is_imported_before_it_is_used() -> None:
    """If this fails `import longctx` takes seconds, or a documented name does not exist."""
    code = (
        "import sys, longctx; late = {'torch', 'click', 'numpy', 'rich', 'longctx.book'} & set(sys.modules); "
        "assert not late, late; from longctx import *; "
        "[getattr(longctx, name) for name in longctx.__all__]; read, Answer; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'reed'"):
        _ = longctx.reed
