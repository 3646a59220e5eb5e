"""Find a file's encoding, or why it is not text. Bounded memory; knows no names and no documents."""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from longctx.regular import open_regular
from longctx.text import cyrillic

BLOCK = 1 << 16
SAMPLE = 1 << 15
PROBE = 1 << 23  # bytes that a legacy encoding must decode before it is believed
MOST_CONTROLS = 0.05  # random bytes have 0.10; logs with stray NULs and bells stay far below

# The longer mark first: UTF-32-LE begins with the mark of UTF-16-LE.
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
MULTI_BYTE = ("cp932", "euc_jp", "gb18030", "big5", "cp949")
WESTERN = ("cp1252", "latin_1")
SINGLE_BYTE = (
    *WESTERN,
    *("cp1250", "iso8859_2", *cyrillic.NAMES, "cp1253", "cp1254", "cp1255", "cp1256", "cp1257"),
    *("mac_roman", "cp850"),
)

# Beginnings of files that may look printable, or that deserve better advice.
MAGIC = (
    (re.compile(rb"PK\x03\x04"), "an office document", "save it as PDF, DOCX, ODT or XLSX"),
    (
        re.compile(rb"7z\xbc\xaf\x27\x1c|Rar!\x1a\x07"),
        "an archive of another kind",
        "unpack it first, with 7z",
    ),
    (
        re.compile(rb"\x1f\x9d|\x04\x22\x4d\x18|\x89LZO"),
        "a file compressed in another way",
        "unpack it first",
    ),
    (
        re.compile(rb"(?s:\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1.*)_\0_\0s\0u\0b\0s\0t\0g\0"),
        "an Outlook message",
        "save it as .eml first, or print it to a PDF",
    ),
    (re.compile(rb"!BDN"), "an Outlook data file", "turn it into mailboxes first: readpst FILE"),
    (
        re.compile(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
        "an old office document",
        "save it as DOCX or XLSX first",
    ),
    (re.compile(rb"\{\\rtf"), "an RTF document", "convert it first: pandoc FILE -o FILE.txt"),
    (re.compile(rb"(?s:.{60})BOOKMOBI|AT&TFORM"), "a book", "convert it to EPUB or PDF first, with Calibre"),
    (re.compile(rb"PAR1"), "a Parquet table", "convert it to CSV first, with duckdb"),
    (re.compile(rb"SQLite format 3\x00"), "a database", "export it first: sqlite3 FILE .dump"),
    (
        re.compile(rb"\x89PNG\r\n|\xff\xd8\xff|GIF8[79]a|(?s:RIFF.{4}WEBP)|[IM]{2}(?:\*\x00|\x00\*)"),
        "a picture",
        "recognise its words first, for example with tesseract",
    ),
    (
        re.compile(rb"(?s:RIFF.{4}(?:WAVE|AVI )|OggS\x00|ID3[\x02-\x04]\x00|fLaC|.{4}ftyp)"),
        "a recording",
        "write down its words first, for example with whisper",
    ),
    (re.compile(rb"\x7fELF|\x00asm|\xca\xfe\xba\xbe"), "binary", "name a text file"),
)
BINARY = ("binary", "name a text file")

_CONTROL = re.compile("[\x00-\x07\x0e-\x1a\x1c-\x1f\x7f]")
_UNDECODABLE = re.compile("[\udc80-\udcff]")
_BEYOND_ASCII = re.compile("[^\x00-\x7f]")
# Full-width kana and punctuation, and the commonest characters of Korean and Chinese.
_EAST_ASIAN_USUAL = re.compile(
    "[、。，「」\u3041-\u30fe이다는의에을를가고지도하的一是不了在有人之而也其以為]"
)
_SIGN_IN_WORD = re.compile(r"[^\W\d_][¡-¦¨©¬¯±-³µ¶¸¹¼-¿]")
_HIGH = re.compile(rb"[\x80-\xff]+")


@dataclass(frozen=True)
class Readable:
    """Text: its start (after a byte order mark), its codec, and a note for the user."""

    start: int
    encoding: str
    note: str = ""


@dataclass(frozen=True)
class Binary:
    """Not text: what it seems to be, and what to do instead."""

    kind: str
    advice: str


def inspect(path: Path) -> Readable | Binary:
    """Decide how to read the file: by its byte order mark, as strict UTF-8, or by samples."""
    with open_regular(path) as file:
        head = file.read(SAMPLE)
        for pattern, kind, advice in MAGIC:
            if pattern.match(head):
                return Binary(kind, advice)
        start, encoding = _unicode_by_shape(head)
        if encoding not in ("", "utf-8"):
            if not _is_prose(head[start:], encoding):
                return Binary(*BINARY)
        elif any(_mostly_controls(sample.decode("latin_1")) for sample in _samples(file, head)):
            return Binary(*BINARY)
        if encoding in ("", "utf-8"):
            failure = _first_failure(file, start, "utf-8")
            if failure is None:
                return Readable(start, "utf-8")
            bad, good = _count_undecodable(file, start)
            if start or good >= 2 * bad or _only_stray_marks(file, failure, bad, good):
                return Readable(start, "utf-8", f"{bad} bytes are not UTF-8 and read as U+FFFD")
            encoding = _guess(file, failure)
        name = codecs.lookup(encoding).name
        return Readable(start, name, f"read as {name}")


def _unicode_by_shape(head: bytes) -> tuple[int, str]:
    """(bytes to skip, codec) from a byte order mark or the zero bytes of UTF-16; codec "" if neither."""
    for mark, encoding in BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return len(mark), encoding
    even, odd = head[0::2].count(0), head[1::2].count(0)
    encoding = "utf-16-le" if odd > even else "utf-16-be"
    # The spaces and line ends alone are more than a fiftieth of a text in any alphabet.
    few, many = sorted((even, odd))
    if many > len(head) / 100 and 50 * few <= many and _is_prose(head, encoding):
        return 0, encoding
    return 0, ""


def _is_prose(head: bytes, encoding: str) -> bool:
    text = head.decode(encoding, "ignore")
    strange = sum(not (character.isprintable() or character.isspace()) for character in text)
    return strange <= MOST_CONTROLS * len(text) and 10 * len(head) <= 11 * len(text.encode(encoding))


def _samples(file: BinaryIO, head: bytes) -> list[bytes]:
    size = file.seek(0, 2)
    samples = [head]
    for position in (size // 2, size - SAMPLE):
        if position >= SAMPLE:
            file.seek(position)
            samples.append(file.read(SAMPLE))
    return samples


def _mostly_controls(text: str) -> bool:
    """Whether too many characters are neither printable nor usual in terminal output (tab, ESC ...)."""
    return len(_CONTROL.findall(text)) > MOST_CONTROLS * len(text)


def _blocks(file: BinaryIO, start: int, limit: int | None = None) -> Iterator[bytes]:
    file.seek(start)
    left = limit
    while block := file.read(BLOCK if left is None else min(BLOCK, left)):
        yield block
        if left is not None:
            left -= len(block)


def _first_failure(file: BinaryIO, start: int, encoding: str, limit: int | None = None) -> int | None:
    """Where strict decoding fails first, or None; an end cut by `limit` is no failure."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    position = start
    try:
        for block in _blocks(file, start, limit):
            decoder.decode(block)
            position += len(block)
        if limit is None:
            decoder.decode(b"", True)
    except UnicodeDecodeError as error:
        return position + error.start
    return None


def _count_undecodable(file: BinaryIO, start: int) -> tuple[int, int]:
    """(bytes that are not UTF-8, characters beyond ASCII that are)."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    bad = beyond = 0
    for block in chain(_blocks(file, start), [b""]):
        text = decoder.decode(block, final=not block)
        bad += len(_UNDECODABLE.findall(text))
        beyond += len(_BEYOND_ASCII.findall(text))
    return bad, beyond - bad


def _only_stray_marks(file: BinaryIO, failure: int, bad: int, good: int) -> bool:
    """Whether only 0xFE and 0xFF break pure ASCII; no encoding uses these two alone."""
    if good:
        return False
    stray = sum(block.count(b"\xfe") + block.count(b"\xff") for block in _blocks(file, max(failure - 4, 0)))
    return stray == bad


def _guess(file: BinaryIO, failure: int) -> str:
    """The likeliest legacy encoding, judged by lines from the beginning, middle, end and first failure."""
    from charset_normalizer import from_bytes

    file.seek(0)
    samples = _samples(file, file.read(SAMPLE))
    file.seek(max(failure - SAMPLE // 2, 0))
    sample = b"\n".join(_whole_lines(part) for part in (file.read(SAMPLE), *samples))
    candidates = SINGLE_BYTE if _high_bytes_stand_alone(sample) else MULTI_BYTE + SINGLE_BYTE
    fitting = [name for name in candidates if _first_failure(file, 0, name, PROBE) is None]
    # Of two lines none is whole in a sample.
    if name := cyrillic.likely(samples[0] + b"\n" + sample, set(fitting) & set(cyrillic.NAMES)):
        return name
    likeness = {name: _east_asian_likeness(sample, name) for name in fitting if name in MULTI_BYTE}
    if max(likeness.values(), default=0) > 0.05:
        return max(likeness, key=likeness.__getitem__)
    for length in (len(sample), 4096, 1024):
        matches = list(from_bytes(_whole_lines(sample[:length]), cp_isolation=fitting))
        if not matches:
            continue  # dense old prose can look like noise; a shorter sample seldom does
        best = matches[0]
        close = [match for match in matches if match.chaos <= best.chaos + 0.01]
        equal: set[str] = {name for match in close for name in match.could_be_from_charset}
        # If several code pages fit, take the commonest.
        western = next((name for name in WESTERN if name in equal), "")
        if western and not _has_signs_in_words(sample.decode(western, "replace")):
            return western
        return str(best.encoding)
    return fitting[0]


def _east_asian_likeness(sample: bytes, encoding: str) -> float:
    """The share of characters that abound in Japanese, Chinese or Korean: there a tenth to two thirds."""
    text = sample.decode(encoding, "replace")
    return len(_EAST_ASIAN_USUAL.findall(text)) / (len(_BEYOND_ASCII.findall(text)) or 1)


def _has_signs_in_words(text: str) -> bool:
    """Whether letters are followed by currency signs and the like, as Polish is when read as Western."""
    return 10 * len(_SIGN_IN_WORD.findall(text)) > len(_BEYOND_ASCII.findall(text))


def _whole_lines(sample: bytes) -> bytes:
    """`sample` without the lines that its ends cut, so that no multi-byte character is halved."""
    first, last = sample.find(b"\n"), sample.rfind(b"\n")
    return sample[first + 1 : last] if last > first >= 0 else sample


def _high_bytes_stand_alone(sample: bytes) -> bool:
    """Whether most bytes beyond ASCII come singly, as accents do and the characters of East Asia do not."""
    runs = [len(run) for run in _HIGH.findall(sample)]
    return 2 * runs.count(1) > sum(runs)
