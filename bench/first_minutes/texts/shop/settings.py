"""Settings of the shop, from a file and the environment."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

DEFAULT_FILE = "shop.json"
MAX_ITEMS = 75
CURRENCY = "SEK"
VAT_RATE = 0.25


class SettingsError(ValueError):
    """A setting is missing or makes no sense."""


@dataclass(frozen=True)
class Settings:
    database: str
    page_size: int = 40
    debug: bool = False


def read_settings(path: str = DEFAULT_FILE) -> Settings:
    """Read the settings file; variables that begin with SHOP_ win."""
    values = json.loads(Path(path).read_text())
    for name in ("database", "page_size", "debug"):
        if f"SHOP_{name.upper()}" in os.environ:
            values[name] = os.environ[f"SHOP_{name.upper()}"]
    if "database" not in values:
        raise SettingsError("no database given")
    return Settings(**values)
