"""What a reading needs, told before anything loads: sums, what stays away, and tokens that are estimated."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import hf_config, original_config, random_model
from click.testing import CliRunner
from hypothesis import assume, given
from hypothesis import strategies as st

from longctx import plan, rates
from longctx.cli import main
from longctx.errors import DoesNotFitError
from longctx.kernels.attention import has_bfloat16
from longctx.models import kv_log
from longctx.models.config import ExpertsSpec, GatedSpec, LatentSpec, LightningSpec, RopeSpec, SoftmaxSpec
from longctx.models.config_file import translate
from longctx.models.feedforward import Experts, Gated
from longctx.models.mixers.latent import Latent
from longctx.models.mixers.lightning import Lightning
from longctx.models.mixers.softmax import Softmax
from longctx.models.weight import Form
from longctx.plan import Plan, count_tokens, default_chunk, guess_tokens, make_plan
from longctx.progress import Progress
from longctx.text.source import gather
from longctx.tokens.stream import heading
from longctx.tokens.tokenizer import Tokenizer

SIZE = st.integers(0, 1 << 40)
MIB = 1 << 20


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """A plan of any sizes; layers have equally many experts, and all of them are within the weights."""
    layer, layers = draw(st.integers(1, 1 << 30)), draw(st.integers(0, 40))
    experts = layer * layers
    return Plan(
        tokens=draw(st.integers(1, 1 << 24)),
        exact=True,
        form=draw(st.sampled_from(["plain", "int8"])),
        kind="x",
        weights=experts + draw(SIZE),
        state=draw(SIZE),
        kv=draw(SIZE),
        workspace=draw(SIZE),
        available=draw(SIZE),
        forms={},
        experts=experts,
        layer_experts=layer if layers else 0,
        used_experts=experts // 8,
        gpu=draw(st.booleans()),
        kv_least=draw(SIZE),
    )


@given(plans())
def test_all_that_is_needed_is_counted_once(full: Plan) -> None:
    """A run would be refused that fits, or swap until the machine stands still."""
    assert full.needed == full.weights + full.state + full.kv + full.workspace
    assert full.fits == (full.available >= full.needed)
    if full.fits:
        full.check()
    else:
        with pytest.raises(DoesNotFitError, match=r"needs .* are free: weights .*; take .* or less text; so"):
            full.check("; so")


@given(plans(), SIZE)
def test_experts_that_stay_away_make_room(full: Plan, host: int) -> None:
    """A model that fits with its experts elsewhere would be refused, or fill the memory all the same."""
    assume(not full.fits)
    away = full.with_experts_away(host, bus=1e9)
    if not full.experts or full.least > full.available:
        assert away == full
        return
    assert away.kept is not None
    assert full.layer_experts <= away.kept <= full.experts
    copied = full.layer_experts // 3 if full.gpu and full.form == "plain" else 0  # one of its three matrices
    assert full.least == full.needed - full.experts + full.layer_experts + copied
    assert away.workspace == full.workspace + copied
    room = full.available - full.least + full.layer_experts
    assert away.kept == max(full.layer_experts, int(room * plan.ROOM))
    assert (away.host > 0) == (full.gpu and full.experts <= host * plan.ROOM)
    assert away.fits
    assert away.host in (0, full.experts)
    if away.host:
        assert full.gpu
        assert full.experts <= host
        assert away.rate == 1e9
    else:
        assert away.rate == full.rate


@given(plans())
def test_experts_that_are_here_need_not_come(full: Plan) -> None:
    """The time that a model takes would be told wrongly, and the wrong size of a chunk be chosen."""
    assume(full.experts)
    assert full.away_seconds == (0.0, 0.0)
    half = replace(full, kept=full.experts // 2, rate=100.0)
    token, chunk = half.away_seconds
    assert chunk == pytest.approx((full.experts - full.experts // 2) / 100)
    assert token == pytest.approx(full.used_experts / full.experts * chunk)


@given(plans(), SIZE, SIZE)
def test_keys_and_values_are_somewhere(full: Plan, budget: int, host: int) -> None:
    """The disk would fill, or a budget be suggested with which the run does not fit either."""
    part = replace(full, kv_budget=budget, kv_host=min(host, max(0, full.kv - budget)))
    assert part.kv_here + part.kv_host + part.kv_on_disk == full.kv
    assert part.kv_here <= budget
    assert part.needed == full.needed - full.kv + part.kv_here
    if room := full.kv_room:
        assert room % MIB == 0
        assert room >= full.kv_least
        assert replace(full, kv_budget=room).fits
        assert full.fits or not replace(full, kv_budget=room + MIB).fits
    else:
        left = (full.available - full.needed + full.kv) // MIB * MIB
        assert left < max(full.kv_least, 1)


@pytest.mark.parametrize("raw", [hf_config(), original_config()])
@pytest.mark.parametrize("tokens", [40, 300])
def test_what_is_planned_for_memory_is_what_it_takes(raw: dict[str, object], tokens: int) -> None:
    """Hours of reading would end for want of memory, in a plan that said that it fits."""
    model = random_model(raw)
    planned = make_plan(model.config, tokens, torch.device("cpu"), torch.float32, 64, "plain", exact=True)
    state = model.new_state()
    with torch.inference_mode():
        for start in range(0, tokens, 64):
            model.absorb(torch.randint(0, 400, (1, min(64, tokens - start))), state)
    assert planned.weights == sum(p.nbytes for p in model.parameters())
    assert planned.state + planned.kv == pytest.approx(state.nbytes, rel=0.01)
    longer = make_plan(model.config, 2 * tokens, torch.device("cpu"), torch.float32, 64, "plain", exact=True)
    assert longer.kv == 2 * planned.kv
    assert longer.state == planned.state


def test_a_model_with_experts_reads_more_at_once_on_a_cpu() -> None:
    """Reading would be slower than it need be: each expert is brought into eight bits for each chunk."""
    dense = translate(hf_config(num_local_experts=1, num_experts_per_tok=1), Path("config.json"))
    mixture = translate(hf_config(), Path("config.json"))
    assert (dense.has_experts, mixture.has_experts) == (False, True)
    assert default_chunk(dense, "cpu") < default_chunk(mixture, "cpu") < default_chunk(mixture, "cuda")
    assert default_chunk(dense, "cuda") == default_chunk(mixture, "cuda")
    told = " ".join(CliRunner().invoke(main, ["ask", "--help"]).stdout.split())
    chunks = default_chunk(dense, "cpu"), default_chunk(mixture, "cpu"), default_chunk(dense, "cuda")
    assert "({} on a CPU, {} there with experts, {} on a GPU)".format(*chunks) in told


def test_a_layer_of_experts_is_just_enough() -> None:
    """A model would be refused for which there is exactly the memory that it needs."""
    size: dict[str, Any] = {"tokens": 1, "exact": True, "form": "int8", "kind": "int8", "state": 0, "kv": 0}
    full = Plan(
        **size, weights=100, workspace=0, forms={}, experts=80, layer_experts=8, gpu=True, available=28
    )
    assert full.least == 28
    for host, there in ((100, 80), (99, 0)):
        away = full.with_experts_away(host)
        assert (away.kept, away.host, away.fits) == (8, there, True)
    short = replace(full, available=27)
    assert short.with_experts_away(100) is short


def test_what_computing_takes_is_planned_for() -> None:
    """A reading in large chunks would end for want of memory, in a plan that said that it fits."""
    config = translate(hf_config(), Path("config.json"))
    single = torch.float32

    def planned(
        tokens: int, chunk: int, device: str = "cpu", dtype: torch.dtype = single, form: Form = "plain"
    ) -> Plan:
        return make_plan(config, tokens, torch.device(device), dtype, chunk, form, exact=True)

    # Softmax layers are the widest: input, that normed, and six times the width of all heads, in float32.
    widest, hidden = 4 * (2 * 64 + 6 * 4 * 16), 4 * 64
    for tokens, chunk in ((1000, 100), (100, 1000)):
        assert planned(tokens, chunk).workspace == plan.PROGRAM + 100 * (widest + hidden)
    half = planned(1000, 100, dtype=torch.bfloat16)
    assert half.workspace == plan.PROGRAM + 100 * (widest + hidden // 2)
    assert (half.kind, half.gpu, half.rate) == ("bfloat16", False, rates.DISK)
    # Two KV heads of 16 keys and values: all of a short text, or a page and two on their way.
    assert planned(100, 10).kv_least == 3 * 2 * 2 * 16 * 4 * 100
    assert planned(1 << 20, 10).kv_least == 3 * 2 * 2 * 16 * 4 * kv_log.LAST_PAGE
    rounded = planned(1000, 100, form="int8")
    assert (rounded.kind, rounded.rounded, planned(1000, 100).rounded) == ("int8", True, False)
    assert rounded.kv == planned(1000, 100).kv or has_bfloat16()
    if torch.cuda.is_available():
        return
    away = planned(1000, 100, "cuda", torch.float16, "int4")
    assert (away.gpu, away.available, away.kind) == (True, 0, "int4")
    assert away.rate == pytest.approx(rates.DISK * away.weights / away.forms["bfloat16"])
    assert away.workspace - away.state < 100 * widest  # the decode step has a state of its own


HEADS: dict[str, Any] = {"n_heads": 4, "n_kv_heads": 2, "head_dim": 16}
SPECS: list[tuple[Any, Any, int, int]] = [
    # Input and that normed; q, k, v, gate, two results. A GPU holds another copy of one of them.
    (Lightning, LightningSpec(**HEADS, slopes=(1.0,) * 4, norm_eps=1e-5), 2 * 48 + 6 * 64, 2 * 48 + 7 * 64),
    # On a GPU two float32 numbers beside five of the model's: four bytes stand for two of two.
    (Softmax, SoftmaxSpec(**HEADS, rope=None), 2 * 48 + 6 * 64, 2 * 48 + (5 + 2) * 64),
    # Seven of the widest of all heads, and two float32.
    (
        Latent,
        LatentSpec(4, 0, 32, 8, 12, 1e-5, RopeSpec((1.0,) * 4), 1.0),
        2 * 48 + 9 * 4 * (8 + 8),
        2 * 48 + (7 + 4) * 4 * (8 + 8),
    ),
    (
        Latent,
        LatentSpec(4, 0, 32, 8, 20, 1e-5, RopeSpec((1.0,) * 4), 1.0),
        2 * 48 + 9 * 4 * 20,
        2 * 48 + (7 + 4) * 4 * 20,
    ),
    # Three rows and four inner halves; on a GPU rows of each expert twice, and two inner halves.
    (Experts, ExpertsSpec(32, 8, 2, shared_size=16), 3 * 48 + 4 * (64 + 16), 2 * 3 * 48 + 2 * (64 + 16)),
    (Gated, GatedSpec(32), 3 * 48 + 4 * 32, 2 * 48 + 2 * 32),
]


@pytest.mark.parametrize(("kind", "spec", "cpu", "gpu"), SPECS)
def test_each_kind_of_layer_tells_what_it_takes_at_the_widest(
    kind: Any, spec: Any, cpu: int, gpu: int
) -> None:
    """A plan would be short by a layer's temporaries, for chunks of thousands of tokens."""
    assert kind.workspace_bytes(spec, 48, 4, True) == 4 * cpu
    assert kind.workspace_bytes(spec, 48, 2, False) == 2 * gpu


def test_a_calibration_counts_what_each_kind_of_layer_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time would be told by a layer of another kind, without what the keys before a chunk cost."""
    runs: list[Callable[[], object]] = []

    def best(run: Callable[[], object], device: torch.device, most: float) -> float:
        run()
        runs.append(run)
        return 1.0 if runs.count(run) == 1 else 3.0  # without keys, and with those of two chunks

    monkeypatch.setattr(plan, "best", best)
    monkeypatch.setattr(plan, "_available", lambda device: 1 << 40)
    monkeypatch.setattr("longctx.models.kv_log.FIRST_PAGE", 16)

    shown: list[Progress] = []

    def seconds(layers: str, tokens: int) -> float | None:
        config = translate(hf_config(layers=layers), Path("config.json"))
        cpu = torch.device("cpu")
        return plan.read_seconds(config, tokens, cpu, torch.float32, 10, "plain", shown.append)

    assert seconds("LLLS", 1000) == pytest.approx(100 * 3)  # the last layer only absorbs
    assert seconds("LSL", 1000) == pytest.approx(100 * (1 + (1 + 2 / 20 * 1000 / 2)))
    assert seconds("LS", 4) == pytest.approx(1)
    assert [(one.bytes_done, one.bytes_total) for one in shown[-3:]] == [(0, 2), (0, 2), (1, 2)]
    config = translate(hf_config(layers="LS"), Path("config.json"))
    sample = replace(
        config,
        vocab_size=1,
        layers=tuple(replace(x, feedforward=x.feedforward.sample()) for x in config.layers),
    )
    size = plan.weight_bytes(sample, torch.float32)
    for room, limit, found in (
        (2 * size, size, True),
        (2 * size - 2, size, False),
        (4 * size, size - 1, False),
    ):
        monkeypatch.setattr(plan, "CALIBRATION_LIMIT", limit)
        monkeypatch.setattr(plan, "_available", lambda device, room=room: room)
        assert (seconds("LS", 10) is not None) == found


def test_a_text_of_just_the_limit_is_counted(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan would say that it is exact and be off by headings, or estimate what it could count."""
    tokenizer = Tokenizer.load(checkpoint, 400)
    for number in range(2):
        (tmp_path / f"{number}.txt").write_text("Nobody knew why the river had changed its course. " * 9)
        with gather([str(tmp_path)]) as corpus:
            text = sum(len(tokenizer.encode("".join(one.blocks()))) for one in corpus.documents)
            heads = sum(len(tokenizer.encode(heading(one))) for one in corpus.documents) * (number > 0)
            monkeypatch.setattr(plan, "COUNTED_WHOLE", corpus.bytes)
            assert count_tokens(tokenizer, corpus) == (text + heads, True)
            monkeypatch.setattr(plan, "COUNTED_WHOLE", corpus.bytes - 1)
            assert count_tokens(tokenizer, corpus)[1] is False


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("sizes", [[300_000], [9_000] * 30, [200_000, 5, 40_000]])
def test_tokens_of_long_texts_are_estimated_from_samples(
    sizes: list[int], encoding: str, tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan of a long text would be off by a factor, or take as long as reading it."""
    monkeypatch.setattr(plan, "COUNTED_WHOLE", 100_000)
    monkeypatch.setattr(plan, "SAMPLE", 1 << 13)
    line = "The keeper of the lighthouse wrote down every ship that passed in the year 1847.\n"
    for number, size in enumerate(sizes):
        (tmp_path / f"{number}.txt").write_text((line * (size // len(line) + 1))[:size], encoding)
    tokenizer = Tokenizer.load(checkpoint, 400)
    sampled: list[int] = []
    real = Tokenizer.encode

    def encode(self: Tokenizer, text: str) -> list[int]:
        sampled.append(len(text))
        return real(self, text)

    with gather([str(tmp_path)]) as corpus:
        with monkeypatch.context() as patch:
            patch.setattr(Tokenizer, "encode", encode)
            tokens, exact = count_tokens(tokenizer, corpus)
        assert sum(sampled) <= plan.COUNTED_WHOLE + 2 * plan.SAMPLE
        text = sum(len(tokenizer.encode("".join(one.blocks()))) for one in corpus.documents)
        heads = sum(len(tokenizer.encode(heading(one))) for one in corpus.documents) if len(sizes) > 1 else 0
        assert not exact
        assert tokens == pytest.approx(text + heads, rel=0.01)
        assert guess_tokens(corpus) == -(-corpus.bytes // 4)
