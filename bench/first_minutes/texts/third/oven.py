"""Control of the ovens."""
import enum

MAX_TEMPERATURE = 290  # degrees Celsius
PREHEAT_MINUTES = 25
ALARM_SOUND = "bell.wav"
SENSOR_PINS = (4, 17, 22)
DEFAULT_RECIPES = {"rye": 230, "brioche": 180}


class Mode(enum.Enum):
    OFF = 0
    PREHEAT = 1
    BAKE = 2


class OvenController:
    retries = 3

    def __init__(self, name: str, poll_seconds: float = 0.5):
        self.name = name
        self.poll_seconds = poll_seconds

    def set_target(self, celsius: int, ramp: str = "slow") -> None:
        if celsius > MAX_TEMPERATURE:
            raise OverheatError(celsius)

    @staticmethod
    def to_fahrenheit(celsius: float) -> float:
        return celsius * 9 / 5 + 32


class OverheatError(RuntimeError):
    pass


def calibrate(sensor, *, samples=64):
    return sum(sensor.read() for _ in range(samples)) / samples
