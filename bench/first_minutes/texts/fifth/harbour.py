"""Berths of a harbour and what they cost."""

from dataclasses import dataclass

MAX_BERTHS = 64
DEFAULT_TARIFF = "summer"
TARIFFS = {"summer": 3.2, "winter": 1.1}
GRACE_PERIOD = 45  # minutes
_RETRIES = 5


@dataclass
class Berth:
    number: int
    length: float = 12.5
    occupied: bool = False


class Harbour:
    timeout = 8

    def __init__(self, name: str, berths: int = 40) -> None:
        self.name = name
        self.berths = [Berth(number) for number in range(berths)]

    def assign(self, boat: str, *, tariff: str = DEFAULT_TARIFF, nights: int = 2) -> Berth:
        """Give a boat the first free berth."""
        return next(berth for berth in self.berths if not berth.occupied)


def fee(berth: Berth, nights: int) -> float:
    return nights * berth.length * TARIFFS[DEFAULT_TARIFF]
