"""XML read as a stream of events, hardened: a document that declares entities of its own is refused."""

from collections.abc import Iterable, Mapping
from typing import NoReturn
from xml.parsers import expat

from longctx.formats.limits import Damaged, Unreadable, reason

DEEPEST_XML = 1000


class Events:
    """What happens at tags and text; names come without their namespaces."""

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """See an element begin."""

    def end(self, tag: str) -> None:
        """See an element end."""

    def text(self, text: str) -> None:
        """See some of the text of the element begun last."""


def parse(blocks: Iterable[bytes], events: Events) -> None:
    """Feed a document to `events`.

    Raises:
        Damaged: where it is not well-formed; all before that was seen.
        Unreadable: when it declares entities, or nests too deep.
    """
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > DEEPEST_XML:
            raise Unreadable("its XML nests too deep")
        events.start(_local(name), {_local(key): value for key, value in attributes.items()})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        events.end(_local(name))

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = events.text
    parser.EntityDeclHandler = _refuse
    # A DOCTYPE is common in older EPUBs; what it names is never fetched.
    parser.StartDoctypeDeclHandler = lambda name, system, public, inside: _refuse() if inside else None
    try:
        for block in blocks:
            parser.Parse(block)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise Damaged(f"damaged or cut short ({reason(error)})") from error


def _refuse(*_: object) -> NoReturn:
    raise Unreadable("its XML declares entities, as attacks do")


def _local(name: str) -> str:
    return name.rpartition(" ")[2]
