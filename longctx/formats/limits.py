"""What unpacking may cost, and how a file that cannot be read says so. A hostile file costs one line."""

import shutil
from collections.abc import Iterable, Iterator
from typing import TypeVar

LARGEST = 4 << 30  # bytes that one named file may unpack to, together
MOST_FILES = 10_000
DEEPEST = 5  # archives within archives; a .tar.gz is two
RATIO = 250  # logs shrink 10 to 50 times; a zip bomb, a thousand times and more
SMALL = 64 << 20  # below this any ratio is harmless
BLOCK = 1 << 16

Item = TypeVar("Item")


class Unreadable(Exception):
    """A file, or the rest of it, that is not read: why, and what to do about it."""

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(reason)
        self.reason, self.advice = reason, advice


class Plain(Exception):
    """A file that is better read as the plain text it also is."""


class Damaged(Unreadable):
    """A file that cannot be read from some point on; what stands before it was read."""


class Allowance:
    """What is left of the bytes and files that one input of `size` bytes may unpack to."""

    def __init__(self, size: int, folder: str) -> None:
        room = shutil.disk_usage(folder).free // 2
        self.bytes = min(LARGEST, room, max(4 * SMALL, RATIO * size))
        self.files = MOST_FILES

    def take_file(self) -> None:
        """Count one file more."""
        self.files -= 1
        if self.files < 0:
            raise Unreadable(f"only the first {MOST_FILES:,} files were unpacked", "unpack it yourself")

    def take(self, count: int) -> None:
        """Count bytes that are about to be written."""
        self.bytes -= count
        if self.bytes < 0:
            raise Unreadable("unpacks to more than there is room for", "unpack it yourself")

    def watch(self, blocks: Iterable[bytes], packed: int) -> Iterator[bytes]:
        """Pass on the blocks that `packed` bytes unpack to, while they stay within bounds."""
        total = 0
        for block in guarded(blocks):
            total += len(block)
            check_ratio(total, packed)
            self.take(len(block))
            yield block


def check_ratio(unpacked: int, packed: int) -> None:
    """Refuse what grows as no honest file does."""
    if unpacked > max(SMALL, RATIO * packed):
        raise Unreadable(f"grows more than {RATIO}-fold when unpacked, as bombs do", "unpack it yourself")


def guarded(items: Iterable[Item]) -> Iterator[Item]:
    """Pass on items; whatever a decoder raises over a damaged file becomes Damaged."""
    iterator = iter(items)
    while True:
        try:
            item = next(iterator)
        except StopIteration:
            return
        except Unreadable:
            raise
        except Exception as error:  # decoders raise zlib.error, EOFError, struct.error, LZMAError ...
            raise Damaged(f"damaged or cut short ({reason(error)})") from error
        yield item


def reason(error: Exception) -> str:
    """Say in a few words what a library said, on one line."""
    text = " ".join(str(error).split()).rstrip(".")
    return text[:100].lower() if text else type(error).__name__
