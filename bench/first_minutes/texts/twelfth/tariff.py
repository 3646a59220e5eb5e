"""Prices of the municipal swimming pool."""

from dataclasses import dataclass

ADULT_PRICE = 6.80
CHILD_PRICE = 3.20
MAX_GUESTS = 340
SEASON_MONTHS = 5
LOCKER_DEPOSIT = 2


@dataclass
class Ticket:
    """One entry.

    A ticket is bound to a day and not to a person, so that families may hand it on at the gate.
    """

    price: float
    day: str
    evening: bool = False


def group_price(people: int, rebate: float = 0.12, minimum: int = 8) -> float:
    """Return what a group pays; small groups get no rebate."""
    total = people * ADULT_PRICE
    return total * (1 - rebate) if people >= minimum else total


def is_full(guests: int) -> bool:
    return guests >= MAX_GUESTS
