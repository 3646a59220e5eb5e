"""Facts in settings, programs, JSON, manuals and declarations: every one of a small file, and no other."""

from collections.abc import Iterable

import pytest
from documents import Write

from longctx.quotes.exact.declared import base_asked, bases, declarations
from longctx.quotes.exact.fact import Fact
from longctx.quotes.exact.json_facts import DEEPEST, json_facts
from longctx.quotes.exact.lines import lines
from longctx.quotes.exact.named import named
from longctx.quotes.exact.options import MOST, _default_in, _first_sentence, entries
from longctx.quotes.exact.settings import Blocks, settings, unquoted

SETTINGS = [
    (
        "a.yaml",
        "# head\nserver:\n  port: 80  # of the page\n  names:\n    - one\n    - 'two'  # second\n"
        "  hosts:\n    - name: a\n      ip: 1\n    - name: b\n      ip: 2\n"
        '  nested: {x: 1, version: 2, "y": [1, 2]}\n  text: |\n    many words\n'
        'empty:\nlast: "a # b"\n',
        "server/port=80@3 server/names=one@5 server/names=two@6 server/hosts/name=a@8 server/hosts/a/ip=1@9"
        " server/hosts/name=b@10 server/hosts/b/ip=2@11 server/nested/x=1@12 server/nested=2@12"
        " server/nested/y=[1, 2]@12 server/text=many words@14 last=a # b@16",
    ),
    (
        "run.yaml",
        "mail: Ann <ann@x.org>\nrun: serve --port 90 addr=1.2.3.4\nurl: http://x:8/y\n",
        "mail=Ann <ann@x.org>@1 mail/email=ann@x.org@1 run=serve --port 90 addr=1.2.3.4@2"
        " run/addr=1.2.3.4@2 run/serve/port=90@2 url=http://x:8/y@3",
    ),
    (
        "a.ini",
        "[one]\n; off = 1\na = 1 ; x\nb: 2\n\n[[ two ]]\n  c=3\nd += 4,\ne ?= 5;\nf := 6\n",
        "one/a=1@3 one/b=2@4 two/c=3@7 two/d=4@8 two/e=5@9 two/f=6@10",
    ),
    (
        "a.tf",
        'resource "bucket" "logs" {\n  region = "eu"\n  tags = {\n    a = "b"\n  }\n}\n'
        'variable "x" {\n  default = 3\n}\n',
        'resource "bucket" "logs"/region=eu@2 resource "bucket" "logs"/tags/a=b@4 variable "x"/default=3@8',
    ),
    (
        "nginx.conf",
        "server {\n  listen 80;\n  location /api {\n    proxy_pass http://u;\n  }\n}\nuser www;\n",
        "server/listen=80@2 server/location /api/proxy_pass=http://u@4 user=www@7",
    ),
    (
        "a.xml",
        '<a>\n  <b x="1">\n    <c>5 &amp; 6</c>\n  </b>\n  <e>7</e>\n  <d id="one" v="2"/>\n</a>\n',
        "a/b/x=1@2 a/b/c=5 & 6@3 a/e=7@5 a/d/one/id=one@6 a/d/one/v=2@6",
    ),
    (
        "Dockerfile",
        'FROM python:3.11 AS build\nARG V=1\nRUN pip install --index x y\nCMD ["a"]\nWORKDIR /srv\n',
        "FROM=python:3.11 AS build@1 base image=python:3.11 AS build@1 V=1@2 RUN=pip install --index x y@3"
        ' RUN/pip/index=x@3 CMD=["a"]@4 command=["a"]@4 WORKDIR=/srv@5 working directory=/srv@5',
    ),
    ("a.env", 'export A=1\nB="x y"\n#C=3\nD=\n', "A=1@1 B=x y@2"),
    ("Makefile", "CC ?= gcc\nall: a b\n\tcc x\nX := 1\n", "CC=gcc@1 all=a b@2 X=1@4"),
    (
        "a.py",
        "LIMIT = 5\nWAIT = 2 * LIMIT\nclass Pool:\n    size = 3\n    other = compute(a, b)\n"
        "    timeout: float = 1.5  # seconds\n    wait = WAIT\nA, B = \"x\", 'y'\nC, D = f(1, 2)\n",
        "LIMIT=5@1 WAIT=2 * LIMIT@2 Pool/size=3@4 Pool/timeout=1.5@6 Pool/wait=2 * LIMIT@2 A=x@8 B=y@8",
    ),
    (
        "b.py",
        'def run(a, b=2, *, c: str = "d", e=None):\n    x = y\nTABLE = {\n    "one": 1,\n    "two": [\n'
        '        "p",\n        "q",\n    ],\n}\nif a == 5:\n    pass\n',
        "run/default b=2@1 run/default c=d@1 run/default e=None@1 TABLE/one=1@4 TABLE/two=p@6 TABLE/two=q@7",
    ),
    (
        "a.c",
        '#define MAX 4 // most\n#define F(x) x\nstatic const int n = 3;\nint m = 7, k;\nchar *s = "a";\n',
        "MAX=4@1 n=3@3 s=a@5",
    ),
    (
        "a.ts",
        'export const a = 5;\nlet b: string = "x";\nconst c = {\n  d: 1,\n  e: true,\n};\n'
        "function g(h = 3, i: number = 4) {\n",
        "a=5@1 b=x@2 c/d=1@4 c/e=true@5 g/default h=3@7 g/default i=4@7",
    ),
]


def shown(facts: Iterable[Fact]) -> str:
    return " ".join(f"{'/'.join(one.path)}={one.value}@{one.quote().span.first_line}" for one in facts)


@pytest.mark.parametrize(("name", "text", "facts"), SETTINGS, ids=[name for name, _, _ in SETTINGS])
def test_every_setting_of_a_file_is_read_under_its_names(
    name: str, text: str, facts: str, write: Write
) -> None:
    """If this fails a setting is not found, or is told for that of another section."""
    assert shown(settings(lines(write(name, text)), name)) == facts


def test_a_coded_name_counts_in_the_middle_of_a_line(write: Write) -> None:
    """If this fails "what is retry?" finds nothing in a call, or a comparison passes for a setting."""
    program = write("a.py", "f(retry=4)\nf(retry == 5)\nf(my.retry=6)\nf(entry=7)\n")
    assert shown(settings(lines(program), "a.py", ["retry", "not a name"])) == "retry=4@1"
    assert shown(settings(lines(program), "a.py")) == ""


def test_a_comment_tells_of_the_setting_beside_it(write: Write) -> None:
    """If this fails a setting that only its comment describes is not found, or another one is."""
    program = write("a.py", "# how long\n# to wait\nWAIT = 2\n\nSIZE = 3  # of the pool\nREST = 4\n")
    notes = [one.note.split() for one in settings(lines(program), "a.py")]
    assert notes == [["#", "how", "long", "#", "to", "wait"], ["#", "of", "the", "pool"], []]
    switched_off = write("a.ini", "# port = 80\nsize = 3\n")
    assert [one.note for one in settings(lines(switched_off), "a.ini")] == [""]


def test_blocks_are_told_by_indentation_and_dashes() -> None:
    """If this fails keys of two items of a list are put together to one record."""
    blocks = Blocks()
    assert [blocks.at(text) for text in ("a: 1", "b:", "  - c: 1", "    d: 2", "  - c: 3", "e: 4")] == [
        *((1,), (1,), (1, 2), (1, 2), (1, 3), (1,))
    ]
    blocks.section()
    assert [blocks.at("a = 1"), blocks.at("  b = 2")] == [(4, 5), (4, 5, 6)]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('"a"', "a"),
        ("'a'", "a"),
        ("`a`", "a"),
        ('""', ""),
        ('"a" or "b"', '"a" or "b"'),
        ("'it''s'", "it's"),
        (r'"a\tb\u00e9\/"', "a\tbé/"),
        (r'"\q"', "q"),
        ("\"a'", "\"a'"),
        ("a", "a"),
        ("", ""),
    ],
)
def test_quotation_marks_go_with_what_they_mean(written: str, meant: str) -> None:
    """If this fails a value is shown with its marks, or two values lose those between them."""
    assert unquoted(written) == meant


JSON = [
    (
        '{"a": 1, "b": {"c": "d", "e": [1, "x"], "f": null}, "h": {}, "i": "A <a@b.c>"}',
        "a=1 b/c=d b/e=1 b/e=x b/f=null i=A <a@b.c> i/email=a@b.c",
    ),
    ('{"g": [{"id": "p", "v": 1}, {"id": "q", "v": 2}]}', "g/id=p g/ p/v=1 g/id=q g/ q/v=2"),
    ('// c\n{"a": [[1, 2], [3]],\n "b": "x\\"y"}', 'a=1 a=2 a=3 b=x"y'),
    ('[1, {"a": 2}, "b"]', "a=2"),
    ('}{"a": 1', "a=1"),
    ('{"a": ' + "[" * (DEEPEST - 1) + "1", "a=1"),
    ('{"a": ' + "[" * DEEPEST + "1", ""),
]


@pytest.mark.parametrize(("text", "facts"), JSON)
def test_every_value_of_json_is_read_under_its_names(text: str, facts: str, write: Write) -> None:
    """If this fails a value is not found, or told for that of another object."""
    assert " ".join(f"{'/'.join(one.path)}={one.value}" for one in json_facts(write("a.json", text))) == facts


def test_values_of_json_know_their_object_and_their_line(write: Write) -> None:
    """If this fails fields of two records are mixed, or a value is cited from another line."""
    document = write("a.json", '{"a": [\n{"k": 1, "l": 2},\n{"k": 3, "m": [4]}]}')
    found = [(one.value, one.group, one.listed, one.quote().span.first_line) for one in json_facts(document)]
    assert found == [
        ("1", (1, 2, 3), False, 2),
        ("2", (1, 2, 3), False, 2),
        ("3", (1, 2, 4), False, 3),
        ("4", (1, 2, 4, 5), True, 3),
    ]


def test_what_stands_beside_a_name_is_read_under_its_heading(write: Write) -> None:
    """If this fails the age of the boiler is told for that of the flat, or who speaks for a fact."""
    sheet = (
        "# Flat\nRent: 900\nAnn: hello there\nAnn: how are you\nAnn: fine\n  Boiler\n    Make: Vaillant\n"
        "    Age   6 years\nWeight    6 kg\nNote: a long sentence that goes on and ends here.\n\n"
        "**Key:** value\n- Item: one\nTom..... 5\n\nLong name of a thing here: x\nhttps://x: y\n\n"
        "Anna Bo\n  Phone: 5\n\n# Other\nRent: 1\n"
    )
    assert shown(named(lines(write("a.txt", sheet)))) == (
        "Flat/Rent=900@2 Flat/Boiler/Rent: 900/Make=Vaillant@7 Flat/Boiler/Rent: 900/Age=6 years@8"
        " Flat/Rent: 900/Weight=6 kg@9 Flat/Key=value@12 Flat/**Key:** value/Item=one@13"
        " Flat/**Key:** value/Tom=5@14 Flat/Anna Bo/Phone=5@20 Other/Rent=1@23"
    )


def test_a_manual_is_read_option_by_option(write: Write) -> None:
    """If this fails an option is described in the words of its neighbour."""
    manual = (
        "usage: x\n  -a, --all             Take all\n                        of them.\n  --rate=N  Send N.\n"
        "  -q\n       Be quiet.\n       Two.\nnot indented\n  --x|--y <z>    Text\nEXIT CODES\n  0   Fine.\n"
        "  12  Bad.\nHOME_DIR\n    Where.\n  --nothing\n"
    )
    assert [(one.term, one.text) for one in entries(lines(write("a.1", manual)))] == [
        ("-a, --all", "Take all of them."),
        ("--rate=N", "Send N."),
        ("-q", "Be quiet. Two."),
        ("--x|--y <z>", "Text"),
        ("0", "Fine."),
        ("12", "Bad."),
        ("HOME_DIR", "Where."),
    ]
    endless = write("b.1", "--long\n" + "   words\n" * (MOST + 5) + "--next  one\n")
    assert [(one.term, len(one.lines)) for one in entries(lines(endless))] == [
        ("--long", MOST),
        ("--next", 1),
    ]


@pytest.mark.parametrize(
    ("text", "default"),
    [
        ("The default is 5.", "5"),
        ("4 by default", "4"),
        ("It is 5. By default 6 is taken.", "6"),
        ("[default: x]", "x"),
        ("(default 3)", "3"),
        ("default value is on", "on"),
        ("by default, never", "never"),
        ("It is not set; default=a-b.", "a-b"),
        ("no limit by default", ""),
        ("Not the default: 4", ""),
        ("Default: the", ""),
    ],
)
def test_a_default_is_told_and_nothing_denied(text: str, default: str) -> None:
    """If this fails "there is no limit by default" gives a limit."""
    assert _default_in(text) == default


@pytest.mark.parametrize(
    ("text", "first"),
    [("One. Two.", "One"), ("One. two", "One. two"), ("One (a). (Two)", "One (a)"), ("a.b", "a.b")],
)
def test_an_option_does_what_its_first_sentence_says(text: str, first: str) -> None:
    """If this fails an answer is a word, or the whole page."""
    assert _first_sentence(text) == first


@pytest.mark.parametrize(
    ("name", "text", "facts"),
    [
        (
            "a.sql",
            "CREATE TABLE IF NOT EXISTS lamp (\n  id INTEGER PRIMARY KEY,\n"
            "  name VARCHAR(40) NOT NULL DEFAULT 'x',\n  CHECK (length(name) <= 9),\n"
            "  made TIMESTAMP DEFAULT now()\n);\nx INTEGER\n",
            "lamp/id type=INTEGER@2 lamp/name type=VARCHAR(40)@3 lamp/name/default=x@3 lamp/name length=40@3"
            " lamp/made type=TIMESTAMP@5 lamp/made/default=now()@5",
        ),
        (
            "a.rs",
            "pub struct Pool {\n    size: u32,\n    pub name: Option<String>,\n    return x: y\n}\n"
            "    z: u8,\n",
            "Pool/size type=u32@2 Pool/name type=Option<String>@3",
        ),
        (
            "a.go",
            'type Pool struct {\n\tAddr string `json:"a"`\n\tSize []int // n\n}\n',
            "Pool/Addr type=string@2 Pool/Size type=[]int@3",
        ),
        (
            "a.java",
            "class Pool {\n    private final int size = 4;\n    return x;\n}\n",
            "Pool/size type=int@2",
        ),
    ],
)
def test_declarations_tell_types_lengths_and_defaults(name: str, text: str, facts: str, write: Write) -> None:
    """If this fails the type of a column or field is not found, or a statement passes for one."""
    assert shown(declarations(lines(write(name, text)), name)) == facts


@pytest.mark.parametrize(
    ("line", "base"),
    [
        ("class Pool(Base, Other):", ["Base, Other"]),
        ("class Pool extends Base {", ["Base"]),
        ("class Pool : public Base {", ["public Base"]),
        ("public class Pool<T> implements Runnable {", ["Runnable"]),
        ("class PoolX(Base):", []),
        ("class Pool:", []),
    ],
)
def test_a_class_tells_its_base(line: str, base: list[str], write: Write) -> None:
    """If this fails a class is said to be derived from what another one is derived from."""
    assert [one.text for one in bases("Pool", lines(write("a", line)))] == base


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("which class does Pool inherit from", "Pool"),
        ("base class of Pool", "Pool"),
        ("what does Pool extend", "Pool"),
        ("the parent class for Pool", "Pool"),
        ("what is Pool", ""),
    ],
)
def test_who_asks_for_a_base_is_understood(question: str, name: str) -> None:
    """If this fails a question for a base class gets passages."""
    assert base_asked(question) == name
