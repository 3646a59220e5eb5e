"""The bars of the GPU tables: what each table must reach, in one list."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Bar:
    """One promise.

    Attributes:
        name: under which a table reports its value.
        stage: of bench/gpu_day.sh that measures it.
        kind: whether the value must be at most or at least the limit.
        unit: of value and limit.
    """

    name: str
    stage: str
    kind: Literal["most", "least"]
    limit: float
    unit: str

    def passed(self, value: float | None) -> bool | None:
        """Tell whether a value keeps the promise; None when there is no value."""
        if value is None or math.isnan(value):
            return None
        return value <= self.limit if self.kind == "most" else value >= self.limit


def _most(stage: str, name: str, limit: float, unit: str) -> Bar:
    return Bar(name, stage, "most", limit, unit)


def _least(stage: str, name: str, limit: float, unit: str) -> Bar:
    return Bar(name, stage, "least", limit, unit)


BARS = (
    _most("parity", "kernel tests that fail on the GPU", 0, "tests"),
    _most("lightning", "lightning prefill 64x128 16k", 0.5, "ms"),
    _least("lightning", "lightning prefill 64x128 16k over fla", 1.5, "x"),
    _most("lightning", "lightning prefill 16x128 16k", 0.14, "ms"),
    _most("lightning", "lightning prefill, error against float64", 1e-2, "relative"),
    _most("lightning", "tokens from which lightning beats flash attention", 1536, "tokens"),
    _least("lightning", "lightning over flash attention at 64k", 50, "x"),
    _least("attention", "attention decode, share of the copy bandwidth at 1M keys", 0.6, "of 1"),
    _most("decode", "lightning decode step 64x128 alone", 8, "us"),
    _most("decode", "lightning decode step 64x128 in a graph", 4, "us"),
    _least("moe", "experts, 1 token, share of the copy bandwidth", 0.6, "of 1"),
    _least("model", "Ring-mini shape prefill 128k", 80_000, "tok/s"),
    _least("model", "Ring-mini shape prefill 1M", 20_000, "tok/s"),
    _least("model", "Ring-mini shape decode after 4k", 600, "tok/s"),
    _least("model", "Ring-mini shape decode after 1M", 200, "tok/s"),
    _least("model", "streamed in 16k chunks over one pass at 128k", 0.97, "x"),
    _least("model", "prefill 4k over transformers", 1.0, "x"),
    _most("model", "peak memory over plan, Ring-mini shape 1M", 1.05, "x"),
    _least("model", "peak memory over plan, Ring-mini shape 1M, at least", 0.95, "x"),
    _least("cli", "doctor", 1, "of 1"),
    _most("cli", "ask on a text of 1M tokens, reading", 3, "s"),
    _least("cli", "niah 64k", 1, "share found"),
    _least("cli", "niah 1M", 1, "share found"),
    _least("cli", "niah 4M", 1, "share found"),
    _least("cli", "niah 10M", 1, "share found"),
    _least("cli", "summarize", 1, "of 1"),
    _most("cli", "peak memory over plan, bundled model 1M", 1.05, "x"),
    _least("cli", "peak memory over plan, bundled model 1M, at least", 0.95, "x"),
    _most("sanitize", "memory errors and races found", 0, "kernels"),
)
STAGES = ("parity", "lightning", "decode", "attention", "moe", "model", "cli", "sanitize")


def bar(name: str) -> Bar:
    """Return the bar called `name`; KeyError when a table reports what nobody asked for."""
    return {each.name: each for each in BARS}[name]
