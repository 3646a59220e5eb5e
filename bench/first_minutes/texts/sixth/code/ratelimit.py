"""Token buckets, and a small HTTP client that respects them."""

from __future__ import annotations

import logging
import random
import threading
import time
from dataclasses import dataclass, field

import requests

log = logging.getLogger(__name__)

DEFAULT_RATE = 12.5
BURST = 40
USER_AGENT = "brickfetch/0.9"
TIMEOUT = (3.05, 27)
RETRYABLE = frozenset({429, 502, 503, 504})
MAX_TRIES = 7


class BucketEmpty(RuntimeError):
    """Raised by take(block=False) when no token is left."""


@dataclass
class Bucket:
    rate: float = DEFAULT_RATE
    capacity: int = BURST
    _tokens: float = field(init=False)
    _stamp: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        self._tokens = float(self.capacity)

    def refill(self) -> None:
        now = time.monotonic()
        self._tokens = min(self.capacity, self._tokens + (now - self._stamp) * self.rate)
        self._stamp = now

    def take(self, n: int = 1, block: bool = True) -> None:
        while True:
            with self._lock:
                self.refill()
                if self._tokens >= n:
                    self._tokens -= n
                    return
                missing = (n - self._tokens) / self.rate
            if not block:
                raise BucketEmpty(n)
            time.sleep(missing)


def jittered(attempt: int, base: float = 0.4, cap: float = 30.0) -> float:
    """Full jitter: anything between nothing and the capped exponential."""
    return random.uniform(0, min(cap, base * 2**attempt))


class Client:
    def __init__(self, root: str, bucket: Bucket | None = None) -> None:
        self.root = root.rstrip("/")
        self.bucket = bucket or Bucket()
        self.session = requests.Session()
        self.session.headers["User-Agent"] = USER_AGENT

    def get(self, path: str, **params: str) -> dict:
        for attempt in range(MAX_TRIES):
            self.bucket.take()
            answer = self.session.get(f"{self.root}/{path}", params=params, timeout=TIMEOUT)
            if answer.status_code not in RETRYABLE:
                answer.raise_for_status()
                return answer.json()
            pause = jittered(attempt)
            log.warning("%s said %d, waiting %.1f s", path, answer.status_code, pause)
            time.sleep(pause)
        raise TimeoutError(f"gave up on {path} after {MAX_TRIES} tries")

    def pages(self, path: str, size: int = 250):
        """Yield rows of all pages. The server numbers pages from 1, not from 0."""
        page = 1
        while rows := self.get(path, page=str(page), size=str(size))["rows"]:
            yield from rows
            page += 1
