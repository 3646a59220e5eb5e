"""Published models that this version runs: short names, facts about them, and their configurations."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import longctx

FOLDER = Path(longctx.__file__).parent / "models" / "known"


@dataclass(frozen=True)
class Known:
    """A published checkpoint.

    Attributes:
        name: short, as `--model` takes it.
        repo: organisation/model on the hub.
        folder: holds the configuration that ships with longctx, to plan with; nothing more.
        bytes: of the weights as published.
        parameters: each counted once.
        memory: bytes for 32k tokens on a CPU with --quant int4.
        unsure: what was not checked against the real files; empty when there is nothing.
    """

    name: str
    repo: str
    folder: Path
    licence: str
    bytes: int
    parameters: int
    memory: float
    note: str
    unsure: str


@cache
def known() -> dict[str, Known]:
    """Return the known models by their short names, in the order of the table."""
    import tomllib

    rows = tomllib.loads((FOLDER / "table.toml").read_text(encoding="utf-8"))
    return {
        name: Known(name, **{"unsure": "", **row, "folder": FOLDER / row.get("folder", name)})
        for name, row in rows.items()
    }


def find(name: str) -> Known | None:
    """Return the known model of that short name or repository."""
    by_repo = {model.repo.lower(): model for model in known().values()}
    return known().get(name.lower()) or by_repo.get(name.lower())


def nearest(name: str) -> str:
    """Return what somebody who wrote `name` may have meant, as words of an error; "" if nothing is near."""
    from difflib import get_close_matches

    names = ["bundled", *known()]
    near = get_close_matches(name.lower(), names, n=1, cutoff=0.5) or [n for n in names if name.lower() in n]
    return f"did you mean {near[0]}? " if near else ""
