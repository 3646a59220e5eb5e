"""What can be known about the GPU tables without a GPU: arithmetic, bars, and that all of their code runs."""

import json
import math
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from gpu import PUBLIC, Twin

from bench.gpu import bars, parity, report, roofline, sanitize, shapes
from bench.gpu.lightning import crossover
from bench.gpu.model import RING_SHAPE
from bench.gpu.roofline import H200, Work
from bench.gpu.timing import HERE, Timing, guarded
from bench.random_model import Shape, random_tensors
from longctx.kernels.rounded import RoundedMatrix
from longctx.models.families.minimax import translate

ROOT = Path(__file__).parents[1]


def close(value: float, expected: float) -> None:
    assert value == pytest.approx(expected, rel=0.03)


def test_rooflines_of_the_kernels_are_the_known_ones() -> None:
    """If this fails every percentage in the GPU tables is wrong."""
    close(roofline.lightning_prefill(16384, 64, 128).seconds(H200), 0.25e-3)
    close(roofline.lightning_prefill(16384, 16, 128).seconds(H200), 0.062e-3)
    close(roofline.lightning_decode(64, 128).seconds(H200), 2.0e-6)
    close(roofline.experts(1, 2048, 512, 8, 256).seconds(H200), 50.3e6 / 4.3e12)
    close(roofline.attention_decode(1 << 20, 16, 4, 128).bytes, 2.147e9)
    # Causal attention does half of the square: 4 h d n / 2 operations a token.
    close(roofline.attention_prefill(16384, 64, 8, 128).flops, 2 * 64 * 128 * 16384**2)
    # All experts are read when many tokens choose among few; one token reads its own alone.
    assert roofline.experts(10_000, 2048, 512, 8, 256).bytes > 256 * 3 * 2048 * 512 * 2
    assert roofline.experts(1, 2048, 512, 8, 256).bytes < 1.001 * 8 * 3 * 2048 * 512 * 2 + 4 * 2048


@pytest.mark.parametrize(
    ("tokens", "rate"), [(4096, 420e3), (131072, 199e3), (1 << 20, 41.6e3), (1 << 22, 11.2e3)]
)
def test_prefill_roofline_of_ring_mini(tokens: int, rate: float) -> None:
    """If this fails a reading looks faster or slower than the device allows."""
    close(tokens / RING_SHAPE.read_seconds(tokens, 16384, H200), rate)


@pytest.mark.parametrize(("keys", "rate"), [(4096, 1720), (131072, 1217), (1 << 20, 389), (1 << 22, 117)])
def test_decode_roofline_of_ring_mini(keys: int, rate: float) -> None:
    """If this fails writing looks faster or slower than the device allows."""
    close(1 / RING_SHAPE.decode(keys).seconds(H200), rate)


def test_sizes_of_models_from_their_layers() -> None:
    """If this fails the roofline belongs to another model than the one that is timed."""
    minimax = Shape(
        **{"layers": 80, "softmax": 10, "hidden": 6144, "heads": 64, "kv_heads": 8, "head_dim": 128},
        **{"ffn": 9216, "experts": 32, "taken": 2, "vocab": 200064},
    )
    close(minimax.body, 45.9e9)
    close(minimax.of_layers(minimax.experts) + 2 * minimax.head, 456e9)
    assert minimax.config()["layer_types"] == [*["linear_attention"] * 7, "full_attention"] * 10
    close(RING_SHAPE.of_layers(256), 16.5e9)
    close(Shape().body + 2 * Shape().head, 31e6)
    tensors = random_tensors(translate(Shape().config()))
    assert sum(each.numel() for each in tensors.values()) == pytest.approx(
        Shape().body + 2 * Shape().head, rel=1e-3
    )


def test_work_is_bound_by_the_slower_of_memory_and_arithmetic() -> None:
    """If this fails memory-bound kernels are judged by arithmetic, or the other way round."""
    assert Work(4.3e12, 1).seconds(H200) == 1
    assert Work(1, 790e12).seconds(H200) == 1
    assert (Work(1, 2) + Work(3, 4)) == Work(4, 6)


def test_crossover_lies_between_the_lengths_around_it() -> None:
    """If this fails the length from which lightning pays off is reported wrongly."""
    assert crossover({1024: 0.5, 2048: 1.5, 4096: 3.0}) == pytest.approx(1024 * 2**0.5)
    assert crossover({1024: 1.2, 2048: 2.0}) == 1024
    assert math.isinf(crossover({1024: 0.5, 2048: 0.9}))


def test_bars_judge_in_the_right_direction() -> None:
    """If this fails a missed promise is reported as kept."""
    most, least = bars.bar("lightning prefill 64x128 16k"), bars.bar("Ring-mini shape decode after 4k")
    assert (most.kind, least.kind) == ("most", "least")
    assert most.passed(0.5)
    assert most.passed(0.51) is False
    assert least.passed(600)
    assert least.passed(599) is False
    assert most.passed(None) is None
    assert most.passed(math.nan) is None
    with pytest.raises(KeyError):
        bars.bar("what nobody promised")


def test_a_table_keeps_every_figure_at_once_and_leaves_other_tables_alone(tmp_path: Path) -> None:
    """If this fails a run that is stopped at its time limit has measured for nothing."""
    out = tmp_path / "results.json"
    for name in ("decode", "lightning"):
        table = report.Table(name, out, H200)
        table.line(
            "x", Timing(2e-3, 1e-3, 5), tokens=100, least=1e-3, peers={"a": Timing(4e-3, 1, 1), "b": None}
        )
    table.value("lightning prefill 64x128 16k", 0.4)
    table.value("lightning prefill 16x128 16k", None)
    known = json.loads(out.read_text())
    line = known["tables"]["decode"]["lines"][0]
    assert line["share"] == 0.5
    assert line["tokens_per_second"] == 50_000
    assert line["peers"] == {"a": 4e-3, "b": None}
    text = report.summary(known, ["lightning"])
    assert "| lightning prefill 64x128 16k | 0.4 | at most 0.5 ms | pass |" in text
    assert "| lightning prefill 16x128 16k | - | at most 0.14 ms | not measured |" in text
    assert "decode step" not in text
    assert text.endswith("1 passed, 0 failed, 5 not measured")


def test_summary_fails_when_a_bar_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a GPU day with a missed bar ends as a success."""
    monkeypatch.setattr(sys, "argv", ["report", str(tmp_path), "lightning"])
    table = report.Table("lightning", tmp_path / "results.json", H200)
    table.value("lightning prefill 64x128 16k", 0.4)
    assert report.main() == 0
    table.value("lightning prefill 64x128 16k", 0.6)
    assert report.main() == 1
    assert "FAIL" in (tmp_path / "summary.md").read_text()


@pytest.mark.parametrize("name", ["lightning", "decode", "attention", "moe", "model", "offload", "cli"])
def test_tables_ask_for_a_device_in_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails whoever tries a table without a GPU gets a stack trace."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    module = import_module(f"bench.gpu.{name}")
    with pytest.raises(SystemExit, match="needs a CUDA device"):
        report.run(name, module.__doc__, module.tables, [])


@pytest.mark.parametrize("name", ["ring-mini", "hypenet-2b", "sala"])
def test_full_models_run_from_end_to_end(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a published model cannot be measured on the one day on which a GPU is there."""
    monkeypatch.setenv("LONGCTX_KERNELS", "torch")
    monkeypatch.setattr(HERE, "rehearsal", False)  # put back at the end
    out = tmp_path / "results.json"
    monkeypatch.setattr(sys, "argv", ["shapes", name, "--rehearse", "--out", str(out)])
    assert shapes.main() == 0
    found = json.loads(out.read_text())["tables"][name]
    assert not [note for note in found["notes"] if "stopped" in note]
    assert set(found["values"]) == {bar.name for bar in bars.BARS if bar.stage == name}


@pytest.mark.parametrize("name", ["lightning", "decode", "attention", "moe", "model", "offload"])
def test_tables_run_from_end_to_end(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a table stops on the one day on which a GPU is there."""
    pytest.importorskip("triton")
    # A whole model in the interpreter would take minutes.
    monkeypatch.setenv("LONGCTX_KERNELS", "torch" if name in ("model", "offload") else "triton")
    monkeypatch.setattr(HERE, "rehearsal", False)  # put back at the end
    module, out = import_module(f"bench.gpu.{name}"), tmp_path / "results.json"
    assert report.run(name, module.__doc__, module.tables, ["--rehearse", "--out", str(out)]) == 0
    found = json.loads(out.read_text())["tables"][name]
    assert not [note for note in found["notes"] if "stopped" in note]
    missing = {bar.name for bar in bars.BARS if bar.stage == name} - set(found["values"])
    assert missing <= {"lightning prefill 64x128 16k over fla"}  # fla needs a GPU


def test_what_fails_says_why_and_does_not_stop_the_rest() -> None:
    """If this fails one missing package takes a whole table with it."""

    def fails() -> int:
        raise RuntimeError("no such device\nsecond line")

    assert guarded(fails) == (None, "RuntimeError: no such device")
    assert guarded(lambda: 3) == (3, "")


def test_gpu_day_lists_its_stages_and_stays_within_its_time() -> None:
    """If this fails the one command for a GPU day runs something else, or longer, than it says."""
    done = subprocess.run(
        ["bench/gpu_day.sh", "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    assert {row[0] for row in rows} == {"environment", *(bar.stage for bar in bars.BARS)}
    assert sum(int(row[1]) for row in rows) <= 29 * 60
    assert len({row[3] for row in rows} | {"results.json", "summary.md"}) <= 8
    for row in rows:
        assert row[0] == "parity" or import_module(row[row.index("-m") + 1])
    wrong = subprocess.run(
        ["bench/gpu_day.sh", "nonsense"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2
    assert "nonsense is no stage" in wrong.stderr


def test_outcome_of_the_kernel_tests_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails kernels that are wrong on a GPU pass the GPU day."""
    xml = tmp_path / "report.xml"
    suite = '<testsuites><testsuite tests="{}" failures="{}" errors="{}" skipped="{}"/></testsuites>'
    xml.write_text(suite.format(10, 2, 1, 3))
    assert parity.counts(xml) == (7, 3)
    monkeypatch.setenv("OUT", str(tmp_path))
    monkeypatch.setattr(HERE, "rehearsal", True)
    for status, failures, expected in (("0", 0, 0), ("1", 2, 1), ("2", 0, 1)):
        xml.write_text(suite.format(10, failures, 0, 3))
        monkeypatch.setattr(sys, "argv", ["parity", str(xml), status])
        assert parity.main() == expected
    values = json.loads((tmp_path / "results.json").read_text())["tables"]["parity"]["values"]
    assert values == {}  # stopped before the end without a failure: nothing is proved
    xml.write_text(suite.format(3, 0, 0, 3))
    with pytest.raises(ValueError, match="no test ran"):
        parity.counts(xml)


def test_errors_that_the_sanitizer_reports_are_read() -> None:
    """If this fails memory errors in a kernel pass the GPU day."""
    assert sanitize.errors_in("ran x\n========= ERROR SUMMARY: 3 errors\n") == 3
    assert sanitize.errors_in("========= RACECHECK SUMMARY: 2 hazards displayed (1 error)") == 2
    assert sanitize.errors_in("Device not supported") is None


def test_kernel_tests_reach_other_memory_with_strides_and_overlaps() -> None:
    """If this fails the kernel tests on a GPU test copies, and in-place results are lost."""
    seen: list[tuple[tuple[int, ...], int]] = []

    def kernel(
        q: torch.Tensor, k: torch.Tensor, state: torch.Tensor, *, pair: tuple[torch.Tensor, int]
    ) -> torch.Tensor:
        seen.append((q.stride(), k.data_ptr() - q.data_ptr()))
        state.add_(1)
        pair[0].zero_()
        return q + k

    packed = torch.arange(24.0).reshape(2, 3, 4)
    q, k = packed[:, :, :2], packed[:, :, 2:]
    states = torch.zeros(3, 2)
    extra = torch.ones(2)
    out = Twin(torch.device("cpu")).wrap(kernel)(q, k, states[1], pair=(extra, 1))
    assert torch.equal(out, q + k)
    assert seen == [(q.stride(), k.data_ptr() - q.data_ptr())]
    assert states.tolist() == [[0, 0], [1, 1], [0, 0]]
    assert extra.tolist() == [0, 0]


def test_matrices_of_few_bits_reach_other_memory_too() -> None:
    """If this fails the tests of --quant on a GPU read host memory."""
    weight = RoundedMatrix.empty(2, 32, bits=4, device=torch.device("cpu"))
    seen: list[int] = []

    def kernel(x: torch.Tensor, weight: RoundedMatrix) -> torch.Tensor:
        seen.extend(part.data_ptr() for part in (weight.levels, weight.steps))
        return x

    Twin(torch.device("cpu")).wrap(kernel)(torch.ones(1), weight)
    assert not {weight.levels.data_ptr(), weight.steps.data_ptr()} & set(seen)
    assert len(seen) == 2


def test_every_public_kernel_is_reached() -> None:
    """If this fails a renamed kernel is no longer tested on a GPU, and nothing says so."""
    pytest.importorskip("triton")
    for module, names in PUBLIC.items():
        loaded = import_module(f"longctx.kernels.{module}")
        assert [name for name in names if not hasattr(loaded, name)] == []


def test_pages_named_by_address_are_mirrored_too() -> None:
    """If this fails the attention tests on a GPU read host memory, or see no appended token."""
    twin = Twin(torch.device("cpu"))
    memory: dict[int, torch.Tensor] = {}

    def page_table(logs: list[list[tuple[torch.Tensor, torch.Tensor]]], rows: int) -> torch.Tensor:
        keys = logs[0][0][0]
        memory[keys.data_ptr()] = keys
        return torch.tensor([keys.data_ptr()])

    def append(table: torch.Tensor, token: torch.Tensor) -> None:
        memory[int(table[0])][-1] = token

    page = torch.zeros(4)
    table = twin.wrap_table(page_table)([[(page, page)]], 1)
    assert int(table[0]) != page.data_ptr()
    page[0] = 7.0
    twin.wrap(append)(table, torch.tensor(5.0))
    assert page.tolist() == [7, 0, 0, 5]
    assert memory[int(table[0])].tolist() == [7, 0, 0, 5]
