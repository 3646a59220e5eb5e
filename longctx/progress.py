"""The progress of a reading, and its cost."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """The progress of a reading: bytes and tokens so far, and all bytes."""

    label: str
    bytes_done: int
    bytes_total: int
    tokens: int


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
