"""What a model needs in each form, for texts of several lengths, and in plain words whether it fits here."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from longctx.machine import available_memory, gib
from longctx.rates import BUS

if TYPE_CHECKING:
    from longctx.models.config import ModelConfig
    from longctx.models.weight import Form

LENGTHS = {"32k": 1 << 15, "128k": 1 << 17, "1M": 1 << 20}
# What numbers are computed in, the form of weights, and where. The most exact comes first.
FORMS: "tuple[tuple[str, Form, str], ...]" = (
    ("float32", "plain", "cpu"),
    ("bfloat16", "plain", "cuda"),
    ("bfloat16", "plain", "cpu"),
    ("float32", "int8", "cpu"),
    ("bfloat16", "int8", "cuda"),
    ("float32", "int4", "cpu"),
    ("bfloat16", "int4", "cuda"),
)
PLACES = {"cpu": "on the CPU", "cuda": "on a GPU"}


@dataclass(frozen=True)
class Need:
    """The bytes that a model in a form needs on a device, by the length of the text."""

    form: str
    device: str
    bytes: dict[str, int]
    least: int = 0  # for the shortest text, with the experts elsewhere
    away: int = 0  # bytes of these; 0 where they are not left there
    used: int = 0  # bytes of those that a token uses
    chunk: int = 0  # tokens read at once
    disk: float = 0.0  # bytes per second at which they come from a disk

    @property
    def options(self) -> str:
        """Return the options that ask for it."""
        return f"--device {self.device} {'--quant' if self.form.startswith('int') else '--dtype'} {self.form}"

    def longest(self, free: int) -> str | None:
        """Return the longest of the texts that fits into so many bytes; None when none does."""
        return max(
            (k for k, size in self.bytes.items() if size <= free), key=LENGTHS.__getitem__, default=None
        )


def needs(config: "ModelConfig") -> list[Need]:
    """Return what each form needs; nothing is loaded."""
    import torch

    from longctx.plan import default_chunk, make_plan

    found = []
    for dtype, form, device in FORMS:
        at = torch.device(device), getattr(torch, dtype), default_chunk(config, device)
        plans = {name: make_plan(config, n, *at, form, exact=True) for name, n in LENGTHS.items()}
        kind = next(iter(plans.values())).kind
        need = Need(kind, device, {name: plan.needed for name, plan in plans.items()})
        shortest, *_ = plans.values()
        if form == "int4" and shortest.experts:
            least, away, used = shortest.least, shortest.experts, shortest.used_experts
            need = replace(need, least=least, away=away, used=used, chunk=shortest.chunk, disk=shortest.rate)
        found.append(need)
    return found


def free_memory() -> dict[str, int]:
    """Return the bytes that each device of this machine can still give; no "cuda" when there is no GPU."""
    import torch

    free = {"cpu": available_memory()}
    return free | ({"cuda": torch.cuda.mem_get_info()[0]} if torch.cuda.is_available() else {})


def fits(wanted: Sequence[Need], free: dict[str, int]) -> bool:
    """Tell whether the shortest text fits in any form."""
    return any(need.longest(free.get(need.device, 0)) for need in wanted) or bool(_slowly(wanted, free))


def advice(wanted: Sequence[Need], free: dict[str, int], window: int = 0) -> list[str]:
    """Return in plain words what fits into the memory of this machine, or what would make it fit.

    Args:
        wanted: from `needs`.
        free: bytes by device, from `free_memory`.
        window: tokens that the model was made for, where that is known.
    """
    lines = []
    for need in wanted:
        if longest := need.longest(free.get(need.device, 0)):
            most = f"{window:,}" if 0 < window < LENGTHS[longest] else longest
            where = PLACES[need.device]
            slow = (
                ", but about 6 times slower than float32 on this CPU"
                if need.form == "bfloat16" and _in_software(need)
                else ""
            )
            lines.append(f"fits {where} as {need.form}, texts up to {most} tokens{slow}: {need.options}")
    on_gpu = [need for need in wanted if need.device == "cuda"]
    if not any(need.longest(free.get("cuda", 0)) for need in on_gpu):
        lines += _slowly(on_gpu if lines else wanted, free)
    if lines:
        return lines
    shortest, *_ = LENGTHS
    return ["does not fit this machine"] + [
        _missing(min(rows, key=lambda need: need.bytes[shortest]), shortest, free)
        for device in PLACES
        if (rows := [need for need in wanted if need.device == device])
    ]


def _in_software(need: Need) -> bool:
    """Tell whether this CPU has no products in bfloat16; with AVX2 alone they take six times as long."""
    import torch

    return need.device == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX2"


def _slowly(wanted: Sequence[Need], free: dict[str, int]) -> list[str]:
    """Return how a model runs whose experts alone do not fit."""
    lines = []
    for need in wanted:
        if need.away and need.least <= free.get(need.device, 0):
            there, rate = _there(need, free.get("cpu", 0))
            here = "in memory" if need.device == "cpu" else "on the GPU"
            lines.append(
                f"runs slowly {PLACES[need.device]} as {need.form}, with {gib(need.away)} of experts {there} "
                f"and {gib(need.least)} or more {here}: at {rate / 1e9:.2g} GB/s it reads up to "
                f"{need.chunk * rate / need.away:,.0f} tokens per second, and a token written takes up to "
                f"{need.used / rate:.2g} s: {need.options}"
            )
    return lines


def _there(need: Need, host: int) -> tuple[str, float]:
    """Return where experts are that do not fit, and the bytes per second at which they come."""
    from longctx.plan import ROOM

    in_host = need.device == "cuda" and need.away <= host * ROOM
    return ("in the memory of the host", BUS) if in_host else ("on disk", need.disk)


def _missing(need: Need, length: str, free: dict[str, int]) -> str:
    """Return what would make a form fit."""
    what = f"as {need.form}, for {length} tokens, it needs {gib(need.bytes[length])}"
    if need.device not in free:
        less = f", or {gib(need.least)} with {gib(need.away)} of experts in the memory of its host"
        return f"on a GPU {what}{less if need.away else ''}"
    more = gib(need.bytes[length] - free[need.device])
    return f"{PLACES[need.device]} {what}: {more} more than is free now; close programs, or take more memory"
