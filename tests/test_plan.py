"""What a reading needs, told before anything loads: sums, what stays away, and tokens that are estimated."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checkpoints import hf_config, original_config, random_model
from hypothesis import assume, given
from hypothesis import strategies as st

from longctx import plan
from longctx.errors import DoesNotFitError
from longctx.models.config_file import translate
from longctx.plan import Plan, count_tokens, default_chunk, guess_tokens, make_plan
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


@pytest.mark.parametrize("sizes", [[300_000], [9_000] * 30, [200_000, 5, 40_000]])
def test_tokens_of_long_texts_are_estimated_from_samples(
    sizes: list[int], tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan of a long text would be off by a factor, or take as long as reading it."""
    monkeypatch.setattr(plan, "COUNTED_WHOLE", 100_000)
    monkeypatch.setattr(plan, "SAMPLE", 1 << 13)
    line = "The keeper of the lighthouse wrote down every ship that passed in the year 1847.\n"
    for number, size in enumerate(sizes):
        (tmp_path / f"{number}.txt").write_text((line * (size // len(line) + 1))[:size])
    tokenizer = Tokenizer.load(checkpoint, 400)
    with gather([str(tmp_path)]) as corpus:
        tokens, exact = count_tokens(tokenizer, corpus)
        text = sum(len(tokenizer.encode("".join(one.blocks()))) for one in corpus.documents)
        heads = sum(len(tokenizer.encode(heading(one))) for one in corpus.documents) if len(sizes) > 1 else 0
        assert not exact
        assert tokens == pytest.approx(text + heads, rel=0.01)
        assert guess_tokens(corpus) == -(-sum(sizes) // 4)
