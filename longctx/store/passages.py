"""Indexes of passages that are kept: told apart by the hashes of their texts, made anew when in doubt.

Nothing here may cost an answer: whatever goes wrong, an index is built as if none had been kept.
"""

import hashlib
import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import longctx
from longctx import signals
from longctx.errors import InputError
from longctx.quotes import index, passages, prose, sentences, stems
from longctx.quotes.index import PassageIndex
from longctx.store.files import (
    Unusable,
    Written,
    check,
    digest_file,
    read_json,
    seen,
    sha256_file,
    sha256_of,
    write_json,
)
from longctx.store.folder import PASSAGES, Folder, locked
from longctx.store.manifest import NAME
from longctx.store.writer import use
from longctx.text.document import Document

FORMAT = "longctx passages"
VERSION = 2
FILE = "passages.sqlite"
LEAST = 1 << 20  # bytes of texts whose index is kept where nobody asked for that; it takes a quarter second
BLOCK = 1 << 20
DIGITS = 32  # of the name of a folder
MAKERS = (index, passages, prose, sentences, stems)  # what they make is another index once they change


class Shelf:
    """The place of the index of some texts in a store.

    Args:
        folder: of the store. documents: all texts, in order.

    Raises:
        InputError: when one cannot be read.
    """

    def __init__(self, folder: Folder, documents: Sequence[Document]) -> None:
        self._folder, self._documents = folder, documents
        self._key = _key(documents)
        self._entry = folder.root / PASSAGES / self._key[:DIGITS]

    def find(self) -> PassageIndex | None:
        """Return the index that was kept, if it is all there and of these very texts."""
        if self._folder.fresh:
            return None
        with suppress(Unusable, OSError, sqlite3.Error, LookupError, TypeError, ValueError):
            told = read_json(self._entry / NAME)
            if told.pop("seal") != sha256_of(told) or told["key"] != self._key:
                return None
            check(self._entry, Written(FILE, told["size"], told["digest"], 0, 0), whole=True)
            found = PassageIndex.load(self._entry / FILE, self._documents)
            use(self._entry)
            return found
        return None

    def keep(self, built: PassageIndex) -> None:
        """Keep an index of the texts, unless they have changed since, or it is not worth it."""
        folder, size = self._folder, sum(one.end - one.start for one in self._documents)
        if not folder.writable or (folder.least_seconds and size < LEAST):
            return
        with suppress(Unusable, OSError, sqlite3.Error, InputError):
            if _key(self._documents) == self._key:
                self._entry.parent.mkdir(mode=0o700, exist_ok=True)
                self._entry.mkdir(mode=0o700, exist_ok=True)
                if (lock := locked(self._entry)) is not None:
                    try:
                        self._write(built)
                    finally:
                        os.close(lock)

    def _write(self, built: PassageIndex) -> None:
        path = self._entry / FILE
        with signals.scratch(path.with_name(f".{FILE}.{os.getpid()}.part")) as part:
            built.save(part, self._documents)
            self._folder.make_room(self._entry, 0)  # the part is there already
            digest = digest_file(part)
            part.replace(path)
        file = seen(path, digest)
        told = {"format": FORMAT, "version": VERSION, "key": self._key, "size": file.size, "digest": digest}
        write_json(self._entry / NAME, {**told, "seal": sha256_of(told)})


def _key(documents: Sequence[Document]) -> str:
    """Return a hash of all that an index depends on: the texts, and the code that cuts and searches them."""
    texts = [
        (one.name, one.start, one.first_line, one.end, one.encoding, one.kind, _sha256(one))
        for one in documents
    ]
    return sha256_of([FORMAT, VERSION, longctx.__version__, sqlite3.sqlite_version, _code(), texts])


def _sha256(document: Document) -> str:
    digest, left = hashlib.sha256(), document.end - document.start
    with document.opened() as file:
        file.seek(document.start)
        while left and (block := file.read(min(BLOCK, left))):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()


@cache
def _code() -> list[str]:
    return [sha256_file(Path(one.__file__)) for one in MAKERS if one.__file__]
