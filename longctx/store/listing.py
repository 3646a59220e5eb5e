"""What a store holds: readings that are sound or not, found by name or by path, and removed."""

import datetime
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from longctx.errors import InputError
from longctx.store.files import LaterVersion, Unusable, Written
from longctx.store.folder import PASSAGES, READINGS, check_own, last_used, locked, size_of
from longctx.store.manifest import NAME, Manifest, Source, read_manifest


@dataclass(frozen=True)
class Entry:
    """One reading of a store, or what lies in its place.

    Attributes:
        folder: of its files. bytes: of these. used: when, in seconds since the epoch; 0 if nobody knows.
        manifest: None where it cannot be read.
        damage: what is wrong with it, if anything.
        later: a later longctx wrote it, so that nothing can be said of it.
        index: it is an index of passages, which can be made anew and proves itself when it is used.
    """

    folder: Path
    bytes: int
    used: float
    manifest: Manifest | None = None
    damage: str = ""
    later: bool = False
    index: bool = False

    @property
    def name(self) -> str:
        """Return its name: what tells texts apart stands first, then what tells models apart."""
        group, _, text = self.folder.name.partition("-")
        return f"{text}-{group}" if text else group

    @property
    def useless(self) -> bool:
        """Tell whether no longctx can use anything of it."""
        return self.manifest is None and not self.later and (bool(self.damage) or not self.index)

    def reads(self, path: str) -> bool:
        """Tell whether it is of a text at or below an absolute path."""
        documents = self.manifest.documents if self.manifest else []
        return any(
            one.place == path or one.place.startswith(path.rstrip(os.sep) + os.sep) for one in documents
        )


def entries(root: Path) -> list[Entry]:
    """Return all that a store holds, what was used last first; nothing if there is no store.

    Raises:
        InputError: when the store is a symbolic link, belongs to another user or cannot be read.
    """
    try:
        for path in (root, root / READINGS):
            check_own(path)
        found = [_entry(path) for path in (root / READINGS).iterdir()]
        if (root / PASSAGES).is_dir():
            check_own(root / PASSAGES)
            found += [_index(path) for path in (root / PASSAGES).iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, Unusable) as error:
        raise InputError(f"{root}: cannot be used as a store ({error})") from error
    return sorted(found, key=lambda one: (one.used, one.name), reverse=True)


def select(held: Sequence[Entry], wanted: str) -> list[Entry]:
    """Return the reading whose name begins so, or those of the texts at or below a path.

    Raises:
        InputError: when there is none, or a name could be that of several.
    """
    if not wanted:  # an empty path would be the current folder
        raise InputError("'': no reading has this name; longctx store lists all")
    named = [one for one in held if one.name.startswith(wanted) or one.folder.name == wanted]
    if len(named) > 1:
        names = ", ".join(one.name for one in named)
        raise InputError(f"{wanted}: could be {names}; give more of the name")
    path = os.path.abspath(os.path.expanduser(wanted))  # noqa: PTH100, PTH111  # as places were made
    if found := named or [one for one in held if one.reads(path) or str(one.folder) == path]:
        return found
    raise InputError(f"{wanted}: no reading has this name, or is of this text; longctx store lists all")


def remove(entry: Entry) -> None:
    """Remove a reading; what it is a link to stays.

    Raises:
        InputError: when another longctx uses it, it is another user's, or the system refuses.
    """
    path = entry.folder
    try:
        if path.is_symlink() or not path.is_dir():
            path.unlink()
            return
        check_own(path)
        with held(path) as free:
            if not free:
                raise InputError(f"{entry.name}: another longctx uses it; try again later")
            (path / NAME).unlink(missing_ok=True)  # first: without it the rest is rubbish
            shutil.rmtree(path)
    except (OSError, Unusable) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{entry.name}: cannot be removed ({reason}); it is in {path}") from error


@contextmanager
def held(folder: Path) -> Iterator[bool]:
    """Keep others from writing to a reading; the value tells whether nobody does."""
    lock = locked(folder)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            os.close(lock)


def in_excess(held: Sequence[Entry], before: float | None, budget: int | None) -> list[Entry]:
    """Return what is of no use, what was last used before a time, and the oldest of what exceeds a budget.

    Args:
        held: as `entries` returns it.
        before: seconds since the epoch. budget: in bytes.
    """
    gone, total = [], 0
    for one in held:  # the last used first
        old = before is not None and 0 < one.used < before
        if one.useless or old or (budget is not None and total + one.bytes > budget):
            gone.append(one)
        else:
            total += one.bytes
    return gone


def since(source: Source) -> str:
    """Tell what became of a document since it was read: unchanged, changed, gone or unknown."""
    if not source.mtime_ns:
        return "unknown"
    try:
        status = Path(source.place).stat()
    except (OSError, ValueError):
        return "gone"
    same = (status.st_size, status.st_mtime_ns, status.st_ino) == (source.size, source.mtime_ns, source.inode)
    return "unchanged" if same else "changed"


def facts(entry: Entry) -> dict[str, Any]:
    """Return what a list tells of a reading."""
    manifest = entry.manifest
    names = [one.name for one in manifest.documents] if manifest else []
    more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
    return {
        "name": entry.name,
        "kind": "index" if entry.index else "reading",
        "text": f"{names[0]}{more}" if names else "(index of passages)" if entry.index else "",
        "texts": len(names),
        "model": manifest.model if manifest else "",
        "tokens": manifest.tokens if manifest else 0,
        "bytes": entry.bytes,
        "age_seconds": round(max(0.0, time.time() - entry.used)) if entry.used else None,
        "folder": str(entry.folder),
        "damage": entry.damage,
    }


def details(entry: Entry) -> dict[str, Any]:
    """Return all that is known of a reading without reading its tensors."""
    manifest = entry.manifest
    if manifest is None:
        return facts(entry)
    marks = manifest.fingerprint
    told = {key: marks.get(key) for key in ("dtype", "form", "kv", "kv_pages", "device", "kernels", "chunk")}
    used = datetime.datetime.fromtimestamp(entry.used, datetime.UTC).isoformat(timespec="seconds")
    documents = [{"name": one.name, "place": one.place, "since": since(one)} for one in manifest.documents]
    return {
        **facts(entry),
        **told,
        "prompt_tokens": manifest.prompt,
        "seconds": manifest.seconds,
        "created": manifest.created,
        "used": used,
        "longctx": manifest.longctx,
        "snapshots": [one.position for one in manifest.snapshots],
        "segments": len(manifest.segments),
        "documents": documents,
    }


def _entry(path: Path) -> Entry:
    """Look at a reading without reading its tensors."""
    try:
        check_own(path)
        if not path.is_dir():
            raise Unusable(f"{path.name} is not a folder")
    except Unusable as reason:
        return Entry(path, 0, 0.0, damage=str(reason))
    size, used = size_of(path), last_used(path)
    try:
        manifest, _ = read_manifest(path)
    except LaterVersion as reason:
        return Entry(path, size, used, damage=str(reason), later=True)
    except Unusable as reason:
        unfinished = not (path / NAME).exists()
        return Entry(path, size, used, damage="it was never finished" if unfinished else str(reason))
    damage = next(filter(None, (_missing(path / one.name, one) for one in manifest.files)), "")
    return Entry(path, size, used, manifest, damage)


def _index(path: Path) -> Entry:
    """Look at an index of passages, which names no texts."""
    found = _entry(path)
    whole = found.bytes and (path / NAME).exists()
    return replace(found, damage="" if whole else found.damage, index=True)


def _missing(path: Path, kept: Written) -> str:
    """Tell what is wrong with a file, as far as that is to be seen from outside."""
    try:
        size = path.lstat().st_size
    except OSError as error:
        return f"{kept.name} cannot be read ({error.strerror})"
    if path.is_symlink():
        return f"{kept.name} is a symbolic link"
    return f"{kept.name} has {size:,} bytes, not {kept.size:,}" if size != kept.size else ""
