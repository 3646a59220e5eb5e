"""The progress of a reading, and its cost."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """The progress of a stage: bytes and tokens so far, and all bytes; 0 if that is not known.

    `unit` names what is counted, where it is not bytes.
    """

    label: str
    bytes_done: int
    bytes_total: int
    tokens: int
    unit: str = "bytes"


class Meter:
    """Reports how far functions are that read documents, but yield no progress themselves."""

    def __init__(self, show: Callable[[Progress], object] | None = None) -> None:
        self.show = show or (lambda _: None)
        self._label = ""  # of a stage; outside of one, nothing is counted

    @contextmanager
    def stage(self, label: str, total: int) -> Iterator[None]:
        """Count all bytes of documents that are read meanwhile towards a total."""
        self._label, self._done, self._total = label, 0, total
        self.show(Progress(label, 0, total, 0))
        try:
            yield
        finally:
            self._label = ""

    def advance(self, count: int) -> None:
        """Count bytes that were read."""
        if self._label:
            self._done = min(self._done + count, self._total)
            self.show(Progress(self._label, self._done, self._total, 0))


@dataclass
class Usage:
    """What a task cost: tokens, seconds, and bytes of state and KV cache on the device.

    Tokens that were read by an earlier command, and kept, are reused.
    """

    tokens_reused: int = 0
    tokens_read: int = 0
    tokens_written: int = 0
    read_seconds: float = 0.0
    write_seconds: float = 0.0
    state_bytes: int = 0

    def add(self, other: "Usage") -> None:
        """Add the cost of a later reading."""
        self.tokens_reused += other.tokens_reused
        self.tokens_read += other.tokens_read
        self.tokens_written += other.tokens_written
        self.read_seconds += other.read_seconds
        self.write_seconds += other.write_seconds
        self.state_bytes = other.state_bytes

    @property
    def read_rate(self) -> float:
        """Return tokens read per second."""
        return self.tokens_read / self.read_seconds if self.read_seconds else 0.0
