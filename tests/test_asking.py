"""`ask` with one question or many: what is a question, what is a file, and what comes out."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import longctx
from longctx import styles
from longctx.cli import main
from longctx.sampling import Sampling

LEASE = "The monthly rent is 1,250 euros.\nEither party may end the lease with three months' notice.\n"
SETTINGS = "server:\n  port: 8080\ndatabase:\n  pool_size: 10\n"
LOST = "2024-05-11 05:12:09"
TALE = "The otter swam along the river and the heron watched it from the bank.\n" * 20


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lease.txt").write_text(LEASE)
    (tmp_path / "app.yaml").write_text(SETTINGS)
    (tmp_path / "questions.txt").write_text("What is pool_size set to?\n\nWhat is port set to?\n")
    return tmp_path


def ask(*words: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, ["ask", *words, "--threads", "1"], input=stdin)


def test_the_question_may_stand_last(here: Path) -> None:
    """If this fails `ask app.yaml "..."`, which many people type first, says that there is no such file."""
    first, last = ask("What is pool_size set to?", "app.yaml"), ask("app.yaml", "What is pool_size set to?")
    assert first.exit_code == last.exit_code == 0
    assert first.stdout == last.stdout
    assert first.stdout.startswith("10\n")


def test_a_name_that_is_not_there_is_said_wherever_it_stands(here: Path) -> None:
    """If this fails a mistyped name, put first, is taken for the question, and the question for a file."""
    for words in (["ap.yaml", "What is port set to?"], ["What is port set to?", "ap.yaml"]):
        found = ask(*words)
        assert found.exit_code == 3
        assert found.stderr.startswith("longctx: ap.yaml: ")


@pytest.mark.parametrize(
    ("text", "question", "answer"),
    [
        ('port = 8080\nhost = "a"\n', "port?", "8080"),
        ("[server]\nport = 8080\n\n[db]\nport = 5432\n", "which port does the db use?", "5432"),
        ("# of the server\nexport PORT=8080\nexport HOST='alpha beta'\n", "host?", "alpha beta"),
        ('{"server": {"port": 8080, "host": "a"}, "db": {"port": 5432}}', "port of the db?", "5432"),
        ('<?xml version="1.0"?>\n<config>\n <port>8080</port>\n</config>\n', "port?", "8080"),
        ("name,age,city\nAnn,31,Rome\nBob,44,Oslo\n", "how old is Bob?", "44"),
        ("[2024-05-11 04:00:02] INFO up\n[2024-05-11 05:12:09] ERROR T7 lost\n", "when was T7 lost?", LOST),
    ],
)
def test_what_is_piped_in_is_read_as_from_its_file(here: Path, text: str, question: str, answer: str) -> None:
    """If this fails `cat app.toml | longctx ask` shows two lines run together as the answer, or none."""
    found = json.loads(ask(question, "--json", stdin=text).stdout)
    assert (found["how"], found["answer"]) == ("found", answer)
    if " = " in text:  # of a name that says nothing
        (here / "settings.bak").write_text(text)
        assert json.loads(ask(question, "--json", "settings.bak").stdout)["answer"] == answer


@pytest.mark.parametrize(
    "words",
    [
        ["--questions", "questions.txt", "app.yaml"],
        ["-Q", "What is pool_size set to?", "app.yaml", "-Q", "What is port set to?"],
    ],
)
def test_many_questions_are_answered_in_their_order(here: Path, words: list[str]) -> None:
    """If this fails a file of questions costs a reading each, or answers stand below the wrong question."""
    result = ask(*words, "--json")
    assert result.exit_code == 0, result.output
    answers = json.loads(result.stdout)["answers"]
    assert [(one["question"], one["answer"]) for one in answers] == [
        ("What is pool_size set to?", "10"),
        ("What is port set to?", "8080"),
    ]
    text = ask(*words).stdout
    assert text.index("## What is pool_size") < text.index("\n10\n") < text.index("## What is port")


def test_questions_from_standard_input(here: Path) -> None:
    """If this fails a program cannot pipe its questions in, or they are taken for the text."""
    result = ask("--questions", "-", "app.yaml", "--json", stdin="What is port set to?\nWhat is Xyzzy?\n")
    assert [one["answer"] for one in json.loads(result.stdout)["answers"]] == ["8080", ""]
    assert result.exit_code == 1
    assert "1 of 2 questions has no answer" in result.stderr
    assert ask("--questions", "-", stdin="Why?\n").exit_code == 2


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "there is no question"),
        (["  ", "app.yaml"], 2, "the question is empty"),
        (["-Q", " ", "app.yaml"], 2, "there is no question in it"),
        (["--questions", "nowhere.txt", "app.yaml"], 3, "nowhere.txt: cannot read the questions"),
        (["--questions", "app.yaml", "lease.txt", "--quick"], 2, "--quick and --all go with one question"),
        (["x" * 5000, "app.yaml"], 1, ""),
    ],
)
def test_what_cannot_be_asked_is_one_line(here: Path, words: list[str], code: int, said: str) -> None:
    """If this fails a slip of the fingers ends in a traceback or a long wait."""
    result = ask(*words)
    assert result.exit_code == code, result.output
    if code > 1:
        assert said in " ".join(result.stderr.split())


def test_a_model_that_writes_reads_once_for_all(tmp_path: Path, checkpoint: Path) -> None:
    """If this fails a hundred questions about a book cost a hundred readings."""
    path = tmp_path / "tale.txt"
    path.write_text(TALE)
    questions = ["Who swam?", "Who watched?", "Where was the bank?"]
    how = Sampling(max_tokens=5)
    with longctx.read(path, model=str(checkpoint), threads=1) as book:
        alone = [book.ask(question, sampling=how).text for question in questions]
        tokens = book.usage.tokens_read
        together = list(book.ask_all(questions, sampling=how))
        assert [answer.text for answer in together] == alone
        assert book.usage.tokens_read == tokens > 300
        assert all(answer.evidence and answer.how == "generated" for answer in together)
        assert [one.text for one in book.ask_all(questions[::-1], sampling=how)] == alone[::-1]


def test_a_file_of_answers_holds_no_colours(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails -o on a terminal fills the file with codes for bold and faint."""
    monkeypatch.setattr(styles, "for_stdout", lambda question, documents: styles.Style(True, question))
    questions = ("-Q", "What is pool_size set to?", "-Q", "What is port set to?", "app.yaml")
    assert ask(*questions, "-o", "answers.txt").exit_code == 0
    told = (here / "answers.txt").read_text()
    assert "8080" in told
    assert "\x1b" not in told
