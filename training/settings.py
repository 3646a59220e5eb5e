"""The run's settings, read once from a TOML file."""

import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from training.shape import Shape


@dataclass(frozen=True)
class Settings:
    """Everything that decides what a run computes, apart from the prose it reads."""

    seed: int
    steps: int
    tokens: int
    shape: Shape
    rates: dict[str, float]
    data: dict[str, float]
    phases: list[dict[str, Any]]

    @classmethod
    def load(cls, path: Path) -> "Settings":
        """Read a TOML file; unknown or missing keys are errors."""
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        return cls(**(raw | {"shape": Shape(**raw["shape"])}))

    def shares(self) -> dict[str, float]:
        """Return what the batch maker takes from the data settings; the rest are schedules."""
        return {name: share for name, share in self.data.items() if name not in ("copies", "ramp")}

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain values, for the checkpoint."""
        return asdict(self)

    def length(self, step: int) -> int:
        """Draw the document length of a step."""
        share = step / self.steps
        phase = next((p for p in self.phases if share < p["until"]), self.phases[-1])
        lengths: list[int] = phase["lengths"]
        return Random(f"{self.seed} length {step}").choice(lengths)

    def rate(self, step: int) -> float:
        """Return the factor on both learning rates: warm up, hold, then linear to zero."""
        share = step / self.steps
        warm = min(1.0, (step + 1) / max(1.0, self.rates["warmup"]))
        hold = self.rates["hold"]
        return warm * (1.0 if share < hold else (1 - share) / (1 - hold))

    def copies(self, step: int) -> float:
        """Return the most virtual copies of a haystack key at a step, growing as a power."""
        grown: float = self.data["copies"] ** min(1.0, step / self.steps / self.data["ramp"])
        return grown
