"""From a file to documents: the files in it, the text it is turned into, or itself."""

import tempfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from longctx.errors import InputError
from longctx.formats.convert import convert
from longctx.formats.draft import Draft
from longctx.formats.kinds import ARCHIVES, CONVERTED, PACKED, recognise
from longctx.formats.limits import DEEPEST, Allowance, Damaged, Plain, Unreadable, guarded
from longctx.progress import Progress
from longctx.regular import Stamp, open_regular
from longctx.text import packed
from longctx.text.document import Corpus, Document, Skipped, printable
from longctx.text.encoding import Binary, inspect
from longctx.text.walk import unwanted_by_name

if TYPE_CHECKING:
    from longctx.formats.unpack import Part

LARGEST_BLANK = 1 << 16  # bytes of a file that is looked through for something to read


@dataclass(frozen=True)
class Origin:
    """How a file was come by: named by the user or found, how deep in archives, what it may unpack to."""

    named: bool
    depth: int = 0
    allowance: Allowance | None = None
    hint: str = ""  # a name that tells the kind, where its own does not


class Files:
    """The documents that files hold, added to a corpus one file after the other."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus

    def add_file(self, path: Path, name: str, *, named: bool) -> None:
        """Add the file at `path`; raise if the user named it and it cannot be read."""
        self._add_file(path, name, Origin(named))

    def add_scratch(self, path: Path, name: str, *, named: bool) -> None:
        """Add a scratch file; keep it only if a document lies in it."""
        self._add_scratch(path, name, Origin(named))

    def _add_file(self, path: Path, name: str, origin: Origin) -> None:
        """Add one file, whatever it is: the files in it, the text it is turned into, or itself."""
        kind = recognise(path, origin.hint or name)
        if kind in PACKED:
            self._add_packed(kind, path, name, origin)
            return
        if kind in CONVERTED:
            try:
                self._add_converted(kind, path, name, origin)
                return
            except Plain:
                kind = "text"
        self._add_text(path, name, kind, named=origin.named)

    def _add_packed(self, kind: str, path: Path, name: str, origin: Origin) -> None:
        """Add the files of an archive as those of a folder, or the one that a compressed file holds."""
        from longctx.formats.unpack import parts

        archive = kind in ARCHIVES
        if archive and not origin.named and not origin.depth:
            self.skip(name, "an archive", "name it to read it")
            return
        if origin.depth == DEEPEST:
            self._refuse(name, Unreadable("an archive nested too deep", "unpack it yourself"), origin)
            return
        before = len(self.corpus.documents)
        allowance = origin.allowance or Allowance(path.stat().st_size, tempfile.gettempdir())
        inside = Origin(origin.named and not archive, origin.depth + 1, allowance)
        at = partial(self._told, f"unpacking {name}")
        try:
            for part in guarded(parts(kind, path, at)):
                if archive:
                    self._add_part(part, f"{name}/{printable(part.name)}", inside)
                else:
                    hint = str(Path(origin.hint or name).with_suffix(""))
                    self._add_part(part, name, replace(inside, hint=hint))
        except Unreadable as error:
            if len(self.corpus.documents) == before:
                self._refuse(name, error, origin)
            else:
                self.corpus.notes.append(f"{name}: {error.reason}; the rest of it is not read")
        if archive:
            self.corpus.notes.append(
                f"{name}: {len(self.corpus.documents) - before} files read from the archive"
            )

    def _add_part(self, part: "Part", name: str, origin: Origin) -> None:
        assert origin.allowance is not None
        if part.name:
            _, reason = unwanted_by_name(part.name)
            if refused := part.refused or reason:
                self.skip(name, refused)
                return
        origin.allowance.take_file()
        path = self.corpus.scratch()
        with path.open("wb") as file:
            try:
                for block in origin.allowance.watch(part.blocks, part.packed):
                    file.write(block)
            except Unreadable as error:
                if not isinstance(error, Damaged) or not file.tell():
                    path.unlink()
                    self._refuse(name, error, origin)
                    return
                self.corpus.notes.append(
                    f"{name}: {error.reason}; only its first {file.tell():,} bytes are read"
                )
        self._add_scratch(path, name, origin)

    def _add_scratch(self, path: Path, name: str, origin: Origin) -> None:
        self._add_file(path, name, origin)
        if not any(document.path == path for document in self.corpus.documents[-1:]):
            self.corpus.drop(path)

    def _add_converted(self, kind: str, path: Path, name: str, origin: Origin) -> None:
        """Add the text of a document, a page, a mailbox ..., and the files that came with it."""
        allowance = origin.allowance or Allowance(path.stat().st_size, tempfile.gettempdir())
        target = self.corpus.scratch()
        at = partial(self._told, f"reading {name}")
        with Draft(target, allowance, self.corpus.scratch, at) as draft:
            trouble = convert(kind, path, draft)
        if draft.size:
            made = Document(
                name, target, 0, draft.size, "utf-8", kind, draft.place(), meter=self.corpus.meter
            )
            self.corpus.documents.append(made)
            if trouble:
                self.corpus.notes.append(f"{name}: {trouble.reason}; what comes before is read")
        elif not draft.attached:
            self._refuse(name, trouble or Unreadable("no text in it"), origin)
        self.corpus.note_left_out(name, draft.left_out)
        inside = Origin(False, origin.depth + 1, allowance)
        for inner, attachment in draft.attached:
            self._add_scratch(attachment, f"{name}{printable(inner)}", inside)

    def _told(self, label: str, done: int, total: int, unit: str = "bytes") -> None:
        self.corpus.meter.show(Progress(label, done, total, 0, unit))

    def _refuse(self, name: str, trouble: Unreadable, origin: Origin) -> None:
        """Skip a file that cannot be read; raise if the user named it."""
        if origin.named:
            advice = trouble.advice or "check the file"
            raise InputError(f"{name}: cannot be read, {trouble.reason}; {advice}") from trouble
        self.skip(name, trouble.reason, trouble.advice)

    def _add_text(self, path: Path, name: str, kind: str, *, named: bool) -> None:
        """Add one text, or the files packed in it if the user named it."""
        with open_regular(path) as file:
            stamp = Stamp.of(file)
        found = inspect(path)
        if isinstance(found, Binary):
            if named:
                raise InputError(f"{name}: {found.kind}, not text; {found.advice}")
            self.skip(name, found.kind, found.advice)
            return
        if found.start >= stamp.size or _is_blank(path, stamp.size):
            self.skip(name, "nothing but white space" if found.start < stamp.size else "empty")
            return
        if found.note:
            self.corpus.notes.append(f"{name}: {found.note}")
        wide = found.encoding.startswith(("utf-16", "utf-32"))
        split = packed.split(path, found.start) if named and not wide else None
        if split is None:
            whole = Document(
                name,
                path,
                found.start,
                stamp.size,
                found.encoding,
                kind,
                stamp=stamp,
                meter=self.corpus.meter,
            )
            self.corpus.documents.append(whole)
        else:
            self._add_members(
                split,
                Document(name, path, 0, stamp.size, found.encoding, stamp=stamp, meter=self.corpus.meter),
            )

    def _add_members(self, split: packed.Split, outer: Document) -> None:
        files = 0
        before = ""
        for member in split.members:
            if member.path is None:
                name = f"{outer.name} (after {before})" if before else outer.name
            else:
                before = name = printable(member.path.decode(outer.encoding, "replace"))
                files += 1
            if member.start == member.end:
                self.skip(name, "empty")
            else:
                part = replace(outer, name=name, start=member.start, end=member.end)
                self.corpus.documents.append(part)
        self.corpus.notes.append(f"{outer.name}: {files} files packed as {split.format}")

    def skip(self, name: str, reason: str, advice: str = "") -> None:
        """Say that a file is not read, why, and what would help."""
        skipped = Skipped(name, reason, advice)
        if skipped not in self.corpus.skipped[-1:]:  # name a hidden folder once, not for each file
            self.corpus.skipped.append(skipped)


def _is_blank(path: Path, size: int) -> bool:
    """Tell whether a file of ordinary size holds nothing but white space."""
    if size > LARGEST_BLANK:
        return False
    with open_regular(path) as file:
        return not file.read().strip()
