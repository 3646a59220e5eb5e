"""Where characters lie in a file: bytes and lines, also where encoding the text gives other bytes."""

import codecs
from bisect import bisect_left

from longctx.text.source import Document

_ONE_FORM = ("utf-8", "ascii", "iso8859-1", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
_STEP = 1024  # bytes decoded at once where the slow way is needed
_WIDEST = 8  # bytes per character, at most, in any encoding without shift states


def byte_after(document: Document, byte: int, text: str) -> int:
    """Return the offset of the byte after `text`, which the document's bytes from `byte` on decode to.

    Outside Unicode a character may have several forms, and U+FFFD may stand for any undecodable bytes:
    then the bytes are read again. Encodings with shift states (ISO 2022, UTF-7) are not supported.
    """
    codec = codecs.lookup(document.encoding).name
    if codec in _ONE_FORM and "\ufffd" not in text:
        return byte + len(text.encode(codec))
    raw = document.read(byte, min(document.end, byte + _WIDEST * len(text)))
    return byte + _measure(raw, len(text), codec)


def _measure(raw: bytes, characters: int, codec: str) -> int:
    """Return how many bytes give that many characters when each undecodable stretch gives one U+FFFD."""
    at = 0
    while characters and at < len(raw):
        step = raw[at : at + _STEP]
        good, bad = _decodable(step, codec)
        if good and good + bad == len(step) and at + len(step) < len(raw):
            bad = 0  # perhaps only cut short by the step
        count = len(step[:good].decode(codec))
        if count >= characters:
            return at + _prefix(step[:good], characters, codec)
        characters -= count + (bad > 0)
        at += good + bad
    return at


def _decodable(raw: bytes, codec: str) -> tuple[int, int]:
    """Return how many bytes decode, and how many after them are undecodable together."""
    try:
        raw.decode(codec)
    except UnicodeDecodeError as error:
        return error.start, error.end - error.start
    return len(raw), 0


def _prefix(raw: bytes, characters: int, codec: str) -> int:
    def decoded(size: int) -> int:
        return len(codecs.getincrementaldecoder(codec)().decode(raw[:size]))

    return bisect_left(range(len(raw) + 1), characters, key=decoded)


def line_ends(text: str, stop: int | None = None) -> int:
    r"""Count the line ends (\n, \r\n, \r) in `text`, or those complete before the character at `stop`."""
    before = text[:stop]
    if "\r" not in text:
        return before.count("\n")
    count = before.count("\n") + before.count("\r") - before.count("\r\n")
    return count - (before.endswith("\r") and text[len(before) : len(before) + 1] == "\n")
