"""The arithmetic of the comparison with llama.cpp, and that its random files are what they claim to be."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.laptop_math import Batch, Side, integrated, report
from longctx.models.config import ModelConfig
from longctx.models.decoder import Decoder


def batches(depths: list[int], filled: bool = True) -> list[Batch]:
    """Batches of 512 tokens, of which one at depth d takes 0.01 + d / 1e6 seconds."""
    return [Batch(d, 512, 512 * (0.01 + (d + 256) / 1e6), filled) for d in depths]


@pytest.mark.parametrize("length", [512, 1024, 4096, 32768])
def test_integral_of_a_straight_cost_is_exact(length: int) -> None:
    """If this fails, the peer's time to read a long text is wrong, and with it the ratio."""
    exact = 0.01 * length + length**2 / 2e6
    assert integrated(batches([0, 8192, 16384, 32256]), length) == pytest.approx(exact)
    assert integrated(batches([0, 512, 4096, 32256]), length) == pytest.approx(exact)


def test_integral_of_one_batch_is_proportional() -> None:
    """If this fails, a run of short lengths alone dies."""
    assert integrated([Batch(0, 512, 2.0, False)], 1024) == pytest.approx(4.0)


def test_method_is_checked_against_what_was_read() -> None:
    """If this fails, a filled cache that is faster than a read one goes unseen."""
    true = batches([0, 512, 1024, 1536], filled=False)
    side = Side(read={2048: sum(batch.seconds for batch in true)}, batches=true + batches([4096, 8192]))
    found = side.method_error()
    assert found is not None
    assert found[0] == 2048
    assert found[1] == pytest.approx(0.0, abs=1e-9)
    slow = [dataclasses.replace(batch, seconds=batch.seconds * 2) for batch in batches([4096])]
    found = Side(side.read, true + slow).method_error()
    assert found is not None
    assert found[1] > 0.05


def test_side_survives_json() -> None:
    """If this fails, a run that was stopped cannot go on."""
    side = Side({1024: 2.0}, batches([0]), {1024: 0.1}, {1024: 1.0}, {1024: 0.05}, 7, 1.5, {"version": "1"})
    assert Side.from_json(json.loads(json.dumps(side.as_json()))) == side


def test_table_shows_rates_shares_ratios_and_bars() -> None:
    """If this fails, the table claims another speed, or a missed bar passes."""
    ours = {"int4": Side({4096: 10.0}, [], {1024: 0.1}, {4096: 4.0}, {1024: 0.05}, peak=3 * 10**9)}
    theirs = {"Q4_0": Side({4096: 20.0}, [], {1024: 0.08}), "Q8_0": Side({}, [], {1024: 0.2})}
    lines, data = report("a beside b", ours, theirs, [1024, 4096])
    prefill, decode = data["rows"]
    assert (prefill["tokens_per_second"], prefill["share"]) == (pytest.approx(409.6), pytest.approx(0.4))
    assert prefill["ratios"] == {"Q4_0": pytest.approx(2.0)}
    assert decode["ratios"] == {"Q4_0": pytest.approx(0.8), "Q8_0": pytest.approx(2.0)}
    assert [(bar["least"], bar["passed"]) for bar in data["bars"]] == [(1.0, False), (2.5, False)]
    text = "\n".join(lines)
    assert "409.6" in text
    assert "40%" in text
    assert "peak memory 3.0 GB" in text
    assert text.count("MISS") == 2


def test_work_of_a_token_counts_chosen_experts_alone() -> None:
    """If this fails, shares of the roofline are of another model."""
    from bench.full_shape import published
    from bench.laptop_ours import matrices
    from longctx.models.config_file import translate

    config: ModelConfig = translate(published("ring-mini"), Path("config.json"))
    with torch.device("meta"):
        model = Decoder(config, torch.float32, "int4")
    work = matrices(model, "int4")
    assert work["int8"] == pytest.approx(0.9e9, rel=0.15)  # of 16.4 billion; embedding and head apart
    assert work["float32"] < 0.02 * work["int8"]  # routers
    assert work["bytes"] == pytest.approx(1.1e9, rel=0.15)


def test_twins_are_of_the_published_sizes() -> None:
    """If this fails, the peer runs a smaller or larger model than ours."""
    pytest.importorskip("gguf", reason="of the dependency group bench")
    from bench.laptop_gguf import LING_MINI, QWEN3, tensors

    sizes = [sum(torch.Size(shape).numel() for _, shape in tensors(twin)) for twin in (LING_MINI, QWEN3)]
    assert sizes == [pytest.approx(16.26e9, rel=0.002), pytest.approx(1.7206e9, rel=0.001)]


@pytest.mark.parametrize(("kind", "loss"), [("Q4_0", 0.15), ("Q8_0", 0.15)])
@pytest.mark.parametrize("name", ["ling-mini", "qwen3-1.7b"])
def test_random_file_reads_back(tmp_path: Path, name: str, kind: str, loss: float) -> None:
    """If this fails, llama.cpp cannot load the file, or computes with infinite numbers."""
    gguf = pytest.importorskip("gguf", reason="of the dependency group bench")
    from bench.laptop_gguf import TWINS, file_bytes, tensors, write

    heads: dict[str, Any] = {"heads": 2, "kv_heads": 1, "head_dim": 32, "rope_channels": 16}
    twin = dataclasses.replace(TWINS[name], layers=2, hidden=64, inner=96, vocab=256, **heads)
    if twin.experts:
        twin = dataclasses.replace(twin, experts=16, expert_size=32)
    write(tmp_path / "x.gguf", twin, getattr(gguf.GGMLQuantizationType, kind))
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "x.gguf").tensors}
    assert {name: tuple(reversed(tensor.shape)) for name, tensor in found.items()} == dict(tensors(twin))
    assert sum(tensor.n_bytes for tensor in found.values()) == file_bytes(
        twin, getattr(gguf.GGMLQuantizationType, kind)
    )
    embedding = found["token_embd.weight"]
    values = gguf.quants.dequantize(embedding.data, embedding.tensor_type)
    assert values.std() == pytest.approx(64**-0.5, rel=loss)
