"""Seats of the house, and who sits where."""

import os

ROWS = "ABCDEFGHJ"
SEATS_PER_ROW = {"A": 12, "B": 14}
AISLE_AFTER = 8
HOLD_SECONDS = 15 * 60
DATABASE = os.environ.get("SEATS_DB", "/var/lib/seats/seats.sqlite")
PRICE_BANDS = ("stalls", "gallery", "bench")
MAX_RETRIES: int = 4


class SoldOut(Exception):
    """No seat is left."""


class Plan:
    step = 2

    def __init__(self, rows: str = ROWS, *, keep_free: int = 6) -> None:
        self.rows = rows
        self.keep_free = keep_free

    def best(self, people: int, *, together: bool = True) -> list[str]:
        """Return the seats nearest to the middle."""
        if people > 148 - self.keep_free:
            raise SoldOut(f"{people} seats asked for")
        return [f"{self.rows[2]}{number}" for number in range(1, people + 1)]

    async def release(self, order: str) -> None:
        """Give back the seats of an order that was not paid."""


def band_of(seat: str) -> str:
    return PRICE_BANDS[0] if seat[0] < "E" else PRICE_BANDS[1]
