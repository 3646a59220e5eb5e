"""Experts that stay on disk: the same answers to the bit, in as much memory as was allowed."""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import hf_config, original_config, published_config, write_checkpoint
from click.testing import CliRunner
from conftest import REFERENCE
from test_quantize import WIDE

from longctx import needs, plan
from longctx.cli import main
from longctx.errors import ModelError
from longctx.kernels.int4 import can_quantize4
from longctx.kernels.quantized import can_quantize
from longctx.models.config_file import read_config, translate
from longctx.models.decoder import Decoder
from longctx.models.offload import ExpertCache
from longctx.models.quantize import Rounding
from longctx.models.weight import Form
from longctx.models.weights import load_model

pytestmark = pytest.mark.skipif(
    not (can_quantize() and can_quantize4()), reason="this torch has no such products for this CPU"
)
CONFIGS: dict[str, dict[str, Any]] = {
    "minimax": hf_config(),
    "original": original_config(),
    "bailing": WIDE | {"torch_dtype": "float32"},
}
GOLDEN = [
    folder
    for name in ("minimax-hf-many-experts", "minimax-orig-text01", "bailing-linear-a", "bailing-hybrid-a")
    if (folder := REFERENCE / "golden" / name).is_dir()
]


def run(model: Decoder) -> tuple[torch.Tensor, list[int]]:
    """Read in pieces of many and of few tokens, then write."""
    tokens = torch.randint(90, (1, 61), generator=torch.Generator().manual_seed(0))
    state, greedy = model.new_state(), []
    with torch.inference_mode():
        parts = [model(part, state) for part in tokens.split([33, 7, 20, 1], dim=1)]
        logits = model.logits(torch.cat(parts, 1)[0])
        for _ in range(5):
            greedy.append(int(model.logits(parts[-1][0, -1]).argmax()))
            parts.append(model(torch.tensor([greedy[-1:]]), state))
    return logits, greedy


def compare(folder: Path, form: Form, share: float) -> ExpertCache:
    """Compare a model with the same one whose experts are on disk; return the cache of these."""
    config = read_config(folder)
    whole = load_model(folder, config, form=form)
    sizes = [w.bytes_as(form) for w in whole.weights() if len(w.shape) > 2 and w.keep == "coarse"]
    budget = int(sum(sizes) * share)
    apart = load_model(folder, config, form=form, kept=budget)
    logits, greedy = run(whole)
    found, written = run(apart)
    assert torch.equal(found, logits)
    assert written == greedy
    cache = apart.experts
    assert cache is not None
    assert cache.held_bytes <= budget
    assert cache.misses > 0
    return cache


@pytest.mark.parametrize(
    ("form", "share"), [("plain", 0.4), ("packed", 0.02), ("int8", 0.4), ("int4", 0.02), ("int4", 0.4)]
)
@pytest.mark.parametrize("name", CONFIGS)
def test_experts_on_disk_give_the_same_answers(name: str, form: Form, share: float, tmp_path: Path) -> None:
    """If this fails a model larger than memory answers otherwise than on a larger machine."""
    folder = write_checkpoint(tmp_path / "a", CONFIGS[name])
    cache = compare(folder, form, share)
    assert share < 0.1 or cache.hits > 0


@pytest.mark.parametrize("form", ["int8", "int4"])
def test_experts_of_a_rounded_model_stay_on_disk(form: Form, tmp_path: Path) -> None:
    """If this fails the models that need it most, rounded and still too large, answer otherwise."""
    folder = write_checkpoint(tmp_path / "a", CONFIGS["bailing"])
    list(Rounding(folder, form, tmp_path / "b").run())
    other: Form
    for other in (form, "packed"):
        compare(tmp_path / "b", other, 0.4)


@pytest.mark.skipif(not GOLDEN, reason="the golden checkpoints are not beside this repository")
@pytest.mark.parametrize("folder", GOLDEN, ids=lambda folder: folder.name)
@pytest.mark.parametrize("form", ["plain", "int4"])
def test_golden_models_with_experts_on_disk(folder: Path, form: Form) -> None:
    """If this fails a published family whose experts stay on disk gives wrong answers."""
    compare(folder, form, 0.3)


def made(number: int, log: list[int]) -> torch.Tensor:
    log.append(number)
    return torch.full((1,), float(number))


def makers(log: list[int], start: int, end: int) -> list[Callable[[], torch.Tensor]]:
    return [partial(made, number, log) for number in range(start, end)]


def test_what_was_used_last_is_kept() -> None:
    """If this fails writing reads the same experts from disk again and again."""
    log: list[int] = []
    cache = ExpertCache(16)
    stack = cache.stack(makers(log, 0, 8), 4)
    for e in (0, 1, 2, 0, 3, 0, 1):  # room for three, beside what is read ahead
        assert float(stack[e]) == e  # type: ignore[arg-type]  # a tensor
    assert log == [0, 1, 2, 3, 1]
    assert (cache.hits, cache.misses) == (2, 5)


def test_a_long_passage_does_not_drive_out_what_is_kept() -> None:
    """If this fails every chunk of a long text reads all experts from disk, however many would fit."""
    log: list[int] = []
    cache = ExpertCache(32)
    stack = cache.stack(makers(log, 0, 20), 4)
    for _ in range(3):
        cache.expect([stack], [], torch.arange(20)[:, None])
        assert [float(stack[e]) for e in range(20)] == list(range(20))  # type: ignore[arg-type]  # tensors
    assert len(log) == 20 + 2 * 14
    assert cache.held_bytes <= 32


def test_the_next_layer_is_read_while_one_is_computed() -> None:
    """If this fails reading waits for the disk at every layer."""
    log: list[int] = []
    cache = ExpertCache(400)
    first, second = (cache.stack(makers(log, at, at + 20), 4) for at in (0, 20))
    cache.expect([first], [second], torch.arange(20)[:, None])
    for e in range(20):
        first[e]
    cache.finish_reading()
    assert log == list(range(40))
    cache.expect([second], [], torch.arange(20)[:, None])
    assert [float(second[e]) for e in range(20)] == list(range(20, 40))  # type: ignore[arg-type]  # tensors
    assert log == list(range(40))


@pytest.mark.parametrize(
    ("harm", "form"),
    # What is open already stays whole when its name goes away.
    [("truncated", "plain"), ("truncated", "int4"), ("replaced", "plain"), ("gone", "plain")],
)
def test_a_checkpoint_that_is_damaged_while_it_is_read_is_named(
    harm: str, form: Form, tmp_path: Path
) -> None:
    """If this fails a disk that is taken away ends the command by a signal, or in a traceback."""
    folder = write_checkpoint(tmp_path / "a", CONFIGS["bailing"])
    if form == "int4":
        list(Rounding(folder, form, tmp_path / "b").run())
        folder = tmp_path / "b"
    model = load_model(folder, read_config(folder), form=form, kept=0)
    for file in folder.glob("*.safetensors"):
        if harm == "truncated":
            os.truncate(file, file.stat().st_size // 4)
        else:
            file.unlink()
        if harm == "replaced":
            file.write_bytes(b"\xff" * 4096)
    with pytest.raises(ModelError, match="safetensors: cannot be read any more"):
        run(model)


def test_a_file_that_is_gone_is_an_error() -> None:
    """If this fails a disk that was unplugged leaves the command waiting."""

    def broken() -> torch.Tensor:
        raise OSError("gone")

    cache = ExpertCache(400)
    stack = cache.stack([broken], 4)
    cache.expect([stack], [], torch.zeros(1, 1, dtype=torch.int64))
    with pytest.raises(OSError, match="gone"):
        stack[0]


def test_a_model_larger_than_memory_runs_and_says_so(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails a large mixture is refused though it would run, or runs slowly without a word."""
    text = tmp_path / "a.txt"
    text.write_text("Nobody in the village knew why the river had changed its course.\n" * 9)
    given = str(text), "--model", str(checkpoint), "--device", "cpu", "--quant", "int4", "--max-tokens", "3"
    whole = json.loads(CliRunner().invoke(main, ["plan", *given, "--json"]).stdout)
    assert whole["kept"] is None
    less = whole["needed"] - whole["experts"] // 2
    monkeypatch.setattr(plan, "_available", lambda device: less)
    planned = CliRunner().invoke(main, ["plan", *given])
    assert planned.exit_code == 0, planned.output
    assert "on disk" in planned.stdout
    told = json.loads(CliRunner().invoke(main, ["plan", *given, "--json"]).stdout)
    assert whole["layer_experts"] <= told["kept"] < whole["experts"]
    assert told["needed"] <= less
    done = CliRunner().invoke(main, ["ask", "Why?", *given])
    assert done.exit_code in (0, 1), done.output
    assert "experts stay on disk: " in done.stderr
    rest = whole["needed"] - whole["experts"]
    monkeypatch.setattr(plan, "_available", lambda device: rest)
    assert CliRunner().invoke(main, ["ask", "Why?", *given]).exit_code == 5


def test_a_huge_model_is_told_to_run_with_its_experts_on_disk() -> None:
    """If this fails `models show` says of MiniMax-Text-01 that a machine of 64 GB cannot run it."""
    config = translate(published_config(), Path("config.json"))
    wanted = needs.needs(config)
    (least,) = (need for need in wanted if need.on_disk)
    free = {"cpu": 64 << 30}
    assert needs.fits(wanted, free)
    (line,) = needs.advice(wanted, free)
    assert "of experts on disk" in line
    assert "--device cpu --quant int4" in line
    assert least.on_disk == pytest.approx(435e9 * 5 / 8, rel=0.05)  # 4 bits, and a scale for each 32 of them
    assert not needs.fits(wanted, {"cpu": 4 << 30})
