"""Experts that a device has no room for: how much is read at once, and what is said of them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from checkpoints import random_model
from hypothesis import given
from hypothesis import strategies as st
from test_families import CONFIGS

from longctx import away, rates
from longctx.plan import Plan

GPU, CPU = torch.device("cuda"), torch.device("cpu")
HALF = torch.bfloat16


def plan(workspace: int = 0, available: int = 60, gpu: bool = True, **rest: Any) -> Plan:
    """A model of ten layers with eight bytes of experts each."""
    return Plan(
        tokens=1,
        exact=True,
        form="int8",
        kind="int8",
        weights=100,
        state=0,
        kv=0,
        workspace=workspace,
        available=available,
        forms={},
        experts=80,
        layer_experts=8,
        used_experts=10,
        gpu=gpu,
        **rest,
    )


@given(
    each=st.integers(1, 40),
    available=st.integers(20, 120),
    speed=st.floats(0.01, 10),
    first=st.sampled_from([1, 4]),
    longest=st.sampled_from([4, 16, 1024]),
)
def test_chunks_hide_the_coming_of_experts_while_there_is_room(
    each: int, available: int, speed: float, first: int, longest: int
) -> None:
    """If this fails a GPU waits for the bus in every chunk, or runs out of memory."""

    def made(config: object, tokens: int, *_: object, exact: bool) -> Plan:
        return plan(workspace=each * tokens, available=available)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(away, "LONGEST_CHUNK", longest)
        patch.setattr(away, "default_chunk", lambda config, device: first)
        patch.setattr(away, "make_plan", made)
        patch.setattr(away, "available_memory", lambda: 200)
        patch.setattr(away, "bus_rate", lambda device: 25.0)
        patch.setattr(away, "computing_seconds", lambda config, tokens, device: tokens / speed)
        found = away.hiding_chunk(None, GPU, HALF, "int8")  # type: ignore[arg-type]
        assert away.hiding_chunk(None, CPU, HALF, "int8") == first  # type: ignore[arg-type]

    def planned(tokens: int) -> Plan:
        whole = made(None, tokens, exact=True)
        return whole if whole.fits else whole.with_experts_away(200, 25.0)

    def waits(tokens: int) -> bool:
        return tokens < longest and planned(tokens).away_seconds[1] > tokens / speed

    def has_room(tokens: int) -> bool:
        kept = planned(tokens).kept
        return kept is not None and kept >= 2 * 8

    sizes = [first << power for power in range(12)]
    if planned(first).kept is None:
        assert found == first
        return
    assert found in sizes
    assert all(waits(size) and has_room(2 * size) for size in sizes if size < found)
    assert not (waits(found) and has_room(2 * found))


def test_the_time_of_computing_is_that_of_the_weights_a_token_meets(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails chunks are far too long or too short for the bus."""
    monkeypatch.setattr(away, "product_rate", lambda device: 1e6)
    dense = random_model(CONFIGS["llama"])
    numbers = sum(weight.numel() for weight in dense.parameters())
    assert away.computing_seconds(dense.config, 50, GPU) == pytest.approx(50 * 2 * numbers / 1e6)


def test_what_is_said_of_experts_elsewhere() -> None:
    """If this fails nobody learns why a large model is slow, or what would make it faster."""
    here = plan(gpu=False, kept=40, chunk=4096, rate=2e9)
    kept = "80 bytes, on disk; 40 bytes of them kept in memory"
    assert away.told(here).startswith(f"{kept}. At 2 GB/s up to ")
    assert away.told(here).endswith(" s for each chunk of 4,096 tokens read")
    there = plan(kept=40, host=80)
    assert away.told(there).startswith(
        "80 bytes, in the memory of the host; 40 bytes of them kept on the GPU."
    )
    first = "experts stay on disk: 80 bytes; 40 bytes of them are kept in memory"
    once = "each is rounded when it is read; once is enough: longctx models quantize big"
    assert away.notes(here, False, "big") == [first, once]
    assert away.notes(here, True, "big") == [first]
    host = "experts stay in the memory of the host: 80 bytes; 40 bytes of them are kept on the GPU"
    assert away.notes(there, False, "big") == [host]
    slow = "each is rounded when it is read; a host with memory for all of them is much faster"
    assert away.notes(plan(kept=40), False, "big")[1:] == [slow]


def test_away_asks_the_machine_for_what_it_can_give(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails experts of a GPU come from the disk though the host has room, or the other way round."""
    monkeypatch.setattr(away, "available_memory", lambda: 100)
    monkeypatch.setattr(away, "bus_rate", lambda device: 7.0)
    there = away.away(plan(), GPU)
    assert (there.host, there.rate) == (80, 7.0)
    here = away.away(plan(gpu=False), CPU)
    assert (here.host, here.rate) == (0, rates.DISK)


@pytest.mark.parametrize("times", [[9, 5, 3, 4], [1, 5, 4, 3], [1, 3, 4, 5]])
def test_the_fastest_of_three_runs_counts(times: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a time is told that was taken while everything was still being set up."""
    now, left = [0.0], list(times)

    def run() -> None:
        now[0] += left.pop(0)

    monkeypatch.setattr(rates, "perf_counter", lambda: now[0])
    assert rates.best(run, CPU) == 3
    assert not left


def test_a_long_run_is_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a plan for a large model takes as long as ten of its chunks."""
    now, left = [0.0], [9.0, 5.0, 3.0]

    def run() -> None:
        now[0] += left.pop(0)

    monkeypatch.setattr(rates, "perf_counter", lambda: now[0])
    assert rates.best(run, CPU, 6) == 5
    assert left == [3.0]


def test_rates_are_stated_for_a_gpu_that_is_not_here() -> None:
    """If this fails a plan for another machine ends in an error of CUDA."""
    if not torch.cuda.is_available():
        stated: list[tuple[Callable[[torch.device], float], float]] = [
            (rates.bus_rate, rates.BUS),
            (rates.product_rate, rates.PRODUCTS),
        ]
        assert all(rate(GPU) == value for rate, value in stated)
