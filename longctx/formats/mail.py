"""Mail: single messages and mailboxes. Headers and bodies are decoded; attachments become files."""

import email
import email.errors
import re
from collections.abc import Iterator
from email.header import decode_header
from email.message import Message
from email.policy import compat32
from pathlib import Path

from longctx.formats import html
from longctx.formats.draft import Draft
from longctx.formats.limits import Unreadable
from longctx.regular import open_regular

LARGEST = 64 << 20  # bytes of a message with its attachments
MOST_PARTS = 1000
SHOWN = ("From", "To", "Cc", "Date", "Subject")
_FROM = re.compile(rb"From [^\n]*\d\d:\d\d[^\n]*\n?\Z")
_NAME = re.compile(r"[^\w.,()@+ -]+")


def convert(path: Path, draft: Draft, *, mailbox: bool) -> None:
    """Write the messages of a file; the places of a mailbox are `#message 12:3`."""
    if not mailbox:
        if path.stat().st_size > LARGEST:
            raise Unreadable(
                f"a message larger than {LARGEST >> 20} MiB", "save its attachments, and name them"
            )
        with open_regular(path) as file:
            _write(file.read(), "/", draft)
        return
    for number, (raw, at) in enumerate(_messages(path), 1):
        draft.at(at, path.stat().st_size, "bytes")
        draft.mark(f"message {number}")
        if raw is None:
            draft.left_out["a very large message"] += 1
            draft.write(f"[a message larger than {LARGEST >> 20} MiB]\n")
        else:
            _write(raw, f"#message {number}/", draft)


def _messages(path: Path) -> Iterator[tuple[bytes | None, int]]:
    """Yield the messages of a mailbox without the line before each, and where they end.

    None stands for one that is too large.
    """
    lines: list[bytes] = []
    size, blank = 0, True
    with open_regular(path) as file:
        next(iter(lambda: file.readline(LARGEST), b""), b"")
        while line := file.readline(LARGEST):
            if blank and _FROM.match(line):
                yield b"".join(lines) if size <= LARGEST else None, file.tell()
                lines.clear()
                size = 0
                continue
            size += len(line)
            if size <= LARGEST:
                lines.append(line[1:] if re.match(rb">+From ", line) else line)
            else:
                lines.clear()
            blank = not line.strip()
        yield b"".join(lines) if size <= LARGEST else None, file.tell()


def _write(raw: bytes, inside: str, draft: Draft) -> None:
    """Write a message; attachments are named after `inside`."""
    try:
        message = email.message_from_bytes(raw, policy=compat32)
    except RecursionError:
        raise Unreadable("a message nested too deep") from None
    _headers(message, draft)
    for number, part in enumerate(_leaves(message)):
        if number == MOST_PARTS:
            raise Unreadable(f"only the first {MOST_PARTS} parts of a message were read")
        name = _decoded(part.get_filename() or "")
        kind = part.get_content_type()
        if kind == "message/rfc822":
            draft.write("\n")
            for forwarded in _inner(part):
                _headers(forwarded, draft)
        elif kind.startswith("image/"):
            draft.left_out["a picture"] += 1
        elif name or part.get_content_disposition() == "attachment" or not kind.startswith("text/"):
            name = _NAME.sub("_", Path(name).name).strip() or f"part {number + 1}"
            draft.attach(inside + name, [_payload(part)])
        else:
            draft.write("\n")
            _body(part, draft)
            draft.fresh_line()


def _leaves(message: Message) -> Iterator[Message]:
    """Yield the parts that hold something; of alternatives, the plain text if there is one."""
    waiting = [message]
    while waiting:
        part = waiting.pop()
        inner = _inner(part)
        if part.get_content_type() == "message/rfc822" or not inner:
            yield part
        if part.get_content_type() == "multipart/alternative":
            plain = [one for one in inner if one.get_content_type() == "text/plain" and _payload(one).strip()]
            inner = plain[:1] or inner[-1:]
        waiting += reversed(inner)


def _inner(part: Message) -> list[Message]:
    payload = part.get_payload()
    return [one for one in payload if isinstance(one, Message)] if isinstance(payload, list) else []


def _headers(message: Message, draft: Draft) -> None:
    for name in SHOWN:
        value = " ".join(_decoded(str(message.get(name) or "")).split())
        if value:
            draft.write(f"{name}: {value}\n")


def _decoded(header: str) -> str:
    """Decode a header that may hold encoded words; what cannot be decoded stays."""
    parts = []
    try:
        for text, charset in decode_header(header):
            parts.append(text if isinstance(text, str) else _text(text, charset or "utf-8"))
    except (ValueError, email.errors.MessageError):
        return header
    return "".join(parts)


def _body(part: Message, draft: Draft) -> None:
    text = _text(_payload(part), part.get_content_charset() or "utf-8")
    if part.get_content_type() == "text/html":
        steps = (text[start : start + html.STEP] for start in range(0, len(text), html.STEP))
        html.extract(steps, html.Extractor(draft))
    else:
        draft.write(text)


def _payload(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _text(raw: bytes, charset: str) -> str:
    try:
        return raw.decode(charset, "strict")
    except (LookupError, ValueError):
        pass
    try:
        return raw.decode("utf-8")
    except ValueError:
        return raw.decode("cp1252", "replace")
