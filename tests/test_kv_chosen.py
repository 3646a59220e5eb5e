"""Pages that a layer chooses to attend to: which they are, that they are kept, and what is said."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from checkpoints import hf_config, random_model, write_checkpoint
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from test_families import CONFIGS, some_tokens

from longctx.cli import main
from longctx.models import kv_chosen, kv_log
from longctx.models.kv_form import KVForm
from longctx.models.kv_log import KVLog
from longctx.models.kv_room import Room
from longctx.plan import make_plan

CPU = torch.device("cpu")
PAGE, LATEST = 4, 8


@pytest.fixture
def _small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in (
            (kv_chosen, "PAGE", PAGE),
            (kv_chosen, "FIRST", PAGE),
            (kv_chosen, "LATEST", LATEST),
            (kv_chosen, "MOST_BOUNDS", 40),
            (kv_log, "FIRST_PAGE", 8),
            (kv_log, "LAST_PAGE", 16),
        ):
            patch.setattr(module, name, value)
        yield


def log(most: int, *, rounded: bool = False, room: Room | None = None) -> KVLog:
    return KVLog(1, 2, 8, torch.float32, CPU, form=KVForm(rounded, room, most))


def places(memory: KVLog, q: torch.Tensor) -> list[int]:
    """Return the positions that are seen, in order."""
    seen = memory.seen(q)
    return seen.origin(torch.arange(sum(piece.tokens for piece in seen.pieces))).tolist()


@pytest.mark.usefixtures("_small")
@given(
    tokens=st.integers(1, 90),
    most=st.integers(0, 12),
    queries=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_the_pages_of_the_highest_bounds_are_seen(tokens: int, most: int, queries: int, seed: int) -> None:
    """If this fails attention misses pages that promised more than those it chose."""
    random = torch.Generator().manual_seed(seed)
    k, v = torch.randn(2, 1, 2, tokens, 8, generator=random)
    q = torch.randn(1, 4, queries, 8, generator=random) * 3
    memory = log(most)
    memory.append(k, v)
    pages = [(n, n + PAGE) for n in range(0, tokens - PAGE + 1, PAGE)]
    wide = k.repeat_interleave(2, dim=1)[0]
    tops = [
        torch.maximum(q[0, :, :, None] * wide[:, None, a:b].amin(2, keepdim=True),
                      q[0, :, :, None] * wide[:, None, a:b].amax(2, keepdim=True)).sum(-1)[..., 0]
        for a, b in pages
    ]  # fmt: skip
    always = set(range(min(PAGE, tokens))) | set(range(len(pages) * PAGE, tokens))
    always |= {n for a, b in pages if b > tokens - LATEST for n in range(a, b)}
    expected = set(always)
    if tops:
        shares = (torch.stack(tops, -1) * 8**-0.5).log_softmax(-1).amax((0, 1))
        left = [n for n in shares.argsort(descending=True).tolist() if pages[n][0] not in always]
        expected |= {x for n in left[:most] for x in range(*pages[n])}
    assert places(memory, q) == sorted(expected)


@pytest.mark.usefixtures("_small")
@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    gone=st.tuples(st.integers(0, 60), st.integers(1, 9)),
    most=st.integers(0, 6),
    rounded=st.booleans(),
    small=st.booleans(),
    seed=st.integers(0, 99),
)
def test_what_is_seen_stands_where_it_is_said(
    sizes: list[int], gone: tuple[int, int], most: int, rounded: bool, small: bool, seed: int
) -> None:
    """If this fails an answer is cited from another place than the one that was seen."""
    torch.manual_seed(seed)
    memory = log(most, rounded=rounded, room=Room(CPU, 0) if small else None)
    for size in sizes:
        memory.append(*torch.randn(2, 1, 2, size, 8))
        memory = memory.fork()
    start = min(gone[0], memory.length - 1)
    memory = memory.without(start, min(memory.length, sum(gone)))
    q = torch.randn(1, 2, 1, 8)
    at = places(memory, q)
    assert at == sorted(set(at))
    assert set(range(max(0, memory.length - LATEST), memory.length)) <= set(at)
    keys = [k.clone() for k, _ in memory.pages(memory.seen(q))]
    everything = [k.clone() for k, _ in memory.pages()]
    if at:
        assert torch.equal(torch.cat(keys, 2), torch.cat(everything, 2)[:, :, at])


@pytest.mark.usefixtures("_small")
@settings(max_examples=10, deadline=None)
@given(cut=st.integers(1, 63), name=st.sampled_from(["hypenet", "bailing", "llama"]))
def test_a_reading_that_chooses_is_kept_to_the_last_bit(cut: int, name: str) -> None:
    """If this fails a reading that was kept chooses other pages than one that never stopped."""
    model = random_model(CONFIGS[name])
    tokens = some_tokens(64)[None]
    model.kv = KVForm(chosen=1)
    with torch.inference_mode():
        before, after, kept = (model.new_state() for _ in range(3))
        model.absorb(tokens[:, :cut], before)
        after.restore(before.position, {name: x.clone() for name, x in before.tensors().items()})
        none = dict.fromkeys(before.rows(), 0)
        kept.adopt(before.position, before.constants(), before.appended(none))
        expected = model(tokens[:, cut:], before.fork())
        for state in (after, kept, before):
            assert torch.equal(model(tokens[:, cut:], state), expected)


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("form", [KVForm(chosen=1), KVForm(rounded=True, chosen=1)])
@pytest.mark.parametrize("name", ["hypenet", "llama"])
def test_the_bounds_are_planned_for(name: str, form: KVForm) -> None:
    """If this fails a plan says that a text fits, and the bounds of its keys take an eighth more."""
    model, tokens = random_model(CONFIGS[name]), 64
    model.kv = form
    state = model.new_state()
    with torch.inference_mode():
        model.absorb(some_tokens(tokens)[None], state)
        model(some_tokens(1)[None], state)  # the last layer looks at its log only now
    logs = [memory for memory in state.layers if isinstance(memory, KVLog)]
    bounds = [piece.page.extents for log in logs for piece in log._pieces()]
    held = sum(x.nbytes for pair in bounds if pair for x in pair)
    at = CPU, torch.float32, 64
    planned, plain = (
        make_plan(model.config, tokens, *at, "plain", exact=True, kv_rounded=form.rounded, kv_pages=pages)
        for pages in (1, None)
    )
    assert logs
    assert planned.kv_bounds == held
    assert planned.needed == plain.needed + held


def run(*arguments: str) -> Result:
    question = "What is the special magic number for quiet-lantern?"
    return CliRunner().invoke(main, ["ask", question, *arguments, "--json"])


def test_it_is_said_and_kept_apart(tmp_path: Path) -> None:
    """If this fails a part of the text is left out that nobody asked for, or nobody is told of."""
    text = tmp_path / "notes.txt"
    text.write_text(
        "The river had changed its course.\n" * 900
        + "One of the special magic numbers for quiet-lantern is: 4031775.\n"
        + "It rained again.\n" * 900
    )
    at = str(text), "--store", str(tmp_path / "store")
    plain, some, again = run(*at), run(*at, "--kv-pages", "64"), run(*at, "--kv-pages", "64")
    told = [json.loads(result.stdout) for result in (plain, some, again)]
    assert [one["answer"] for one in told] == ["4031775"] * 3
    assert [one["source"] for one in told[1:]] == [told[0]["source"]] * 2
    assert [any("64 pages of 8" in note for note in one["notes"]) for one in told] == [False, True, True]
    assert "it was read with another kv_pages" in some.stderr
    assert [one["usage"]["tokens_read"] > 0 for one in told] == [True, True, False]


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (hf_config(layers="L"), "no layer that attends to its text"),
        (CONFIGS["sala"], "choose blocks of a long text themselves"),
        (CONFIGS["bailing-latent"], "latent attention (MLA)"),
    ],
)
def test_a_model_that_cannot_choose_says_why(config: dict[str, object], why: str, tmp_path: Path) -> None:
    """If this fails an option that does nothing looks as if it did, in a plan or in an answer."""
    folder = write_checkpoint(tmp_path / "model", config | {"vocab_size": 400})
    (text := tmp_path / "notes.txt").write_text("Ships came and went.\n")
    at = str(text), "--model", str(folder), "--kv-pages", "4", "--max-tokens", "2"
    for result in (run(*at, "--no-store"), CliRunner().invoke(main, ["plan", *at])):
        assert result.exit_code != 0
        assert result.stderr.startswith("longctx: --kv-pages: ")
        assert why in result.stderr
