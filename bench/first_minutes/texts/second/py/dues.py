"""Harbour dues: what a ship pays for a berth."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from decimal import Decimal

logger = logging.getLogger(__name__)

DEFAULT_CURRENCY = "NOK"
MIN_DUES = Decimal("185.00")
GRACE_HOURS: int = 6
RATES = {
    "ferry": Decimal("0.42"),
    "trawler": Decimal("0.27"),
    "yacht": Decimal("1.15"),
}
EXEMPT = frozenset({"lifeboat", "pilot"})
_RETRY_WAIT = 2.5
STATUS_OPEN, STATUS_PAID, STATUS_WAIVED = range(3)


class DuesError(ValueError):
    """A ship that cannot be charged."""


@dataclass
class Stay:
    """A ship at a berth."""

    ship: str
    kind: str
    length_m: float
    hours: int = 24
    discounts: list[str] = field(default_factory=list)

    @property
    def billable_hours(self) -> int:
        """Hours after the grace period."""
        return max(0, self.hours - GRACE_HOURS)

    def is_exempt(self) -> bool:
        return self.kind in EXEMPT


def charge(stay: Stay, *, surcharge: float = 0.08, currency: str = DEFAULT_CURRENCY) -> Decimal:
    """Return what a stay costs."""
    if stay.is_exempt():
        return Decimal(0)
    if stay.kind not in RATES:
        raise DuesError(f"no rate for {stay.kind}")
    dues = RATES[stay.kind] * Decimal(stay.length_m) * stay.billable_hours
    return max(MIN_DUES, dues * Decimal(1 + surcharge))


async def fetch_stays(berth: int, timeout: float = 12.0, page_size: int = 50) -> list[Stay]:
    """Ask the berth's computer for its stays."""
    logger.info("fetching berth %d", berth)
    raise NotImplementedError


def print_invoice(stay: Stay) -> None:
    total = charge(stay)
    print(f"{stay.ship}: {total}")
