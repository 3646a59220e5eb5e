"""Files that strangers may swap while they are read: never a pipe or a device, and the same file again."""

import os
import stat
import zlib
from dataclasses import dataclass
from typing import BinaryIO, Self

EDGE = 4096  # bytes at both ends of a file by which it is known


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file to read its bytes.

    Raises:
        OSError: when it cannot be opened, or is a folder, a device, or a pipe, which might never end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # or a pipe that nobody writes to would stop us
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("not a regular file")
    return os.fdopen(descriptor, "rb")


@dataclass(frozen=True, slots=True)
class Stamp:
    """By what a file is known again: it may have grown, as logs do, but not have been written anew."""

    device: int
    inode: int
    size: int
    changed: int  # nanoseconds
    edges: int

    @classmethod
    def of(cls, file: BinaryIO) -> Self:
        """Take the stamp of an open file."""
        status = os.fstat(file.fileno())
        edges = _edges(file, status.st_size)
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, edges)

    def fits(self, file: BinaryIO) -> bool:
        """Tell whether an open file still holds what it held."""
        now = os.fstat(file.fileno())
        if (now.st_dev, now.st_ino) != (self.device, self.inode):
            return False
        if (now.st_size, now.st_mtime_ns) == (self.size, self.changed):
            return True
        return now.st_size > self.size and _edges(file, self.size) == self.edges


def _edges(file: BinaryIO, size: int) -> int:
    head = os.pread(file.fileno(), min(EDGE, size), 0)
    return zlib.crc32(os.pread(file.fileno(), min(EDGE, size), max(size - EDGE, 0)), zlib.crc32(head))
