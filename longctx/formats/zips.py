"""Zip archives, opened with suspicion: the list of files is bounded, and so is each file."""

import io
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from longctx.formats.limits import BLOCK, Damaged, Unreadable, check_ratio, reason
from longctx.regular import open_regular

LARGEST_LIST = 32 << 20  # bytes that archives may ask to be read at once, such as their list of files


class Wary(io.FileIO):
    """A regular file that refuses to be read into memory as a whole."""

    def __init__(self, path: Path) -> None:
        with open_regular(path) as file:
            super().__init__(os.dup(file.fileno()))

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to `size` bytes, or the rest."""
        if size is None or size < 0:
            size = max(os.fstat(self.fileno()).st_size - self.tell(), 0)
        if size > LARGEST_LIST:
            raise Unreadable("its list of files is too long", "unpack it yourself")
        return super().read(size)


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive.

    Raises:
        Damaged: when it is not one.
    """
    with Wary(path) as file:
        try:
            archive = zipfile.ZipFile(cast(BinaryIO, file))
        except Unreadable:
            raise
        except Exception as error:  # struct.error, ValueError, NotImplementedError ... over damaged lists
            raise Damaged(f"damaged or cut short ({reason(error)})") from error
        with archive:
            yield archive


def blocks(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """Yield what a member holds; zipfile stops at the size that the list of files declares."""
    if member.flag_bits & 1:
        raise Unreadable("encrypted", "unpack it with its password")
    check_ratio(member.file_size, member.compress_size)
    with archive.open(member) as stream:
        while block := stream.read(BLOCK):
            yield block
