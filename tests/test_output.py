"""What a command shows while it works, and where its answer goes."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from longctx import output, signals
from longctx.errors import OutputError
from longctx.output import Output, clean
from longctx.progress import Meter, Progress, Usage
from longctx.tasks.results import Text, Thought
from longctx.text.document import Corpus, Cut, Skipped

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let stderr be taken for a terminal of 100 columns."""
    for name, value in {
        "TTY_COMPATIBLE": "1",
        "TTY_INTERACTIVE": "1",
        "COLUMNS": "100",
        "TERM": "xterm",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(output, "BETWEEN", 0.0)


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    return ESCAPE.sub("", capsys.readouterr().err)


@pytest.mark.usefixtures("terminal")
def test_a_terminal_shows_what_is_done_and_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """A person would wait for an hour before a blank screen, or before false numbers."""
    with Output(None, False, False, False) as out:
        for event, told in [
            (Progress("counting", 1 << 30, 2 << 30, 0), "counting .*1.0 GiB of 2.0 GiB"),
            (Progress("counting", 5 << 20, 0, 0), "counting .*5.0 MiB *\\S*$"),
            (Progress("looking", 3, 12, 0, "pages"), "looking .*3 of 12 pages"),
            (
                Progress("reading", 1 << 20, 2 << 20, 4321),
                r"reading .*4,321 tokens  [\d,]+/s  [\d.]+ [KMG]iB",
            ),
        ]:
            assert out.show(event) is event
            out._bar.refresh()  # type: ignore[union-attr]  # as it does by itself ten times a second
            assert re.search(told, shown(capsys), re.MULTILINE)


def test_the_bar_goes_and_gives_the_cursor_back(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: None
) -> None:
    """The terminal would be left without a cursor, by Ctrl-C too, or the answer be written into the bar."""
    undone: list[Any] = []
    monkeypatch.setattr(signals, "_undo", undone)
    with Output(None, False, False, False) as out:
        out.show(Progress("reading", 1, 2, 0))
        assert undone == [out.hide]
        out.show(Text("noon"))
        assert not undone
        told = capsys.readouterr()
        assert told.out == "noon"
        assert told.err.rindex("\x1b[?25h") > told.err.rindex("\x1b[?25l")
        out.show(Progress("writing", 1, 2, 0))
        assert "\x1b[?25l" in capsys.readouterr().err
    assert "\x1b[?25h" in capsys.readouterr().err


@pytest.mark.usefixtures("terminal")
def test_a_label_cannot_write_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """The name of a file could move the cursor or set the title of the window."""
    with Output(None, False, False, False) as out:
        out.show(Progress("reading \x1b]0;owned\x07", 1, 2, 0))
        out._bar.refresh()  # type: ignore[union-attr]
        assert "\x1b]0" not in capsys.readouterr().err


def test_nothing_is_drawn_where_nobody_sees_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log of a service would fill with bars; --quiet would not be quiet."""
    with Output(None, False, False, False) as out:
        out.show(Progress("reading", 1, 2, 0))
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    with Output(None, False, True, False) as out:
        out.show(Progress("reading", 1, 2, 0))
        out.show(Thought("hm"))
        out.note("a note")
    assert capsys.readouterr() == ("", "")


def test_a_bar_is_drawn_twenty_times_a_second_at_most(
    monkeypatch: pytest.MonkeyPatch, terminal: None
) -> None:
    """Reading small files would take longer to show than to do; a new stage is shown at once."""
    monkeypatch.setattr(output, "BETWEEN", 0.05)
    monkeypatch.setattr(output, "monotonic", iter([100.0, 100.04, 100.06, 100.07, 100.08]).__next__)
    with Output(None, False, False, False) as out:
        for label, done, drawn in [
            ("reading", 1, 1),
            ("reading", 2, 1),
            ("reading", 3, 3),
            ("writing", 4, 4),
            ("writing", 5, 4),
        ]:
            out.show(Progress(label, done, 9, 0))
            assert out._bar
            assert out._bar.tasks[0].completed == drawn
            assert out._bar.tasks[0].description == label


@pytest.mark.parametrize(
    ("path", "as_json", "live"), [(None, False, True), (None, True, False), ("a", False, False)]
)
def test_text_is_shown_while_it_is_written_only_to_a_person(
    path: str | None, as_json: bool, live: bool, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """An answer would stand twice in a pipe, or break the JSON around it."""
    with Output(str(tmp_path / path) if path else None, as_json, False, False) as out:
        out.show(Text("no\x1bon"))
        out.show(Thought("hm\x1b"))
    assert capsys.readouterr() == ("no\ufffdon" if live else "", "hm\ufffd")


def test_a_dash_is_standard_output(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails `-o -` shows nothing, and leaves a file whose name no command takes."""
    monkeypatch.chdir(tmp_path)
    with Output("-", False, False, False) as out:
        out.write("noon", {})
    assert capsys.readouterr().out == "noon\n"
    assert not list(tmp_path.iterdir())


def test_notes_say_what_was_not_read_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    """A file that was left out would be missed by nobody."""
    skipped = [
        Skipped("a.pdf", "a PDF", "pip install x"),
        Skipped("b.pdf", "a PDF", "pip install x"),
        Skipped(".c", "hidden"),
    ]
    corpus = Corpus(notes=["a note \x1b"], skipped=skipped)
    for verbose in (False, True):
        with Output(None, False, False, verbose) as out:
            out.report_sources(corpus)
        told = capsys.readouterr().err.splitlines()
        assert told[0] == "a note \ufffd"
        hint = "" if verbose else " (-v or --json lists them)"  # they stand above
        assert told[-1] == f"not read: 2 PDFs (pip install x), 1 hidden{hint}"
        assert told[1:-1] == [f"not read: {one.name}: {one.reason}" for one in skipped] * verbose
    with Output(None, False, False, False) as out:
        out.report_sources(Corpus(until=Cut("2", "a.txt:2", 2, 9, 1, 1)))
    assert capsys.readouterr().err == "--until 2: read to line 2 of 9 (a.txt:2)\n"


def test_what_is_left_out_of_many_files_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails the answer about a folder of letters stands below a screen of lines about pictures."""
    corpus = Corpus(notes=["a.txt: read as cp1252"])
    for name in "bcde":
        corpus.note_left_out(name, Counter({"a picture": 2, "a menu": 0, "a comment": int(name == "b")}))
    each = ["b: left out 2 pictures, 1 comment", *(f"{name}: left out 2 pictures" for name in "cde")]
    brief = "left out of 4 files: 8 pictures, 1 comment (-v or --json lists them)"
    for verbose, told in ((False, [brief]), (True, each)):
        with Output(None, False, False, verbose) as out:
            out.report_sources(corpus)
        assert capsys.readouterr().err.splitlines() == ["a.txt: read as cp1252", *told]
    assert corpus.notes == ["a.txt: read as cp1252", *each]
    del corpus.left_out["b"]
    assert corpus.brief_notes() == corpus.notes


def test_an_answer_is_text_or_one_object(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Scripts could not tell one form of the output from the next."""
    with Output(None, True, False, False) as out:
        out.write("noon", {"answer": "noon"})
    assert json.loads(capsys.readouterr().out) == {"schema": output.SCHEMA, "answer": "noon"}
    with Output(str(tmp_path / "out"), False, False, False) as out:
        out.write("noon", {"answer": "noon"})
    assert (tmp_path / "out").read_text() == "noon\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert capsys.readouterr() == ("", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_an_answer_that_a_file_cannot_take_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    """A full disk would cost an hour of reading."""
    out = Output("/dev/full", False, False, False)
    with pytest.raises(OutputError, match=r"/dev/full: No space left on device; the answer went to stdout"):
        out.write("noon", {})
    assert capsys.readouterr().out == "noon\n"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (".", "is a directory; -o takes a file"),
        ("a/b", "the folder .*a does not exist; create it"),
        ("x" * 300, r"cannot be written \(File name too long\)"),
        ("a\0b", "cannot be written"),
    ],
)
def test_an_output_that_cannot_be_is_refused_at_once(name: str, told: str, tmp_path: Path) -> None:
    """It would be found out when the answer is there."""
    with pytest.raises(OutputError, match=told):
        Output(f"{tmp_path}/{name}", False, False, False)


def test_only_files_that_are_read_are_spared(tmp_path: Path) -> None:
    """-o would replace the user's own text, or refuse to renew an answer."""
    text, answer = tmp_path / "text", tmp_path / "answer"
    text.write_text("noon")
    out = Output(str(answer), False, False, False)
    out.spare([str(text), str(tmp_path), "-"])
    answer.write_text("old")
    out.spare([str(text), str(tmp_path), "-"])
    with pytest.raises(OutputError, match="would be read and written over"):
        out.spare([str(text), str(answer)])


def test_line_ends_and_tabs_of_a_text_stay(capsys: pytest.CaptureFixture[str]) -> None:
    """Quotes would run together, or a carriage return hide the beginning of a line."""
    assert clean("a\r\nb\rc\n\td\x00\u202e") == "a\nb\nc\n\td\ufffd\ufffd"


def test_documents_that_are_read_count_towards_the_stage(capsys: pytest.CaptureFixture[str]) -> None:
    """The bar would stand still, pass its end, or go on counting for a stage that is over."""
    seen: list[Progress] = []
    meter = Meter(seen.append)
    meter.advance(5)
    with meter.stage("indexing", 10):
        for count in (4, 3, 9):
            meter.advance(count)
    meter.advance(5)
    assert [(event.label, event.bytes_done, event.bytes_total) for event in seen] == [
        ("indexing", done, 10) for done in (0, 4, 7, 10)
    ]


def test_the_cost_of_two_readings_is_their_sum() -> None:
    """Whoever reads a text in parts would be told the cost of one of them."""
    usage = Usage(1, 20, 3, 4.0, 5.0, 600)
    usage.add(Usage(10, 200, 30, 40.0, 50.0, 700))
    assert usage == Usage(11, 220, 33, 44.0, 55.0, 700)
    assert usage.read_rate == 5.0
    assert Usage(tokens_read=7).read_rate == 0.0
