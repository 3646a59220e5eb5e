"""`--until`: what stands behind a point is as if it had never been written, whoever answers."""

import json
import re
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from longctx.cli import main
from longctx.engine import Engine
from longctx.errors import InputError
from longctx.reading import Reading
from longctx.store import keeper
from longctx.store.folder import Folder, open_folder
from longctx.text import points
from longctx.text.source import Corpus, gather

EARLY = "The secret code of the amber-lamp is 4711.\nport: 8080\nThe otter swam along the quiet river.\n"
LATE = "port: 9090\nThe secret code of the green-lamp is 9876.\nThe heron stole the pearl of Lisbon.\n"
FILLER = "".join(f"Nothing of note happened on day {n}.\n" for n in range(40))
LINE_ENDS = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


def run(*words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--threads", "1"])


def cut(point: str, *paths: Path) -> Corpus:
    corpus = gather([str(path) for path in paths])
    points.cut(corpus, None, points.Point.parse(point))
    return corpus


def texts(corpus: Corpus) -> list[str]:
    return ["".join(document.blocks()) for document in corpus.documents]


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A text, the beginning of which stands under the same name in another folder."""
    for name, text in (("long", EARLY + FILLER + "Chapter 2\n" + LATE), ("short", EARLY + FILLER)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "book.txt").write_text(text)
    monkeypatch.chdir(tmp_path / "long")
    return tmp_path


@pytest.mark.parametrize("step", [5, 1 << 18])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_text_ends_between_two_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, encoding: str, end: str
) -> None:
    """If this fails a word of the next chapter is read, or one of this is not."""
    monkeypatch.setattr(points, "STEP", step)
    content = end.join(["Grün war es am Fluß", "", "x" * 30 + " yy zz", "drei Vögel", "", "Schluß" * 3])
    path = tmp_path / "a.txt"
    path.write_bytes(content.encode(encoding))
    lines = LINE_ENDS.findall(content)
    for count in range(1, len(lines) + 1):
        corpus = cut(str(count), path)
        assert texts(corpus) == ["".join(lines[:count])]
        assert corpus.until is not None
        assert (corpus.until.line, corpus.until.lines) == (count, len(lines))
        assert corpus.until.place == f"{path}:{count}"
    for pattern, before in (("^yy", None), ("x yy zz$", 2), ("Vögel", 3), ("^Schluß", 5)):
        if before:
            assert texts(cut(pattern, path)) == ["".join(lines[:before])]
        else:
            with pytest.raises(InputError, match="no line matches"):
                cut(pattern, path)
    whole = gather([str(path)]).bytes
    for percent in (55, 75, 99.5):
        corpus = cut(f"{percent}%", path)
        (read,) = texts(corpus)
        assert corpus.bytes <= whole * percent / 100
        following = LINE_ENDS.findall(content[len(read) :])[0]
        assert content.startswith(read)
        assert len((read + following).encode(encoding)) > whole * percent / 100 - 2
    assert texts(cut("100%", path)) == [content]


def test_documents_behind_the_point_are_left_out(tmp_path: Path) -> None:
    """If this fails the next volume tells the end of this one."""
    paths = [tmp_path / name for name in ("a.txt", "b.txt", "c.txt")]
    for path in paths:
        path.write_text(f"one of {path.stem}\ntwo of {path.stem}\n")
    assert texts(cut("two of b", *paths)) == ["one of a\ntwo of a\n", "one of b\n"]
    corpus = cut("one of b", *paths)
    assert texts(corpus) == ["one of a\ntwo of a\n"]
    assert corpus.until is not None
    assert (
        corpus.until.told(False) == f"--until one of b: read to line 2 of 2 ({paths[0]}:2), 1 of 3 documents"
    )
    assert texts(cut("50%", *paths)) == ["one of a\ntwo of a\n", "one of b\n"]
    paths[1].write_text("one of b\ntwo of b\nthree of b\n")
    two = cut("one of c", *paths).until
    assert two is not None
    assert (two.place, two.line, two.lines, two.documents) == (f"{paths[1]}:3", 3, 3, 2)


def test_the_documents_are_added_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a share of 100,000 files takes hours to find: for each of them all are added up."""
    sums = []

    def added(corpus: Corpus) -> int:
        sums.append(1)
        return sum(document.end - document.start for document in corpus.documents)

    monkeypatch.setattr(Corpus, "bytes", property(added))
    for number in range(40):
        (tmp_path / f"{number:02}.txt").write_text("one\ntwo\n")
    assert len(texts(cut("50%", tmp_path))) == 20
    assert len(sums) < 5


@pytest.mark.parametrize(
    ("words", "late", "point"),
    [
        (["ask", "What is port set to?"], "9090", "43"),
        (["ask", "What is the secret code of the green-lamp?"], "9876", "Chapter [2-9]"),
        (["ask", "Who stole the pearl of Lisbon?", "--passages", "9"], "Lisbon.", "43"),
        (["ask", "Who stole the pearl of Lisbon?", "--deep"], "heron", "43"),
        (["ask", "-Q", "Who stole the pearl?", "-Q", "What is port set to?"], "9090", "Chapter"),
        (["summarize"], "heron", "Chapter"),
    ],
)
def test_nothing_behind_the_point_is_found(
    book: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], late: str, point: str
) -> None:
    """If this fails a reader learns who the thief is. All is as it is of a text that ends there."""
    assert late in run(*words, "book.txt").stdout
    result = run(*words, "book.txt", "--until", point)
    assert late not in result.stdout
    assert f"--until {point}: read to line 43 of 47 (book.txt:43)" in result.stderr
    monkeypatch.chdir(book / "short")
    assert result.stdout == run(*words, "book.txt").stdout


@pytest.mark.parametrize("command", [["ask", "Who stole the pearl?"], ["summarize"]])
def test_a_model_that_writes_reads_up_to_the_point(
    book: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    """If this fails a model of the user's own gives the end away."""
    how = ("book.txt", "--model", str(checkpoint), "--max-tokens", "8", "--json", "--no-store")
    whole, part = (json.loads(run(*command, *how, *more).stdout) for more in ((), ("--until", "43")))
    monkeypatch.chdir(book / "short")
    short = json.loads(run(*command, *how).stdout)
    assert (part["answer"], part["evidence"]) == (short["answer"], short["evidence"])
    tokens = [one["usage"]["tokens_read"] for one in (short, part, whole)]
    assert tokens[0] == tokens[1] < tokens[2]


def test_programs_are_told_what_was_left_out(book: Path) -> None:
    """If this fails a program takes an answer about a part for one about all."""
    told = json.loads(run("ask", "What is port set to?", "book.txt", "--until", "2", "--json").stdout)
    expected = {"given": "2", "place": "book.txt:2", "line": 2, "lines": 47, "documents": 1, "of": 1}
    assert told["sources"]["until"] == expected
    assert told["source"]["first_line"] == 2


def test_a_longer_reading_that_is_kept_is_used_and_stays(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails a question about half a book reads that half again, or costs the reading of the whole."""
    monkeypatch.setattr(keeper, "TOKENS", 192)
    monkeypatch.setattr(keeper, "WORTH", 0)
    engine, store = Engine.load(checkpoint, "cpu", "float32"), open_folder(tmp_path / "store", print)
    path = tmp_path / "book.txt"
    path.write_text("".join(f"The keeper of lamp {n} wrote {n * n} down.\n" for n in range(40)))

    def read(point: str | None, store: Folder | None) -> Reading:
        corpus = cut(point, path) if point else gather([str(path)])
        reading = Reading(engine, corpus.documents, engine.tokenizer.encode("Read:"), 32, store=store)
        for _ in reading.read():
            pass
        reading.close()
        return reading

    whole = read(None, store)
    part, alone = read("20", store), read("20", None)
    total = part.usage.tokens_reused + part.usage.tokens_read
    assert part.session.position == alone.session.position == total < whole.session.position
    assert part.usage.tokens_reused > 0.5 * total
    assert str(part.locate(total - 1)).endswith(":20")
    for one, other in zip(
        part.session.state.tensors().values(), alone.session.state.tensors().values(), strict=True
    ):
        assert one.shape == other.shape
        assert (one - other).abs().max() < 1e-4
    assert read("20", store).usage.tokens_read == 0
    assert read(None, store).usage.tokens_read == 0


def test_a_pattern_that_runs_away_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a careless pattern keeps the command busy for ever."""
    monkeypatch.setattr(points, "SECONDS", 0.1)
    path = tmp_path / "a.txt"
    path.write_text("first\n" + "a" * 5000 + "!\n")
    began = time.process_time()
    with pytest.raises(InputError, match="takes too long"):
        cut("(a+)+$", path)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("point", "code", "said"),
    [
        ("0", 2, "lines count from 1"),
        ("0%", 2, "a share is more than 0%"),
        ("140%", 2, "at most 100%"),
        ("(open", 2, "no line, percentage or regular expression"),
        ("No such line", 3, "no line matches"),
        ("The secret code", 3, "nothing stands before it"),
        ("0.1%", 3, "nothing stands before it"),
    ],
)
def test_a_point_that_is_none_is_one_line(book: Path, point: str, code: int, said: str) -> None:
    """If this fails a slip of the fingers shows everything, or ends in a traceback."""
    result = run("ask", "What is port set to?", "book.txt", "--until", point)
    assert result.exit_code == code
    assert said in " ".join(result.stderr.split())
    assert result.stdout == ""


def test_lines_are_counted_only_where_they_have_numbers(tmp_path: Path) -> None:
    """If this fails `--until 3` cuts a web page or several files where nobody expects it."""
    page = tmp_path / "a.ipynb"
    code = {"cell_type": "code", "source": ["x = 1\n", "y = 2\n"], "metadata": {}, "outputs": []}
    page.write_text(json.dumps({"cells": [code], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    (tmp_path / "b.txt").write_text("one\n")
    for paths, why in (((page,), "its lines have no numbers"), ((page, tmp_path / "b.txt"), "2 documents")):
        with pytest.raises(InputError, match=why):
            cut("3", *paths)
    assert texts(cut("y = 2", page))[0].rstrip().endswith("x = 1")
