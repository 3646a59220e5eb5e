"""The compile check must fail on what would only show on a GPU: spills, too much shared memory, slow dots."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from bench.compiled import Row, resources, table, write

pytest.importorskip("triton")
ROOT = Path(__file__).parents[1]


@cache
def toys() -> subprocess.CompletedProcess[str]:
    # The tests' own kernels run in the interpreter, where nothing is compiled: hence another process.
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    )
    command = [sys.executable, "-m", "bench.compiled", "--cases", "toy_kernels", "--chips", "80", "90"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def failures() -> list[str]:
    return [line for line in toys().stdout.splitlines() if line.startswith("FAIL ")]


@pytest.mark.parametrize(
    "expected",
    [
        "FAIL spills, product, sm_80: spills",
        "FAIL spills, product, sm_90: spills",
        "FAIL greedy, product, sm_80: needs 524288 bytes of shared memory",
        "FAIL greedy, product, sm_90: needs 524288 bytes of shared memory",
        "FAIL without wgmma, product, sm_90: uses mma.sync where wgmma is due",
        "FAIL idle, -, sm_90: no wgmma in any kernel",
        "FAIL broken, product, sm_90: compile:",
        "FAIL silent, -, sm_90: launched no kernel",
    ],
)
def test_a_kernel_that_would_be_slow_or_not_start_on_a_gpu_is_reported(expected: str) -> None:
    """If this fails a kernel that spills, or does not start at all, is found out by users with a GPU."""
    assert any(line.startswith(expected) for line in failures()), toys().stdout + toys().stderr[-2000:]
    assert toys().returncode == 1


def test_a_good_kernel_is_not_reported_and_its_figures_are_read() -> None:
    """If this fails the check cries wolf, or its table holds figures that nobody measured."""
    assert not [line for line in failures() if line.startswith("FAIL good")]
    line = next(line for line in toys().stdout.splitlines() if line.startswith("|good|product|sm_90|"))
    cells = line.split("|")
    assert cells[4] == "4"  # warps, as launched
    assert 16 <= int(cells[7]) <= 255
    assert cells[8] == "0"
    assert cells[9] == "16.0"  # two bf16 tiles of 64 x 64, KB
    assert cells[11] == "wgmma"


def test_a_log_without_figures_is_no_proof_of_no_spills() -> None:
    """If this fails a changed message of ptxas makes the check pass for everything."""
    assert resources("x\n4 bytes spill stores, 12 bytes spill loads\nptxas: Used 40 registers") == (40, 16)
    with pytest.raises(ValueError, match="nothing about registers"):
        resources("ptxas info    : Compiling entry function")


def test_rows_of_other_versions_of_triton_are_kept(tmp_path: Path) -> None:
    """If this fails writing the table with one version of triton loses what the other one gave."""
    path = tmp_path / "rows.json"
    write([Row("a", "k", 90, warps=4, registers=64, triton="3.6.0")], path)
    write([Row("a", "k", 90, warps=4, registers=70, triton="3.9.0")], path)
    write([Row("a", "k", 90, warps=4, registers=80, triton="3.9.0")], path)
    assert [(row["triton"], row["registers"]) for row in json.loads(path.read_text())] == [
        ("3.6.0", 64),
        ("3.9.0", 80),
    ]
    assert "3.6.0" in path.with_suffix(".md").read_text()


@pytest.mark.parametrize(
    ("warps", "registers", "shared", "blocks"),
    [(4, 128, 0, 4), (8, 255, 0, 1), (4, 32, 100 << 10, 2), (1, 16, 0, 32), (4, 168, 227 << 10, 1)],
)
def test_blocks_that_fit_on_a_multiprocessor(warps: int, registers: int, shared: int, blocks: int) -> None:
    """If this fails the table misleads whoever tunes by it."""
    row = Row("c", "k", 90, warps=warps, registers=registers, shared=shared, triton="3.9.0")
    assert row.blocks == blocks
    assert f"|{registers}|" in table([row])
