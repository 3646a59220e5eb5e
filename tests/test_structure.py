"""Files that are no prose are told by what they hold: counts, ranges, first and last, with places to open."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from longctx.cli import main
from longctx.structure.facts import Fact, Group, Structure, text_of
from longctx.structure.frequent import Frequent
from longctx.structure.lines import lines
from longctx.structure.log_lines import LONGEST, Reader, entry, shape
from longctx.structure.logs import is_log
from longctx.structure.summarise import summarise_one, summarise_structures
from longctx.text.document import Document

Write = Callable[..., Document]

LOGS = {
    "syslog": "Nov {d:2} 19:13:0{n} host sshd[{n}12]: {level}: Failed password from 10.0.0.{n} port 22",
    "iso": "2026-11-{d:02}T19:13:0{n}Z {level} request {n} took {n}ms",
    "python": "2026-11-{d:02} 19:13:0{n},123 - app.db - {level} - cannot open /tmp/{n}/x",
    "json": '{{"time": "2026-11-{d:02}T19:13:0{n}Z", "level": "{level}", "msg": "user {n} left"}}',
    "logfmt": 'ts=2026-11-{d:02}T19:13:0{n}Z level={level} msg="user {n} left" id={n}',
    "nginx": "2026/11/{d:02} 19:13:0{n} [{level}] 12#{n}: *{n} open() failed",
}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def made(text: str, name: str = "text.txt") -> Document:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        return Document(name, path, 0, path.stat().st_size, "utf-8")

    return made


def told(document: Document) -> Structure:
    structure = summarise_one(document)
    assert structure is not None
    json.dumps(structure.values)
    return structure


def facts(structure: Structure, title: str) -> list[Fact]:
    return next((group.facts for group in structure.groups if group.title == title), [])


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("kind", LOGS)
def test_logs_of_every_sort(write: Write, kind: str, end: str) -> None:
    """If this fails somebody with a log of that sort gets a line of it for a summary."""
    level = {"nginx": "error", "logfmt": "error", "json": "error"}.get(kind, "ERROR")
    quiet = "info" if level == "error" else "INFO"
    made = [LOGS[kind].format(d=n, n=n, level=level if n in (3, 7) else quiet) for n in range(1, 10)]
    structure = told(write(end.join(made), f"{kind}.log"))
    assert structure.kind == "log"
    assert structure.values["levels"] == {"INFO": 7, "ERROR": 2}
    assert [fact.place for fact in facts(structure, "First and last error")] == [
        f"{kind}.log:3",
        f"{kind}.log:7",
    ]
    assert structure.values["first_time"] != structure.values["last_time"]
    (error,) = facts(structure, "Commonest errors")
    assert error.text.startswith("2 x ")
    assert "#" in error.text


def test_what_is_kept_of_lines_tells_them_as_each_would_alone() -> None:
    """If this fails lines that only look alike share a level or a message, and the counts lie."""
    rng, reader = random.Random(7), Reader()
    alike = """E0301 12:34 x|E031 12:34 x|lvl=err7|lvl=err8|level: Mar  1 10:00:00|level: Apr  1 10:00:00
W12345 12:34 x
msg="2026-03-01 10:00:00 up"|msg="2026/03/01 10:00:00 up"
"GET /a/7?b " 404|" 20|12:34:56,789|=1712345678|2026-03-01T10:00:00Z
level=|level:|msg=|lvl=7|[mod1:error]|<warn>|error:|ERROR|9ERROR|9:ERROR:|ERROR٣9|WARN|x=1|10.0.0.7
a-b,c|4f3e9a|b0|user
level=ınfo|é7|٤٢|{"level": }"""
    words = alike.replace("\n", "|").split("|")
    made = [" ".join(rng.choices(words, k=rng.randrange(1, 7))).replace("= ", "=") for _ in range(400)]
    made = [line + rng.choice(("", f" at {rng.randrange(9999)}", " x1" * (LONGEST // 3))) for line in made]
    for line in words + made:
        alone = entry(line)
        assert reader.read(line) == (alone.time, alone.level, shape(alone.message)), line
    assert reader.read('{"level": "info", "msg": "7 left"}') == ("", "INFO", "# left")


def test_access_logs(write: Write) -> None:
    """If this fails a web server's log does not say which pages fail."""
    made = '10.0.0.{n} - - [10/Oct/2020:13:55:0{n} -0700] "GET /page/{n}?q=1 HTTP/1.1" {status} 23 "-" "curl"'
    text = "\n".join(made.format(n=n, status=500 if n == 4 else 200) for n in range(9))
    structure = told(write(text, "access.log"))
    assert structure.values["levels"] == {"2xx": 8, "5xx": 1}
    assert structure.values["shapes"] == [{"shape": "GET /page/#", "count": 9, "line": 1}]
    assert [fact.place for fact in facts(structure, "Commonest errors")] == ["access.log:5"]


def test_bursts_and_traces(write: Write) -> None:
    """If this fails the minute in which all went wrong is not named, or a trace counts as messages."""
    quiet = [f"2026-01-01 10:{n:02}:00 INFO all is well" for n in range(30)]
    crowd = ["2026-01-01 11:00:00 ERROR it broke\nTraceback (most recent call last):\n  File x"] * 50
    structure = told(write("\n".join(quiet + crowd), "app.log"))
    assert structure.values["entries"] == 80
    (burst,) = facts(structure, "Bursts")
    assert burst.text == "50 lines in the minute of 2026-01-01 11:00 (usual: 1)"
    assert burst.place == "app.log:31"


@pytest.mark.parametrize(
    "text",
    [
        "We met at 10:30 and talked. It was late.\n\nThen, at 11:00, he left.",
        "In 2020-01-01 nothing happened.\nNothing at all happened here.\n",
        "",
        "one line",
    ],
)
def test_prose_is_no_log_and_no_table(write: Write, text: str) -> None:
    """If this fails a story with times in it is counted instead of told."""
    assert summarise_one(write(text)) is None


def test_one_line_can_be_a_log(write: Write) -> None:
    """If this fails the last line of a log, piped in, is refused."""
    assert is_log(write("2026-01-01 10:00:00 ERROR it broke"))


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_tables(write: Write, mark: str) -> None:
    """If this fails types, ranges or places of a table are wrong where cells are quoted, empty or odd."""
    rows = [
        ["id", "name", "price", "day", "note"],
        ["1", f'"Ann{mark} Bo"', "1.5", "2026-01-02", '"two\nlines"'],
        ["2", "Élan", "", "2026-01-01", ""],
        *[[str(n), "Élan", str(n), "2026-01-03", ""] for n in range(3, 30)],
        ["30", "Élan", "free", "2026-02-03", ""],
    ]
    structure = told(write("\r\n".join(mark.join(row) for row in rows), "data.csv"))
    columns = {column["name"]: column for column in structure.values["columns"]}
    assert structure.values["rows"] == 30
    assert [column["type"] for column in columns.values()] == [
        "whole number",
        "text",
        "number",
        "date",
        "text",
    ] or (columns["price"]["type"] == "whole number")
    assert (columns["price"]["minimum"], columns["price"]["maximum"]) == (1.5, 29)
    assert columns["price"]["empty"] == 1
    assert (columns["day"]["minimum"], columns["day"]["maximum"]) == ("2026-01-01", "2026-02-03")
    assert columns["name"]["top"][0] == {"value": "Élan", "count": 29}
    price = facts(structure, "Columns")[2]
    assert "1 others such as 'free'" in price.text
    assert price.place == "data.csv:32"


def test_json_and_its_lines(write: Write) -> None:
    """If this fails the keys of a file are not told, or a broken line hides all others."""
    user = {"name": "Zoë", "age": 7, "tags": ["a", "b"], "more": {"x": None}}
    paths = ["name", "age", "tags", "tags[]", "more", "more.x"]
    whole = told(write(json.dumps([user] * 3, indent=1), "users.json"))
    assert [key["path"] for key in whole.values["keys"]] == ["[]", *(f"[].{path}" for path in paths)]
    one_a_line = told(write("\n".join([json.dumps(user)] * 3) + "\n{broken}\n", "users.jsonl"))
    assert [key["path"] for key in one_a_line.values["keys"]] == paths
    assert [fact.place for fact in facts(one_a_line, "To look at")] == ["users.jsonl:4"]
    names = told(write(json.dumps({f"id{n}": {"price": n} for n in range(99)}), "map.json"))
    assert [key["path"] for key in names.values["keys"]] == ["*", "*.price"]


DIFF = """diff --git a/new.py b/new.py
new file mode 100644
--- /dev/null
+++ b/new.py
@@ -0,0 +1,2 @@
+def added():
+    pass
diff --git a/old.sql b/old.sql
--- a/old.sql
+++ b/old.sql
@@ -1,3 +1,2 @@
 select
--- a comment of SQL
 from
"""


def test_numbers_beyond_any_float_are_told(write: Write) -> None:
    """If this fails a hash written as a number in a JSON file ends in a traceback."""
    text = json.dumps({"ids": [10**400, 1], "least": -(10**330)})
    facts = [fact.text for group in told(write(text, "ids.json")).groups for fact in group.facts]
    assert any("1 to 1.000e+400" in fact for fact in facts), facts


def test_diffs(write: Write) -> None:
    """If this fails a removed line that begins with dashes is taken for a file."""
    structure = told(write(DIFF, "x.diff"))
    counts = [(one["name"], one["added"], one["removed"]) for one in structure.values["files"]]
    assert counts == [("new.py", 2, 0), ("old.sql", 0, 1)]
    assert facts(structure, "New names") == [Fact("def added", "x.diff:6")]


MAIL = (
    "From: {who}\nTo: x\nDate: Mon, {day:02} Nov 2026 10:00:00 +0000\nSubject: {subject}\n\nFrom: me\nHi.\n\n"
)


@pytest.mark.parametrize("mark", ["", "From x@y Mon Nov  2 10:00:00 2026\n"])
def test_mail(write: Write, mark: str) -> None:
    """If this fails a mailbox is not told, or words of a letter count as a letter."""
    told_by = [
        ("Ann <a@b>", 9, "Hay"),
        ("=?utf-8?q?Zo=C3=AB?= <z@b>", 2, "Re: Hay"),
        ("Ann <a@b>", 16, "Rain"),
    ]
    text = "".join(mark + MAIL.format(who=who, day=day, subject=subject) for who, day, subject in told_by)
    structure = told(write(text, "box.mbox"))
    assert structure.values["messages"] == 3
    assert structure.values["writers"] == {"Ann <a@b>": 2, "Zoë <z@b>": 1}
    assert structure.values["subjects"] == {"Hay": 2, "Rain": 1}
    assert structure.values["first"].startswith("2026-11-02")


@pytest.mark.parametrize(
    "line",
    ["12:3{n} <@{who}> hello there", "1/2/26, 9:4{n} PM - {who}: hello", "[2026-01-02 10:0{n}:00] {who}: hi"],
)
def test_chat(write: Write, line: str) -> None:
    """If this fails a chat is taken for a log or a book."""
    text = "\n".join(line.format(n=n, who="ann" if n % 3 else "bo") for n in range(9))
    structure = told(write(text))
    assert structure.kind == "chat"
    assert structure.values["writers"] == {"ann": 6, "bo": 3}


def test_notebooks(write: Write) -> None:
    """If this fails the summary of a notebook is {."""
    cells = [
        {"cell_type": "markdown", "source": ["# Tides\n", "text"]},
        {
            "cell_type": "code",
            "source": "import numpy as np\n# no heading",
            "outputs": [{"text": ["41\n", "42\n"]}],
        },
        {
            "cell_type": "code",
            "source": "x",
            "outputs": [{"output_type": "error", "ename": "NameError", "evalue": "x"}],
        },
    ]
    structure = told(write(json.dumps({"cells": cells, "nbformat": 4}), "n.ipynb"))
    assert facts(structure, "Headings") == [Fact("Tides", "n.ipynb#cell 1")]
    assert facts(structure, "Last outputs") == [Fact("41 / 42", "n.ipynb#cell 2")]
    assert facts(structure, "Errors") == [Fact("NameError: x", "n.ipynb#cell 3")]
    damaged = summarise_structures([write('{"cells": [', "bad.ipynb")])
    assert not damaged.structures
    assert "bad.ipynb: a damaged notebook" in damaged.refused[0]


def test_source_trees(write: Write) -> None:
    """If this fails a repository is told by lines of code."""
    documents = [
        write("# Otters\n\nThis program counts all otters in a river. It knows no herons.\n", "p/README.md"),
        write('"""Count otters."""\n\ndef main():\n    pass\n', "p/src/count.py"),
        write('"""Feed otters."""\n', "p/src/feed.py"),
        write("package x\n\nfunc main() {\n}\n", "p/cmd/x.go"),
    ]
    (structure,) = summarise_structures(documents).structures
    assert structure.values["files"] == {"Markdown": 1, "Python": 2, "Go": 1}
    assert facts(structure, "It says of itself")[0].text == "This program counts all otters in a river."
    starts = [fact.place for fact in facts(structure, "Where to start")]
    assert starts == ["p/src/count.py:3", "p/cmd/x.go:3"]
    assert Fact("src/ 2 files: Count otters.", "p/src/count.py:1") in facts(structure, "Parts")


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.ini", "port = 80\n", "a.ini: configuration, 1 line"),
        ("a.py", "def main():\n    pass\n", "a.py: a program in Python, 2 lines"),
    ],
)
def test_one_file_is_told_in_words(write: Write, name: str, text: str, told: str) -> None:
    """If this fails a file of settings is called a program, and there is one Python of it."""
    (structure,) = summarise_structures([write(text, name)]).structures
    assert structure.headline == told


def test_counts_stay_bounded_and_say_so() -> None:
    """If this fails a log of a billion different lines fills the memory, or its counts lie."""
    frequent = Frequent(10)
    for n in range(5000):
        frequent.add("often" if n % 5 == 0 else f"rare {n}", n)
    assert len(frequent) <= 20
    (key, count, where), *_ = frequent.most()
    assert (key, where) == ("often", 0)
    assert count <= 1000 <= count + frequent.missed


def test_lines_are_numbered_as_citations_number_them(write: Write) -> None:
    """If this fails the places of a file with odd line ends lead elsewhere."""
    block = "x" * 65535
    text = f"{block}\r\nb\rc\n\nd\u2028d\x0bd"
    assert [line[:3] for line in lines(write(text))] == ["xxx", "b", "c", "", "d\u2028d"]


def test_what_is_not_shown_is_counted() -> None:
    """If this fails a short summary hides that there is more."""
    groups = [Group("Many", [Fact(f"fact {n}") for n in range(30)], more=5), Group("Few", [Fact("one fact")])]
    text = text_of(Structure("log", "x", "head line", groups), 30)
    assert "and 28 more" in text
    assert "one fact" in text
    assert len(text.split()) < 45
    assert "not shown at this length" in text_of(Structure("log", "x", "head line", groups), 3)


def test_the_command_tells_structures_and_prose(tmp_path: Path) -> None:
    """If this fails a folder with a table and a text has only one of them told."""
    (tmp_path / "a.csv").write_text("day,rain\n2026-01-01,3\n2026-01-02,4\n")
    (tmp_path / "b.txt").write_text(
        "The rain fell on the old town for two whole days. Nobody went out at all then."
    )
    done = CliRunner().invoke(main, ["summarize", str(tmp_path), "--json"])
    values = json.loads(done.stdout)
    assert values["how"] == "counted"
    assert values["structures"][0]["values"]["rows"] == 2
    assert "The rain fell" in values["answer"]
    assert "a table of 2 rows" in values["answer"]
    assert values["evidence"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("QUJD" * 900, "encoded data"),
        ("apple\npear\nfig\n", "no sentences"),
        ("1 2 3\n" * 9, "no words"),
        ("\n" * 9, "white"),
    ],
)
def test_what_cannot_be_summarised_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    """If this fails a reader gets a line of noise for a summary, and no hint what to do."""
    (tmp_path / "x.txt").write_text(text)
    done = CliRunner().invoke(main, ["summarize", str(tmp_path / "x.txt")])
    assert done.exit_code != 0
    assert done.stdout == ""
    assert reason in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_memory_is_bounded_whatever_a_text_counts(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a gigabyte of made-up levels, files of a patch or broken lines fills the memory."""
    monkeypatch.setattr("longctx.structure.diffs.MOST_FILES", 10)
    monkeypatch.setattr("longctx.structure.logs.MOST_LEVELS", 10)
    patch = "".join(
        f"diff --git a/f{n} b/f{n}\n@@ -1,1 +1,{n % 50 + 1} @@\n-old\n" + "+new\n" * (n % 50 + 1)
        for n in range(200)
    )
    told = summarise_one(write(patch, "a.diff"))
    assert told is not None
    assert "200 files, +5,100 -200 lines" in told.headline
    files = next(group for group in told.groups if group.title == "Files")
    assert (len(files.facts), files.more) == (10, 190)
    assert "+50 -1" in files.facts[0].text
    log = "".join(f"2026-03-01 10:00:{n % 60:02d} level=made{n} went by\n" for n in range(200))
    told = summarise_one(write(log, "a.log"))
    assert told is not None
    assert told.values["levels"]["OTHER"] == 190
    broken = '{"a": 1}\n{"a": 2}\n{"a": 3}\n' + "{broken\n" * 300
    told = summarise_one(write(broken, "a.jsonl"))
    assert told is not None
    assert told.groups[0].facts[0].text == "300 lines without JSON"
    assert told.groups[0].facts[0].place.endswith(":4")


def test_programs_are_told_when_a_log_begins_and_ends_and_how_many_errors_it_has(write: Write) -> None:
    """If this fails a script that watches a log gets no time, or twice as many errors as there are."""
    log = "".join(
        f"2026-11-02 19:13:0{n} {'ERROR' if n in (3, 7) else 'INFO'} line {n}\n" for n in range(1, 9)
    )
    values = told(write(log, "app.log")).values
    assert (values["first_time"], values["last_time"]) == ("2026-11-02 19:13:01", "2026-11-02 19:13:08")
    assert values["errors"] == 2


def test_a_value_that_comes_twice_is_the_most_frequent(write: Write) -> None:
    """If this fails a small table does not say which of its values come again."""
    table = told(write("port,ship,fare\nVisby,Tor,6\nVisby,Ask,7\nKiruna,Ek,8\n", "a.csv"))
    said = [fact.text for group in table.groups for fact in group.facts]
    assert any("2 different, most often Visby (2)" in one for one in said)
    assert any("3 different, such as Tor, Ask, Ek" in one for one in said)
