"""Published models: what ships about them equals what their authors publish."""

import math
import os
import platform
import subprocess
import sys
from collections import Counter

import pytest
import torch

from longctx.errors import ModelError
from longctx.hub import repository
from longctx.known import FOLDER, Known, find, known
from longctx.models.config_file import read_config, weight_map
from longctx.models.decoder import Decoder
from longctx.needs import LENGTHS, Need, advice, fits, needs

MODELS = known().values()
# Parameters and tensors as the authors, or their code on the meta device, count them.
PUBLISHED = {
    "minimax-text-01": (456_089_655_296, 8_243),
    "hypenet-2b": (1_926_138_880, 359),
    "hypenet-5b": (4_824_739_328, 461),
    "smollm2-135m": (134_515_008, 272),
}
ROUNDED = {"ring-mini": 16.4e9, "ring-flash": 104e9, "ling-flash": 104e9, "sala": 9.48e9}


def stored_shapes(model: Known) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every tensor that a checkpoint must have."""
    config = read_config(model.folder)
    with torch.device("meta"):
        decoder = Decoder(config)
    shapes: dict[str, tuple[int, ...]] = {}
    for target in weight_map(config):
        shapes |= target.shapes(decoder.get_submodule(target.weight).shape)  # type: ignore[arg-type]  # a Weight
    return shapes


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_parameters_and_tensors_are_the_published_ones(model: Known) -> None:
    """If this fails a real checkpoint does not load, or is planned with wrong sizes."""
    shapes = stored_shapes(model)
    parameters = sum(map(math.prod, shapes.values()))
    assert parameters == model.parameters
    if model.name in PUBLISHED:
        assert (parameters, len(shapes)) == PUBLISHED[model.name]
    if model.name in ROUNDED:
        assert parameters == pytest.approx(ROUNDED[model.name], rel=0.003)
    # Other tensors may lie beside them (heads that predict several tokens); never fewer.
    bits = {"int4": 4.25, "fp8": 8}.get(model.name.rpartition("-")[2], 16)
    assert 0.998 < 8 * model.bytes / (bits * parameters) < 1.05


@pytest.mark.parametrize(
    ("name", "tensor", "shape"),
    [
        ("minimax-text-01", "model.layers.0.self_attn.qkv_proj.weight", (24576, 6144)),
        ("minimax-text-01", "model.layers.79.block_sparse_moe.experts.31.w2.weight", (6144, 9216)),
        ("hypenet-2b", "model.layers.0.self_attn.z_proj.weight", (2048, 2048)),
        ("hypenet-2b", "model.layers.25.self_attn.k_proj.weight", (1024, 2048)),
        ("hypenet-5b", "model.layers.33.self_attn.o_gate.weight", (4096, 2560)),
        ("ring-mini", "model.layers.0.attention.query_key_value.weight", (6144, 2048)),
        ("ring-mini", "model.layers.19.attention.query_key_value.weight", (3072, 2048)),
        ("ring-mini", "model.layers.19.mlp.experts.255.down_proj.weight", (2048, 512)),
        ("ling-flash", "model.layers.31.attention.kv_a_proj_with_mqa.weight", (576, 4096)),
        ("sala", "model.layers.31.self_attn.k_proj.weight", (256, 4096)),
        ("sala", "model.layers.1.self_attn.o_norm.weight", (4096,)),
        ("smollm2-135m", "model.layers.29.self_attn.v_proj.weight", (192, 576)),
    ],
)
def test_names_and_shapes_are_the_published_ones(name: str, tensor: str, shape: tuple[int, ...]) -> None:
    """If this fails a real checkpoint is refused for tensors that are right."""
    assert stored_shapes(known()[name])[tensor] == shape


def test_the_table_is_whole() -> None:
    """If this fails a short name leads nowhere, or to two places."""
    assert all(count == 1 for count in Counter(model.repo for model in MODELS).values())
    assert {model.folder for model in MODELS} == {path for path in FOLDER.iterdir() if path.is_dir()}
    for model in MODELS:
        assert find(model.repo) == find(model.name.upper()) == model
        assert all((model.licence, model.note, repository(f"{model.name}@v1") == (model.repo, "v1")))


@pytest.mark.parametrize(
    ("name", "meant"), [("hypnet2b", "hypenet-2b"), ("ring_mini", "ring-mini"), ("Sala-9b", "sala")]
)
def test_a_mistyped_name_is_understood(name: str, meant: str) -> None:
    """If this fails a user searches for the name that they nearly had."""
    with pytest.raises(ModelError, match=f"did you mean {meant}"):
        repository(name)


@pytest.mark.parametrize("name", ["./model", "../a", "models/.b"])
def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(name: str) -> None:
    """If this fails a mistyped folder costs seconds, and ends in the rules of names on a hub."""
    with pytest.raises(ModelError, match="no such folder"):
        repository(name)


@pytest.mark.parametrize("name", ["hypenet-2b", "sala", "ring-mini", "minimax-text-01"])
def test_what_a_model_needs_is_what_the_list_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails the list, which computes nothing, and `models show` disagree."""
    monkeypatch.setattr("longctx.kernels.attention.has_bfloat16", lambda: False)  # with it, it is less
    wanted = {(need.form, need.device): need for need in needs(read_config(known()[name].folder))}
    assert wanted["int4", "cpu"].bytes["32k"] == pytest.approx(known()[name].memory, rel=0.1)
    for need in wanted.values():
        assert list(need.bytes.values()) == sorted(need.bytes.values())
        assert list(need.bytes) == list(LENGTHS)


def test_advice_is_plain() -> None:
    """If this fails a user is not told what would make a model fit, or told what does not fit."""
    wanted = [
        Need("float32", "cpu", {"32k": 8 << 30, "128k": 9 << 30, "1M": 20 << 30}),
        Need("bfloat16", "cuda", {"32k": 4 << 30, "128k": 5 << 30, "1M": 9 << 30}),
        Need("int8", "cpu", {"32k": 3 << 30, "128k": 4 << 30, "1M": 15 << 30}),
    ]
    assert advice(wanted, {"cpu": 9 << 30, "cuda": 4 << 30}) == [
        "fits on the CPU as float32, texts up to 128k tokens: --device cpu --dtype float32",
        "fits on a GPU as bfloat16, texts up to 32k tokens: --device cuda --dtype bfloat16",
        "fits on the CPU as int8, texts up to 128k tokens: --device cpu --quant int8",
    ]
    assert "up to 8,192 tokens" in advice(wanted[:1], {"cpu": 9 << 30}, 8192)[0]
    little = {"cpu": 1 << 30}
    assert not fits(wanted, little)
    assert advice(wanted, little) == [
        "does not fit this machine",
        "on the CPU as int8, for 32k tokens, it needs 3.0 GiB: 2.0 GiB more than is free now; "
        "close programs, or take more memory",
        "on a GPU as bfloat16, for 32k tokens, it needs 4.0 GiB",
    ]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="of this kind of CPU alone")
def test_it_is_told_that_bfloat16_is_slow_with_avx2_alone() -> None:
    """Who asks for half the bytes would wait six times as long, and not know why."""
    told = {}
    for capability in ("avx2", "avx512"):
        run = subprocess.run(
            [sys.executable, "-m", "longctx", "models", "show", "smollm2-135m"],
            env=os.environ | {"ATEN_CPU_CAPABILITY": capability},
            capture_output=True,
            text=True,
            check=True,
        )
        told[capability] = [line for line in run.stdout.splitlines() if "CPU as bfloat16" in line]
    assert "slower than float32" in told["avx2"][0]
    if torch.backends.cpu.get_cpu_capability() == "AVX512":
        assert "slower" not in told["avx512"][0]
