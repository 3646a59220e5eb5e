"""Long texts are summarised section by section while they are read, and the reading stays as it was."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from longctx.chat import Chat
from longctx.cli import main
from longctx.engine import Engine
from longctx.quotes.outline import outline
from longctx.sampling import Sampling
from longctx.tasks import summarize as task
from longctx.tasks.frame import BASE, read_template
from longctx.tasks.prompt import build_prompt
from longctx.tasks.results import Answer, Text
from longctx.text.source import gather

SENTENCE = "The keeper of the lighthouse wrote down every ship that passed in the year 1847.\n\n"


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(task, "LONG", 1000)
    path = tmp_path / "book.md"
    path.write_text("".join(f"# Chapter {number}\n\n{SENTENCE * (number + 2)}" for number in range(1, 5)))
    return path


def test_sections_leave_no_trace_in_the_reading(book: Path, checkpoint: Path) -> None:
    """If this fails what the model wrote about a chapter is taken for a part of the book."""
    engine, sampling = Engine.load(checkpoint, "cpu"), Sampling(max_tokens=9)
    with gather([str(book)]) as corpus:
        *events, answer = task.summarize(engine, corpus, words=50, sampling=sampling, chunk=64, chat=Chat())
        sections = outline(corpus.documents, task.SECTIONS)
    assert isinstance(answer, Answer)
    assert [one.title for one in answer.sections] == [section.title for section in sections]
    assert len(sections) == 4
    template = read_template(None, "summarize.md")
    prompt = build_prompt(engine.tokenizer, checkpoint, template, words=50)
    session, whole = engine.session(), book.read_bytes()
    for section in sections:
        (span,) = section.spans
        session.read(engine.tokenizer.encode(whole[span.byte_start : span.byte_end].decode()))
    plain = "".join(piece.text for piece in session.generate(prompt.after, sampling))
    assert answer.text == plain.strip()
    assert answer.usage.tokens_written >= 9 * 4
    said = "".join(event.text for event in events if isinstance(event, Text))
    assert said.startswith(f"## {sections[0].title}\n\n")
    assert f"## {task.WHOLE}\n\n" in said


def test_sections_come_with_the_answer(book: Path, checkpoint: Path, tmp_path: Path) -> None:
    """If this fails a saved summary lacks the chapters that were shown on the way."""
    arguments = ["summarize", str(book), "--model", str(checkpoint), "--max-tokens", "4"]
    done = CliRunner().invoke(main, [*arguments, "--json"])
    values = json.loads(done.stdout)
    assert BASE in done.stderr
    assert [one["title"] for one in values["sections"]] == [f"Chapter {number}" for number in range(1, 5)]
    assert CliRunner().invoke(main, [*arguments, "-o", str(tmp_path / "out.md")]).exit_code == 0
    saved = (tmp_path / "out.md").read_text()
    assert saved.startswith("## Chapter 1\n\n")
    assert saved.index("## Chapter 4") < saved.index("## The whole") < saved.index("[written by the model")


def test_short_texts_are_summarised_once(tmp_path: Path, checkpoint: Path) -> None:
    """If this fails a page comes with more headings than text."""
    (tmp_path / "page.md").write_text(f"# One\n\n{SENTENCE * 3}# Two\n\n{SENTENCE * 3}")
    arguments = ["summarize", str(tmp_path / "page.md"), "--model", str(checkpoint), "--max-tokens", "2"]
    assert json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)["sections"] == []
