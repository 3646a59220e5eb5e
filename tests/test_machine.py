"""Facts about the machine, and plans made from them."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import hf_config, original_config, published_config, random_model

from longctx import machine
from longctx.errors import DoesNotFitError
from longctx.machine import (
    available_memory,
    check_reduced_precision,
    gib,
    hides_tiles,
    resident_memory,
    usable_threads,
)
from longctx.models.config_file import translate
from longctx.plan import make_plan, read_seconds, weight_bytes

CPU = torch.device("cpu")


def test_settings_of_the_user_are_kept() -> None:
    """If this fails a user cannot choose how threads wait or which instructions are used."""
    names = ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "ONEDNN_MAX_CPU_ISA"]
    program = (
        "import os; from longctx.machine import prepare_cpu; prepare_cpu(); "
        f"print(*[os.environ.get(name) for name in {names}])"
    )

    def environment(**given: str) -> list[str]:
        clean = {name: value for name, value in os.environ.items() if name not in names}
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env=clean | given, capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert environment()[:2] == ["20000", "None"]
    assert environment(OMP_WAIT_POLICY="ACTIVE", ONEDNN_MAX_CPU_ISA="AVX2") == ["None", "ACTIVE", "AVX2"]
    assert environment(GOMP_SPINCOUNT="7")[0] == "7"


@pytest.mark.parametrize(
    ("flags", "level", "hides"),
    [("amx_tile", 27, True), ("amx_tile", 28, True), ("amx_tile", 29, False), ("avx2", 13, False)],
)
def test_amx_is_used_where_its_tiles_are_described(flags: str, level: int, hides: bool) -> None:
    """If this fails a virtual machine kills the run with SIGILL, or AMX lies idle and reading is slow."""
    described = f"processor\t: 0\ncpuid level\t: {level}\nflags\t\t: fpu {flags}\n"
    assert hides_tiles(described * 2) is hides
    assert hides_tiles(f"flags\t\t: fpu {flags}\n") is (flags == "amx_tile")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_reduced_precision_is_tried_in_a_child(dtype: str) -> None:
    """If this fails a CPU that cannot compute in bfloat16 kills the run instead of refusing it.

    Either outcome is right; the child must not take this process with it.
    """
    try:
        check_reduced_precision(dtype)
    except Exception as error:
        assert "--dtype float32" in str(error)
    else:
        assert torch.ones(2, dtype=getattr(torch, dtype)).sum() == 2


def test_memory_and_threads_are_plausible() -> None:
    """If this fails plans are made for another machine."""
    assert 1 <= usable_threads() <= (os.cpu_count() or 1)
    if hasattr(os, "sched_getaffinity"):
        assert usable_threads() == len(os.sched_getaffinity(0))
    assert 1 << 26 < available_memory() < 1 << 50
    assert 1 << 26 < resident_memory() < 1 << 40  # of a process with torch in it


@pytest.mark.parametrize(("cpus", "threads"), [(None, 1), (3, 3)])
def test_threads_of_systems_that_only_count(
    cpus: int | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails longctx does not start where the system cannot tell which CPUs a process may use."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: cpus)
    assert usable_threads() == threads


@pytest.mark.parametrize(
    ("limit", "used", "available"), [("5000", "2000", 3000), ("max", "2000", None), ("5000", None, None)]
)
def test_the_limit_of_a_container_counts(
    limit: str, used: str | None, available: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails a container is killed for want of memory in a reading that was said to fit."""
    (tmp_path / "memory.max").write_text(limit)
    if used:
        (tmp_path / "memory.current").write_text(used)
    monkeypatch.setattr(machine, "Path", lambda name: tmp_path / Path(name).name)
    free = available_memory()
    assert free == available if available else free > 1 << 26


@pytest.mark.parametrize("config", [hf_config(), original_config(), hf_config(tie_word_embeddings=True)])
def test_planned_weights_are_the_weights(config: dict[str, Any]) -> None:
    """If this fails a plan is wrong by gigabytes."""
    model = random_model(config)
    assert weight_bytes(model.config, torch.float32) == sum(p.nbytes for p in model.parameters())


def test_the_published_model_needs_what_its_authors_say() -> None:
    """If this fails MiniMax-Text-01 (912 GB, 41 GB of KV at 1M) is said to fit where it does not."""
    config = translate(published_config(), Path("config.json"))
    plan = make_plan(config, 1_000_000, CPU, torch.bfloat16, 1024, "plain", exact=True)
    assert plan.weights == pytest.approx(912.2e9, rel=0.005)
    assert plan.forms["int4"] == pytest.approx(294.6e9, rel=0.005)  # 5 bits a weight, with the scales
    assert plan.forms["int8"] == pytest.approx(460e9, rel=0.01)
    assert plan.kv == 40_960 * 1_000_000
    assert plan.state == 293_601_280
    with pytest.raises(DoesNotFitError, match="weights"):
        dataclasses.replace(plan, available=1 << 40 - 1).check()


def test_time_is_estimated_from_a_calibration() -> None:
    """If this fails `plan` gives no time, or one that does not grow with the text."""
    config = random_model(hf_config(layers="LLLS")).config

    def seconds(tokens: int) -> float:
        found = read_seconds(config, tokens, CPU, torch.float32, 256, "packed")
        assert found is not None
        return found

    assert 0 < seconds(1000) < seconds(100_000) < 600


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1023, "1,023 bytes"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1 << 20, "1.0 MiB"),
        (5 << 30, "5.0 GiB"),
        (9 << 40, "9,216.0 GiB"),
    ],
)
def test_sizes_in_words(size: int, text: str) -> None:
    """If this fails a refusal names sizes nobody can compare."""
    assert gib(size) == text
