"""`--since`: what stands before a point is as if it had never been written; places are those of the file."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from longctx.cli import main
from longctx.engine import Engine
from longctx.errors import InputError
from longctx.quotes.index import PassageIndex
from longctx.reading import Reading
from longctx.store.folder import open_folder
from longctx.tasks.ask import consult
from longctx.text import points
from longctx.text.source import Corpus, gather

PLACE = re.compile(r"(?<=\ba\.)(\w+:)(\d+)(?:-(\d+))?")
OLD = "port: 7070\nThe otter swam along the quiet river.\n" + "".join(f"Old line {n}.\n" for n in range(30))
NEWS = "".join(f"Nothing of note happened on day {n}.\n" for n in range(20))
PEARL = "The heron stole the pearl of Lisbon."
PROSE = f"{NEWS}\nport: 9090\n\n{PEARL}\nThe secret code of the amber-lamp is 4711.\n"
LOG = "".join(
    f"2024-03-0{n % 3 + 1}T10:{n:02}:00 {'ERROR upload' if n % 7 == 3 else 'INFO request'} {n} served\n"
    for n in range(50)
)
CODE = '"""Counts the ships."""\n\n\nclass Keeper:\n    """Keeps lamps."""\n\n    lamps = 3\n'
MAIL = "From ann@x.org\nFrom: ann@x.org\nTo: b@y.org\nSubject: ships\nDate: 4 Mar 2024 10:00 +0000\n\nBye\n"
TABLE = "name,price\nlamp,12\nrope,3\nsail,40\n"
DIFF = "A patch\ndiff --git a/x.py b/x.py\n--- a/x.py\n+++ b/x.py\n@@ -1,2 +1,2 @@\n-old\n+new\n same\n"
LINES = "".join(json.dumps({"id": n, "city": "Lisbon"}) + "\n" for n in range(9))
SET = json.dumps({"server": {"port": 8080, "host": "lamp"}}, indent=1) + "\n"


def run(*words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--threads", "1", "--no-store"])


def cut(since: str | None, until: str | None, *paths: Path) -> Corpus:
    corpus = gather([str(path) for path in paths])
    points.cut(corpus, *(points.Point.parse(one) if one else None for one in (since, until)))
    return corpus


def texts(corpus: Corpus) -> list[str]:
    return ["".join(document.blocks()) for document in corpus.documents]


@pytest.mark.parametrize("step", [5, 1 << 18])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_since_and_until_divide_a_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, end: str
) -> None:
    """If this fails a line is read twice, or never, by someone who asks about both sides of a point."""
    monkeypatch.setattr(points, "STEP", step)
    content = end.join(["Grün war es am Fluß", "", "x" * 30 + " yy zz", "drei Vögel", "", "Schluß" * 3]) + end
    path = tmp_path / "a.txt"
    path.write_bytes(content.encode())
    for point in ("1", "2", "5", "30%", "55%", "99%", "Vögel", "^Schluß", "yy"):
        (before,), (behind,) = texts(cut(None, point, path)), texts(cut(point, None, path))
        assert before + behind == content, point
        corpus = cut(point, None, path)
        first = before.count(end) + 1
        assert corpus.documents[0].first_line == first
        assert corpus.since is not None
        assert (corpus.since.line, corpus.since.lines, corpus.since.place) == (first, 6, f"{path}:{first}")


def test_a_part_between_two_points(tmp_path: Path) -> None:
    """If this fails nobody can ask about one chapter, or one day of a log."""
    path = tmp_path / "a.txt"
    path.write_text("".join(f"Chapter {n}\nof {n}\n" for n in range(1, 6)))
    assert texts(cut("Chapter 3", "Chapter", path)) == ["Chapter 3\nof 3\n"]
    assert texts(cut("3", "7", path)) == ["of 2\nChapter 3\nof 3\nChapter 4\n"]
    assert texts(cut("40%", "60%", path)) == ["Chapter 3\nof 3\n"]
    for since, until in (("7", "3"), ("60%", "40%"), ("Chapter 4", "6")):
        said = f"nothing stands between --since {since} and --until {until}; give the earlier"
        with pytest.raises(InputError, match=said):
            cut(since, until, path)


def test_documents_before_the_point_are_left_out(tmp_path: Path) -> None:
    """If this fails the volumes read long ago come back."""
    paths = [tmp_path / name for name in ("a.txt", "b.txt", "c.txt")]
    for path in paths:
        path.write_text(f"one of {path.stem}\ntwo of {path.stem}\n")
    corpus = cut("two of b", None, *paths)
    assert texts(corpus) == ["two of b\n", "one of c\ntwo of c\n"]
    assert corpus.since is not None
    assert (
        corpus.since.told(True) == f"--since two of b: read from line 2 of 2 ({paths[1]}:2), 2 of 3 documents"
    )
    assert texts(cut("one of b", None, *paths)) == ["one of b\ntwo of b\n", "one of c\ntwo of c\n"]
    assert texts(cut("67%", None, *paths)) == ["one of c\ntwo of c\n"]
    assert texts(cut("two of a", "two of c", *paths)) == ["two of a\n", "one of b\ntwo of b\n", "one of c\n"]
    with pytest.raises(InputError, match="nothing stands behind it"):
        cut("100%", None, *paths)


def told(corpus: Corpus) -> list[str]:
    return [one.told(begins) for one, begins in ((corpus.since, True), (corpus.until, False)) if one]


def test_what_two_points_leave_is_said_of_the_same_whole(tmp_path: Path) -> None:
    """If this fails a line says that all is read where half is not, or two lines count other documents."""
    paths = [tmp_path / name for name in ("a.txt", "b.txt", "c.txt")]
    for path in paths:
        path.write_text(f"one of {path.stem}\ntwo of {path.stem}\n")
    _, b, c = paths
    since = f"--since two of b: read from line 2 of 2 ({b}:2), 2 of 3 documents"
    assert told(cut("two of b", "two of c", *paths)) == [
        since,
        f"--until two of c: read to line 1 of 2 ({c}:1), 2 of 3 documents",
    ]
    assert told(cut("two of b", "100%", *paths)) == [
        since,
        f"--until 100%: read to line 2 of 2 ({c}:2), 2 of 3 documents",
    ]
    assert told(cut("1", "100%", c)) == [
        f"--since 1: read from line 2 of 2 ({c}:2)",
        "--until 100%: read to the end",
    ]
    assert told(cut("0.1%", None, c)) == ["--since 0.1%: read from the beginning"]


def moved(value: Any, lines: int, size: int) -> Any:
    """Return what JSON says with places `lines` and `size` bytes further on."""
    if isinstance(value, list):
        return [moved(one, lines, size) for one in value]
    if isinstance(value, str):
        return PLACE.sub(
            lambda at: at[1] + "-".join(str(int(number) + lines) for number in at.groups()[1:] if number),
            value,
        )
    if not isinstance(value, dict):
        return value
    new = {key: moved(one, lines, size) for key, one in value.items()}
    for key, one in value.items():
        if key in ("first_line", "last_line", "line"):
            new[key] = one + lines
        if key in ("byte_start", "byte_end"):
            new[key] = one + size
    return new


@pytest.mark.parametrize(
    ("words", "name", "body"),
    [
        (["ask", "What is port set to?"], "a.txt", PROSE),
        (["ask", "What is port set to?"], "a.json", SET),
        (["ask", "Who stole the pearl of Lisbon?"], "a.txt", PROSE),
        (["ask", "What is the secret code of the amber-lamp?"], "a.txt", PROSE),
        (["ask", "When did the upload fail last?"], "a.log", LOG),
        (["ask", "Where is Keeper defined?"], "a.py", CODE),
        (["ask", "What is the price of rope?"], "a.csv", TABLE),
        (["ask", "-Q", "What is port set to?", "-Q", "Who stole the pearl?"], "a.txt", PROSE),
        (["summarize"], "a.txt", PROSE),
        (["summarize"], "a.log", LOG),
        (["summarize"], "a.py", CODE),
        (["summarize"], "a.csv", TABLE),
        (["summarize"], "a.mbox", MAIL),
        (["summarize"], "a.patch", DIFF),
        (["summarize"], "a.jsonl", LINES),
    ],
)
def test_all_is_as_of_the_new_lines_alone_and_every_place_is_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], name: str, body: str
) -> None:
    """If this fails an old value passes for a new one, or a citation leads to another line."""
    for folder, text in (("whole", OLD + body), ("new", body)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(text)
    monkeypatch.chdir(tmp_path / "new")
    alone = json.loads(run(*words, name, "--json").stdout)
    monkeypatch.chdir(tmp_path / "whole")
    lines = OLD.count("\n")
    result = run(*words, name, "--json", "--since", str(lines))
    assert f"--since {lines}: read from line {lines + 1} of" in result.stderr
    since = json.loads(result.stdout)
    for told in (alone, since, *alone.get("answers", ()), *since.get("answers", ())):
        for key in ("usage", "sources", "notes"):
            told.pop(key, None)
    assert since == moved(alone, lines, len(OLD))
    assert "7070" not in result.stdout


def test_programs_are_told_what_was_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a program takes an answer about a part for one about all."""
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text(OLD + PROSE)
    told = json.loads(run("ask", "What is port set to?", "a.txt", "--since", "32", "--json").stdout)
    place = {"place": "a.txt:33", "line": 33, "lines": 57, "documents": 1, "of": 1}
    assert told["sources"]["since"] == {"given": "32", **place}
    assert told["sources"]["until"] is None


@pytest.mark.parametrize(
    ("point", "said"), [("No such line", "no line matches"), ("57", "nothing stands behind")]
)
def test_a_point_with_nothing_behind_it_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, said: str
) -> None:
    """If this fails "nothing is new" looks like an answer, or like a crash."""
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text(OLD + PROSE)
    result = run("ask", "What is port set to?", "a.txt", "--since", point)
    assert (result.exit_code, result.stdout) == (3, "")
    assert f"--since {point}: {said}" in result.stderr


def test_what_is_kept_cites_the_lines_of_today(tmp_path: Path, checkpoint: Path) -> None:
    """If this fails lines written in before the point make kept places wrong by so many lines."""
    engine, store = Engine.load(checkpoint, "cpu", "float32"), open_folder(tmp_path / "store", print)
    path, marked = tmp_path / "a.txt", "==== new\n"

    def last_line() -> str:
        corpus = cut("^====", None, path)
        with PassageIndex() as index:
            reading = Reading(
                engine, corpus.documents, engine.tokenizer.encode("Read:"), 32, index=index, store=store
            )
            for _ in reading.read():
                pass
            reading.close()
        return str(reading.locate(reading.session.position - 1))

    path.write_text("one\ntwo\n" + marked + NEWS)
    assert last_line() == f"{path}:23"
    assert last_line() == f"{path}:23"
    path.write_text("a\nb\nc\nd\n" + marked + NEWS)  # as many bytes before the point
    assert last_line() == f"{path}:25"


def test_a_kept_index_cites_the_lines_of_today(tmp_path: Path) -> None:
    """If this fails passages of an index that was kept stand where they stood last week."""
    store, path = open_folder(tmp_path / "store", pytest.fail), tmp_path / "a.txt"
    for before in ("one\ntwo\n", "a\nb\nc\nd\n"):
        path.write_text(before + "==== new\n" + PROSE)
        with cut("^====", None, path) as corpus:
            *_, answer = consult(
                corpus, "Who stole the pearl?", passages_wanted=1, load=pytest.fail, store=store
            )
        line = (before + "==== new\n" + PROSE).split("\n").index(PEARL) + 1
        assert str(answer.closest.span) == f"{path}:{line}"  # type: ignore[union-attr]
