"""What a recipe says: a tokenizer, the stages of training, and which of them are exported.

In the file a stage holds only what differs from the stage before. Here nothing has a default: a key that is
missing, or that nobody knows, is an error.
"""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from training.shape import Shape

T = TypeVar("T")


@dataclass(frozen=True)
class Rates:
    """Two learning rates and their schedule."""

    muon: float  # for matrices
    adam: float  # for the embedding and norms
    warmup: int  # steps
    hold: float  # share of the stage at full rate; then linear to zero


@dataclass(frozen=True)
class Data:
    """What documents and questions are made of, in shares, and how much longer they seem."""

    absent: float  # of questions: about keys that are not there
    near: float  # of these: differ from a fact of the document in one word
    junk: float  # of values: random pieces of the vocabulary
    openings: float  # of documents: begin with a text's beginning and have a fact there
    rivals: float  # of facts: differ from another fact of the document in one word
    listing: float  # of batches: ask for all the values of a key, of which some were found
    gaps: float  # of questions: for a word left out of a sentence
    foreign: float  # of documents: in other languages, if the prose has any
    programs: float  # of documents: program text, if the prose has any; half of the questions are about it
    open: float  # of attributes: any noun
    pool: float  # of documents: their questions also see the other documents of the batch
    copies: float  # at most so many virtual copies of every haystack key ...
    ramp: float  # ... reached after this share of the stage


@dataclass(frozen=True)
class Phase:
    """The lengths of documents, in tokens, up to a share of the stage."""

    until: float
    lengths: list[int]


@dataclass(frozen=True)
class Stage:
    """Everything that decides what a stage of training computes, apart from the prose it reads.

    Attributes:
        begin: the stages whose mean weights it begins with; none for the first.
        processes: that train together, each on `tokens` document tokens a step and the questions about them.
    """

    name: str
    begin: list[str]
    processes: int
    seed: int
    steps: int
    tokens: int
    shape: Shape
    rates: Rates
    data: Data
    phases: list[Phase]

    def length(self, step: int) -> int:
        """Draw the document length of a step."""
        share = step / self.steps
        phase = next((p for p in self.phases if share < p.until), self.phases[-1])
        return Random(f"{self.seed} length {step}").choice(phase.lengths)

    def rate(self, step: int) -> float:
        """Return the factor on both learning rates: warm up, hold, then linear to zero."""
        share = step / self.steps
        warm = min(1.0, (step + 1) / max(1.0, self.rates.warmup))
        hold = self.rates.hold
        return warm * (1.0 if share < hold else (1 - share) / (1 - hold))

    def copies(self, step: int) -> float:
        """Return the most virtual copies of a haystack key at a step, growing as a power."""
        grown: float = self.data.copies ** min(1.0, step / self.steps / self.data.ramp)
        return grown


@dataclass(frozen=True)
class Vocabulary:
    """How the tokenizer is made: its entries, and the megabytes of prose that it learns from."""

    entries: int
    megabytes: float
    seed: int


@dataclass(frozen=True)
class Recipe:
    """From nothing to a model, which is the mean of the stages in `export`."""

    tokenizer: Vocabulary
    stages: list[Stage]
    export: list[str]

    @classmethod
    def load(cls, path: Path) -> "Recipe":
        """Read a TOML file.

        Raises:
            ValueError: a key is missing or unknown, or a stage that is named does not exist; one line.
        """
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{path}: {error}") from error
        stages: list[Stage] = []
        values: dict[str, Any] = {}
        for number, table in enumerate(raw.pop("stage", []), 1):
            before = [stage.name for stage in stages]
            values = merged(values, {"name": f"stage {number}", "begin": before[-1:]} | table)
            where = f"{path}, {values['name']}"
            stages.append(read_stage(values, where))
            known(values["begin"], before, where)
        vocabulary = exact(Vocabulary, raw.pop("tokenizer", {}), f"{path}, tokenizer")
        recipe = exact(cls, raw | {"stages": stages, "tokenizer": vocabulary}, str(path))
        known(recipe.export, [stage.name for stage in stages], str(path))
        return recipe


def merged(before: dict[str, Any], table: dict[str, Any]) -> dict[str, Any]:
    """Put what a stage says over what the stage before said, key by key, also within tables."""
    inner = {key: before.get(key, {}) | value for key, value in table.items() if isinstance(value, dict)}
    return before | table | inner


def read_stage(values: dict[str, Any], where: str) -> Stage:
    """Make a stage of the tables of a file."""
    kinds = {"shape": Shape, "rates": Rates, "data": Data}
    tables = {key: exact(kind, values.get(key, {}), f"{where}, {key}") for key, kind in kinds.items()}
    phases = [exact(Phase, phase, f"{where}, phases") for phase in values.get("phases", [])]
    return exact(Stage, values | tables | {"phases": phases}, where)


def exact(kind: Callable[..., T], values: dict[str, Any], where: str) -> T:
    """Call a settings class with the keys that it has, no more and no fewer."""
    wanted = signature(kind).parameters.keys()
    for what, keys in (("no", wanted - values.keys()), ("unknown", values.keys() - wanted)):
        if keys:
            raise ValueError(f"{where}: {what} {', '.join(sorted(keys))}")
    return kind(**values)


def known(names: list[str], stages: list[str], where: str) -> None:
    """Refuse names of stages that are not among `stages`."""
    if unknown := [name for name in names if name not in stages]:
        raise ValueError(f"{where}: no stage before it is called {', '.join(unknown)}")
