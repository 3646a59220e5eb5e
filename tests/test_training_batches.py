"""Batches: every answer token knows where it is copied from, and every question has its answer."""

from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training_texts import MAKER, PROGRAM, PROSE, SENTENCES, SHORT_FUNCTIONS, TOKENIZER, stage_with

from training.data import Maker
from training.facts import FactMaker
from training.haystack import Prose
from training.words import Words


@given(step=st.integers(0, 10**6), length=st.sampled_from([64, 128, 256, 512]))
@settings(max_examples=25, deadline=None)
def test_every_pointer_points_at_the_token_it_copies(step: int, length: int) -> None:
    """The supervised attention would teach the model to cite the wrong place."""
    batch = MAKER.batch(step, length, 100.0)
    flat = batch.documents.flatten().tolist()
    missing = MAKER.tokenizer.encode(" not found").ids
    for m, (sources, target) in enumerate(zip(batch.source.tolist(), batch.target.tolist(), strict=True)):
        tail = batch.tails[batch.row[m]].tolist()
        assert tail[int(batch.position[m]) + 1] == target
        own = int(batch.row[m]) // (len(batch.tails) // len(batch.documents))
        first, *others = [source for source in sources if source >= 0]
        if first >= len(flat):  # in the branch itself: the end of the prompt
            assert target in [*missing, MAKER.newline]
            assert tail[first - len(flat) + 1] == missing[0]
            continue
        assert {source // length for source in [first, *others]} == {own}
        assert not any(batch.gone[batch.row[m], source % length] for source in [first, *others])
        last = m + 1 == len(batch.row) or bool(batch.first[m + 1])
        assert last == (target == MAKER.newline)
        if not last:
            assert target in {flat[source] for source in [first, *others]}
    assert len({int(flat[place]) for place in batch.copied}) > len(batch.copied) // 3
    assert batch.weight.sum().item() == pytest.approx(1, abs=1e-5)


def test_batches_depend_on_seed_and_step_alone() -> None:
    """A resumed run would see other data than an unbroken one."""
    first, again, other = MAKER.batch(7, 128, 9.0), MAKER.batch(7, 128, 9.0), MAKER.batch(8, 128, 9.0)
    assert all(torch.equal(getattr(first, name), getattr(again, name)) for name in vars(first))
    assert not torch.equal(first.documents, other.documents)


def test_values_that_were_found_are_not_asked_for_again() -> None:
    """The model would be taught to name a value that it cannot see, or to stop before the last."""
    again = refused = 0
    for step in range(80):
        rng = Random(f"{MAKER.seed} {step}")
        facts = FactMaker(rng, Words(rng, SENTENCES), MAKER.junk)
        hidden = MAKER.document(rng, facts, 512, listing=True)
        for fact, _, _ in hidden.facts:
            branch = MAKER.value_branch(rng, hidden, fact)
            told = TOKENIZER.decode(branch.answer).strip()
            gone = [TOKENIZER.decode(hidden.tokens[span.start : span.stop]).strip() for span in branch.gone]
            known = [other.value for other, _, _ in hidden.facts if other.topic == fact.topic]
            assert sorted([*gone, *([] if told == "not found" else [told])]) == sorted(
                {*gone, told} & {*known}
            )
            again += bool(gone) and told != "not found"
            refused += told == "not found"
            assert (told == "not found") == (len(gone) == len(known))
    assert again > 10
    assert refused > 10


def test_gap_questions_have_their_answer_in_the_text() -> None:
    """The model would learn to answer with another word, or to point past it."""
    asked = 0
    for step in range(40):
        rng = Random(f"{MAKER.seed} {step}")
        facts = FactMaker(rng, Words(rng, SENTENCES), MAKER.junk)
        hidden = MAKER.document(rng, facts, 512)
        branch = MAKER.gap_branch(rng, facts, hidden)
        if branch is None or TOKENIZER.decode(branch.answer).strip() == "not found":
            continue
        asked += 1
        place = branch.sources[0][0]
        assert hidden.tokens[place : place + len(branch.answer) - 1] == branch.answer[:-1]
        assert [source for (source,) in branch.sources] == list(range(place, place + len(branch.answer)))
        before = TOKENIZER.decode(hidden.tokens[:place]).split()[-1]
        assert before in TOKENIZER.decode(branch.prompt)
    assert asked > 10


def test_questions_about_programs_are_answered_from_them() -> None:
    """The model would learn to point beside the definition, or to define what is only used."""
    programs = Prose([PROGRAM + SHORT_FUNCTIONS])
    maker = Maker(Prose(PROSE.texts, code=programs), TOKENIZER, stage_with(programs=1.0, absent=0.3))
    refused = copied = 0
    for step in range(60):
        rng = Random(step)
        facts = FactMaker(rng, Words(rng, SENTENCES), maker.junk)
        hidden = maker.document(rng, facts, 256)
        branch = maker.code_branch(rng, facts, hidden) if hidden.program else None
        if branch is None:
            continue
        answer = TOKENIZER.decode(branch.answer).strip()
        if answer == "not found":
            refused += 1
            continue
        copied += 1
        place = branch.sources[0][0]
        assert hidden.tokens[place : place + len(branch.answer) - 1] == branch.answer[:-1]
    assert refused and copied
