"""What the tasks promise apart from a model: which words are questions, what is told, what is downloaded."""

import io
import json
import os
import signal
from collections.abc import Generator
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner
from trees import make

from longctx import asking, cache, signals, talk
from longctx.cli import main
from longctx.errors import InputError, ModelError
from longctx.examine import Check
from longctx.output import Output
from longctx.sampling import Sampling
from longctx.signals import within
from longctx.tasks import frame, haystack, templates
from longctx.tasks.extract import extract
from longctx.tasks.quoted import pattern
from longctx.tasks.results import Answer, Quotation, Report, Text, Trial
from longctx.text.document import Document
from longctx.text.source import Corpus, gather
from longctx.text.span import Quote, Span

WORDS: list[tuple[tuple[str, ...], tuple[list[str], tuple[str, ...]] | str]] = [
    ((), "there is no question"),
    ((" ", "there"), "the question is empty"),
    (("Who left?",), (["Who left?"], ())),
    (("Who left?", "there"), (["Who left?"], ("there",))),
    (("there", "Who left?"), (["Who left?"], ("there",))),
    (("there", "port"), (["port"], ("there",))),
    (("port", "there"), (["port"], ("there",))),
    (("port", "gone"), (["port"], ("gone",))),
    (("gone", "Who left?"), (["Who left?"], ("gone",))),
    (("gone", "who left it"), (["who left it"], ("gone",))),
    (("gone", "who left"), (["gone"], ("who left",))),
    (("who left it", "gone it is"), (["who left it"], ("gone it is",))),
    (("there", "there", "what"), (["what"], ("there", "there"))),
    (("-", "what"), (["what"], ("-",))),
    (("x" * 5000, "a\0b"), (["x" * 5000], ("a\0b",))),
]


@pytest.mark.parametrize(("words", "told"), WORDS)
def test_a_question_may_stand_before_or_behind_the_files(
    words: tuple[str, ...], told: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails a file is taken for the question, and the question for a file that is not there."""
    monkeypatch.chdir(tmp_path)
    Path("there").touch()
    if isinstance(told, str):
        with pytest.raises(click.UsageError, match=told):
            asking.questions_and_inputs(words, (), None)
    else:
        assert asking.questions_and_inputs(words, (), None) == told


def test_questions_come_from_options_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails one of a hundred questions is not asked, or an empty one is."""
    monkeypatch.chdir(tmp_path)
    Path("q").write_text("one?\n\n  two?  \n")
    assert asking.questions_and_inputs(("a",), ("zero?",), "q") == (["zero?", "one?", "two?"], ("a",))
    Path("empty").write_text("\n")
    for more, file, told in (
        ((" ",), None, "-Q: there is no question"),
        ((), "empty", "empty: there is no question"),
    ):
        with pytest.raises(click.UsageError, match=told):
            asking.questions_and_inputs(("a",), more, file)
    monkeypatch.setattr(asking, "LARGEST", 4)
    Path("q").write_text("12345")
    for file, told in (("q", "larger than"), ("gone", "cannot read the questions: No such file")):
        with pytest.raises(InputError, match=told):
            asking.questions_and_inputs(("a",), (), file)


def test_questions_are_piped_only_where_the_text_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails the text itself is taken for the questions."""
    monkeypatch.setattr("sys.stdin", None)
    for words in ((), ("-",), ("a", "-")):
        with pytest.raises(click.UsageError, match="no question in it"):
            asking.questions_and_inputs(words, (), "-")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"one?\n")))
    with pytest.raises(click.UsageError, match="questions from standard input"):
        asking.questions_and_inputs((), (), "-")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"one?\n")))
    assert asking.questions_and_inputs(("a",), (), "-") == (["one?"], ("a",))
    monkeypatch.setattr(asking, "LARGEST", 1 << 20)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"x" * ((1 << 20) + 1))))
    with pytest.raises(InputError, match="larger than 1 MiB"):
        asking.questions_and_inputs(("a",), (), "-")


def test_the_cache_of_downloads_is_looked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a model that is there is downloaded again, or a half one is loaded."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    commit = "0" * cache.COMMIT_LENGTH
    make(
        tmp_path / "models--org--big",
        {
            f"snapshots/{commit}/model.safetensors.index.json": json.dumps(
                {"weight_map": {"a": "2", "b": "1", "c": "1"}}
            ),
            f"snapshots/{commit}/1": "xx",
            "refs/main": f"{commit}\n",
            "blobs/half.incomplete": "xxx",
        },
    )
    make(tmp_path / "models--org--plan", {f"snapshots/{commit}/config.json": "{}"})
    make(tmp_path / "models--a--b--c", {f"snapshots/{commit}/model.safetensors": "12345"})
    make(tmp_path / ".locks" / "models--org--big", {"x": ""})
    folder = tmp_path / "models--org--big" / "snapshots" / commit
    assert cache.weight_files(folder) == ["1", "2"]
    assert cache.weight_files(tmp_path) == ["model.safetensors"]
    assert not cache.is_whole(folder)
    (folder / "2").touch()
    assert cache.is_whole(folder)
    assert cache.here("org/big") == cache.here("org/big", commit) == folder
    assert (cache.here("org/none"), cache.here("org/big", "dev"), cache.here("org/big", "1" * 40)) == (
        None,
    ) * 3
    big = sum(path.stat().st_size for path in (tmp_path / "models--org--big").rglob("*") if path.is_file())
    assert cache.cached() == {"a/b--c": 5, "org/big": big}
    (folder / "again").symlink_to(folder / "1")
    assert cache.bytes_in(tmp_path / "models--org--big") == big
    assert cache.checkpoint_bytes(tmp_path / "models--a--b--c" / "snapshots" / commit) == 5
    assert cache.remove("org/big") == big
    assert not folder.exists()
    assert not (tmp_path / ".locks" / "models--org--big").exists()
    with pytest.raises(ModelError, match="org/big: is not downloaded"):
        cache.remove("org/big")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        *[(["a.gguf"], "GGUF"), (["a.bin"], "pickled"), (["a.pth", "b.gguf"], "GGUF"), (["a.pt"], "pickled")],
        *[(["a.bin", "b.safetensors"], ""), (["a.txt"], ""), ([], "")],
    ],
)
def test_weights_in_another_format_are_named(names: list[str], told: str) -> None:
    """If this fails it is not said why a model with weights has none."""
    said = cache.other_format("x", names)
    assert told in said
    assert bool(said) == bool(told)


def test_a_share_of_trials_is_of_a_length_and_a_depth() -> None:
    """If this fails a model that finds nothing at 128k seems to find half of it."""
    report = Report("number", "x", "y", 0, 1)
    for length, depth, right in ((1, 0.0, True), (1, 50.0, False), (2, 0.0, True), (2, 50.0, True)):
        report.trials.append(Trial(length, depth, 1, "a", "a", right, None, 0.0))
    assert (report.share(), report.share(1), report.share(2), report.share(1, 0.0)) == (
        *((3, 4), (1, 2), (2, 2), (1, 1)),
    )
    assert (report.share(None, 50.0), report.share(3)) == ((1, 2), (0, 0))


@pytest.mark.parametrize(
    ("quoted", "text", "found"),
    [
        *[("one two (three)", "one  two\n(three) x", True), ("(one) two", "x(one) two", True)],
        *[
            ("one two", "one twofold", False),
            ("one two", "bone two", False),
            ("one ... two", "one x two", True),
        ],
        *[
            ("it’s “so”", "it's 'so'", False),
            ("it’s “so”", 'it\'s "so"', True),
            ("One two.", "One two,", True),
        ],
        *[("one [...] two", f"one {'x' * 1990} two", True), ("one … two", f"one {'x' * 2100} two", False)],
    ],
)
def test_a_quotation_is_found_word_for_word(quoted: str, text: str, found: bool) -> None:
    """If this fails what a model made up is said to stand in the text."""
    assert bool(pattern(quoted).search(text)) == found


def test_names_and_values_of_needles_are_of_their_kind() -> None:
    """If this fails a needle of one kind is looked for as another, and a model seems blind."""
    number, word, id_ = (haystack._value(kind, Random(7)) for kind in ("number", "word", "uuid"))
    assert number == str(1_000_000 + Random(7).randrange(9_000_000))  # the same in every version
    assert word.count("-") >= 1
    assert not word.replace("-", "").isdigit()
    assert [len(part) for part in id_.split("-")] == [8, 4, 4, 4, 12]
    assert haystack.hidden("word", "k", "v")[0] == "One of the special magic words for k is: v."
    assert haystack._sentences("") == []
    assert haystack._sentences('One. Two said "no." Three') == ["One. ", 'Two said "no." ', "Three\n\n"]
    assert [haystack._nearest([2, 2, 2], depth) for depth in (0, 16, 17, 50, 51, 100)] == [0, 0, 1, 1, 2, 3]


def test_of_many_tables_the_first_are_told_and_the_others_named(tmp_path: Path) -> None:
    """If this fails the summary of a folder of tables hides that there are more, or is endless."""
    table = "day,rain\n2026-01-01,3\n2026-01-02,4\n"
    tables: dict[str, str | bytes] = {f"{n:02}.csv": table for n in range(14)}
    make(tmp_path, tables | {"x.txt": "apple\npear\n"})
    with gather([str(tmp_path)]) as corpus:
        told = {}
        for words in (10, 79, 80, 480, 2000):
            (answer,) = [one for one in extract(corpus, words=words) if isinstance(one, Answer)]
            told[words] = answer.text
            assert answer.how == "counted"
            assert len(answer.structures) == 14
    counted = {words: text.count("a table of 2 rows") for words, text in told.items()}
    assert counted == {10: 1, 79: 1, 80: 2, 480: 12, 2000: 12}
    assert "And 12 files more, not shown at this length: " in told[80]
    assert told[80].count(".csv ...") == 1
    assert "And 2 files more" in told[2000]
    assert " ..." not in told[2000].partition("And 2 files")[2].partition("\n")[0]
    assert "Not summarised: " in told[80]
    assert "no sentences in it" in told[80]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("\n \n", "nothing but white space"),
        ("\ufffd\ufffd word and more words here", "mostly bytes that are no text"),
        ("x" * 40, "characters without spaces"),
        ("x" * 39, "no sentences"),
        (f"{'x' * 40} y", "no sentences"),
        ("1 2 3", "no words in it"),
    ],
)
def test_it_is_said_why_a_text_gives_no_summary(tmp_path: Path, text: str, reason: str) -> None:
    """If this fails somebody does not know what to do with a file of which nothing is told."""
    path = tmp_path / "x"
    path.write_text(text)
    corpus = Corpus([Document("x", path, 0, path.stat().st_size, "utf-8")])
    with pytest.raises(InputError, match=f"x: {reason}"):
        list(extract(corpus, words=50))
    corpus.documents *= 3
    with pytest.raises(InputError, match="; and 2 files more"):
        list(extract(corpus, words=50))
    with pytest.raises(InputError, match="no text in it"):
        list(extract(Corpus(), words=50))


def test_a_template_is_rendered_or_says_what_is_wrong() -> None:
    """If this fails a broken template fills the screen, or a published one is not understood."""

    def reply(source: str, **variables: object) -> dict[str, str]:
        return templates._reply({"source": source, "variables": variables})

    assert (
        reply("{% for n in range(5) %}\n{% if n == 2 %}{% break %}{% endif %}\n  {{ n }}{% endfor %}")["text"]
        == "  0  1"
    )
    assert reply("{{ a }}", a="x") == {"text": "x"}
    assert reply("{{ raise_exception('no') }}") == {"error": "no"}
    assert reply("{{ raise_exception('x' * 600) }}") == {"error": "x" * 500}
    assert "error" in reply("{{ a }}", a="\ud800")
    assert "error" in reply("{{ ''.__class__.__mro__ }}")
    limit = templates.MOST_CHARACTERS
    assert reply("{{ 'x' * n }}", n=limit) == {"text": "x" * limit}
    assert reply("{{ 'x' * n }}", n=limit + 1) == {
        "error": "it makes 2,097,153 characters, more than 2,097,152"
    }


def test_what_the_authors_of_a_model_advise_is_told(tmp_path: Path) -> None:
    """If this fails a model is asked as its authors say it should not be, and nobody knows."""
    template: Any = SimpleNamespace(special_tokens={})
    (tmp_path / "chat_template.jinja").write_text("x")

    def told(sampling: Sampling | None = None, **said: object) -> list[str]:
        (tmp_path / "generation_config.json").write_text(json.dumps(said))
        return list(frame.notes(template, tmp_path, sampling or Sampling()))

    suggest = "the model's authors suggest {}; the likeliest tokens are taken unless you ask for it"
    assert told() == []
    assert told(do_sample=True, temperature=0.6, top_p=0.95) == [
        suggest.format("--temperature 0.6 --top-p 0.95")
    ]
    assert told(temperature=0.6, repetition_penalty=1.1) == [suggest.format("--repetition-penalty 1.1")]
    assert told(do_sample=True, temperature=0.0, top_p="x") == []
    assert told(Sampling(temperature=0.5), do_sample=True, temperature=0.6) == []
    (tmp_path / "chat_template.jinja").unlink()
    assert told() == [frame.BASE]
    assert frame.is_thinking("a <think> b")
    assert not frame.is_thinking("a <think> b </think>")
    assert not frame.is_thinking("a")


def test_a_chat_template_is_found_where_checkpoints_have_it(tmp_path: Path) -> None:
    """If this fails a model that chats is asked as one that goes on with a text."""
    plain: Any = SimpleNamespace(special_tokens={})
    minimax: Any = SimpleNamespace(special_tokens={"<beginning_of_sentence>": 1})
    assert frame.chat_template(plain, tmp_path) is None
    assert "beginning_of_sentence" in (frame.chat_template(minimax, tmp_path) or "")
    several = [{"name": "tool", "template": "t"}, {"name": "default", "template": "d"}, "odd"]
    names = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "pad_token": None, "other": "x"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": several, **names}))
    assert frame.chat_template(minimax, tmp_path) == "d"
    assert frame.special_names(tmp_path) == {"bos_token": "<s>", "eos_token": "</s>"}
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "j"}))
    assert frame.chat_template(plain, tmp_path) == "j"
    (tmp_path / "chat_template.jinja").write_text("own")
    assert frame.chat_template(plain, tmp_path) == "own"
    with pytest.raises(InputError, match="cannot read the prompt template"):
        frame.read_template(str(tmp_path / "gone"), "")
    (tmp_path / "bad").write_bytes(b"\xff")
    with pytest.raises(InputError, match="not a prompt template"):
        frame.read_template(str(tmp_path / "bad"), "")


class Answers:
    """Answers with what was asked; enough of a conversation for the commands of `chat`."""

    def __init__(self, answer: Answer) -> None:
        self.turns: list[talk.Asked] = []
        self._answer = answer

    def ask(self, question: str) -> Generator[Text, None, Answer]:
        self.turns.append(talk.Asked(question, self._answer))
        yield Text(f"to {question}")
        return self._answer

    def retry(self) -> Generator[Text, None, Answer]:
        return self.ask(self.turns.pop().question)

    def undo(self) -> str:
        return self.turns.pop().question


def test_each_command_of_a_chat_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If this fails a slip of a key loses the conversation, or a quotation made up is not told."""
    monkeypatch.chdir(tmp_path)
    Path("a").write_text("one\ntwo\n")
    document = Document("a", Path("a"), 0, 8, "utf-8")
    place = Quote(Span(document, 4, 7, 2, 2), "two")
    answer = Answer("generated", "said", finish="length")
    answer.quotations = [Quotation("two", place), Quotation("made up here", None)]
    conversation, out = Answers(answer), Output(None, False, False, False)

    def said(line: str) -> tuple[str, str]:
        talk._obey(line, conversation, Corpus([document]), out)
        return (found := capsys.readouterr()).out, " ".join(found.err.split())

    assert said("/undo") == said("/retry") == ("", "nothing was asked yet")
    assert said("/sources") == ("", "a: 8 bytes")
    told, notes = said("who")
    assert told == "to who\n\n"
    assert "cut at the token limit" in notes
    assert "a:2" in notes
    assert "made up here" in notes
    assert said("/retry")[0] == "to who\n\n"
    assert [turn.question for turn in conversation.turns] == ["who"]
    assert said("/save") == ("", "/save FILE: name a file")
    assert said("/save x") == ("", "saved: x")
    assert Path("x").read_text().startswith("## who\n\nsaid")
    assert said("/save x") == ("", "x: exists already; choose another name")
    assert said("/save no/x")[1].startswith("no/x: cannot be written")
    assert said("/undo") == ("", "forgotten: who")
    assert said("/what x")[1].startswith("/what: no such command")
    assert said("/help")[1].startswith("/sources where the last answer")
    for end in ("/quit", "/exit", "/bye"):
        with pytest.raises(EOFError):
            said(end)


def test_what_is_scratch_is_gone_at_the_end(tmp_path: Path) -> None:
    """If this fails an answer that could not be written leaves half of it beside the file."""
    with pytest.raises(ValueError, match="x"), signals.scratch(tmp_path / "part") as part:
        part.touch()
        raise ValueError("x")
    assert not part.exists()
    with signals.scratch(tmp_path / "part") as part:
        part.touch()
        part.rename(tmp_path / "whole")
    assert (tmp_path / "whole").exists()


def test_nothing_stops_a_program_whose_answer_is_out() -> None:
    """If this fails Ctrl-C after the answer makes a script believe that there is none."""
    before = {number: signal.getsignal(number) for number in signals.STOPPING}
    try:
        signals.done()
        assert {signal.getsignal(number) for number in signals.STOPPING} == {signal.SIG_IGN}
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_the_hub_is_asked_without_telemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails the hub's library tells others what is run here, or draws a bar of its own."""
    names = ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    cache.silence_library()
    assert [os.environ[name] for name in names] == ["1", "1"]
    monkeypatch.setenv(names[0], "0")
    cache.silence_library()
    assert os.environ[names[0]] == "0"


def test_the_bundled_model_is_not_rounded() -> None:
    """If this fails a model of a few megabytes is written once more, in a form that is slower."""
    result = CliRunner().invoke(main, ["models", "quantize", "bundled"])
    assert (result.exit_code, result.stdout) == (4, "")
    assert "bundled: is small enough" in result.stderr


def test_what_takes_too_long_is_stopped_and_nothing_later() -> None:
    """If this fails a hostile pattern is searched for ever, or a later search is stopped for it."""
    with pytest.raises(TimeoutError, match=r"more than 0\.05 s"), within(0.05):
        while True:
            pass
    with within(0.05):
        pass
    assert sum(range(3_000_000)) > 0


@pytest.mark.parametrize(("sound", "code"), [([True, True], 0), ([True, False], 1)])
def test_a_check_that_fails_is_an_exit_code(
    sound: list[bool], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails a script takes a machine on which the model answers nonsense for a sound one."""
    rows = [Check(f"part {n}", ok, "told") for n, ok in enumerate(sound)]
    monkeypatch.setattr("longctx.doctor.check", lambda *_: rows)
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == code
    assert [line[:11] for line in result.stdout.splitlines()] == [
        f"{'ok  ' if ok else 'FAIL'} part {n}" for n, ok in enumerate(sound)
    ]


def test_a_file_that_is_followed_is_told_of_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails nobody learns in which encoding a log is read while it grows."""
    monkeypatch.chdir(tmp_path)
    log = Path("a.log")
    log.write_bytes("The captain of Malmö was Åsa. She left.\n".encode("cp1252") * 5)
    times = []

    def sleep(_: float) -> None:
        times.append(1)
        if len(times) > 2:
            raise KeyboardInterrupt
        with log.open("ab") as file:
            file.write(b"The captain of Lund was Bo.\n")

    monkeypatch.setattr("longctx.following.sleep", sleep)
    result = CliRunner().invoke(
        main, ["ask", "--follow", "Who was the captain of Lund?", "a.log", "--no-store"]
    )
    assert result.stderr.count("read as cp1252") == 1
