"""Exact look-ups: a name, a key or a cell that a question pins down is read out of the text itself."""

import re
import tomllib
from pathlib import Path

import pytest
from documents import Write

from longctx.quotes.closest import closest
from longctx.quotes.exact.lines import lines
from longctx.quotes.exact.logs import needs_all
from longctx.quotes.exact.look_up import look_up
from longctx.quotes.exact.settings import unquoted
from longctx.quotes.index import PassageIndex
from longctx.quotes.passages import passages
from longctx.text.source import Document


def told(question: str, *documents: Document) -> list[tuple[str, str]]:
    found = look_up(question, documents)
    for one in found:
        assert one.source.span.text() == one.source.text
    return [(one.text, str(one.source.span)) for one in found]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("a.py", "    async def load_it(self) -> None:"),
        ("a.py", "class load_it(Base):"),
        ("a.py", "load_it: Callable = partial(f)"),
        ("a.go", "func (s *Server) load_it(w io.Writer) error {"),
        ("a.rs", "pub(crate) fn load_it(path: &Path) -> Result<()> {"),
        ("a.js", "export default function load_it(a) {"),
        ("a.ts", "export type load_it = string;"),
        ("a.c", "#define load_it 5"),
        ("a.c", "static int load_it(const char *name) {"),
        ("a.java", "    public static Map<String, Integer> load_it(int a) {"),
    ],
)
def test_a_definition_is_found_by_its_line(write: Write, name: str, line: str) -> None:
    """Who asks where a name is defined would be shown one of its uses."""
    uses = "    return load_it(5)\nx = y.load_it(2)\nload_it_all = 3\nif load_it == 4:\n"
    document = write(name, f"{uses}{line}\n{uses}with out, load_it(x) as y:\n")
    assert told("Where is load_it defined?", document) == [(line.strip(), f"{name}:5")]
    assert told("Where is load_them defined?", document) == []


@pytest.mark.parametrize(
    ("name", "line", "question", "value"),
    [
        ("c.yaml", "  timeout: 30s", "What is the timeout?", "30s"),
        ("c.yaml", "greeting: good morning  # to all", "What is the greeting?", "good morning"),
        (".env", "export MAX_RETRIES=5", "What is MAX_RETRIES set to?", "5"),
        ("c.json", r'  "dbName": "a \"b\"\u00e9",', "what is the value of dbName", 'a "b"é'),
        ("c.toml", "max-size = 10", "What is the max size?", "10"),
        ("a.py", "LIMIT: int = 64  # bytes", "What is the value of LIMIT?", "64"),
        ("a.c", "#define BUFFER_SIZE 4096", "What is BUFFER_SIZE set to?", "4096"),
        ("a.rs", "pub const LIMIT: usize = 64;", "What is the value of LIMIT?", "64"),
    ],
)
def test_a_key_gives_its_value(write: Write, name: str, line: str, question: str, value: str) -> None:
    """The commonest question about settings would get no answer, or another key's value."""
    document = write(name, f"other: 1\r\n{line}\r\nlast_timeout: 2\r\n")
    assert told(question, document) == [(value, f"{name}:2")]


SERVICE = "service:\n  timeout: 30s\ndatabase:\n  pool:\n    size: 4\n  timeout: 5s\nname: x\n"


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("database.timeout", [("5s", "s.yaml:6")]),
        ("What is the timeout of the service?", [("30s", "s.yaml:2")]),
        ("What is the database timeout?", [("5s", "s.yaml:6")]),
        ("timeout?", [("30s", "s.yaml:2"), ("5s", "s.yaml:6")]),
        ("database.size", []),
    ],
)
def test_sections_tell_settings_of_one_name_apart(
    write: Write, question: str, found: list[tuple[str, str]]
) -> None:
    """If this fails the timeout of the database is given as that of the service."""
    assert told(question, write("s.yaml", SERVICE)) == found


def test_a_list_of_facts_in_columns_is_asked_by_name(write: Write) -> None:
    """Data sheets and the output of programs would only be quoted."""
    sheet = write("pump.txt", "The pump is heavy.\nRated power      620 W\nSuction lift     7 m\n")
    assert told("what is the rated power", sheet) == [("620 W", "pump.txt:2")]
    assert told("suction lift?", sheet) == [("7 m", "pump.txt:3")]
    assert told("What is heavy?", sheet) == []


def test_versions_of_packages_are_looked_up(write: Write) -> None:
    """The commonest question about a package.json."""
    document = write(
        "package.json", '{\n  "dependencies": {\n    "fastify": "^4.2",\n    "left": "x"\n  }\n}\n'
    )
    assert told("which version of fastify?", document) == [("^4.2", "package.json:3")]
    assert told("which version of left?", document) == []


def test_two_values_of_a_key_are_both_shown(write: Write) -> None:
    """One of two settings would pass for the only one."""
    one, two = write("a.ini", "[a]\nport = 80\n"), write("b.ini", "port = 81\n")
    assert told("What is the port?", one, two) == [("80", "a.ini:2"), ("81", "b.ini:1")]


def test_a_cell_is_found_by_its_row_and_column(write: Write) -> None:
    """A table could only be read, not asked."""
    sheet = write("a.csv", 'name,colour,price\nBlue lamp,"blue, dark",12.50\nLamp,red,9\n')
    assert told("What is the price of the blue lamp?", sheet) == [("12.50", "a.csv:2")]
    assert told("What is the price of the blue lantern?", sheet) == []
    assert told("What is the price of Blue lamp?", sheet) == [("12.50", "a.csv:2")]
    table = write("a.md", "Text.\n\n| Name | Price |\n|---|---|\n| Lamp | 9 |\n")
    assert told("What is the price of Lamp?", table) == [("9", "a.md:5")]


LOOKUPS = tomllib.loads((Path(__file__).parent / "data" / "lookups.toml").read_text(encoding="utf-8"))["text"]
CASES = [(one["name"], one["text"], ask, answers) for one in LOOKUPS for ask, answers in one["ask"]]


@pytest.mark.parametrize(("name", "text", "question", "answers"), CASES, ids=[case[2] for case in CASES])
def test_facts_of_every_form_are_looked_up(
    write: Write, name: str, text: str, question: str, answers: list[str]
) -> None:
    """The commonest questions about a file would get a passage, or another fact."""
    assert [value for value, _ in told(question, write(name, text))] == answers


@pytest.mark.parametrize("question", ["What is the matter?", "What is the point of this?", "", "what is the"])
def test_prose_is_no_setting(write: Write, question: str) -> None:
    """A line of dialogue would be given out as the value of a key."""
    text = (
        "Matter: it was said, the matter is grave.\nThe point: nothing more was said of this.\nAuthor: a b\n"
    )
    assert told(question, write("a.txt", text)) == []


def test_a_name_with_very_many_values_pins_nothing(write: Write) -> None:
    """A log would be poured out as the answer."""
    assert told("What is the level?", write("a.log", "level=info\n" * 50)) == []


def test_the_first_is_not_told_for_the_last(write: Write) -> None:
    """Who asks for the last ferry would be sent to the first one."""
    ferries = write("a.txt", "The first ferry leaves at 05:45.\n\nThe last ferry leaves at 23:10.\n")
    assert told("When does the last ferry leave?", ferries) == [("23:10", "a.txt:3")]
    assert told("When does the first ferry leave?", ferries) == [("05:45", "a.txt:1")]


def test_quoted_text_is_read() -> None:
    """Values would be shown with their quotation marks and backslashes."""
    assert unquoted(r'"a\n\"b\""') == 'a\n"b"'
    assert unquoted("'it''s'") == "it's"
    assert unquoted('"') == '"'


def test_the_closest_sentence_has_the_words_and_the_kind(write: Write) -> None:
    """The place to look at first would be any sentence of the passage."""
    text = (
        "The mill by the river was built by two brothers. It burned down in 1871. "
        "Nobody who lived by the river had seen such a fire. The baker lived elsewhere."
    )
    document = write("a.txt", text)
    with PassageIndex() as index:
        for passage in passages(document):
            index.add(passage)
        asked = "When did the mill burn down?"
        found = closest(index, asked, index.search(asked, 3))
        assert found is not None
        assert found.text == found.span.text() == "It burned down in 1871."
        assert closest(index, "zeppelin", index.search(asked, 3)) is None


def test_of_a_program_one_line_is_the_closest(write: Write) -> None:
    """Lines of a program would be shown cut at full stops, or none of them at all."""
    with PassageIndex() as index:
        for passage in passages(write("a.py", "import mill\n\nprint(mill.openRiver)\n# the end\n")):
            index.add(passage)
        found = closest(index, "Where is the river opened?", index.search("river", 3))
        assert found is not None
        assert found.text == found.span.text() == "print(mill.openRiver)"


def test_what_repeats_the_question_is_no_answer(write: Write) -> None:
    """Who asks for the rack of a node would be told the node's own name."""
    log = write("a.log", "2026-05-01 01:40:57 INFO [search-1] the rack of node K7-R2P is 'north-14'\n")
    assert "K7-R2P" not in [text for text, _ in told("What is the rack of node K7-R2P?", log)]


def test_a_long_log_is_looked_through_only_where_it_may_tell(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log of some megabytes would take minutes, or give a line's number wrongly."""
    monkeypatch.setattr("longctx.quotes.exact.look_up.WHOLE", 0)
    text = "".join(f"2024-03-02T0{n}:00:00Z INFO upload: sent\n\n" for n in range(9))
    text += "2024-03-02T09:30:00Z ERROR upload: refused\nRate: 5\n\nBaud rate: 96"
    document = write("a.log", text)
    assert told("when did the upload fail first?", document) == [("2024-03-02T09:30:00Z", "a.log:19")]
    assert told("what is the baud rate?", document) == [("96", "a.log:22")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_words_are_found_in_lines_whatever_their_case_and_ends(write: Write, end: str) -> None:
    """If this fails a long log of Windows is not looked through, or its lines are cited wrongly."""
    document = write("a.log", end.join(("\u0130\u0130 one", "x FaIled", "", "é failed", "ok", "FAILED")))
    found = [line.quote() for line in lines(document, re.compile("failed"))]
    assert [(one.text, one.span.first_line) for one in found] == [
        ("x FaIled", 2),
        ("é failed", 4),
        ("FAILED", 6),
    ]
    assert [one.span.text() for one in found] == [one.text for one in found]


def test_words_that_stand_everywhere_in_a_long_log_pin_down_nothing(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question in the words of every line of a long log would be looked up for minutes."""
    log = write("a.log", "".join(f"2024-03-02 09:00:0{n} request {n} served user=u{n}\n" for n in range(9)))
    assert told("which user served request 4?", log) == [("u4", "a.log:5")]
    monkeypatch.setattr("longctx.quotes.exact.look_up.WHOLE", 0)
    assert told("which user served request 4?", log) == [("u4", "a.log:5")]
    monkeypatch.setattr("longctx.quotes.exact.look_up.MOST_LINES", 0)
    assert told("which user served request 4?", log) == []


LOG = """\
2024-03-02T09:00:00Z INFO mail: sent
2024-03-02T09:01:00Z WARN disk: 91% full
2024-03-02T09:02:00Z ERROR upload: refused by the bucket
2024-03-02T09:03:00Z ERROR thumbnail: bad marker
2024-03-02T09:04:00Z INFO mail: no errors so far
"""


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What failed first?", ("upload: refused by the bucket", "a.log:3")),
        ("what failed last", ("thumbnail: bad marker", "a.log:4")),
        ("How many errors?", ("2", "a.log:3")),
        ("number of errors in the log", ("2", "a.log:3")),
        ("how many warnings were logged?", ("1", "a.log:2")),
    ],
)
def test_a_log_tells_what_failed_and_how_often(question: str, answer: tuple[str, str], write: Write) -> None:
    """The first questions that people ask about a log would get passages."""
    assert told(question, write("a.log", LOG)) == [answer]


def test_lines_are_not_counted_where_a_log_has_its_own_count(write: Write) -> None:
    """A log of builds that says "12 errors" on one line would be told to have one error."""
    log = f"{LOG}2024-03-02T09:05:00Z ERROR build: 12 errors\n"
    assert told("How many errors?", write("a.log", log)) == [("12", "a.log:6")]
    assert told("How many errors?", write("b.txt", "There were many errors.\n")) == []
    assert told("how many criticals?", write("a.log", LOG)) == []


def test_lines_are_counted_in_the_whole_of_a_long_log() -> None:
    """Errors in a gigabyte would be counted only where the word is near others of the question."""
    assert needs_all("How many errors?")
    assert needs_all("what failed last")
    assert not needs_all("how many errors did the upload of Ann give?")


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("how long is a seat held?", "booking:\n  maxSeats: 9\n"),
        ("what temperature?", "temp: /tmp/oven\n"),
        ("how many cues were loaded?", "max_cues: 9\n"),
        ("how many tests run at once?", "rule: RUF001  # the tests hold such signs\n"),
        ("What is the log level?", "log: ${LOG}/app.log\n"),
        ("What is the address of the cabin?", "cabin: Molte\n"),
        ("What is the customer number?", "max_clients: 250\n"),
        ("longest line allowed", "password:\n  max: 32\n"),
        ("what version of httpx?", "http: 45s\n"),
    ],
)
def test_a_key_that_is_only_like_what_is_asked_for_does_not_answer(
    write: Write, question: str, text: str
) -> None:
    """A count would be shown for a time, a limit for a count, and a name for an address."""
    assert told(question, write("a.yaml", text)) == []


def test_what_a_value_beside_a_name_is_asked_for_is_in_the_name(write: Write) -> None:
    """The one who hires would be shown for the number of what is hired, for the number of the house."""
    contract = "# Hire of puppets\n\n**Hirer:** Brindle Festivals Ltd, 88 Corn Street, Bristol BS1\n"
    assert told("how many puppets are hired?", write("contract.md", contract)) == []


def test_a_version_stands_in_a_log_as_it_is_asked_for(write: Write) -> None:
    """The times of lines with other digits would be shown for a release."""
    log = '10.0.0.1 - - [03/Sep/2024:08:00:01 +0200] "POST /come/4 HTTP/1.1" 200 10 "-" "agent/4.2.1"\n'
    assert told("when did 4.1.0 come out?", write("access.log", log)) == []


def test_a_mail_is_from_whom_its_head_says(write: Write) -> None:
    """An address that stands in a settings file would be shown as the sender of a mail."""
    package = write("package.json", '{\n "author": "Olu Price <olu@example.dev>"\n}\n')
    assert told("who is the mail from?", package) == []
    assert told("who is the author?", package) == [("Olu Price <olu@example.dev>", "package.json:2")]


def test_a_heading_names_nobody(write: Write) -> None:
    """The title of a price list would be shown for a person."""
    assert (
        told("who is the hirer?", write("prices.txt", "WORKSHOP AND HIRE: PRICE LIST 2025\n\nText.\n")) == []
    )


def test_two_words_of_a_question_are_not_one_by_their_ending(write: Write) -> None:
    """A red lamp would be as dear as any lamp, for "price red" ends like a form of "price"."""
    stock = write("stock.csv", "article,price\ndesk lamp,48.50\n")
    assert told("what is the price of a red lamp?", stock) == []
    assert told("what is the price of a desk lamp?", stock) == [("48.50", "stock.csv:2")]


def test_a_person_is_found_in_their_own_row(write: Write) -> None:
    """The salaries of all whose manager somebody is would be shown for theirs."""
    staff = write("staff.csv", "name,manager,salary\nNadia Fischer,Robert Kane,71000\nRobert Kane,,120000\n")
    assert told("what is Robert Kane's salary?", staff) == [("120000", "staff.csv:3")]


def test_a_start_stands_in_the_line_that_tells_of_it(write: Write) -> None:
    """The time of any line of a program would be shown for its start."""
    log = write(
        "a.log", "2024-11-03 02:40:00 sshd[990]: Failed password\n2024-11-03 02:41:00 cron: job done\n"
    )
    assert told("when did sshd start?", log) == []
