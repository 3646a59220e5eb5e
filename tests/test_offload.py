"""Experts that stay on disk, or in a GPU's host: the same answers to the bit, in the room they were given."""

import json
import os
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from checkpoints import hf_config, original_config, published_config, write_checkpoint
from click.testing import CliRunner
from conftest import REFERENCE
from hypothesis import given, settings
from hypothesis import strategies as st
from test_quantize import WIDE

from longctx import away, needs, plan
from longctx.cli import main
from longctx.errors import ModelError
from longctx.kernels.int4 import can_quantize4
from longctx.kernels.moe import Slotted
from longctx.kernels.quantized import can_quantize
from longctx.known import FOLDER
from longctx.models.config_file import read_config, translate
from longctx.models.decoder import Decoder
from longctx.models.lane import Lane
from longctx.models.offload import AwayExperts, ExpertCache
from longctx.models.quantize import Rounding
from longctx.models.slots import Expert, Kind
from longctx.models.weight import Form
from longctx.models.weights import load_model

pytestmark = pytest.mark.skipif(
    not (can_quantize() and can_quantize4()), reason="this torch has no such products for this CPU"
)
CPU = torch.device("cpu")
ONE = Kind(1, 1, torch.float32)
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
    apart = load_model(folder, config, form=form, cache=ExpertCache(budget))
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
    ("form", "share"), [("plain", 0.4), ("packed", 0.02), ("int8", 0.4), ("int4", 0.02), ("int4", 0.5)]
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


def made(number: int, log: list[int]) -> Expert:
    log.append(number)
    matrix = torch.full((1, 1), float(number))
    return matrix, matrix + 0.25, matrix + 0.5


def layer_of(cache: ExpertCache, log: list[int], start: int, end: int) -> AwayExperts:
    """Return a layer whose experts are numbers, of 4 bytes each."""
    return cache.layer([partial(made, number, log) for number in range(start, end)], 4, [ONE] * 3)


def used(layer: AwayExperts, *chosen: int) -> list[float]:
    """Send a token to each of some experts; return what was found there."""
    w1, w3, w2 = layer.begin(torch.tensor(chosen)[:, None])
    found = [float(w1[e] + w3[e] + w2[e]) / 3 - 0.25 for e in chosen]  # type: ignore[operator]  # tensors
    layer.end()
    return found


def test_what_was_used_last_is_kept() -> None:
    """If this fails writing reads the same experts from disk again and again."""
    log: list[int] = []
    cache = ExpertCache(12)
    layer = layer_of(cache, log, 0, 8)
    for e in (0, 1, 2, 0, 3, 0, 1):
        assert used(layer, e) == [e]
    assert log == [0, 1, 2, 3, 1]
    assert (cache.hits, cache.misses) == (2, 5)


@pytest.mark.parametrize("lane", [None, Lane(CPU)], ids=["cpu", "slots"])
def test_a_long_passage_does_not_drive_out_what_is_kept(lane: Lane | None) -> None:
    """If this fails every chunk of a long text brings all experts again, however many would fit."""
    log: list[int] = []
    cache = ExpertCache(4 * 60, lane)
    layers = [layer_of(cache, log, at, at + 20) for at in range(0, 100, 20)]
    for layer, following in pairwise(layers):
        layer.following = following
    for _ in range(3):
        for at, layer in enumerate(layers):
            assert used(layer, *range(20)) == list(range(20 * at, 20 * at + 20))
    assert 100 < len(log) <= 100 + 2 * (100 - 20)  # room for three layers, of which two are for what moves
    assert cache.held_bytes <= 4 * 60


def test_the_next_layer_is_read_while_one_is_computed() -> None:
    """If this fails reading waits for the disk at every layer."""
    log: list[int] = []
    cache = ExpertCache(400)
    first, second = (layer_of(cache, log, at, at + 20) for at in (0, 20))
    first.following = second
    used(first, *range(20))
    cache.finish_reading()
    assert log == list(range(40))
    assert used(second, *range(20)) == list(range(20, 40))
    assert log == list(range(40))


class Streams(Lane):
    """Two streams that go on whenever they may, in an order by chance: what CUDA allows, without a GPU."""

    def __init__(self, seed: int):
        super().__init__(CPU)
        self._random = Random(seed)
        self._queues: list[deque[tuple[str, Any]]] = [deque(), deque()]  # of computing, of copies
        self._passed: set[int] = set()
        self._marks = 0

    def mark(self) -> Any:
        return self._mark(0)

    def wait(self, mark: Any) -> None:
        self._queues[0].append(("wait", mark))

    def copy(self, pairs: Any, after: Any) -> Any:
        self._queues[1].append(("wait", after))
        self._queues[1].extend(("do", partial(target.copy_, source)) for target, source in pairs)
        return self._mark(1)

    def compute(self, job: Callable[[], object]) -> None:
        self._queues[0].append(("do", job))

    def run(self, most: int) -> None:
        """Do so many things, or all that there are."""
        for _ in range(most):
            ready = [queue for queue in self._queues if queue and self._may(*queue[0])]
            if not ready:
                assert not any(self._queues), "each stream waits for the other one"
                return
            what, detail = self._random.choice(ready).popleft()
            if what == "do":
                detail()
            elif what == "mark":
                self._passed.add(detail)

    def _may(self, what: str, detail: Any) -> bool:
        return what != "wait" or detail is None or detail in self._passed

    def _mark(self, queue: int) -> int:
        self._marks += 1
        self._queues[queue].append(("mark", self._marks))
        return self._marks


E, LAYERS = 6, 3
PASSES = st.lists(
    st.lists(st.lists(st.integers(0, E - 1), min_size=1, max_size=30), min_size=LAYERS, max_size=LAYERS),
    min_size=1,
    max_size=6,
)


@settings(max_examples=40)
@given(PASSES, st.integers(E, E * LAYERS + 1), st.integers(0, 1 << 20), st.booleans())
def test_an_expert_stays_on_the_device_until_its_work_is_done(
    passes: list[list[list[int]]], slots: int, seed: int, late: bool
) -> None:
    """If this fails a GPU computes with another expert than the router chose, now and then."""
    lane = Streams(seed)
    cache = ExpertCache(4 * slots, lane, at_once=True)
    layers = [layer_of(cache, [], E * at, E * at + E) for at in range(LAYERS)]
    for layer, following in pairwise(layers):
        layer.following = following

    def check(w1: Slotted, member: int, number: int) -> None:
        assert float(w1.pool[int(w1.slots[member])]) == number  # type: ignore[arg-type]  # a tensor

    for chosen_by_layer in passes:
        for layer, chosen in zip(layers, chosen_by_layer, strict=True):
            w1, _, _ = layer.begin(torch.tensor(chosen)[:, None])
            assert isinstance(w1, Slotted)
            for e in chosen:
                lane.compute(partial(check, w1, e, layer.number * E + e))
            layer.end()
            lane.run(0 if late else 10)
    lane.run(1 << 20)
    assert cache.held_bytes <= cache.budget


@pytest.mark.parametrize(
    ("form", "room", "at_once"), [("plain", 1.6, False), ("int8", 1.0, True), ("int4", 1.6, True)]
)
def test_a_gpu_with_little_memory_answers_as_a_large_one(
    form: Form, room: float, at_once: bool, tmp_path: Path
) -> None:
    """If this fails a mixture whose experts stay in memory of the host answers otherwise."""
    folder = write_checkpoint(tmp_path / "a", CONFIGS["bailing"])
    config = read_config(folder)
    whole = load_model(folder, config, dtype=torch.bfloat16, form=form)
    sizes = [w.bytes_as(form) for w in whole.weights() if len(w.shape) > 2 and w.keep == "coarse"]
    cache = ExpertCache(int(sum(sizes[:3]) * room), Lane(CPU), at_once=at_once)
    apart = load_model(folder, config, dtype=torch.bfloat16, form=form, cache=cache)
    (logits, greedy), (found, written) = run(whole), run(apart)
    assert torch.equal(found, logits)
    assert written == greedy
    assert cache.misses > 0
    assert cache.held_bytes <= cache.budget


def test_less_room_than_a_layer_needs_is_refused() -> None:
    """If this fails a budget too small ends in wrong answers or a traceback."""
    with pytest.raises(ModelError, match="one layer"):
        layer_of(ExpertCache(4 * 5, Lane(CPU)), [], 0, 6)


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
    model = load_model(folder, read_config(folder), form=form, cache=ExpertCache(0))
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

    def broken() -> Expert:
        raise OSError("gone")

    for lane in (None, Lane(CPU)):
        layer = ExpertCache(400, lane).layer([broken], 4, [ONE] * 3)
        with pytest.raises(OSError, match="gone"):
            used(layer, 0)


def test_a_model_larger_than_memory_runs_and_says_so(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails a large mixture is refused though it would run, or runs slowly without a word."""
    text = tmp_path / "a.txt"
    text.write_text("Nobody in the village knew why the river had changed its course.\n" * 9)
    given = str(text), "--model", str(checkpoint), "--device", "cpu", "--quant", "int4", "--max-tokens", "3"
    made, lacking = plan.make_plan, 2

    def smaller(*args: Any, **named: Any) -> plan.Plan:
        whole = made(*args, **named)
        return replace(whole, available=whole.needed - whole.experts // lacking)

    monkeypatch.setattr(plan, "make_plan", smaller)
    planned = CliRunner().invoke(main, ["plan", *given])
    assert planned.exit_code == 0, planned.output
    assert "on disk" in planned.stdout
    told = json.loads(CliRunner().invoke(main, ["plan", *given, "--json"]).stdout)
    assert told["layer_experts"] <= told["kept"] < told["experts"]
    assert told["needed"] <= told["available"]
    done = CliRunner().invoke(main, ["ask", "Why?", *given])
    assert done.exit_code in (0, 1), done.output
    assert "experts stay on disk: " in done.stderr
    lacking = 1
    assert CliRunner().invoke(main, ["ask", "Why?", *given]).exit_code == 5


def test_a_huge_model_is_told_to_run_with_its_experts_elsewhere() -> None:
    """If this fails `models show` says of MiniMax-Text-01 that a machine of 64 GB cannot run it."""
    wanted = needs.needs(translate(published_config(), Path("config.json")))
    cpu, gpu = (need for need in wanted if need.away)
    free = {"cpu": 64 << 30}
    assert needs.fits(wanted, free)
    (line,) = needs.advice(wanted, free)
    assert "of experts on disk" in line
    assert "--device cpu --quant int4" in line
    assert cpu.away == pytest.approx(435e9 * 5 / 8, rel=0.05)  # 4 bits, and a scale for each 32 of them
    assert not needs.fits(wanted, {"cpu": 4 << 30})
    line = needs.advice(wanted, {"cpu": 384 << 30, "cuda": 79 << 30})[-1]
    assert "of experts in the memory of the host" in line
    assert "--device cuda --quant int4" in line
    assert gpu.least < 79 << 30
    line = needs.advice(wanted, {"cpu": 64 << 30, "cuda": 79 << 30})[-1]
    assert "of experts on disk" in line
    assert "--device cuda" in line


def test_ling_flash_is_planned_for_a_small_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a model of 104B is refused on 24 GB beside 128 GB, or read in chunks too short."""
    config = read_config(FOLDER / "ling-flash")
    monkeypatch.setattr(plan, "_available", lambda device: 23 << 30)
    monkeypatch.setattr(away, "available_memory", lambda: 120 << 30)
    cuda, half = torch.device("cuda"), torch.bfloat16
    chunk = away.hiding_chunk(config, cuda, half, "int4")
    planned = away.away(plan.make_plan(config, 1 << 17, cuda, half, chunk, "int4", exact=True), cuda)
    assert planned.fits
    assert planned.host == planned.experts
    assert planned.kept is not None
    assert planned.kept >= 2 * planned.layer_experts
    assert "in the memory of the host" in away.told(planned)
    _, seconds = planned.away_seconds
    assert seconds <= away.computing_seconds(config, chunk, cuda)
    monkeypatch.setattr(away, "available_memory", lambda: 60 << 30)
    less = away.away(plan.make_plan(config, 1 << 17, cuda, half, chunk, "int4", exact=True), cuda)
    assert less.host == 0
    assert less.rate < 1e9  # a disk of 2 GB/s, from which bfloat16 is read
    assert "on disk" in away.told(less)
