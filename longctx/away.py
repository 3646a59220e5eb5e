"""Models whose experts a device has no room for: how they are read, and what there is to say of it."""

from typing import TYPE_CHECKING

from longctx.machine import available_memory, gib
from longctx.plan import Plan, default_chunk, expert_bytes, make_plan, weight_bytes
from longctx.rates import bus_rate, product_rate

if TYPE_CHECKING:
    import torch

    from longctx.models.config import ModelConfig
    from longctx.models.weight import Form

LONGEST_CHUNK = 1 << 17  # tokens


def away(plan: Plan, device: "torch.device") -> Plan:
    """Return the plan of keeping only as many experts on a device of this machine as it has room for."""
    if plan.gpu:
        return plan.with_experts_away(available_memory(), bus_rate(device))
    return plan.with_experts_away()


def hiding_chunk(config: "ModelConfig", device: "torch.device", dtype: "torch.dtype", form: "Form") -> int:
    """Return the tokens to read at once: on a GPU so many that experts come in the time of computing them.

    Each chunk needs all experts once, so of larger ones there are fewer. But a chunk takes room as well: it
    is doubled only while there is room for two layers of experts, one at work and one on its way.
    """
    chunk = default_chunk(config, device.type)

    def planned(chunk: int) -> Plan:
        plan = make_plan(config, chunk, device, dtype, chunk, form, exact=True)
        return plan if plan.fits else away(plan, device)

    if device.type == "cpu" or (plan := planned(chunk)).kept is None:
        return chunk
    while chunk < LONGEST_CHUNK and plan.away_seconds[1] > computing_seconds(config, chunk, device):
        plan = planned(2 * chunk)
        if plan.kept is None or plan.kept < 2 * plan.layer_experts:
            break
        chunk *= 2
    return chunk


def computing_seconds(config: "ModelConfig", tokens: int, device: "torch.device") -> float:
    """Return the seconds of the products of so many tokens with all weights that they meet."""
    import torch

    of_experts = expert_bytes(config, torch.float32, "plain")
    met = weight_bytes(config, torch.float32) - of_experts["experts"] + of_experts["used_experts"]
    return 2 * tokens * met / 4 / product_rate(device)


def told(plan: Plan) -> str:
    """Return where the experts of a plan are, and how fast they come."""
    token, chunk = plan.away_seconds
    where = f"{gib(plan.experts)}, {_there(plan)}; {gib(plan.kept or 0)} of them kept {_here(plan)}"
    written, read = f"{token:.2g} s for each token written", f"{chunk:.3g} s for each chunk"
    return f"{where}. At {plan.rate / 1e9:.2g} GB/s up to {written}, {read} of {plan.chunk:,} tokens read"


def notes(plan: Plan, rounded: bool, model: str | None) -> list[str]:
    """Return what there is to say when a model is loaded whose experts a device has no room for."""
    kept = f"{gib(plan.kept or 0)} of them are kept {_here(plan)}"
    said = [f"experts stay {_there(plan)}: {gib(plan.experts)}; {kept}"]
    if not plan.rounded or rounded or plan.host:
        return said
    once = f"once is enough: longctx models quantize {model}"
    better = "a host with memory for all of them is much faster" if plan.gpu else once
    return [*said, f"each is rounded when it is read; {better}"]


def _there(plan: Plan) -> str:
    return "in the memory of the host" if plan.host else "on disk"


def _here(plan: Plan) -> str:
    return "on the GPU" if plan.gpu else "in memory"
