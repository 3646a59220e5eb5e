"""What a ride costs."""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

FREE_MINUTES = 30
STEP_MINUTES = 15
STEP_PRICE = Decimal("0.80")
HERON_FACTOR = 2.5
DAILY_CAP = Decimal("12.00")
LOST_BIKE_FEE = Decimal("950")
CURRENCY = "EUR"


class RideError(ValueError):
    """A ride that cannot be priced."""


@dataclass
class Ride:
    bike: str
    started: float
    ended: float
    pass_holder: bool = False

    @property
    def length(self) -> timedelta:
        return timedelta(seconds=self.ended - self.started)


def price(ride: Ride, cap: Decimal = DAILY_CAP) -> Decimal:
    """Return the price of a ride, no more than cap."""
    minutes = ride.length.total_seconds() / 60
    if minutes < 0:
        raise RideError("a ride ends after it starts")
    if ride.pass_holder:
        minutes -= FREE_MINUTES
    steps = max(0, -(-minutes // STEP_MINUTES))
    total = STEP_PRICE * int(steps)
    return min(total * Decimal(HERON_FACTOR) if ride.bike.startswith("H") else total, cap)


def refund(amount: Decimal, reason: str = "defect", share: float = 1.0) -> Decimal:
    """Return what is paid back; nothing is paid back after 60 days."""
    return (amount * Decimal(share)).quantize(Decimal("0.01"))
