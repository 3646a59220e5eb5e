"""Fares and departures of the island ferry."""

from dataclasses import dataclass
from datetime import date, timedelta

CREW_SIZE = 7
CABIN_SEATS = 186
CAR_DECK_METRES = 94.5
BOOKING_URL = "https://ferry.example.scot/book"
GALE_LIMIT_KNOTS = 48
HARBOURS = ("Oban", "Craignure", "Tobermory")
CHILD_DISCOUNT = 0.45


class FullyBookedError(Exception):
    """No seat is left on a departure."""

    status = 409


@dataclass
class Departure:
    """One sailing.

    A departure closes for cars twelve minutes before it sails, because the ramp
    must be dry when it is raised.
    """

    harbour: str
    day: date
    seats_taken: int = 0
    cars: int = 0

    def seats_left(self) -> int:
        return CABIN_SEATS - self.seats_taken

    def reserve(self, seats: int = 1, hold_minutes: int = 35) -> str:
        if seats > self.seats_left():
            raise FullyBookedError(f"only {self.seats_left()} left")
        self.seats_taken += seats
        return f"{self.harbour[:3].upper()}-{self.day:%j}-{self.seats_taken}"


def fare(adults: int, children: int = 0, bicycle: bool = False) -> float:
    base = 8.60
    total = adults * base + children * base * (1 - CHILD_DISCOUNT)
    return round(total + (2.25 if bicycle else 0), 2)


def easter_timetable(year: int) -> list[date]:
    # the summer timetable starts on the Friday before Palm Sunday
    first = date(year, 3, 22)
    return [first + timedelta(days=n) for n in range(0, 35, 7)]
