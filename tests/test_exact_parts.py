"""The parts of sentences, mails, lists and tables that may answer a question."""

import pytest
from documents import Write

from longctx.quotes.exact.lines import lines
from longctx.quotes.exact.mail import MOST, header, headers
from longctx.quotes.exact.requirements import requirements
from longctx.quotes.exact.rows import rows
from longctx.quotes.exact.sentences import clauses, denies, end_of_words, line_at, sentences
from longctx.quotes.exact.units import Unit, units
from longctx.quotes.exact.words import term


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("One line\nwrapped here. Two. three.\n\nNext.\n", "One line wrapped here.@1 Two. three.@2 Next.@4"),
        ("- a\n- b goes\n  on\nKey: x\nKey: y\n", "- a@1 - b goes on@2 Key: x@4 Key: y@5"),
        ("2024-01-01 10:00:00 a\n2024-01-01 10:00:01 b\n", "2024-01-01 10:00:00 a@1 2024-01-01 10:00:01 b@2"),
        ("A short one\nAnother line that is long\n", "A short one@1 Another line that is long@2"),
        ("Dr. Who came. Mr. X (no. 5) left. He did.", "Dr. Who came.@1 Mr. X (no. 5) left.@1 He did.@1"),
        ("A. Lee came. B.", "A. Lee came.@1 B.@1"),
    ],
)
def test_sentences_go_on_over_wrapped_lines_and_no_further(text: str, found: str, write: Write) -> None:
    """If this fails half a sentence is told, or two items are told as one."""
    every = sentences(lines(write("a.txt", text)))
    assert " ".join(f"{one.strip()}@{line_at(0, starts).number}" for one, starts in every) == found


@pytest.mark.parametrize(
    ("text", "denied"),
    [
        *((text, True) for text in ("is not so", "no lamp", "isn't", "isn’t", "cannot", "rather than x")),
        *((text, False) for text in ("no more than 5", "no. 5", "no. WF-20", "note", "no later than x")),
    ],
)
def test_what_is_denied_is_told_apart(text: str, denied: bool) -> None:
    """If this fails "port 5 is not used" gives the port, or "no. 5" is no number."""
    assert denies(text) == denied


def test_clauses_say_one_thing_each() -> None:
    """If this fails what is said of one thing is told for another in the same sentence."""
    assert list(clauses("a; b, and c, but d and e, f")) == [(0, "a"), (3, "b"), (10, "c"), (17, "d and e, f")]


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("her direct line is 3", 15),
        ("Direct lines: 3", 12),
        ("a direct-line", 13),
        ("line direct", -1),
        ("", -1),
    ],
)
def test_words_in_a_row_are_found_in_that_order(text: str, end: int) -> None:
    """If this fails "the line is direct" gives a number for a direct line."""
    assert end_of_words([term("direct"), term("line")], text) == end


def test_sentences_stand_under_their_headings(write: Write) -> None:
    """If this fails a fee is told for that of another heading, or "it" is nothing."""
    text = "# Fees\nThe day costs 5. It is due.\n\nThey pay 3.\n\n1.\nRent.\nIt is 5.\n"
    found = [
        (one.text.strip(), one.above.strip(), one.before.strip(), one.first, one.same_line)
        for one in units(lines(write("a.md", text)))
    ]
    assert found == [
        ("# Fees", "", "", False, False),
        ("The day costs 5.", "# Fees", "# Fees", True, False),
        ("It is due.", "# Fees", "The day costs 5.", False, True),
        ("They pay 3.", "# Fees", "", False, False),
        ("1.", "# Fees", "", False, False),
        ("Rent.", "", "1.", False, False),
        ("It is 5.", "Rent.", "Rent.", True, False),
    ]


def test_a_unit_knows_its_words_its_time_and_what_it_leaves_unsaid() -> None:
    """If this fails "it" stands for nothing, and the time of a message for what it says."""
    unit = Unit("Ann's 5 lamps, Bo's", [])
    assert unit.forms == ["ann", "5", "lamp", "bo"]
    assert [list(unit.held(*part)) for part in ((0, 5), (6, 13), (12, 14), (13, 15), (5, 6))] == [
        *([0], [1, 2], [2], [], [])
    ]
    assert Unit("[10:00] x", []).stamp == 7
    assert Unit("at [10:00] x", []).stamp == 0
    assert Unit("It is due.", [], "Fees", "The day").context == ["fee", "the", "day"]
    assert Unit("Rent is due.", [], "Fees", "The day").context == ["fee"]
    assert Unit("Rent is due.", [], "Fees", "The day", same_line=True).context == ["fee", "the", "day"]


@pytest.mark.parametrize(
    ("question", "key"),
    [
        ("who wrote it?", "From"),
        ("who is the sender", "From"),
        ("to whom was the mail sent", "To"),
        ("who was it sent to", "To"),
        ("when was this mail sent?", "Date"),
        ("when did it arrive", "Date"),
        ("who is in copy", "Cc"),
        ("who wrote the book", ""),
    ],
)
def test_questions_about_a_mail_ask_for_headers(question: str, key: str) -> None:
    """If this fails who wrote a mail is looked for in its text."""
    assert header(question) == key


def test_headers_are_read_where_a_mail_begins(write: Write) -> None:
    """If this fails a mail that is quoted in another tells who wrote it."""

    def told(text: str, key: str = "From") -> list[tuple[str, int]]:
        return [(one.text, one.source.span.first_line) for one in headers(key, lines(write("a.eml", text)))]

    whole = "From: a\nSubject: s\nTo: b\n c\nDate: d\n\nFrom: z\n"
    assert (told(whole), told(whole, "To"), told(whole, "Cc")) == ([("a", 1)], [("b", 3)], [])
    assert told("Hello\nFrom: a\nSubject: s\n") == []
    assert told("From: a\nSubject: s\nnot a header\n") == []
    assert told("From: a\nTo: b\n") == []
    other = "".join(f"X-{number}: y\n" for number in range(MOST - 2))
    assert told(f"From: a\n{other}Subject: s\n") == [("a", 1)]
    assert told(f"From: a\n{other}X: y\nSubject: s\n") == []


@pytest.mark.parametrize(
    ("name", "line", "version"),
    [
        ("click", "click>=8.1,<9", ">=8.1,<9"),
        ("click", "clicks==1", ""),
        ("click", '"click[x] ~= 8.1"; python_version<"3"', "~=8.1"),
        ("chi", "github.com/go-chi/chi/v5 v5.0.12", "v5.0.12"),
        ("go", "go 1.22.3", "1.22.3"),
        ("redis", '    image: "r.example/t/redis:7.2"', "7.2"),
        ("node", "FROM node:20.11-alpine", "20.11-alpine"),
        ("q", "RUN pip install q==2.3 x", "==2.3"),
        ("requests", "requests=90", ""),
        ("numpy", "numpy=1.26", "=1.26"),
        ("x", 'gem "x", "~> 1.2"', "~> 1.2"),
        ("psycopg2-binary", 'psycopg2_binary==3.1 ; python_version < "3.9"', "==3.1"),
        ("b", '["a>=1", "b>=2", "c"]', ">=2"),
    ],
)
def test_lists_of_requirements_tell_versions(name: str, line: str, version: str, write: Write) -> None:
    """If this fails the version of another package is told, or a setting passes for one."""
    found = [one.text for one in requirements(name, lines(write("r.txt", line)))]
    assert found == ([version] if version else [])


TABLES = [
    ("a.md", "# T\n| A | B |\n|---|---|\n| 1 | `2` |\n| 3 |\n", "A B: 1 2 (a.md # T) +"),
    (
        "b.md",
        "| A | B |\n| 1 | 2 |\n\nMore\n\n| C | D |\n| 5 | 6 |\n",
        "A B: 1 2 (b.md) +|C D: 5 6 (b.md More) +",
    ),
    ("a.csv", 'a;b\n1;"2;3"\n4;5;6\n', "a b: 1 2;3 (a.csv) +"),
    ("a.tsv", "a\tb\n1\t2\n", "a b: 1 2 (a.tsv) +"),
    ("a.txt", "Name   Age   Town\nAnn    5     Rye\n", "Name Age Town: Ann 5 Rye (a.txt) +"),
    ("b.txt", "Gull   7     8\n", "  : Gull 7 8 (b.txt) -"),
]


@pytest.mark.parametrize(("name", "text", "found"), TABLES)
def test_rows_of_tables_are_read_under_their_heads(name: str, text: str, found: str, write: Write) -> None:
    """If this fails a cell is told for that of another column or table."""
    every = rows(lines(write(name, text)), name)
    told = [
        f"{' '.join(one.heads)}: {' '.join(one.cells)} ({one.around}) {'-+'[one.partly]}" for one in every
    ]
    assert "|".join(told) == found


def test_a_line_of_a_web_server_is_a_row(write: Write) -> None:
    """If this fails nobody can ask who requested a page."""
    line = '1.2.3.4 - ann [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.0" 200 23 "r" "ua"\n'
    (row,) = rows(lines(write("a.log", line)), "a.log")
    assert list(row.cells) == [
        "1.2.3.4",
        "ann",
        "10/Oct/2000:13:55:36 -0700",
        "GET",
        "/a",
        "200",
        "23",
        "r",
        "ua",
    ]
    assert row.heads[3] == "method"
