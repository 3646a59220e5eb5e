"""The manifest of a kept reading: what was read by what, in which files, and the chain that ties them.

Plain values that become JSON and come back checked; see docs/store.md for every field.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from longctx.store.files import LaterVersion, Unusable, Written, canonical, read_json, sha256_of, write_json

NAME = "manifest.json"
FORMAT = "longctx reading"
VERSION = 2
PLURAL = ("weights", "kernels")  # of what a fingerprint names


@dataclass(frozen=True)
class Source:
    """A document as it was when it was read.

    Attributes:
        name: in citations. header: what introduced it to the model, if anything.
        place: of the file: its path, or what else tells it from others of its name.
        start, end: bytes of that file. kind: see `Document`.
        size, mtime_ns, inode: of the file. While they are the same, the text is; 0 where that is not so.
    """

    name: str
    header: str | None
    place: str
    start: int
    end: int
    encoding: str
    kind: str = "text"
    size: int = 0
    mtime_ns: int = 0
    inode: int = 0


@dataclass(frozen=True)
class Segment:
    """Tokens start..end of the session, their places, and their rows of every log.

    Attributes:
        chain: ties it to all before: see `link`.
    """

    start: int
    end: int
    file: Written
    chain: str


@dataclass(frozen=True)
class Snapshot:
    """What is not in logs, after `position` tokens; whether a document `begins` there, for certain."""

    position: int
    file: Written
    begins: bool = False


@dataclass
class Manifest:
    """A kept reading.

    Attributes:
        fingerprint: of what read it; only the same may go on.
        prompt: tokens before the documents.
        documents: in the order of reading; later ones may not have been read yet.
        seconds: that reading took, in all runs.
        model: as --model takes it: "bundled", a repository with its commit, or a folder. Only a name.
    """

    fingerprint: dict[str, Any]
    prompt: int
    documents: list[Source] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    seconds: float = 0.0
    created: str = ""
    longctx: str = ""
    model: str = ""

    @property
    def tokens(self) -> int:
        """Return the tokens that are kept, those of the prompt included."""
        return self.segments[-1].end if self.segments else 0

    @property
    def bytes(self) -> int:
        """Return the size of all files."""
        return sum(file.size for file in self.files)

    @property
    def files(self) -> list[Written]:
        """Return all files but the manifest's own."""
        return [one.file for one in self.segments] + [one.file for one in self.snapshots]

    @property
    def chain(self) -> str:
        """Return the end of the chain."""
        return self.segments[-1].chain if self.segments else sha256_of([FORMAT, VERSION, self.fingerprint])

    def link(self, start: int, end: int, file: Written) -> Segment:
        """Return the next segment, tied to the chain; its file names the texts by their digests."""
        link = canonical([self.chain, start, end, file.digest])
        return Segment(start, end, file, hashlib.sha256(link).hexdigest())

    def write(self, folder: Path) -> None:
        """Write the manifest; the one before is replaced at once or not at all."""
        self.write_to(folder / NAME)

    def write_to(self, path: Path) -> None:
        """Write it to a file of any name."""
        reading = asdict(self)
        value = {"format": FORMAT, "version": VERSION, "seal": sha256_of(reading), "reading": reading}
        write_json(path, value)


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """Return the manifest of a folder, and the seal that tells it from others.

    Raises:
        Unusable: when there is none, it is damaged, or a later version wrote it (LaterVersion).
    """
    value = read_json(folder / NAME)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise Unusable(f"{NAME} is not a reading's")
    if (version := value.get("version")) != VERSION:
        kind = Unusable if version in range(1, VERSION) else LaterVersion
        raise kind(f"it has version {version!r} of the format, and this longctx reads {VERSION}")
    reading: Any = value.get("reading")
    if value.get("seal") != sha256_of(reading):
        raise Unusable(f"{NAME} is damaged")
    try:
        manifest = Manifest(
            **{
                **reading,
                "documents": [Source(**one) for one in reading["documents"]],
                "segments": [Segment(**_with_file(one)) for one in reading["segments"]],
                "snapshots": [Snapshot(**_with_file(one)) for one in reading["snapshots"]],
            }
        )
        return manifest, value["seal"]
    except (TypeError, KeyError) as error:
        raise Unusable(f"{NAME} is damaged ({error})") from error


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return the names of what differs between two fingerprints."""
    return [name for name in {**one, **other} if one.get(name) != other.get(name)]


def in_words(other: Sequence[str]) -> str:
    """Return what differs, in words; another model has other weights, and all that belongs to them."""
    if "model" in other:
        return "another model"
    return ", ".join(f"{'other' if name in PLURAL else 'another'} {name}" for name in other)


def _with_file(raw: dict[str, Any]) -> dict[str, Any]:
    file = Written(**raw["file"])
    if Path(file.name).name != file.name or any(
        not isinstance(getattr(file, one.name), str if one.type in (str, "str") else int)
        for one in fields(file)
    ):
        raise TypeError("a file's name or size")
    return {**raw, "file": file}
