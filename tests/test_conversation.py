"""`chat`: one reading, question after question; Ctrl-C stops an answer, not the conversation."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from terminal import CTRL_C, CTRL_D, Terminal

import longctx
from longctx.chat import Chat
from longctx.cli import main
from longctx.output import SCHEMA
from longctx.sampling import Sampling
from longctx.tasks.conversation import Conversation
from longctx.tasks.prompt import next_turn

TALE = "The otter swam along the river and the heron watched it from the bank.\n" * 30
FACT = "One of the special magic numbers for amber-lamp is: 4031775.\n"
MAGIC = "What is the special magic number for amber-lamp?"


@pytest.fixture
def tale(tmp_path: Path) -> Path:
    path = tmp_path / "tale.txt"
    path.write_text(TALE + FACT)
    return path


def said(talk: Conversation, question: str) -> str:
    list(talk.ask(question))
    return talk.turns[-1].answer.text


@pytest.fixture
def talk(tale: Path, checkpoint: Path) -> Iterator[Conversation]:
    with longctx.read(tale, model=str(checkpoint), threads=1) as book:
        yield book.conversation(Sampling(max_tokens=6))


def test_an_answer_comes_with_the_passages_nearest_to_the_question(talk: Conversation) -> None:
    """If this fails nobody can check in the text what a chat says."""
    said(talk, MAGIC)
    assert any(FACT.strip() in quote.text for quote in talk.turns[-1].answer.evidence)


def test_a_later_question_knows_the_ones_before(talk: Conversation) -> None:
    """If this fails "and why?" is answered as if nothing had been said, or on a garbled history."""
    said(talk, "Who swam?")
    said(talk, "And who watched?")
    first, second = talk.turns
    engine, reading = first.before.engine, first.before
    history = [*first.prompt.after, *engine.tokenizer.encode(first.answer.text), *second.prompt.after]
    whole = reading.session.fork()
    whole.read(history)
    branch = second.before.session.fork()
    branch.read(second.prompt.after)
    assert branch.position == whole.position == reading.session.position + len(history)
    for name, tensor in whole.state.tensors().items():
        torch.testing.assert_close(branch.state.tensors()[name], tensor)


def test_a_turn_is_framed_as_the_chat_template_frames_it(talk: Conversation) -> None:
    """If this fails a model is addressed in a form that it was never trained on."""
    said(talk, "Who swam?")
    engine = talk.turns[0].before.engine
    turn = next_turn(engine.tokenizer, engine.folder, "<end_of_sentence> why?", Chat())
    text = engine.tokenizer.decode(turn.after)
    assert text.count("why?") == 1
    assert not turn.before


def test_undo_and_retry_leave_the_reading_as_it_was(talk: Conversation) -> None:
    """If this fails one bad question spoils an hour of reading."""
    first, second = said(talk, "Who swam?"), said(talk, "Who watched?")
    list(talk.retry())
    assert [turn.question for turn in talk.turns] == ["Who swam?", "Who watched?"]
    assert talk.undo() == "Who watched?"
    assert said(talk, "Who watched?") == second
    assert (talk.undo(), talk.undo(), talk.undo()) == ("Who watched?", "Who swam?", None)
    assert said(talk, "Who swam?") == first


def test_an_answer_that_is_stopped_was_never_given(talk: Conversation) -> None:
    """If this fails Ctrl-C in the middle of an answer confuses all later ones."""
    first = said(talk, "Who swam?")
    stopped = talk.ask("Who watched?")
    next(stopped)
    stopped.close()
    assert len(talk.turns) == 1
    second = said(talk, "Who watched?")
    talk.undo(), talk.undo()
    assert (said(talk, "Who swam?"), said(talk, "Who watched?")) == (first, second)


def test_questions_are_piped_in(tale: Path, tmp_path: Path) -> None:
    """If this fails scripts cannot ask a list of questions, or /save loses what was said."""
    kept = tmp_path / "kept.md"
    lines = f"{MAGIC}\n\n/undo\n/undo\n/nonsense\n{MAGIC}\n/save {kept}\n/save {kept}\n/quit\nnever asked\n"
    run = CliRunner().invoke(main, ["chat", str(tale), "--json", "--threads", "1"], input=lines)
    assert run.exit_code == 0, run.output
    answers = [json.loads(line) for line in run.stdout.splitlines()]
    assert {answer["schema"] for answer in answers} == {SCHEMA}
    assert [one["answer"] for one in answers] == ["4031775", "4031775"]
    assert [one["question"] for one in answers] == [MAGIC, MAGIC]
    for part in ("nothing was asked yet", "/nonsense: no such command", f"{kept}: exists already"):
        assert part in run.stderr.replace("\n", " "), run.stderr
    assert "4031775" in kept.read_text()


def test_chat_needs_something_to_read() -> None:
    """If this fails the questions themselves are read as the text."""
    assert CliRunner().invoke(main, ["chat"], input="x\n").exit_code == 2
    assert CliRunner().invoke(main, ["chat", "-"], input="x\n").exit_code == 2


def test_a_person_at_a_terminal(tale: Path, checkpoint: Path, tmp_path: Path) -> None:
    """If this fails Ctrl-C throws away the reading, or the history of other users can be read."""
    words = ["chat", str(tale), "--model", str(checkpoint), "--threads=1", "--max-tokens", "100000"]
    with Terminal(words, tmp_path, TERM="dumb", NO_COLOR="1") as terminal:
        terminal.until("> ")
        terminal.type("Who swam?")
        terminal.until("swam?")
        terminal.until("\n")  # the line is taken: before that, Ctrl-C only gives it up
        terminal.anything()  # the answer has begun
        terminal.type(CTRL_C)
        terminal.until("[stopped")
        terminal.type("/undo")
        terminal.until("nothing was asked yet")
        terminal.until("> ")
        terminal.type(b"Who sw")
        terminal.until("Who sw")
        time.sleep(0.3)  # the terminal shows letters before anybody reads them; Ctrl-C would drop them then
        terminal.type(b"\x7f\x7f\x7f" + CTRL_C)  # a line that is given up is no question
        terminal.until("\n> ")
        terminal.type(CTRL_D)
        assert terminal.ended() == 0
    history = tmp_path / "longctx" / "history"
    assert "Who swam?" in history.read_text()
    assert history.stat().st_mode & 0o777 == 0o600


def test_a_person_sees_the_answer_first(tale: Path, tmp_path: Path) -> None:
    """If this fails the answer has to be looked for among passages, and `chat` looks unlike `ask`."""
    for colours, strong, faint in (("", "\x1b[1m", "\x1b[2m"), ("1", "", "")):
        with Terminal(["chat", str(tale), "--threads=1"], tmp_path, NO_COLOR=colours) as terminal:
            terminal.until("> ")
            terminal.type(MAGIC)
            terminal.until(f"{strong}4031775")
            assert f"{faint}{tale}:31" in terminal.until(FACT.split(":")[1].strip())
            terminal.type("/sources")
            terminal.until("> ")
            terminal.type("/quit")
            assert terminal.ended() == 0
            assert ("\x1b[2m" in terminal.heard) <= bool(strong)


def test_ctrl_c_keeps_what_was_read_and_twice_ends_at_once(tmp_path: Path) -> None:
    """If this fails whoever stops a long reading loses it, or cannot stop it."""
    text = tmp_path / "long.txt"
    text.write_text(TALE * 200)
    words = ["ask", "Who watched the otter?", str(text), "--deep", "--threads=1", "--chunk=16384", "--store"]
    for presses in (1, 2):
        store = str(tmp_path / f"store-{presses}")
        with Terminal([*words, store], tmp_path) as terminal:
            terminal.until("tokens ")  # of the progress bar: it has begun to read
            terminal.type(CTRL_C)
            terminal.until("Ctrl-C again stops at once")
            if presses == 2:
                terminal.type(CTRL_C)
            assert terminal.ended() == 130
            assert ("tokens are kept: the same command goes on from there" in terminal.heard) == (
                presses == 1
            )
    with Terminal([*words, str(tmp_path / "store-1")], tmp_path) as terminal:
        assert terminal.ended() in (0, 1)
        assert int(terminal.heard.partition("reused ")[2].split()[0].replace(",", "")) > 1000


def test_sources_do_not_call_a_passage_a_match_that_is_none(tmp_path: Path) -> None:
    """If this fails /sources says of the start of a text that it matches the question."""
    story, animals = tmp_path / "a.txt", ("goose", "mole", "toad", "wren", "hare", "fox")
    story.write_text("".join(f"## {one}\n\nThe {one} was here.\n\n" for one in animals))
    run = CliRunner().invoke(main, ["chat", str(story)], input="Who saw the goose?\n/sources\n")
    told, _, others = run.stderr.partition("Passages without the question's words")
    assert "The goose was here." in told
    assert "The fox was here." in others
