import os
from typing import Final

SLOT_LENGTH: Final = 20
OPENING_HOUR, CLOSING_HOUR = 8, 17
BASE_URL = os.environ.get("CLINIC_URL", "https://clinic.example")
HOLIDAYS = [
    "2024-05-01",
    "2024-12-25",
]


class AppointmentBook:
    max_per_day = 24

    def book(self, patient, *, slot=0, notify: bool = True):
        return slot

    async def cancel(self, reference: str, reason: str | None = None) -> bool:
        return True


def next_free(day, after=9):
    return after


free_slots = lambda day: []
