"""Recognise what a file is: by its content, and only where that leaves it open by its name."""

import re
from pathlib import Path

from longctx.regular import open_regular

HEAD = 1 << 15

# Kinds that hold files, and kinds that hold a text; all others are read as they are.
ARCHIVES = ("zip", "tar")
PACKED = ("gz", "bz2", "xz", "zst", *ARCHIVES)
CONVERTED = ("epub", "docx", "odt", "html", "ipynb", "mbox", "eml", "pdf", "xlsx")

_MAGIC = (
    ("gz", rb"\x1f\x8b\x08"),
    ("bz2", rb"BZh[1-9](?:1AY&SY|\x17\x72\x45\x38\x50\x90)"),
    ("xz", rb"\xfd7zXZ\x00"),
    ("zst", rb"\x28\xb5\x2f\xfd"),
    ("zip", rb"PK(?:\x03\x04|\x05\x06)"),
    ("tar", rb"(?s:.{257})ustar"),
    ("pdf", rb"(?s:.{0,1019})%PDF-\d"),
)
_HEADERS = rb"(?:[!-9;-~]+:[^\n]*\n(?:[ \t][^\n]*\n)*)"
_LOOKS = (
    ("vtt", re.compile(rb"WEBVTT(?:[ \t\r\n]|\Z)")),
    ("srt", re.compile(rb"\s*\d+\r?\n\d+:\d\d:\d\d[,.]\d{3} --> ")),
    (
        "html",
        re.compile(rb"(?i)\s*(?:<\?xml[^>]*>\s*|<!--.{0,2000}?-->\s*)*<(?:!doctype\s+html|html)\b", re.S),
    ),
    ("xml", re.compile(rb"\s*<\?xml\s")),
    # Not git's own patches, "From " and a hash.
    ("mbox", re.compile(rb"From (?![0-9a-f]{40} )[^\n]*\d\d:\d\d[^\n]*\n" + _HEADERS)),
)
_MAIL = re.compile(rb"(?:" + _HEADERS + rb"){3,}\r?\n")
_NAMED_MAIL = re.compile(rb"(?:From [^\n]*\n)?" + _HEADERS + rb"+\r?(?:\n|\Z)")
_MAIL_FIELDS = (rb"from", rb"date", rb"message-id|mime-version|received|return-path|delivered-to")
# A page with these is the source of a program that makes pages.
_TEMPLATE = re.compile(rb"\{%|\{\{|<\?php|<%|\$\{")
_NOTEBOOK = re.compile(rb'"(?:cells|nbformat|nbformat_minor)"\s*:')
_OLD_NOTEBOOK = re.compile(rb'"nbformat"\s*:\s*[1-3]\b(?s:.*)"worksheets"\s*:')
_JSON = re.compile(
    rb'\s*(?:\{\s*(?:"|\}|\Z)|\[\s*(?:[\["{\]]|-?\d[\d.eE+-]*\s*(?:,|\]?\s*\Z)|true|false|null|\Z))'
)
_MEMBERS = (
    ("docx", "word/document.xml"),
    ("xlsx", "xl/workbook.xml"),
    ("pptx", "ppt/presentation.xml"),
)
_SECTION = re.compile(rb"\[{1,2}[^\[\]]+\]{1,2}\s*(?:[#;].*)?")
_SET = re.compile(rb"(?:export\s+)?[\"']?(?P<key>[A-Za-z_][\w./-]*(?: [\w.-]+){0,2})[\"']?\s*=(?![=~>]).*")
FEWEST_ROWS = 3  # of a table without a name, its head among them
_SENTENCE = re.compile(rb"[.!?:]\s*$|, |\w+(?: \w+){4}")
_SUFFIXES = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def recognise(path: Path, name: str) -> str:
    """Return what the file at `path` is, a name for its kind; "text" if nothing is known of it."""
    with open_regular(path) as file:
        head = file.read(HEAD)
        size = file.seek(0, 2)
        file.seek(max(size - 1024, 0))
        tail = file.read()
    for kind, pattern in _MAGIC:
        if re.match(pattern, head):
            return _in_zip(path) if kind == "zip" else kind
    text = head.removeprefix(b"\xef\xbb\xbf")
    for kind, look in _LOOKS:
        if look.match(text):
            return "text" if kind == "html" and _TEMPLATE.search(head) else kind
    suffix = Path(name).suffix.lower()
    return "eml" if _is_mail(text, suffix) else _data(text, tail, suffix)


def _is_mail(head: bytes, suffix: str) -> bool:
    """Tell a message by its headers; drafts, and mail of odd programs, have few of them, but their name."""
    if suffix == ".eml":
        return bool(_NAMED_MAIL.match(head) and re.search(rb"(?im)^(?:from|subject):", head))
    fields = all(re.search(rb"(?im)^(?:" + field + rb"):", head) for field in _MAIL_FIELDS)
    return fields and bool(_MAIL.match(head))


def _data(head: bytes, tail: bytes, suffix: str) -> str:
    """Tell notebooks, JSON and tables from other text."""
    if _JSON.match(head):
        notebook = _OLD_NOTEBOOK.search(head) or all(_NOTEBOOK.search(part) for part in (head, tail))
        if notebook and head.lstrip()[:1] == b"{":
            return "ipynb"
        lines = [line for line in head.splitlines()[:3] if line.strip()]
        objects = len(lines) > 1 and all(re.fullmatch(rb"\s*[\[{].*[\]}]\s*", line) for line in lines[:2])
        return "jsonl" if objects or suffix in (".jsonl", ".ndjson") else "json"
    return _SUFFIXES.get(suffix) or ("settings" if _are_settings(head) else _table(head))


def _are_settings(head: bytes) -> bool:
    """Tell `key = value`, in sections or not, by nine lines of ten. A log repeats its keys."""
    lines = [line.strip() for line in head.splitlines()]
    lines = [line for line in lines if line and not line.startswith((b"#", b";"))]
    sections, keys = 0, set()
    for line in lines:
        if _SECTION.fullmatch(line):
            sections += 1
        elif found := _SET.fullmatch(line):
            keys.add((sections, found["key"]))
    return len(keys) >= 2 and sections + len(keys) >= 0.9 * len(lines)


def _table(head: bytes) -> str:
    """Recognise a table without a name by its first ten lines, which have all as many commas or tabs.

    Fewer lines must look like no sentences.
    """
    lines = head.splitlines()[:10]
    if len(lines) < 10 and (len(lines) < FEWEST_ROWS or any(map(_SENTENCE.search, lines))):
        return "text"
    for kind, mark in (("tsv", b"\t"), ("csv", b","), ("csv", b";")):
        counts = {line.count(mark) for line in lines}
        if len(counts) == 1 and counts.pop() > 1:
            return kind
    return "text"


def _in_zip(path: Path) -> str:
    """Tell documents that are zip archives inside from archives of files."""
    from longctx.formats.limits import Unreadable, guarded
    from longctx.formats.zips import blocks, opened

    try:
        with opened(path) as archive:
            names = set(archive.namelist())
            mime = next(guarded(blocks(archive, archive.getinfo("mimetype")))) if "mimetype" in names else b""
    except (Unreadable, StopIteration):
        return "zip"  # whoever unpacks it says what is wrong
    if mime.startswith(b"application/epub+zip") or "META-INF/container.xml" in names:
        return "epub"
    if mime.startswith(b"application/vnd.oasis.opendocument."):
        return {b"text": "odt", b"spreadsheet": "ods", b"presentation": "odp"}.get(
            mime[:100].strip().rpartition(b".")[2].removesuffix(b"-template"), "zip"
        )
    return next((kind for kind, member in _MEMBERS if member in names), "zip")


def counted(what: str, count: int) -> str:
    """Write how many there are of a thing: "a picture, broken" is "2 pictures, broken"."""
    article, _, noun = what.partition(" ")
    if article not in ("a", "an"):
        return f"{count} {what}"
    noun, comma, more = noun.partition(",")
    return f"{count} {noun}{'s' * (count != 1)}{comma}{more}"
