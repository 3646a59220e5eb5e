"""Compressed files and archives as a series of parts. Nothing is written, no link followed."""

import bz2
import gzip
import lzma
import stat
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

from longctx.formats import zips
from longctx.formats.limits import BLOCK, Unreadable
from longctx.regular import open_regular

MOST_LISTED = 100_000  # files and folders in a tar archive that are looked at
XZ_MEMORY = 256 << 20  # xz -9 needs 65 MiB
ZST_MEMORY = 128 << 20  # as zstd itself, without --long
ZST_STEP = 2048  # bytes decoded at once: they can grow to 64 MiB


@dataclass(frozen=True)
class Part:
    """A file in an archive: its path there, or "" for what a compressed file holds; why it is not read."""

    name: str
    blocks: Iterable[bytes] = field(default=(), repr=False)
    packed: int = 0  # the bytes it takes in the archive
    refused: str = ""


def parts(kind: str, path: Path, at: Callable[[int, int], object]) -> Iterator[Part]:
    """Yield what the file at `path` holds. Read the blocks of a part before the next one is asked for.

    Args:
        at: is told how many bytes of the file, of how many, are unpacked.
    """
    if kind == "zip":
        yield from _zip(path, at)
    elif kind == "tar":
        yield from _tar(path, at)
    else:
        yield Part("", _decompressed(kind, path, at), path.stat().st_size)


def _zip(path: Path, at: Callable[[int, int], object]) -> Iterator[Part]:
    done, total = 0, path.stat().st_size
    with zips.opened(path) as archive:
        for member in sorted(archive.infolist(), key=lambda one: one.filename):
            at(done, total)
            done += member.compress_size
            refused = _refused(member.filename)
            if stat.S_ISLNK(member.external_attr >> 16):
                refused = "link, not followed"
            if not member.is_dir():
                yield Part(member.filename, zips.blocks(archive, member), member.compress_size, refused)


def _tar(path: Path, at: Callable[[int, int], object]) -> Iterator[Part]:
    total = path.stat().st_size
    with zips.Wary(path) as file, tarfile.open(fileobj=cast(IO[bytes], file), mode="r:") as archive:
        for number, member in enumerate(archive):
            if number == MOST_LISTED:
                raise Unreadable(
                    f"only the first {MOST_LISTED:,} entries were looked at", "unpack it yourself"
                )
            at(member.offset, total)
            refused = _refused(member.name)
            if member.issym() or member.islnk():
                refused = "link, not followed"
            elif not member.isreg() or member.issparse():
                refused = "not a regular file"
            if not member.isdir():
                yield Part(member.name, _member(archive, member), member.size, refused)


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    stream = archive.extractfile(member)
    while stream is not None and (block := stream.read(BLOCK)):
        yield block


def _refused(name: str) -> str:
    """Why a path is not one inside the archive, or ""."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or name[1:2] == ":" or not path.parts:
        return "its path leads out of the archive"
    return ""


def _decompressed(kind: str, path: Path, at: Callable[[int, int], object]) -> Iterator[bytes]:
    total = path.stat().st_size
    with open_regular(path) as file:
        for block in _blocks(kind, file):
            at(file.tell(), total)
            yield block


def _blocks(kind: str, file: BinaryIO) -> Iterator[bytes]:
    if kind == "xz":
        yield from _xz(file)
    elif kind == "zst":
        yield from _zst(file)
    else:
        stream = gzip.GzipFile(fileobj=file) if kind == "gz" else bz2.BZ2File(file)
        while block := stream.read1(BLOCK):  # read would lose what was decoded before damage
            yield block


def _xz(file: BinaryIO) -> Iterator[bytes]:
    """Decode a file of one or more streams, in bounded memory whatever their headers ask for."""
    raw = file.read(BLOCK)
    while raw.strip(b"\0"):
        decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)
        while not decoder.eof:
            if decoder.needs_input and not raw:
                raw = _more(file, BLOCK)
            yield decoder.decompress(raw, BLOCK)
            raw = b""
        raw = decoder.unused_data or file.read(BLOCK)


def _zst(file: BinaryIO) -> Iterator[bytes]:
    if sys.version_info >= (3, 14):
        from compression.zstd import ZstdFile

        stream = ZstdFile(file)
        while block := stream.read1(BLOCK):
            yield block
        return
    try:
        from zstandard import ZstdDecompressor
    except ImportError:
        raise Unreadable("a file compressed with zstd", "pip install 'longctx-lightning[zst]'") from None
    raw = file.read(ZST_STEP)
    while raw:
        decoder = ZstdDecompressor(max_window_size=ZST_MEMORY).decompressobj()
        while not decoder.eof:
            yield decoder.decompress(raw or _more(file, ZST_STEP))
            raw = b""
        raw = decoder.unused_data or file.read(ZST_STEP)


def _more(file: BinaryIO, size: int) -> bytes:
    raw = file.read(size)
    if not raw:
        raise EOFError("it ends in the middle")
    return raw
