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
from longctx.formats.limits import Damaged, Unreadable, reason
from longctx.regular import open_regular

LARGEST = 64 << 20  # bytes of a message with its attachments
MOST_PARTS = 1000
SHOWN = ("From", "To", "Cc", "Date", "Subject")
_FROM = re.compile(rb"From [^\n]*\d\d:\d\d[^\n]*\n?\Z")
_FIELD = re.compile(rb"[!-9;-~]+:")  # the beginning of a header, as it follows on that line
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
        try:
            _write(raw, f"#message {number}/", draft)
        except Unreadable as error:  # of this message; the others are read
            draft.fresh_line()
            draft.write(f"[{error.reason}]\n")
            draft.left_out["a message, whole or in part"] += 1


def _messages(path: Path) -> Iterator[tuple[bytes | None, int]]:
    """Yield the messages of a mailbox without the line before each, and where they end.

    None stands for one that is too large.
    """
    lines: list[bytes] = []
    size, blank = 0, True
    with open_regular(path) as file:
        file.readline(LARGEST)
        following = file.readline(LARGEST)
        while line := following:
            following = file.readline(LARGEST)
            if blank and _FROM.match(line) and _FIELD.match(following):
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


def _write(raw: bytes | None, inside: str, draft: Draft) -> None:
    """Write a message; attachments are named after `inside`.

    Raises:
        Unreadable: when it, or the rest of it, cannot be read.
    """
    if raw is None:
        raise Unreadable(f"a message larger than {LARGEST >> 20} MiB")
    try:
        _write_parsed(email.message_from_bytes(raw, policy=compat32), inside, draft)
    except RecursionError:
        raise Unreadable("a message nested too deep") from None
    except (Unreadable, OSError):
        raise
    except Exception as error:  # parsers raise whatever they like over a damaged message
        raise Damaged(f"damaged or cut short ({reason(error)})") from error


def _write_parsed(message: Message, inside: str, draft: Draft) -> None:
    _headers(message, draft)
    for number, part in enumerate(_leaves(message)):
        if number == MOST_PARTS:
            raise Unreadable(f"only the first {MOST_PARTS} parts of a message were read")
        kind = part.get_content_type()
        if kind == "message/rfc822":
            draft.write("\n")
            for forwarded in _inner(part):
                _headers(forwarded, draft)
        elif kind.startswith("image/"):
            draft.left_out["a picture"] += 1
        elif _is_attached(part):
            name = Path(_decoded(part.get_filename() or "")).name
            name = _NAME.sub("_", name).strip() or f"part {number + 1}"
            draft.attach(inside + name, [_payload(part)])
        else:
            draft.write("\n")
            _body(part, draft)
            draft.fresh_line()


def _leaves(message: Message) -> Iterator[Message]:
    """Yield the parts that hold something; of alternatives, the plain text if there is one.

    Some programs put what is attached into the last of the alternatives.
    """
    waiting = [(message, True)]
    while waiting:
        part, body = waiting.pop()
        inner = [(one, body) for one in _inner(part)]
        kind = part.get_content_type()
        if kind == "message/rfc822" or (not inner and (body or _is_attached(part))):
            yield part
        if kind == "multipart/alternative" and inner:
            plain = [one for one in _inner(part) if _holds_plain_text(one)]
            chosen = plain[0] if plain else inner[-1][0]
            inner = [(one, body and one is chosen) for one, _ in inner if one is chosen or _inner(one)]
        waiting += reversed(inner)


def _is_attached(part: Message) -> bool:
    named = part.get_filename() or part.get_content_disposition() == "attachment"
    return bool(named) or not part.get_content_type().startswith("text/")


def _holds_plain_text(part: Message) -> bool:
    return part.get_content_type() == "text/plain" and bool(_payload(part).strip())


def _inner(part: Message) -> list[Message]:
    payload = part.get_payload()
    return [one for one in payload if isinstance(one, Message)] if isinstance(payload, list) else []


def _headers(message: Message, draft: Draft) -> None:
    raw = {name.lower(): str(value) for name, value in reversed(list(message.raw_items()))}
    for name in SHOWN:
        value = " ".join(_decoded(raw.get(name.lower(), "")).split())
        if value:
            draft.write(f"{name}: {value}\n")


def _decoded(header: str) -> str:
    """Decode a header that may hold encoded words, or bytes as they came; what cannot be decoded stays."""
    parts = []
    header = _text(header.encode("utf-8", "surrogateescape"), "utf-8")
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
