"""EPUB books: chapters in the order of reading; parts are named as in the table of contents."""

import posixpath
import re
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urldefrag

from longctx.formats import html, zips
from longctx.formats.draft import Draft
from longctx.formats.limits import Damaged, Unreadable
from longctx.formats.xml import Events, parse

FONTS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")  # scrambled fonts, no lock
MOST_CHAPTERS = 10_000


class _Package(Events):
    """The list of a book's files and their order, from container.xml and the package document."""

    def __init__(self) -> None:
        self.root = self.ncx = self.nav = ""
        self.files: dict[str, str] = {}
        self.spine: list[str] = []
        self.locks: set[str] = set()

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        get = attributes.get
        if tag == "rootfile":
            self.root = self.root or get("full-path", "")
        elif tag == "item":
            path = get("href", "")
            self.files[get("id", "")] = path
            if "nav" in get("properties", "").split():
                self.nav = path
            elif get("media-type") == "application/x-dtbncx+xml":
                self.ncx = path
        elif tag == "itemref":
            self.spine.append(get("idref", ""))
        elif tag == "EncryptionMethod":
            self.locks.add(get("Algorithm", ""))


class _Contents(Events):
    """Targets and titles of a table of contents, of either kind (EPUB 2: ncx; EPUB 3: nav)."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str]] = []
        self.target = ""
        self.title: list[str] | None = None
        self.listing = True

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tag == "nav":
            self.listing = attributes.get("type", "toc") == "toc"  # not the lists of pages and landmarks
        elif tag in ("navLabel", "a"):
            self.title, self.target = [], attributes.get("href", "")
        elif tag == "content":
            self._add(attributes.get("src", ""))

    def text(self, text: str) -> None:
        if self.title is not None:
            self.title.append(text)

    def end(self, tag: str) -> None:
        if tag == "a":
            self._add(self.target)

    def _add(self, target: str) -> None:
        if self.title is not None and self.listing and target:
            self.entries.append((target, "".join(self.title)))
        self.title = None


def convert(path: Path, draft: Draft) -> None:
    """Write the chapters of a book."""
    with zips.opened(path) as archive:
        names = set(archive.namelist())
        package = _Package()
        if "META-INF/encryption.xml" in names:
            parse(_blocks(archive, "META-INF/encryption.xml", draft), package)
            if package.locks - set(FONTS):
                raise Unreadable("a book locked by its seller (DRM)", "read it in the seller's program")
        parse(_blocks(archive, "META-INF/container.xml", draft), package)
        parse(_blocks(archive, package.root, draft), package)
        labels = _labels(archive, package, names, draft)
        chapter = damaged = 0
        for number, item in enumerate(package.spine[:MOST_CHAPTERS]):
            draft.at(number, len(package.spine), "files")
            name = _beside(package.root, package.files.get(item, ""))
            if name not in names or package.files[item] == package.nav:
                continue
            chapter += 1
            anchors = labels.get(name, {})
            draft.mark(anchors.get("", "") or f"chapter {chapter}")
            damaged += not _chapter(archive, name, anchors, draft)
    draft.left_out["a picture"] += sum(
        name.lower().endswith((".jpg", ".jpeg", ".png", ".gif")) for name in names
    )
    if damaged:
        raise Damaged(f"{damaged} of {chapter} chapters damaged")


def _chapter(archive: zipfile.ZipFile, name: str, anchors: Mapping[str, str], draft: Draft) -> bool:
    """Write a chapter; return whether it is whole."""
    pictures = draft.left_out["a picture"]
    extractor = html.Extractor(draft, anchors={key: label for key, label in anchors.items() if key})
    try:
        html.extract(html.decoded(_blocks(archive, name, draft), "utf-8-sig"), extractor)
    except Damaged:
        extractor.flush()
        return False
    finally:
        draft.left_out["a picture"] = pictures  # they are counted in the archive, once
    return True


def _blocks(archive: zipfile.ZipFile, name: str, draft: Draft) -> Iterable[bytes]:
    """Read a file of the book."""
    try:
        member = archive.getinfo(name)
    except KeyError:
        raise Damaged(f"damaged: it has no {name or 'list of chapters'}") from None
    return draft.allowance.watch(zips.blocks(archive, member), member.compress_size)


def _labels(
    archive: zipfile.ZipFile, package: _Package, names: set[str], draft: Draft
) -> dict[str, dict[str, str]]:
    """Return for each file the titles of the parts in it, by the id they begin at; "" is its start."""
    labels: dict[str, dict[str, str]] = {}
    for table in filter(None, (package.nav, package.ncx)):
        table_name = _beside(package.root, table)
        contents = _Contents()
        if table_name in names:
            with suppress(Damaged):  # chapters are numbered where they have no titles
                parse(_blocks(archive, table_name, draft), contents)
        for target, title in contents.entries:
            file, anchor = urldefrag(target)
            if re.search(r"\w", title):  # calibre lists the arrows that lead back from notes
                labels.setdefault(_beside(table_name, file), {}).setdefault(anchor, title.strip())
        if labels:
            break
    return labels


def _beside(name: str, relative: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(relative)))
