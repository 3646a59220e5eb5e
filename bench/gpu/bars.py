"""The bars of the GPU tables: what each table must reach, in one list."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Bar:
    """One promise.

    Attributes:
        stage: of bench/gpu_day.sh that measures it.
        name: under which a table reports its value.
        kind: whether the value must be at most or at least the limit.
        unit: of value and limit.
    """

    stage: str
    name: str
    kind: Literal["most", "least"]
    limit: float
    unit: str

    def passed(self, value: float | None) -> bool | None:
        """Tell whether a value keeps the promise; None when there is no value."""
        if value is None or math.isnan(value):
            return None
        return value <= self.limit if self.kind == "most" else value >= self.limit


# Models at their full size: stage, form, length, and tokens per second read and written at least.
SHAPES = (
    ("ring-mini", "int4", "4k", 50_000, 300),
    ("ring-mini", "int4", "32k", 50_000, 280),
    ("ring-mini", "int4", "128k", 45_000, 250),
    ("hypenet-2b", "bf16", "4k", 60_000, 220),
    ("hypenet-2b", "bf16", "32k", 60_000, 200),
    ("hypenet-2b", "bf16", "128k", 40_000, 170),
    ("hypenet-2b", "int4", "4k", 60_000, 280),
    ("hypenet-2b", "int4", "32k", 60_000, 260),
    ("hypenet-2b", "int4", "128k", 40_000, 200),
    ("sala", "bf16", "4k", 15_000, 40),
    ("sala", "bf16", "32k", 3_000, 35),
    ("sala", "bf16", "128k", 1_000, 30),
)
BARS = (
    Bar("parity", "kernel tests that fail on the GPU", "most", 0, "tests"),
    Bar("lightning", "lightning prefill 64x128 16k", "most", 0.5, "ms"),
    Bar("lightning", "lightning prefill 64x128 16k over fla", "least", 1.5, "x"),
    Bar("lightning", "lightning prefill 16x128 16k", "most", 0.14, "ms"),
    Bar("lightning", "lightning prefill, error against float64", "most", 1e-2, "relative"),
    Bar("lightning", "tokens from which lightning beats flash attention", "most", 1536, "tokens"),
    Bar("lightning", "lightning over flash attention at 64k", "least", 50, "x"),
    Bar("attention", "attention decode, share of the copy bandwidth at 1M keys", "least", 0.6, "of 1"),
    Bar("decode", "lightning decode step 64x128 alone", "most", 8, "us"),
    Bar("decode", "lightning decode step 64x128 in a graph", "most", 4, "us"),
    Bar("moe", "experts, 1 token, share of the copy bandwidth", "least", 0.6, "of 1"),
    Bar("offload", "experts in the host, answers that differ", "most", 0, "runs"),
    Bar("offload", "experts in the host, prefill, share of the bound, 30%", "least", 0.7, "of 1"),
    Bar("offload", "experts in the host, prefill, share of the bound, 60%", "least", 0.7, "of 1"),
    Bar("model", "Ring-mini shape prefill 128k", "least", 80_000, "tok/s"),
    Bar("model", "Ring-mini shape prefill 1M", "least", 20_000, "tok/s"),
    Bar("model", "Ring-mini shape decode after 4k", "least", 600, "tok/s"),
    Bar("model", "Ring-mini shape decode after 1M", "least", 200, "tok/s"),
    Bar("model", "streamed in 16k chunks over one pass at 128k", "least", 0.97, "x"),
    Bar("model", "prefill 4k over transformers", "least", 1.0, "x"),
    Bar("model", "peak memory over plan, Ring-mini shape 1M", "most", 1.05, "x"),
    Bar("model", "peak memory over plan, Ring-mini shape 1M, at least", "least", 0.95, "x"),
    Bar("cli", "doctor", "least", 1, "of 1"),
    Bar("cli", "ask on a text of 1M tokens, reading", "most", 3, "s"),
    Bar("cli", "niah 64k", "least", 1, "share found"),
    Bar("cli", "niah 1M", "least", 1, "share found"),
    Bar("cli", "niah 4M", "least", 1, "share found"),
    Bar("cli", "niah 10M", "least", 1, "share found"),
    Bar("cli", "summarize", "least", 1, "of 1"),
    Bar("cli", "peak memory over plan, bundled model 1M", "most", 1.05, "x"),
    Bar("cli", "peak memory over plan, bundled model 1M, at least", "least", 0.95, "x"),
    Bar("sanitize", "memory errors and races found", "most", 0, "kernels"),
    *(Bar(of, f"{of} {form} prefill {n}", "least", read, "tok/s") for of, form, n, read, _ in SHAPES),
    *(Bar(of, f"{of} {form} decode after {n}", "least", write, "tok/s") for of, form, n, _, write in SHAPES),
    *(Bar(of, f"peak memory over plan, {of} {form} {n}", "most", 1.05, "x") for of, form, n, *_ in SHAPES),
)


def bar(name: str) -> Bar:
    """Return the bar called `name`; KeyError when a table reports what nobody asked for."""
    return {each.name: each for each in BARS}[name]
