"""Keys and values in 8 bits: how far off they are, that they are kept and found again, and what is said."""

import json
from pathlib import Path

import pytest
import torch
from checkpoints import random_model
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from test_families import CONFIGS, some_tokens

from longctx.cli import main
from longctx.models.kv_form import SCALE, KVForm
from longctx.models.kv_room import Room

ROUNDED = KVForm(rounded=True)
QUESTION = "What is the special magic number for quiet-lantern?"


@given(
    channels=st.integers(1, 70),
    size=st.sampled_from([1e-20, 1e-3, 1.0, 1e4]),
    zeros=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    seed=st.integers(0, 99),
)
def test_a_row_is_off_by_half_of_its_unit(
    channels: int, size: float, zeros: bool, dtype: torch.dtype, seed: int
) -> None:
    """If this fails a model sees other keys than the bound on their error says."""
    x = torch.randn(1, 2, 9, channels, generator=torch.Generator().manual_seed(seed)) * size
    x[:, :, 4] *= not zeros
    x = x.to(dtype)
    rows = ROUNDED.rows(x, dtype)
    assert rows.dtype == torch.int8 and rows.shape[-1] == channels + SCALE
    back = ROUNDED.plain(rows, torch.float32)
    largest = x.float().abs().amax(-1, keepdim=True)
    assert ((back - x.float()).abs() <= largest / 254 * (1 + 1e-5)).all()
    assert ROUNDED.plain(rows, dtype).dtype == dtype


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(1, 63), name=st.sampled_from(sorted(CONFIGS)), small=st.booleans())
def test_a_rounded_log_is_kept_to_the_last_bit(cut: int, name: str, small: bool) -> None:
    """If this fails a reading in 8 bits that was kept, or moved to disk, answers otherwise than before."""
    model = random_model(CONFIGS[name])
    tokens = some_tokens(64)[None]
    model.kv = ROUNDED
    with torch.inference_mode():
        before, after, kept = (model.new_state() for _ in range(3))
        model.kv = KVForm(rounded=True, room=Room(model.device, 0 if small else 1 << 20))
        elsewhere = model.new_state()
        for state in (before, elsewhere):
            model.absorb(tokens[:, :cut], state)
        after.restore(before.position, {name: x.clone() for name, x in before.tensors().items()})
        none = dict.fromkeys(before.rows(), 0)
        kept.adopt(before.position, before.constants(), before.appended(none))
        expected = model(tokens[:, cut:], before.fork())
        for state in (after, kept, elsewhere):
            assert torch.equal(model(tokens[:, cut:], state), expected)


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_rounding_changes_little_and_saves_most(name: str) -> None:
    """If this fails 8 bits cost more of an answer than they save of the memory."""
    model = random_model(CONFIGS[name])
    tokens = some_tokens(64)[None]
    with torch.inference_mode():
        plain = model.new_state()
        expected = model.logits(model(tokens, plain))
        model.kv = ROUNDED
        state = model.new_state()
        logits = model.logits(model(tokens, state))
    # Blocks that SALA chooses by rounded keys may be others.
    bound = 0.2 if "sala" in name else 0.05
    assert (logits - expected).abs().max() <= bound * expected.abs().max()
    ours, theirs = (x.tensors() for x in (state, plain))
    logs = [key for key in theirs if key.endswith((".keys", ".values"))]
    assert all(ours[key].dtype == torch.int8 for key in logs)
    assert not logs or state.nbytes < plain.nbytes


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["ask", QUESTION, *arguments, "--json"])


def test_it_is_said_and_kept_apart(tmp_path: Path) -> None:
    """If this fails answers come from rounded numbers that nobody asked for, or nobody is told of."""
    text = tmp_path / "notes.txt"
    text.write_text(
        "The river had changed its course.\n" * 300
        + "One of the special magic numbers for quiet-lantern is: 4031775.\n"
        + "It rained again.\n" * 300
    )
    store = "--store", str(tmp_path / "store")
    at = str(text), *store
    plain, rounded, again = run(*at), run(*at, "--kv-quant", "int8"), run(*at, "--kv-quant", "int8")
    told = [json.loads(result.stdout) for result in (plain, rounded, again)]
    assert [one["answer"] for one in told] == ["4031775"] * 3
    assert [any("rounded to 8 bits" in note for note in one["notes"]) for one in told] == [False, True, True]
    assert "it was read with another kv" in rounded.stderr
    used = [(one["usage"]["tokens_read"] > 0, one["usage"]["tokens_reused"] > 0) for one in told]
    assert used == [(True, False), (True, False), (False, True)]
    assert told[1]["usage"]["state_bytes"] < told[0]["usage"]["state_bytes"] / 3
    shown = CliRunner().invoke(main, ["store", "show", str(text), *store, "--json"])
    assert {one["kv"] for one in json.loads(shown.stdout)["readings"]} == {None, "int8"}
    proven = CliRunner().invoke(main, ["store", "verify", *store])
    assert proven.exit_code == 0, proven.output
