"""Files that are no prose: all that is told of each, line for line, and which texts are taken for one."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from documents import Write

from longctx.structure.facts import LONGEST, Fact, Group, Structure, amount, shortened, text_of
from longctx.structure.log_lines import Entry, entry, minute
from longctx.structure.summarise import summarise_structures
from longctx.structure.tables import is_header, number_of
from longctx.text.document import Document

TOLD = tomllib.loads((Path(__file__).parent / "data" / "structures.toml").read_text(encoding="utf-8"))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Make a document that has no folder in its name."""

    def made(name: str, text: str) -> Document:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        return Document(name, path, 0, path.stat().st_size, "utf-8")

    return made


def same(structure: Structure, expected: dict[str, Any]) -> None:
    assert text_of(structure, 10**6).splitlines() == expected["told"].splitlines()
    assert json.loads(json.dumps(structure.values)) == json.loads(expected["values"])


@pytest.mark.parametrize("file", TOLD["file"], ids=lambda file: file["name"])
def test_all_is_told_of_a_file(write: Write, file: dict[str, Any]) -> None:
    """If this fails a count, a range, a name or a place in the summary of such a file is wrong or missing."""
    found = summarise_structures([write(file["name"], file["text"])])
    (structure,) = found.structures
    assert (structure.kind, found.prose, found.refused) == (file["kind"], [], [])
    same(structure, file)


def test_all_is_told_of_a_tree(write: Write) -> None:
    """If this fails somebody who opens a repository for the first time is led to the wrong file."""
    tree = TOLD["tree"]
    (structure,) = summarise_structures([write(one["name"], one["text"]) for one in tree["file"]]).structures
    same(structure, tree)


TIMED = "2026-03-01 10:00:00 went by\n"
LEVEL = "an ERROR there\n"
CHAT = "10:0{} Ann: hello there\n"
KINDS = {
    # Half of the lines of a log have times, or most of them levels, or a third both.
    ("a.txt", TIMED * 2 + "word\n" * 2): "log",
    ("a.txt", TIMED * 2 + "word\n" * 3): None,
    ("a.txt", LEVEL * 3 + "word\n" * 3): "log",
    ("a.txt", LEVEL * 2 + "word\n"): None,
    ("a.txt", LEVEL * 3 + "word\n" * 4): None,
    ("a.txt", (TIMED + LEVEL) * 2 + "word\n" * 8): "log",
    ("a.txt", (TIMED + LEVEL) * 2 + "word\n" * 9): None,
    ("a.txt", f"{TIMED[:-1]} INFO"): "log",
    ("a.txt", TIMED): None,
    ("a.txt", f"{'x' * 99} {TIMED}" * 3): None,
    ("a.txt", f"{'x' * 98} {TIMED}" * 3): "log",
    ("a.py", "import os\nprint('2026-03-01 10:00:00 INFO')\n" * 3): "programs",
    # Three rows of three cells, or two of two where the name says so.
    ("a.txt", "a,b,c\n" * 2): None,
    ("a.txt", "a,b,c\n" * 3): "table",
    ("a.txt", "a,b\n" * 9): None,
    ("a.csv", "a,b\n" * 2): "table",
    ("a.csv", "a,b\n"): None,
    ("a.csv", "a\n" * 5): None,
    ("a.tab", "a|b\n" * 2): "table",
    ("a.txt", "a,b,c\n" * 9 + "d\n"): "table",
    ("a.txt", "a,b,c\n" * 8 + "d\n"): None,
    ("a.txt", "Ann, Bo, Cy\n" * 4): None,
    ("a.txt", "Ann, Bo,Cy\n" * 4): "table",
    ("a.txt", "Ann; Bo; Cy\n" * 4): None,
    ("a.txt", "Ann| Bo| Cy\n" * 4): "table",
    # Names and times on half of the lines, and not as many names as lines.
    ("a.txt", "".join(map(CHAT.format, range(3))) + "and so\n" * 3): "chat",
    ("a.txt", "".join(map(CHAT.format, range(3))) + "and so\n" * 4): None,
    ("a.txt", "".join(map(CHAT.format, range(2)))): None,
    ("a.txt", "".join(f"10:0{n} {who}: hello\n" for n, who in enumerate("abccc"))): "chat",
    ("a.txt", "".join(f"10:0{n} {who}: hello\n" for n, who in enumerate("abcdd"))): None,
    # Mail says who wrote it, to whom or of what, and when.
    ("a.txt", "From: a\nTo: b\nDate: c\n\nx"): "mail",
    ("a.txt", "From: a\nSubject: b\nMessage-ID: c\n\nx"): "mail",
    ("a.txt", "From a@b\nFrom: a\n more\nSubject: b\nReceived: c\n\nx"): "mail",
    ("a.txt", "From: a\nTo: b\n\nDate of it\nDate: c"): None,
    ("a.txt", "From: a\nDate: c\n\nx"): None,
    ("a.txt", "To: b\nDate: c\n\nx"): None,
    ("a.txt", "From: a\nTo: b\n\nx"): None,
    # A value, or a value on each line; not a text in brackets.
    ("a.txt", '{"a": 1}'): "JSON",
    ("a.txt", "[[1]]"): "JSON",
    ("a.json", "[1, 2]"): "JSON",
    ("a.txt", "[1, 2]"): None,
    ("a.txt", "[See below]\n[and there]\n"): "JSON lines",
    ("a.txt", '{"a": 1}\n[2]\n'): "JSON lines",
    ("a.txt", '{"a": 1}\nword\n'): "refused",
    ("a.txt", "word {}"): None,
    # A patch has a line that names a file, and a hunk.
    ("a.txt", "+++ b/x\n@@ -1 +1 @@\n"): "diff",
    ("a.txt", "diff --git a/x b/x\n@@ -1,2 +1,2 @@\n"): "diff",
    ("a.txt", "+++ b/x\n"): None,
    ("a.txt", "@@ -1 +1 @@\n"): None,
    ("a.txt", '{"nbformat": 4, "cells": []}'): "notebook",
    ("a.txt", 'x {"nbformat": 4, "cells": []}'): None,
}


@pytest.mark.parametrize(("name", "text"), KINDS)
def test_a_text_is_told_by_what_it_is(write: Write, name: str, text: str) -> None:
    """If this fails a list of names is told as a table, or a short log as a story."""
    found = summarise_structures([write(name, text)])
    kind = "refused" if found.refused else found.structures[0].kind if found.structures else None
    assert kind == KINDS[name, text]


def test_programs_beside_prose_are_told_apart_from_it(write: Write) -> None:
    """If this fails one script in a folder of letters is lost, or the letters are told as a program."""
    code, prose = "import os\nprint(os.name)\n", "We met at the pier and talked. It was late.\n"
    programs = [write(f"{n}.py", code) for n in range(3)]
    letters = [write(f"{n}.txt", prose) for n in range(7)]
    (tree,) = summarise_structures(programs + letters).structures
    assert tree.values["files"] == {"Python": 3, "text": 7}
    mixed = summarise_structures([*programs, *letters, write("8.md", prose)])
    assert mixed.structures[0].values["files"] == {"Python": 3}
    assert len(mixed.prose) == 8
    alone = summarise_structures([programs[0], letters[0]])
    assert [one.kind for one in alone.structures] == ["programs"]
    assert alone.prose == letters[:1]


GROUPS = [
    Group("One", [Fact("a b"), Fact("c d e", "x:1"), Fact("f")], 2),
    Group("Two words", [Fact("g h i j")]),
    Group("None", [], 3),
    Group("Empty", []),
]
SHOWN = {
    4: (0, 0),
    5: (1, 0),
    8: (1, 0),
    9: (2, 0),
    11: (3, 0),
    12: (1, 1),
    15: (1, 1),
    16: (2, 1),
    18: (3, 1),
}


@pytest.mark.parametrize("words", SHOWN)
def test_a_summary_shows_the_first_facts_of_each_group_in_turn(words: int) -> None:
    """If this fails a short summary is one long list, or longer than was asked for."""
    one, two = SHOWN[words]
    lines = ["head", ""]
    first = ["  a b", "  c d e [x:1]", "  f"][:one]
    lines += ["One:", *first, f"  and {5 - one} more"] if one else ["One: 5, not shown at this length"]
    lines += ["", *(["Two words:", "  g h i j"] if two else ["Two words: 1, not shown at this length"])]
    lines += ["", "None: 3, not shown at this length"]
    assert text_of(Structure("log", "x", "head", GROUPS), words).splitlines() == lines


@pytest.mark.parametrize(
    ("number", "written"),
    [
        *((0, "0"), (-5.0, "-5"), (9999, "9999"), (10_000, "10,000"), (-10_000.0, "-10,000"), (0.5, "0.5")),
        *((1e-4, "0.0001"), (9e-5, "9e-05"), (-9e-5, "-9e-05"), (1e15, "1e+15"), (-1e15, "-1e+15")),
        *(
            (9999.4, "9999"),
            (9999.6, "10,000"),
            (-9999.6, "-10,000"),
            (10_000.6, "10,001"),
            (123.456, "123.5"),
        ),
        *((1e15 - 1, "999,999,999,999,999"), (10**309, "1.000e+309"), (-(10**309), "-1.000e+309")),
    ],
)
def test_numbers_are_written_as_people_do(number: float, written: str) -> None:
    """If this fails a table's prices are told as 1e+04."""
    assert amount(number) == written


def test_a_long_line_is_cut_where_it_is_marked() -> None:
    """If this fails one line of a log fills the screen, or one that fits is cut."""
    assert shortened(" a\n  b ") == "a b"
    assert shortened("x" * LONGEST) == "x" * LONGEST
    assert shortened("x" * (LONGEST + 1)) == "x" * (LONGEST - 6) + " [...]"
    assert shortened("x" * (LONGEST - 7) + " yy zzzzzzz") == "x" * (LONGEST - 7) + " [...]"


@pytest.mark.parametrize(
    ("value", "point", "comma"),
    [
        *(("1,5", None, 1.5), ("1.000,25", None, 1000.25), ("1,0000", None, 1.0)),
        ("1,000.5", 1000.5, 1000.5),
        *(
            ("12%", 12.0, 12.0),
            ("1e3", 1000.0, 1000.0),
            ("-2", -2.0, -2.0),
            ("+2", 2.0, 2.0),
            (".5", 0.5, 0.5),
        ),
        *(("x", None, None), ("%", None, None), ("٣", None, None), ("12.", None, None), ("1-2", None, None)),
        *(("x1", None, None), ("", None, None), ("5٣4", None, None)),
    ],
)
def test_a_cell_is_a_number_as_its_table_writes_them(
    value: str, point: float | None, comma: float | None
) -> None:
    """If this fails the prices of a German table are a thousand times too high, or no numbers."""
    assert (number_of(value, False), number_of(value, True)) == (point, comma)


@pytest.mark.parametrize(
    ("row", "names"),
    [
        (["a", "b"], True),
        (["a", "a"], False),
        (["a", "2"], False),
        (["a", "2026-01-02"], False),
        (["a", " ", "b"], True),
        (["a", "", "b", ""], False),
        ([" a", "a "], False),
    ],
)
def test_a_first_row_is_names_or_values(row: list[str], names: bool) -> None:
    """If this fails the first row of a table is lost, or its columns have no names."""
    assert is_header(row) == names


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("2026-03-01T10:00:00.5+02:00 warn: low", ("2026-03-01T10:00:00.5+02:00", "", "warn: low")),
        ("2026-03-01 10:00:00 UTC [warn] low,", ("2026-03-01 10:00:00 UTC", "WARN", "[warn] low")),
        ("Nov  2 19:13:01 host x: error: lost", ("Nov  2 19:13:01", "ERROR", "host x: error: lost")),
        ("E0301 12:34:56.789 lost", ("12:34:56.789", "ERROR", "lost")),
        ("[   12.345678] usb lost", ("12.345678", "", "usb lost")),
        ("ts=1712345678.5 lvl=eror msg=lost at=x", ("1712345678.5", "EROR", "lost")),
        ('level="Warning" message="a \\"b\\" c" x', ("", "WARN", 'a \\"b\\" c')),
        ('1.2.3.4 "GET /a?b=1 HTTP/1.1" 404 7', ("", "4xx", "GET /a")),
        ('{"log.level": "crit", "t": 5, "event": "x"}', ("5", "CRITICAL", "x")),
        ('{"level": null, "msg": ["x"]}', ("", "", "")),
        ("{broken ERROR", ("", "ERROR", "{broken ERROR")),
        ("[1, 2] PANIC", ("", "FATAL", "[1, 2] PANIC")),
        (
            f"{'x ' * 40}2026-03-01 10:00:00 late",
            ("2026-03-01 10:00:00", "", f"{'x ' * 40}2026-03-01 10:00:00 late"),
        ),
        (f"{'x' * 78} 2026-03-01 10:00:00 soon", ("2026-03-01 10:00:00", "", "soon")),
        (f"{'x ' * 200}2026-03-01 10:00:00 ERROR", ("", "", f"{'x ' * 200}2026-03-01 10:00:00 ERROR")),
    ],
)
def test_a_line_of_a_log_has_its_time_level_and_message(line: str, told: tuple[str, str, str]) -> None:
    """If this fails errors are counted as something else, or begin at no time."""
    assert entry(line) == Entry(*told)


@pytest.mark.parametrize(
    ("time", "without"),
    [
        *(
            ("2026-03-01 10:02:03", "2026-03-01 10:02"),
            ("Nov  2 19:13:01", "Nov  2 19:13"),
            ("10:02", "10:02"),
        ),
        *(("10/Oct/2020:13:55:01", "10/Oct/2020:13:55"), ("1712345678", "")),
    ],
)
def test_a_minute_is_a_time_without_seconds(time: str, without: str) -> None:
    """If this fails no minute of a log is crowded, for each line is a minute of its own."""
    assert minute(time) == without
