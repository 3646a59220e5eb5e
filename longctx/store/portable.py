"""A reading in one file, for someone else with the same model: the manifest, its files, and the text itself.

The file is a zip without compression. Nothing in it is trusted: sizes are bounded by its own, its texts are
matched with the reading as any other, and a text whose tokens do not fit is read anew.
"""

import codecs
import os
import shutil
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from longctx import signals
from longctx.errors import InputError, OutputError
from longctx.store.files import Unusable
from longctx.store.folder import GIVEN, READINGS
from longctx.store.manifest import NAME, Manifest, Source, read_manifest
from longctx.store.match import document_of
from longctx.text.document import Corpus, Document, printable
from longctx.text.span import Span

TEXT = "text"
FURTHEST = 1 << 44  # bytes into a file, where a text may begin
BLOCK = 1 << 20


def pack(entry: Path, documents: Sequence[Document | Span], path: Path) -> int:
    """Write a kept reading and its documents, in its order, to a file; return its size.

    Raises:
        OutputError: when it cannot be written, or nothing was kept.
    """
    try:
        manifest, _ = read_manifest(entry)
        manifest = replace(manifest, snapshots=manifest.snapshots[-1:])
        with signals.scratch(path.with_name(f".{path.name[:100]}.{os.getpid()}.part")) as part:
            lean = part.with_suffix(".json")
            with signals.scratch(lean), zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as file:
                manifest.write_to(lean)
                file.write(lean, NAME)
                for one in manifest.files:
                    file.write(entry / one.name, one.name)
                for number, document in enumerate(documents):
                    _add_text(file, f"{TEXT}/{number}", document_of(document))
            size = part.stat().st_size
            part.replace(path)
            return size
    except (OSError, Unusable) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(f"{path}: the reading cannot be written ({reason})") from error


def unpack(path: Path) -> Corpus:
    """Return the documents of such a file, with a store that holds its reading while the corpus is open.

    Raises:
        InputError: when it is damaged, or holds what it should not.
    """
    name = printable(str(path))
    if not path.exists():
        raise InputError(f"{name}: no such file; check the name")
    corpus = Corpus()
    try:
        root = corpus.scratch()
        entry = root / READINGS / GIVEN
        entry.mkdir(parents=True, mode=0o700)
        with zipfile.ZipFile(path) as file:
            _extract(file, NAME, entry / NAME)
            manifest, _ = read_manifest(entry)
            for one in manifest.files:
                _extract(file, one.name, entry / one.name)
            for number, source in enumerate(manifest.documents):
                corpus.documents.append(_document(file, f"{TEXT}/{number}", source, corpus.scratch()))
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, Unusable, NotImplementedError) as error:
        corpus.close()
        raise InputError(f"{name}: not a reading that can be used ({error}); make it anew") from error
    corpus.notes.append(_told(name, manifest))
    corpus.reading = root
    return corpus


def _told(name: str, manifest: Manifest) -> str:
    return f"{name}: {manifest.tokens:,} tokens, read on {printable(manifest.created)}; it contains the text"


def _add_text(file: zipfile.ZipFile, name: str, document: Document) -> None:
    with document.path.open("rb") as source, file.open(name, "w", force_zip64=True) as target:
        source.seek(document.start)
        left = document.end - document.start
        while left and (block := source.read(min(BLOCK, left))):
            target.write(block)
            left -= len(block)


def _document(file: zipfile.ZipFile, name: str, source: Source, path: Path) -> Document:
    """Bring a text to where it stood in its file: places are counted from there."""
    if not (0 <= source.start <= FURTHEST and codecs.lookup(source.encoding)._is_text_encoding):
        raise ValueError(f"{name} begins at {source.start}, in {source.encoding!r}")
    _extract(file, name, path, source.start)
    end = path.stat().st_size
    return Document(printable(source.name), path, source.start, end, source.encoding, source.kind)


def _extract(file: zipfile.ZipFile, name: str, path: Path, start: int = 0) -> None:
    """Copy a member, which must not be compressed: it cannot be larger than the file."""
    info = file.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise ValueError(f"{name} is compressed")
    with file.open(info) as source, path.open("xb") as target:
        target.seek(start)
        shutil.copyfileobj(source, target, BLOCK)
    with suppress(OSError):
        path.chmod(0o600)
