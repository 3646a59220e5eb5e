"""How much of a kept reading still stands in the documents: windows are proven by digest, tokens by encoding.

What is proven is a beginning of the text. Files whose size, time and inode are as they were need no proof.
"""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from longctx.errors import InputError
from longctx.store.manifest import Source
from longctx.text.source import Document
from longctx.text.span import Span
from longctx.tokens.stream import Anchor, TokenStream, digest

Header = Callable[[Document], str] | None
SETTLED = 2.0  # seconds after which a file that changes again gets another time
COMPARED = 256  # tokens at once


@dataclass(frozen=True)
class Proven:
    """The beginning of a text that was read before.

    Attributes:
        anchors: of its windows, whole ones only.
        tokens: of the stream; the last may be in a window that has no anchor here.
    """

    anchors: list[Anchor]
    tokens: int


def document_of(read: Document | Span) -> Document:
    """Return the document that is read, or read from."""
    return read.document if isinstance(read, Span) else read


def describe(read: Document | Span, header: Header) -> Source:
    """Return what is kept about a document, or a part of one, before it is read."""
    document = document_of(read)
    size = mtime = inode = 0
    with suppress(OSError):
        status = document.path.stat()
        if time.time() - status.st_mtime > SETTLED:
            size, mtime, inode = status.st_size, status.st_mtime_ns, status.st_ino
    told = header(document) if header else None
    place = os.path.abspath(document.name)  # noqa: PTH100  # a name need not be a path
    bytes_ = (read.byte_start, read.byte_end) if isinstance(read, Span) else (read.start, read.end)
    at = *bytes_, document.encoding, document.kind
    return Source(document.name, told, place, *at, size, mtime, inode)


def which(source: Source, read: Document | Span) -> list[str | int | None]:
    """Return what tells a text from others, however it grows or changes.

    One that the user has cut, or a part, is another text: keeping it must not cost what is kept of all of it.
    """
    part = isinstance(read, Span) or read.cut
    return [source.place, source.header, source.start, *([source.end] if part else ())]


def prove(
    kept: Sequence[Source],
    anchors: Sequence[Anchor],
    count: int,
    tokens: Callable[[], Sequence[int]],
    stream: TokenStream,
) -> Proven:
    """Return how much of what was kept a stream begins with.

    Args:
        kept: the documents as they were.
        anchors: of the windows that were read, up to the first that belongs to no document of the stream.
        count, tokens: of the stream, as kept; they are asked for only where something changed.
    """
    same = _untouched(kept, stream)
    if same == len(kept):
        return Proven(list(anchors), count)
    known = next((n for n, one in enumerate(anchors) if one.part >= same), len(anchors))
    proven = list(anchors[: _still_there(kept, anchors, known, stream)])
    return Proven(proven, _encoded_alike(proven, tokens(), stream))


def _untouched(kept: Sequence[Source], stream: TokenStream) -> int:
    """Count the leading documents that nobody has written to."""
    count = 0
    for source, document in zip(kept, stream.documents, strict=False):
        now = describe(document, stream.header)
        if not now.mtime_ns or _text(now) != _text(source):
            break
        count += 1
    return count


def _text(source: Source) -> tuple[object, ...]:
    """Return all that the tokens of an untouched document depend on."""
    at = source.start, source.end, source.encoding, source.header
    return *at, source.size, source.mtime_ns, source.inode


def _still_there(kept: Sequence[Source], anchors: Sequence[Anchor], known: int, stream: TokenStream) -> int:
    """Return how many anchors hold, having read the windows of those behind the first `known`."""
    now = [describe(read, stream.header) for read in stream.documents]
    for at in range(known, len(anchors)):
        one = anchors[at]
        old, new = kept[one.part], now[one.part]
        alike = (old.header, old.start, old.encoding) == (new.header, new.start, new.encoding)
        begins = (
            one.span.byte_start != old.start or one.span.first_line == stream.documents[one.part].first_line
        )
        if not (alike and begins and _holds(one, new)):
            # The window before ends at a cut only if what follows still begins alike.
            before = anchors[at - 1] if at else None
            return at - (before is not None and before.part == one.part and _has_text(before))
        if _has_text(one) and one.span.byte_end == old.end != new.end:
            return at  # it has grown, where it did not end at a cut
    return len(anchors)


def _has_text(anchor: Anchor) -> bool:
    return anchor.span.byte_start < anchor.span.byte_end


def _holds(anchor: Anchor, source: Source) -> bool:
    """Tell whether the text of a window is what it was."""
    span = anchor.span
    if not _has_text(anchor):
        return source.header is not None and digest(source.header) == anchor.digest
    if span.byte_end > source.end:
        return False
    with suppress(OSError):
        return digest(span.text()) == anchor.digest
    return False


def _encoded_alike(proven: Sequence[Anchor], tokens: Sequence[int], stream: TokenStream) -> int:
    """Return how many tokens are the same, having encoded what follows proven windows up to a difference."""
    at = proven[-1].end if proven else 0
    again = TokenStream(stream.tokenizer, stream.documents, COMPARED, stream.header, stream.window)
    again.begin_after(proven, at)
    with suppress(InputError, OSError):
        for chunk in again:
            old = tokens[at : at + len(chunk)]
            if list(old) != chunk[: len(old)] or len(old) < len(chunk):
                pairs = zip(old, chunk, strict=False)
                return at + next((n for n, (one, two) in enumerate(pairs) if one != two), len(old))
            at += len(chunk)
    return at
