"""What a campaign of bench.fuzz begins with, and how it damages that: seeds and mutations."""

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import zstandard

FILES = Path(__file__).parents[1] / "tests" / "data" / "formats"
PROSE = "The ferry to Skerry Point leaves at noon. Bring a lamp.\n\nNobody knew why the river changed.\n" * 9
ENCODED = {
    "utf-16": PROSE,
    "utf-16-le": PROSE,
    "utf-32": PROSE,
    "cp1251": "Паром уходит в полдень. Никто не знал, почему река изменила русло.\n" * 20,
    "cp932": "渡し船は正午に出ます。誰も理由を知りませんでした。\n" * 20,
    "gb18030": "渡船中午出发。没有人知道河流为什么改道。\n" * 20,
    "latin_1": "La barque part à midi; personne ne savait pourquoi la rivière avait changé.\n" * 20,
    "cp949": "배는 정오에 떠납니다. 아무도 이유를 몰랐습니다.\n" * 20,
}
PROGRAM = '"""Ferries."""\n\nFARE = 12\n\n\ndef fare(place: str) -> int:\n    """Return."""\n    return 1\n'
TABLE = "place,fare,when\nQuay,12,2026-11-26\nPoint,30,2026-11-27\n" + "Isle,7,2026-11-28\n" * 9
LOG = "2026-11-26T10:00:01Z INFO ferry: left quay 7\n2026-11-26T10:00:09Z ERROR ferry: no lamp (12)\n" * 9
DIFF = (
    "diff --git a/fare.py b/fare.py\nindex 1..2 100644\n--- a/fare.py\n+++ b/fare.py\n"
    "@@ -1,2 +1,3 @@ def fare():\n FARE = 12\n-OLD = 1\n+NEW = 2\n+MORE = 3\n"
    "diff --git a/b.txt b/b.txt\nrename from a\nrename to b\n"
)
TALK = "[26/11/2026, 10:00:01] Ann: Is the ferry late?\n[26/11/2026, 10:00:05] Bo: No: at noon.\n" * 5
MAIL = (
    "From: Ann <a@x.org>\nTo: b@x.org\nDate: Thu, 26 Nov 2026 10:00:00 +0000\nMessage-ID: <1@x>\n"
    "Subject: =?utf-8?q?F=C3=A4rja?=\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=zz\n\n"
    "--zz\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n"
    "Hej =C3=A5.\n"
    "--zz\nContent-Type: text/html\n\n<p>Hej</p>\n"
    "--zz\nContent-Type: text/plain\nContent-Disposition: attachment; filename=a.txt\n"
    "Content-Transfer-Encoding: base64\n\nVGhlIGZlcnJ5Lg==\n--zz--\n"
)
REPOMIX = (
    f'<file_summary>\n</file_summary>\n<files>\n<file path="a.py">\n{PROGRAM}</file>\n'
    '<file path="b.txt">\nx\n</file>\n</files>\n'
)
PROMPT = (
    '<documents>\n<document index="1">\n<source>a.py</source>\n<document_content>\n'
    f"{PROGRAM}</document_content>\n</document>\n</documents>\n"
)
DATA = {"ferry": {"fare": 12, "lamps": [1, 2.5, None]}, "places": ["Quay"] * 3}
CELLS = [
    {"cell_type": "heading", "level": 2, "source": ["Fares"]},
    {
        "cell_type": "code",
        "input": ["1"],
        "outputs": [{"text": ["12"], "png": "x"}, {"output_type": "pyerr"}],
    },
]
FILM = "1\n00:00:01,000 --> 00:00:02,000\nThe ferry.\n\n2\n00:00:03,000 --> 00:00:04,000\nIt left.\n"
PACKED = {
    "repomix.xml": REPOMIX,
    "repomix.md": f"# Files\n\n## File: a.py\n```py\n{PROGRAM}```\n\n## File: b.txt\n````\n```\n````\n",
    "plain.txt": f"{'=' * 64}\nFiles\n{'=' * 64}\n\n{'=' * 16}\nFile: a.py\n{'=' * 16}\n{PROGRAM}\n",
    "ingest.txt": f"Directory structure:\n└── a.py\n\n{'=' * 48}\nFILE: a.py\n{'=' * 48}\n{PROGRAM}\n",
    "prompt.txt": f"src/a.py\n---\n{PROGRAM}\n\n---\nb.txt\n---\nwords\n\n---\n",
    "prompt.xml": PROMPT,
    "series.patch": f"From {'a' * 40} Mon Sep 17 00:00:00 2001\nSubject: x\n\n{DIFF}",
}
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{% if m.content is string %}{{ m.content | trim }}{% endif %}\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
VALUES: list[Any] = [
    *(None, True, "", "7", "1e400", [], [1], {}, {"a": {}}, -1, 0, 3, 0.5, 10**9, 10**18, 10**29, 10**400),
    *(float("inf"), float("nan"), "a" * 10**5, "\x1b]52;c;x\x07", "\ud800", [[]] * 10, [{"a": []}] * 3),
]
WORDS = [
    *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\x1b]52;c;x\x07", b"\r"),
    *(b"\r\n", b"9" * 30, b"-1", b"1e400", b"NaN", b"<![CDATA[", b"]]>", b"<!--", b"&#xD800;", b'"', b"\x80"),
    *(
        b"&#99999999999;",
        b"\\ud800",
        b"{" * 3000,
        b"[" * 3000,
        b"<b>" * 3000,
        b"../../etc/passwd",
        b"'",
        b"\\",
    ),
    *(b"=?x?b?", b"charset=utf-7", b"charset=idna", b"encoding='rot13'", b"\n\n", b" " * 5000, b"a" * 20000),
    *(b"0000-99-99T99:99:99", b"1" * 5000, b"<!ENTITY a 'b'>", b"<!DOCTYPE a [", b"\xff\xff\xff\xff", b"%s"),
]


def zipped(files: dict[str, bytes]) -> bytes:
    """Return a zip archive of files."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo(name)  # of 1980: the same again tomorrow
            archive.writestr(member, content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    """Return a tar archive of files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


SQUEEZE: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    ".gz": (lambda raw: gzip.compress(raw, mtime=0), gzip.decompress),
    ".bz2": (bz2.compress, bz2.decompress),
    ".xz": (lzma.compress, lzma.decompress),
    ".zst": (zstandard.compress, zstandard.decompress),
}


def texts() -> dict[str, tuple[str, bytes]]:
    """Return for each parser of texts a file name and what it holds whole."""
    some = {"a/b.txt": PROSE.encode(), "c.csv": TABLE.encode()}
    plain = {
        "table.csv": TABLE,
        "table.tsv": TABLE.replace(",", "\t"),
        "data.json": json.dumps(DATA, indent=1),
        "data.jsonl": '{"place": "Quay", "fare": 12}\n' * 20,
        "service.log": LOG,
        "change.diff": DIFF,
        "chat.txt": TALK,
        "one.eml": MAIL,
        "old.ipynb": json.dumps({"nbformat": 3, "worksheets": [{"cells": CELLS}]}),
        "box.mbox": f"From a Thu Nov 26 10:00:00 2026\n{MAIL}\nFrom b Thu Nov 26 11:00:00 2026\n{MAIL}",
        "film.srt": FILM,
        "film.vtt": "WEBVTT\n\n00:01.000 --> 00:02.000\nThe ferry.\n",
        "fare.py": PROGRAM,
        **PACKED,
    }
    found = {name: (name, text.encode()) for name, text in plain.items()}
    for name in ("guide.html", "guide.md", "guide.docx", "writer.docx", "guide.odt", "writer.odt"):
        found[name] = name, (FILES / name).read_bytes()
    for name in ("guide.epub", "guide2.epub", "calibre.epub", "table.xlsx", "guide.pdf", "restricted.pdf"):
        found[name] = name, (FILES / name).read_bytes()
    for name in ("writer.html", "calibre.docx", "counts.ipynb"):
        found[name] = name, (FILES / name).read_bytes()
    found |= {encoding: ("a.txt", text.encode(encoding)) for encoding, text in ENCODED.items()}
    found |= {"zip": ("a.zip", zipped(some)), "tar": ("a.tar", tarred(some))}
    return found | {end: (f"a.txt{end}", squeeze(PROSE.encode())) for end, (squeeze, _) in SQUEEZE.items()}


def damaged(content: bytes, name: str, random: Random) -> bytes:
    """Return a content with damage, often inside what packs it."""
    inside = random.random() < 0.7
    squeeze, stretch = SQUEEZE.get(Path(name).suffix, (None, None))
    if inside and squeeze and stretch:
        return squeeze(damaged(stretch(content), Path(name).stem, random))
    if inside and content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            files = {one: archive.read(one) for one in archive.namelist()}
        one = random.choice(sorted(files))
        if random.random() < 0.1:
            files[random.choice(["../x", "/x", "a\\..\\..\\x", "x\n\x1b[31m", "a" * 300])] = files.pop(one)
        else:
            files[one] = damaged(files[one], one, random)
        return zipped(files)
    if inside and name.endswith((".json", ".ipynb")):
        try:
            return _damaged_json(json.loads(content), random)
        except ValueError:
            pass
    return _bytes_damaged(content, random)


def _damaged_json(value: Any, random: Random) -> bytes:
    for _ in range(random.randint(1, 3)):
        places = _places(value)
        if places:
            where, key = random.choice(places)
            where[key] = deepcopy(random.choice(VALUES))
    return json.dumps(value).encode("utf-8", "surrogatepass")


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return each place in a JSON value, inner ones too; of long lists the beginning."""
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())[:300]
    elif isinstance(value, list):
        items = list(enumerate(value[:5]))
    return [(value, key) for key, _ in items] + [place for _, inner in items for place in _places(inner)]


def _bytes_damaged(content: bytes, random: Random) -> bytes:
    data = bytearray(content)
    for _ in range(random.choice([1, 1, 2, 3, 6, 20])):
        at = random.randint(0, len(data))
        end = min(len(data), at + random.choice([1, 2, 8, 64, 1024]))
        match random.randrange(8):
            case 0:
                data[at:end] = random.randbytes(end - at)
            case 1:
                del data[at:end]
            case 2:
                data[at:at] = random.choice(WORDS)
            case 3:
                data[at:end] = random.choice(WORDS)
            case 4:
                data[at:at] = data[at:end] * random.choice([1, 2, 50])
            case 5 if data:
                data[at % len(data)] ^= 1 << random.randrange(8)
            case 6:
                other = random.randint(0, len(data))
                data[at:end], data[other:other] = data[other : other + end - at], data[at:end]
            case _ if random.random() < 0.3:
                del data[at:]
    return bytes(data)
