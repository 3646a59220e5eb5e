"""Rows, objects and blocks: what is named by one of their values is asked for by the name of another."""

import pytest
from documents import Write

from longctx.quotes.exact.look_up import look_up
from longctx.text.source import Document


def told(question: str, *documents: Document) -> list[str]:
    return [one.text for one in look_up(question, documents)]


TOML = """[[house]]
id = "GH-01"
crop = "tomato"
area_m2 = 420

[[house]]
id = "GH-02"
crop = "basil"
area_m2 = 155
"""
JSON = """{"data": [
  {"reference": "FJR-1", "state": "cancelled", "nights": 3,
   "guest": {"name": "Ada Lund", "email": "ada@a.example"}},
  {"reference": "FJR-2", "state": "pending", "nights": 5,
   "guest": {"name": "Bo Wrona", "email": "bo@b.example"}}
]}
"""
NGINX = """http {
    server {
        server_name shop.example;
        root /srv/shop;
    }
    server {
        server_name admin.example;
        root /srv/admin;
    }
}
"""
COMPOSE = """services:
  web:
    restart: always
    depends_on:
      - queue
  queue:
    image: rabbit
"""


@pytest.mark.parametrize(
    ("name", "text", "question", "answers"),
    [
        ("a.toml", TOML, "area of GH-02", ["155"]),
        ("a.toml", TOML, "what is the crop of GH-01?", ["tomato"]),
        ("a.toml", TOML, "area of GH-03", []),
        ("b.json", JSON, "state of FJR-2", ["pending"]),
        ("b.json", JSON, "how many nights does Ada Lund stay", ["3"]),
        ("b.json", JSON, "email address of Bo Wrona", ["bo@b.example"]),
        ("b.json", JSON, "phone number of Bo Wrona", []),
        ("b.json", JSON, "state of FJR-3", []),
        ("nginx.conf", NGINX, "What is the root of admin.example?", ["/srv/admin"]),
        ("nginx.conf", NGINX, "What is the root of blog.example?", []),
        ("c.yml", COMPOSE, "what is the restart policy of web?", ["always"]),
        ("c.yml", COMPOSE, "what is the restart policy of the queue?", []),
    ],
)
def test_a_block_is_named_by_its_values(
    write: Write, name: str, text: str, question: str, answers: list[str]
) -> None:
    """A value of the neighbouring block would be given, or none although the block is named."""
    assert told(question, write(name, text)) == answers


ORDERS = """order_no,date,customer,city,item,qty
K70345,2023-10-12,Nadia Haddad,Lyon,Linen curtain,4
K70351,2023-10-14,Rosa Belli,Łódź,Oak shelf,1
"""
PLANTS = """nr;latin name;bed;planted;light
132;Lilium regale;F5;21.08.2020;sun
133;Lunaria annua;C4;09.08.2018;shade
"""
MANUAL = """PROGRAMMES
No.  Name          Temp.   Duration
P1   Intensive     70 C    2 h 25
P3   Glass         40 C    1 h 30

FAULT CODES
E04   no water                open the tap
E09   water does not drain    clean the pump
"""
ACCESS = (
    '192.0.2.7 - - [03/Feb/2024:06:00:14 +0100] "GET /login HTTP/1.1" 302 18158 "-" "curl/8.5.0"\n'
    '203.0.113.66 - guest [03/Feb/2024:06:01:12 +0100] "POST /export/club.zip HTTP/1.1" 413 24 "-" "curl"\n'
)


@pytest.mark.parametrize(
    ("name", "text", "question", "answers"),
    [
        ("orders.csv", ORDERS, "what did Nadia Haddad order?", ["Linen curtain"]),
        ("orders.csv", ORDERS, "who placed order K70351?", ["Rosa Belli"]),
        ("orders.csv", ORDERS, "when did Rosa Belli order", ["2023-10-14"]),
        ("orders.csv", ORDERS, "how many pieces did Nadia Haddad buy?", ["4"]),
        ("orders.csv", ORDERS, "who lives in Lodz?", ["Rosa Belli"]),
        ("orders.csv", ORDERS, "what did Nadia Belli order?", []),
        ("orders.csv", ORDERS, "when did Rosa Belli pay", []),
        ("plants.csv", PLANTS, "which bed is the Lunaria in?", ["C4"]),
        ("plants.csv", PLANTS, "when was Lilium regale planted", ["21.08.2020"]),
        ("plants.csv", PLANTS, "light for number 133", ["shade"]),
        ("manual.txt", MANUAL, "temperature of the glass programme?", ["40 C"]),
        ("manual.txt", MANUAL, "what does E09 mean", ["water does not drain | clean the pump"]),
        ("manual.txt", MANUAL, "what does E18 mean?", []),
        ("access.log", ACCESS, "which ip asked for club.zip?", ["203.0.113.66"]),
        ("access.log", ACCESS, "status of the POST", ["413"]),
        ("access.log", ACCESS, "When was club.zip downloaded?", ["03/Feb/2024:06:01:12 +0100"]),
        ("access.log", ACCESS, "which ip asked for /admin?", []),
    ],
)
def test_a_row_is_named_by_its_cells(
    write: Write, name: str, text: str, question: str, answers: list[str]
) -> None:
    """A question about a row would get the cell of another column, or of a row that it does not name."""
    assert told(question, write(name, text)) == answers


SQL = """CREATE TABLE album (
    title      TEXT NOT NULL CHECK (length(title) <= 120),
    visibility VARCHAR(12) NOT NULL DEFAULT 'private',
    cover_id   BIGINT
);
CREATE UNIQUE INDEX album_uq ON album (title);
"""
CODE = '''DEFAULT_RATE = 12.5
_MAXCHALLENGE = 5  # Maximum number of AUTH challenges sent

class HeloError(ResponseError):
    """It said no."""

class Bucket:
    rate: float = DEFAULT_RATE
'''
DOCKER = """FROM node:20.11-alpine AS web
FROM python:3.11.7-slim
EXPOSE 8443
HEALTHCHECK --interval=40s CMD ping
"""


@pytest.mark.parametrize(
    ("name", "text", "question", "answers"),
    [
        ("a.sql", SQL, "what type is album.cover_id", ["BIGINT"]),
        ("a.sql", SQL, "default visibility of an album?", ["private"]),
        ("a.sql", SQL, "default of cover_id", []),
        ("a.sql", SQL, "which index is on the title column?", ["album_uq"]),
        ("a.py", CODE, "which class does HeloError inherit from", ["ResponseError"]),
        ("a.py", CODE, "how many auth challenges are sent at most?", ["5"]),
        ("a.py", CODE, "default rate of a bucket?", ["12.5"]),
        ("a.py", CODE, "line of class Bucket", ["class Bucket:"]),
        ("Dockerfile", DOCKER, "python base image", ["python:3.11.7-slim"]),
        ("Dockerfile", DOCKER, "Which node version is used?", ["20.11-alpine"]),
        ("Dockerfile", DOCKER, "healthcheck interval?", ["40s"]),
    ],
)
def test_declarations_are_read(write: Write, name: str, text: str, question: str, answers: list[str]) -> None:
    """Types, defaults, bases and images would only be quoted, and what a comment says be missed."""
    assert told(question, write(name, text)) == answers


def test_what_stands_inside_a_value_is_found(write: Write) -> None:
    """Who asks for an author's address would get the name with it, or nothing."""
    package = write("package.json", '{"name": "x", "author": "Ada Lund <ada@a.example>", "port": 80}\n')
    assert told("author's email", package) == ["ada@a.example"]
    compose = write("a.yaml", "driver_opts:\n  type: nfs\n  o: addr=10.20.0.9,rw,timeo=30\n")
    assert told("what is timeo?", compose) == ["30"]
    page = write("b.json", '{"next": "/v3/bookings?cursor=eyJp", "rows": ["a"]}\n')
    assert told("total number of bookings?", page) == []


def test_a_number_tells_that_it_is_a_size_and_a_bound_that_it_is_the_least(write: Write) -> None:
    """Who asks for the size of a pool, or the oldest version that will do, would be told nothing."""
    log = write("a.log", "2024-03-11 05:58:04 INFO connected to postgres, pool=18 mode=rw\n")
    assert told("pool size", log) == ["18"]
    assert told("mode size", log) == []
    package = write("package.json", '{"engines": {"node": ">=18.17", "pnpm": "8.x"}}\n')
    assert told("minimum node", package) == [">=18.17"]
    assert told("minimum pnpm", package) == []


def test_a_row_is_found_by_a_cell_behind_its_head(write: Write) -> None:
    """Whose telephone it is that rang could not be asked."""
    staff = write("staff.csv", "name,extension\nAda Lund,2260\nBo Wrona,2261\n")
    assert told("whose extension is 2260?", staff) == ["Ada Lund"]
    assert told("whose extension is 2262?", staff) == []


def test_an_address_alone_is_no_port(write: Write) -> None:
    """Who asks for a port would be shown 0.0.0.0."""
    assert told("which port?", write("a.yaml", "listen: 0.0.0.0\n")) == []
    assert told("which port?", write("b.yaml", "listen: 0.0.0.0:8443\n")) == ["0.0.0.0:8443"]
