"""Files of a store: written whole or not at all, recognised by size and digest. Knows no readings."""

import hashlib
import json
import math
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from longctx import signals

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 1 << 18  # bytes whose CRC-32 goes into a digest: the processor's cache holds them for both uses
PRIVATE = 0o600  # what was read is its reader's own
LARGEST_MANIFEST = 256 << 20


class Unusable(Exception):
    """Something kept cannot be used; the message says why, in the middle of a line."""


class LaterVersion(Unusable):
    """It is of a later version of the format, and must not be replaced."""


@dataclass(frozen=True)
class Written:
    """A file as it was written.

    Attributes:
        digest: see `Digest`.
        mtime_ns, inode: of the file then. While they and the size are the same, its bytes need no proof.
    """

    name: str
    size: int
    digest: str
    mtime_ns: int
    inode: int


def canonical(value: Any) -> bytes:
    """Return JSON that is the same for equal values: keys sorted, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def sha256_of(value: Any) -> str:
    """Return the sha256 of a value's canonical JSON."""
    return hashlib.sha256(canonical(value)).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON; what stood there is replaced at once or not at all."""
    with signals.scratch(_part(path)) as part:
        part.touch(PRIVATE, exist_ok=False)
        with part.open("wb") as file:
            file.write(json.dumps(value, indent=1).encode())
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    sync_folder(path.parent)


def read_json(path: Path) -> Any:
    """Read JSON of bounded size.

    Raises:
        Unusable: when it cannot be read or is none.
    """
    try:
        if path.stat().st_size > LARGEST_MANIFEST:
            raise Unusable(f"{path.name} is too large")
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise Unusable(f"{path.name} cannot be read ({error})") from error


class Digest:
    """Tells damaged bytes from those that were written: the sha256 of the CRC-32 of each BLOCK of them.

    Each CRC has four bytes, little-endian. sha256 of all bytes would take three times as long, and most
    of what it costs to keep a reading. It would be no better against who can write here: nothing is signed.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._crc, self._left = 0, BLOCK  # of the block at hand

    def update(self, data: bytes | memoryview) -> Iterator[bytes | memoryview]:
        """Add bytes; yield them in the pieces in which they were just looked at."""
        start = 0
        while start < len(data):
            piece = data[start : start + self._left]
            self._crc, self._left = zlib.crc32(piece, self._crc), self._left - len(piece)
            if not self._left:
                self._hash.update(self._crc.to_bytes(4, "little"))
                self._crc, self._left = 0, BLOCK
            yield piece
            start += len(piece)

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far."""
        end = self._hash.copy()
        end.update(self._crc.to_bytes(4, "little") if self._left < BLOCK else b"")
        return end.hexdigest()


def digest_file(path: Path) -> str:
    """Return the digest of a file's bytes."""
    digest = Digest()
    with path.open("rb", buffering=0) as file:
        while block := file.read(BLOCK):
            for _ in digest.update(block):
                pass
    return digest.hexdigest()


class _Digested:
    """A file whose digest is made while it is written: what was just in hand is not read again."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.digest = file, Digest()

    def write(self, data: bytes | memoryview) -> None:
        for piece in self.digest.update(data):
            self._file.write(piece)


def write_tensors(path: Path, tensors: Mapping[str, "Sequence[Tensor]"], told: Mapping[str, str]) -> Written:
    """Write tensors, each given in pieces along its last but one dimension, as a safetensors file.

    Raises:
        OSError: when there is no room for them.
    """
    from longctx.models import shards

    shapes = {name: (pieces[0].dtype, _shape(pieces)) for name, pieces in tensors.items()}

    def place(name: str) -> tuple[bool, int, str]:
        """Order them so that all are aligned: first what leaves the next one at a multiple of ALIGNED."""
        dtype, shape = shapes[name]
        return math.prod(shape) * dtype.itemsize % shards.ALIGNED != 0, -dtype.itemsize, name

    names = sorted(shapes, key=place)
    shapes = {name: shapes[name] for name in names}
    parts = (part for name in names for part in _in_order(tensors[name]))
    with signals.scratch(_part(path)) as part:
        part.touch(PRIVATE)
        with part.open("wb") as file:
            digested = _Digested(file)
            shards.write_tensors(digested, shapes, parts, told)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    sync_folder(path.parent)
    return seen(path, digested.digest.hexdigest())


def _shape(pieces: "Sequence[Tensor]") -> tuple[int, ...]:
    """Return the shape of pieces that are joined along the last but one dimension."""
    shape = list(pieces[0].shape)
    if len(pieces) > 1:
        shape[-2] = sum(piece.shape[-2] for piece in pieces)
    return tuple(shape)


def _in_order(pieces: "Sequence[Tensor]") -> "Iterator[Tensor]":
    """Yield the numbers of joined pieces in their order, without joining them."""
    here = [piece.cpu() for piece in pieces]
    if here[0].ndim < 3:
        yield from here
        return
    rows = [piece.flatten(0, -3) for piece in here]
    for number in range(len(rows[0])):
        yield from (piece[number] for piece in rows)


def open_tensors(folder: Path, kept: Written) -> "dict[str, Tensor]":
    """Map the tensors of a file into memory.

    Raises:
        Unusable: when it is not the file that was written.
    """
    from safetensors import SafetensorError, safe_open

    check(folder, kept)
    try:
        with safe_open(folder / kept.name, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dictionary
    except (OSError, SafetensorError) as error:
        raise Unusable(f"{kept.name} is damaged ({error})") from error


def check(folder: Path, kept: Written, *, whole: bool = False) -> None:
    """Prove that a file is as it was written: by its times, or by all its bytes when `whole` or in doubt.

    Raises:
        Unusable: when it is not.
    """
    path = folder / kept.name
    try:
        if path.is_symlink():
            raise Unusable(f"{kept.name} is a symbolic link")
        status = path.stat()
        if status.st_size != kept.size:
            raise Unusable(f"{kept.name} has {status.st_size:,} bytes, not {kept.size:,}")
        same = (status.st_mtime_ns, status.st_ino) == (kept.mtime_ns, kept.inode)
        if (whole or not same) and digest_file(path) != kept.digest:
            raise Unusable(f"{kept.name} is not what was written")
    except OSError as error:
        raise Unusable(f"{kept.name} cannot be read ({error.strerror})") from error


def seen(path: Path, digest: str) -> Written:
    """Return a file that was just written, as it is to be found again."""
    status = path.stat()
    return Written(path.name, status.st_size, digest, status.st_mtime_ns, status.st_ino)


def sync_folder(folder: Path) -> None:
    """Let renames in a folder survive a loss of power, where the system can do that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")
