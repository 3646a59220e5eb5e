"""The recipe of the bundled model: honest data, a pointer that points, runs that resume to the bit."""

import json
import multiprocessing
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from longctx.engine import Pointer
from longctx.models.state import State
from longctx.models.weights import load_model
from training import ablations, chart, code, evaluate, export, gaps, natural, salience, sizes, tables
from training import tokenizer as tokenizer_training
from training.data import Batch, Maker, ask
from training.facts import FAMILIES, FactMaker
from training.haystack import Prose, prose_ends
from training.network import Network, far_bias
from training.reader import Reader, Reading, Reply, rows
from training.settings import Settings
from training.shape import END_ID, Shape, averaged, grown, new_weights
from training.train import LOG, Trainer, run, share_gradients
from training.words import Words, is_held_out

SHAPE = Shape(hidden=32, mixers="LLS", heads=4, kv_heads=2, ffn=48, vocab=700)
SENTENCES = (
    "The old harbor lay quiet under a pale morning sky. Nobody spoke of Farnham or of what had happened. "
    "Along the narrow street a wagon rolled slowly, and Mr. Tolliver saw it pass. It had rained all night; "
    "the gardens were heavy with it, and the river stood high against the wooden bridge.\n\n"
    "“You will remember the letter,” said Harriet, looking up from her needle. He answered that he did, "
    "though every word of it had been forgotten long before. In the evening they walked to Wexley together, "
    "counting windows, naming stars, and laughing at everything that came into their heads.\n\n"
)


@pytest.fixture(scope="module")
def prose() -> Prose:
    return Prose([SENTENCES * 60, SENTENCES[200:] * 40])


@pytest.fixture(scope="module")
def tokenizer(prose: Prose) -> Tokenizer:
    return tokenizer_training.train(tokenizer_training.samples(prose, seed=3, megabytes=0.1), SHAPE.vocab)


@pytest.fixture(scope="module")
def maker(prose: Prose, tokenizer: Tokenizer) -> Maker:
    return Maker(prose, tokenizer, seed=5, tokens=512, listing=0.4)


def small_settings(steps: int = 6) -> Settings:
    shipped = Settings.load(Path(__file__).parents[1] / "training" / "config.toml")
    phases = [{"until": 0.5, "lengths": [64, 128]}, {"until": 1.0, "lengths": [128, 256]}]
    return replace(shipped, steps=steps, tokens=256, shape=SHAPE, phases=phases)


def new_trainer(prose: Prose, tokenizer: Tokenizer) -> Trainer:
    chosen = small_settings()
    return Trainer(chosen, Maker(prose, tokenizer, chosen.seed, tokens=chosen.tokens))


@given(text=st.text(max_size=80))
@settings(max_examples=60, deadline=None)
def test_tokenizer_round_trip(tokenizer: Tokenizer, text: str) -> None:
    """Text would come back changed, so no quote could be trusted."""
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


@given(number=st.integers(min_value=0, max_value=10**12))
@settings(max_examples=30, deadline=None)
def test_digits_stand_alone(tokenizer: Tokenizer, number: int) -> None:
    """Numbers would be copied in lumps that training rarely saw."""
    pieces = tokenizer.encode(str(number)).tokens
    assert pieces == list(str(number))


def test_tokenizer_training_is_repeatable(prose: Prose, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Nobody could rebuild the shipped tokenizer from the recipe."""
    again = tokenizer_training.train(tokenizer_training.samples(prose, seed=3, megabytes=0.1), SHAPE.vocab)
    assert again.to_str() == tokenizer.to_str()
    tokenizer_training.save(again, tmp_path)
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).token_to_id("<|end|>") == END_ID


@given(step=st.integers(0, 10**6), length=st.sampled_from([64, 128, 256, 512]))
@settings(max_examples=25, deadline=None)
def test_every_pointer_points_at_the_token_it_copies(maker: Maker, step: int, length: int) -> None:
    """The supervised attention would teach the model to cite the wrong place."""
    batch = maker.batch(step, length, 100.0)
    flat = batch.documents.flatten().tolist()
    missing = maker.tokenizer.encode(" not found").ids
    for m, (sources, target) in enumerate(zip(batch.source.tolist(), batch.target.tolist(), strict=True)):
        tail = batch.tails[batch.row[m]].tolist()
        assert tail[int(batch.position[m]) + 1] == target
        own = int(batch.row[m]) // (len(batch.tails) // len(batch.documents))
        first, *others = [source for source in sources if source >= 0]
        if first >= len(flat):  # in the branch itself: the end of the prompt
            assert target in [*missing, maker.newline]
            assert tail[first - len(flat) + 1] == missing[0]
            continue
        assert {source // length for source in [first, *others]} == {own}
        assert not any(batch.gone[batch.row[m], source % length] for source in [first, *others])
        last = m + 1 == len(batch.row) or bool(batch.first[m + 1])
        assert last == (target == maker.newline)
        if not last:
            assert target in {flat[source] for source in [first, *others]}
    assert len({int(flat[place]) for place in batch.copied}) > len(batch.copied) // 3
    assert batch.weight.sum().item() == pytest.approx(1, abs=1e-5)


@given(seed=st.integers(0, 10**6), unseen=st.booleans())
@settings(max_examples=40, deadline=None)
def test_no_question_has_two_answers(seed: int, unseen: bool) -> None:
    """Training would punish right answers."""
    rng = Random(seed)
    maker = FactMaker(rng, Words(rng, SENTENCES), lambda r: "qua#", unseen=unseen)
    answers: dict[str, str] = {}
    for _ in range(60):
        fact = maker.draw()
        assert fact.statement[fact.start :].lstrip(" ").startswith(fact.value)
        for asked in fact.questions:
            assert answers.setdefault(asked, fact.topic) == fact.topic


def test_every_family_and_form_is_drawn(maker: Maker) -> None:
    """A form that is never trained fails in use, and no loss curve would show it."""
    rng = Random(2)
    facts = FactMaker(rng, Words(rng, SENTENCES), maker.junk)
    drawn = [facts.draw() for _ in range(400)]
    assert {fact.family for fact in drawn} == set(FAMILIES)
    exact = [fact for fact in drawn if fact.prefix]
    assert len(exact) > 20
    prompts = [ask(rng, fact) for fact in exact * 9]
    assert {prompt.startswith("\n\nQuestion: ") for prompt in prompts} == {True, False}
    assert {prompt.endswith("\nAnswer:") for prompt in prompts} == {True, False}


@given(seed=st.integers(0, 10**6), held_out=st.booleans())
@settings(max_examples=40, deadline=None)
def test_evaluation_keys_and_wordings_are_never_trained_on(seed: int, held_out: bool) -> None:
    """The reported accuracy would be that of a memory test."""
    rng = Random(seed)
    words = Words(rng, SENTENCES, held_out)
    drawn = [words.noun(), words.adjective(), words.name()]
    assert {is_held_out(word) for word in drawn} == {held_out}
    told = FactMaker(rng, words, lambda r: "x", unseen=held_out).make("attribute")
    assert ("register" in told.statement) == held_out


def test_batches_depend_on_seed_and_step_alone(maker: Maker) -> None:
    """A resumed run would see other data than an unbroken one."""
    first, again, other = maker.batch(7, 128, 9.0), maker.batch(7, 128, 9.0), maker.batch(8, 128, 9.0)
    assert all(torch.equal(getattr(first, name), getattr(again, name)) for name in vars(first))
    assert not torch.equal(first.documents, other.documents)


def test_resumed_run_equals_unbroken_run(prose: Prose, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """A crash would cost the run, or silently change the model that comes out of it."""
    unbroken = new_trainer(prose, tokenizer)
    run(unbroken, tmp_path / "whole", minutes=9, every=1, save_every=3)
    broken = new_trainer(prose, tokenizer)
    for _ in range(4):
        broken.advance()
    broken.save(tmp_path / "parts")
    resumed = new_trainer(prose, tokenizer)
    resumed.load(tmp_path / "parts")
    run(resumed, tmp_path / "parts", minutes=9)
    assert resumed.step == unbroken.step == 6
    left, right = unbroken.tensors(), resumed.tensors()
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)
    logged = [json.loads(line) for line in (tmp_path / "whole" / LOG).read_text().splitlines()]
    assert [entry["step"] for entry in logged] == [1, 2, 3, 4, 5, 6]


def together(rank: int, folder: str) -> None:
    """Train one of two processes for two steps, then write its weights."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    prose = Prose([SENTENCES * 60])
    chosen = small_settings()
    words = tokenizer_training.train(tokenizer_training.samples(prose, seed=3, megabytes=0.1), SHAPE.vocab)
    trainer = Trainer(chosen, Maker(prose, words, chosen.seed, tokens=chosen.tokens))
    run(trainer, Path(folder, "run"), minutes=1e9 if rank else 1e-9)  # one says stop: both do
    assert trainer.step == 0
    sizes = [trainer.advance()["tokens"] for _ in range(2)]
    part = torch.ones(3, requires_grad=True)
    part.grad = torch.full((3,), float(rank))
    share_gradients([part])
    text = json.dumps(
        {"batch": trainer.batches[0].documents.tolist(), "sizes": sizes, "mean": part.grad.tolist()}
    )
    save_file(trainer.tensors(), Path(folder, f"{rank}.safetensors"), metadata={"told": text})


def test_two_processes_train_one_model(tmp_path: Path) -> None:
    """Each core would train a model of its own, both would learn from the same batches, or one would hang."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=together, args=(rank, str(tmp_path))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    told = []
    for rank in range(2):
        with safe_open(tmp_path / f"{rank}.safetensors", framework="pt") as file:
            told.append(json.loads(file.metadata()["told"]))
    assert told[0]["batch"] != told[1]["batch"]
    assert told[0]["mean"] == told[1]["mean"] == [0.5] * 3


def test_a_second_run_begins_with_the_weights_of_the_first(
    prose: Prose, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """An hour of training would begin from nothing, go on with the old schedule, or not be shipped."""
    runs = [new_trainer(prose, tokenizer) for _ in range(2)]
    for count, trainer in enumerate(runs, 1):
        for _ in range(count):
            trainer.advance()
        trainer.save(tmp_path / str(count))
    second = new_trainer(prose, tokenizer)
    second.begin([tmp_path / "1", tmp_path / "2"])
    shipped = averaged([export.read_run(tmp_path / run)[0] for run in ("1", "2")])
    assert second.step == 0
    for name, weight in second.weights.items():
        torch.testing.assert_close(weight, shipped[name])
        torch.testing.assert_close(weight, (runs[0].weights[name] + runs[1].weights[name]) / 2)
    assert not any(optimizer.state for optimizer in second.optimizers)
    second.advance()


def test_checkpoint_of_another_shape_is_refused(prose: Prose, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """A wrong folder would be trained on from random halves of two models."""
    trainer = new_trainer(prose, tokenizer)
    trainer.save(tmp_path)
    smaller = replace(small_settings(), shape=replace(SHAPE, mixers="LS"))
    with pytest.raises(ValueError, match="another shape"):
        Trainer(smaller, trainer.batches.maker).load(tmp_path)


def test_steps_lower_the_loss(prose: Prose, tokenizer: Tokenizer) -> None:
    """The recipe would not train at all."""
    trainer = new_trainer(prose, tokenizer)
    trainer.settings = replace(trainer.settings, steps=1000, rates=trainer.settings.rates | {"warmup": 1})
    losses = []
    for _ in range(30):
        trainer.step = 0  # the same batch again and again
        figures = trainer.advance()
        losses.append(figures["loss"] + figures["pointer"] + figures["copying"])
    assert losses[-1] < 0.7 * losses[0]


def exported(
    tmp_path: Path, tokenizer: Tokenizer, shape: Shape = SHAPE
) -> tuple[Path, dict[str, torch.Tensor]]:
    weights = new_weights(shape, seed=2)
    tokenizer_training.save(tokenizer, tmp_path / "tokenizer")
    export.write(tmp_path / "model", weights, shape, tmp_path / "tokenizer", sharpen=1.0)
    return tmp_path / "model", weights


@pytest.mark.parametrize(("mixers", "theta"), [("LLS", 0.0), ("LLL", 0.0), ("SSS", 1e4), ("SLS", 1e4)])
def test_export_gives_the_logits_of_training(
    maker: Maker, tokenizer: Tokenizer, tmp_path: Path, mixers: str, theta: float
) -> None:
    """The shipped model would not be the one that was trained, and the ablations would compare mistakes."""
    shape = replace(SHAPE, mixers=mixers, theta=theta)
    folder, weights = exported(tmp_path, tokenizer, shape)
    model = load_model(folder, torch.float32, torch.device("cpu"))
    assert model.config.pointer_heads == ((0, 1) if mixers.endswith("S") else ())
    batch = alone(maker.batch(3, 128, 1.0))
    wanted, attention, _ = Network(shape).run(weights, batch)  # as in training, with gradients
    assert wanted.requires_grad
    with torch.inference_mode():
        each = len(batch.tails) // len(batch.documents)
        for tail in range(0, len(batch.tails), each):
            state = model.new_state()
            model.read(batch.documents[tail // each : tail // each + 1], state)
            hidden = model(batch.tails[tail : tail + 1], state)
            asked = batch.row == tail
            got = model.logits(hidden)[0, batch.position[asked]]
            torch.testing.assert_close(got, wanted[asked], atol=1e-4, rtol=1e-4)
    if attention is not None:
        torch.testing.assert_close(attention.sum(-1), torch.ones(SHAPE.heads, len(batch.target)))


def alone(batch: Batch) -> Batch:
    """Make every document see itself only, every key once: the conditions at inference."""
    none = torch.zeros_like(batch.amplify)
    gone = torch.zeros_like(batch.gone)
    return replace(batch, amplify=none, pooled=torch.zeros_like(batch.pooled), gone=gone)


def test_virtual_copies_equal_real_ones(maker: Maker, tokenizer: Tokenizer) -> None:
    """Training against a long context that is not there would train something else."""
    batch = alone(maker.batch(3, 128, 1.0))
    batch = replace(batch, source=torch.full_like(batch.source, -1))  # what is asked for counts once
    weights = new_weights(SHAPE, seed=2)
    twice = replace(batch, amplify=torch.full_like(batch.amplify, float(torch.log(torch.tensor(2.0)))))
    with torch.no_grad():
        once_each = Network(SHAPE).run(weights, batch)[1]
        doubled = Network(SHAPE).run(weights, twice)[1]
    assert once_each is not None
    assert doubled is not None
    owner = batch.row // (len(batch.tails) // len(batch.documents))
    own = torch.zeros(len(owner), len(batch.documents), dtype=torch.bool)
    own[torch.arange(len(owner)), owner] = True
    hay = (own[:, :, None] & batch.hay).flatten(1)
    copies = torch.cat([1 + hay.float(), torch.ones(len(owner), batch.tails.shape[1])], dim=1)
    wanted = once_each * copies
    torch.testing.assert_close(doubled, wanted / wanted.sum(-1, keepdim=True))


def test_virtual_copies_spare_what_is_asked_for(prose: Prose, tokenizer: Tokenizer) -> None:
    """A word left out of a sentence would count as often as its rivals: long texts would not be practised."""
    maker = Maker(prose, tokenizer, seed=5, tokens=512, gaps=0.8)
    batch = replace(maker.batch(1, 256, 1.0), amplify=torch.full((2,), 5.0))
    bias, count = far_bias(batch), batch.documents.numel()
    asked = 0
    for m, sources in enumerate(batch.source.tolist()):
        for source in sources:
            if 0 <= source < count:
                asked += bool(batch.hay.flatten()[source])
                assert bias[m, source] == 0
    assert asked > 2
    assert bias.max() == 5
    gone = batch.gone[batch.row]
    own = bias.view(len(gone), 2, 256)[torch.arange(len(gone)), batch.row // (len(batch.tails) // 2)]
    assert own[gone].eq(-torch.inf).all()


def test_a_grown_model_computes_the_same(maker: Maker) -> None:
    """Hours of training would be lost with the first step of the larger model."""
    larger = replace(SHAPE, kv_heads=4, ffn=64)
    weights, batch = new_weights(SHAPE, seed=2), maker.batch(3, 128, 1.0)
    with torch.no_grad():
        wanted, got = (
            Network(shape).run(each, batch)[0]
            for shape, each in ((SHAPE, weights), (larger, grown(weights, larger)))
        )
    torch.testing.assert_close(got, wanted)
    with pytest.raises(ValueError, match="cannot grow"):
        grown(weights, replace(SHAPE, hidden=64))


def test_sharpening_multiplies_the_queries(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """The export option would do nothing, or harm another tensor."""
    weights = new_weights(SHAPE, seed=2)
    plain, sharp = (export.checkpoint_tensors(weights, SHAPE, factor) for factor in (1.0, 2.0))
    changed = [name for name in plain if not torch.equal(plain[name], sharp[name])]
    assert changed == ["model.layers.2.self_attn.q_proj.weight"]
    assert torch.equal(sharp[changed[0]], 2 * plain[changed[0]])


class Hasty(Reader):
    """Writes two tokens of every answer: an untrained model would go on to the limit."""

    def answer(
        self, state: State, prompt: str, longest: int = 2, begun: tuple[int, Pointer] | None = None
    ) -> Reply:
        return super().answer(state, prompt, 2, begun)


def test_evaluation_asks_about_facts_that_are_there(
    prose: Prose, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """The accuracy table would measure the evaluation's own mistakes."""
    folder, _ = exported(tmp_path, tokenizer)
    model = load_model(folder, torch.float32, torch.device("cpu"))
    haystack = evaluate.Haystack(prose, tokenizer)
    evaluation = evaluate.Evaluation(Hasty(model, tokenizer), haystack, seed=1)
    _, facts = evaluation.facts(Random(4), list(FAMILIES), 6)
    ids, spans = haystack.hide(Random(4), facts, 900, room=64)
    assert len(ids) == 900 - 64
    for fact, (start, end) in zip(facts, spans, strict=True):
        assert tokenizer.decode(ids[start:end])[1:] == fact.statement
    args = evaluate.arguments().parse_args(
        [
            "--model",
            "",
            "--books",
            "",
            "--out",
            "",
            "--documents",
            "1",
            "--trials",
            "1",
            "--programs",
            str(tmp_path),
        ]
    )
    (tmp_path / "program.py").write_text(PROGRAM + SHORT_FUNCTIONS * 2, "utf-8")
    with torch.inference_mode():
        for task in evaluate.tasks(evaluation, args).values():
            task(900)
    asked = {result.task for result in evaluation.results}
    assert {"single", "first line", "mixed", "unseen", "absent", "ten needles", "needles in log"} <= asked
    assert {"names in a program", "absent in a program"} <= asked
    assert sum(result.task == "single" for result in evaluation.results) == 10
    rows = [asdict(result) for result in evaluation.results]
    assert "| mixed: magic |" in tables.table(rows)
    counted = tables.counts(rows)
    assert sum(row["asked"] for row in counted) == len(rows)
    assert sum(row["refused"] for row in counted) == sum(row["answer"] == "not found" for row in rows)
    assert tables.trust([row | {"answer": "x", "mass": 0.6, "right": True} for row in rows]).count(" 0 |") > 6


@pytest.fixture(scope="module")
def reader(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    folder, _ = exported(tmp_path_factory.mktemp("reader"), tokenizer)
    return Reader(load_model(folder, torch.float32, torch.device("cpu")), tokenizer)


@given(depth=st.floats(0, 1), total=st.integers(20_000, 40_000), seed=st.integers(0, 99))
@settings(max_examples=4, deadline=None)
def test_a_needle_put_in_later_is_read_exactly(reader: Reader, depth: float, total: int, seed: int) -> None:
    """The figures at a million tokens would not be those of reading a million tokens."""
    rng = Random(seed)
    hay = [rng.randrange(1, SHAPE.vocab) for _ in range(total)]
    needle = [rng.randrange(1, SHAPE.vocab) for _ in range(20)]
    place = int(depth * total)
    with torch.inference_mode():
        short = Reading(reader, hay, [0, place, total]).hide(place, needle)
        long = reader.read(hay[:place] + needle + hay[place:])
        assert short.position == long.position
        for ours, theirs in zip(rows(short, 0, total + 20), rows(long, 0, total + 20), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
        asked = torch.tensor([hay[:9]])
        torch.testing.assert_close(
            reader.model.logits(reader.model(asked, short)),
            reader.model.logits(reader.model(asked, long)),
            atol=1e-4,
            rtol=1e-4,
        )


@given(start=st.integers(0, 600), count=st.integers(1, 60))
@settings(max_examples=10, deadline=None)
def test_keys_are_taken_out_where_they_stand(reader: Reader, start: int, count: int) -> None:
    """A list would lose values that were not found yet, or name one twice."""
    with torch.inference_mode():
        state = reader.read([1 + i % 600 for i in range(700)])
        less = state.without(start, start + count)
        kept, whole = (torch.cat([k for k, _ in rows(each, 0, 700)], dim=2) for each in (less, state))
    assert less.position == 700 - count
    assert torch.equal(kept, torch.cat([whole[:, :, :start], whole[:, :, start + count :]], dim=2))


def test_values_that_were_found_are_not_asked_for_again(maker: Maker, tokenizer: Tokenizer) -> None:
    """The model would be taught to name a value that it cannot see, or to stop before the last."""
    again = refused = 0
    for step in range(80):
        rng = Random(f"{maker.seed} {step}")
        facts = FactMaker(rng, Words(rng, SENTENCES), maker.junk)
        hidden = maker.document(rng, facts, 512, listing=True)
        for fact, _, _ in hidden.facts:
            branch = maker.value_branch(rng, hidden, fact)
            told = tokenizer.decode(branch.answer).strip()
            gone = [tokenizer.decode(hidden.tokens[span.start : span.stop]).strip() for span in branch.gone]
            known = [other.value for other, _, _ in hidden.facts if other.topic == fact.topic]
            assert sorted([*gone, *([] if told == "not found" else [told])]) == sorted(
                {*gone, told} & {*known}
            )
            again += bool(gone) and told != "not found"
            refused += told == "not found"
            assert (told == "not found") == (len(gone) == len(known))
    assert again > 10
    assert refused > 10


def test_gap_questions_have_their_answer_in_the_text(maker: Maker, tokenizer: Tokenizer) -> None:
    """The model would learn to answer with another word, or to point past it."""
    asked = 0
    for step in range(40):
        rng = Random(f"{maker.seed} {step}")
        facts = FactMaker(rng, Words(rng, SENTENCES), maker.junk)
        hidden = maker.document(rng, facts, 512)
        branch = maker.gap_branch(rng, facts, hidden)
        if branch is None or tokenizer.decode(branch.answer).strip() == "not found":
            continue
        asked += 1
        place = branch.sources[0][0]
        assert hidden.tokens[place : place + len(branch.answer) - 1] == branch.answer[:-1]
        assert [source for (source,) in branch.sources] == list(range(place, place + len(branch.answer)))
        before = tokenizer.decode(hidden.tokens[:place]).split()[-1]
        assert before in tokenizer.decode(branch.prompt)
    assert asked > 10


def test_gaps_take_whole_names() -> None:
    """The model would learn to stop in the middle of every name."""
    text = "He came. In the end he went away with Mary Ann Tolliver to the old town of Wexley. They stayed."
    drawn = [gaps.draw(Random(seed), text, prose_ends(text)) for seed in range(300)]
    words = {gap.word for gap in drawn if gap}
    assert {"Mary", "Mary Ann Tolliver", "Wexley", "town"} <= words
    assert not {"Mary Ann", "Wexley."} & words
    for gap in drawn:
        assert not gap or text[gap.start :].startswith(gap.word)
        assert not gap or text.count(f"{gap.left} {gap.word}{gap.right}") == 1


SHORT_FUNCTIONS = "".join(f"def name_{i}_of(first, second={i}):\n    pass\n\n\n" for i in range(300))
PROGRAM = """
class Reader(Base):
    def read_page(self, path: Path, *, limit: int = 20) -> list[str]:
        self.timeout = 2.5  # seconds
        return open_file(path)

    def close_all(self):
        self.timeout = None
        LARGEST_PAGE = "4 MiB"

    async def close_page() -> None:
        close_all()
"""


def test_program_text_tells_what_it_says_once() -> None:
    """Questions about code would have wrong answers, or two right ones."""
    told = {(each.family, each.name): each.answer for each in code.told(PROGRAM)}
    assert told == {
        ("defined", "Reader"): "(Base):",
        ("defined", "read_page"): "(self, path: Path, *, limit: int = 20) -> list[str]:",
        ("defined", "close_all"): "(self):",
        ("defined", "close_page"): "() -> None:",
        ("arguments", "read_page"): " path: Path, *, limit: int = 20",
        ("arguments", "close_all"): "self",
        ("code", "LARGEST_PAGE"): ' "4 MiB"',
    }
    for each in code.told(PROGRAM):
        assert PROGRAM[each.start :].startswith(each.answer)
        held_out = code.ask(Random(0), each, unseen=True)
        for seed in range(60):
            for wording in (code.ask(Random(seed), each), code.ask(Random(seed), each, lambda: "any")):
                assert each.name in wording and "{" not in wording and wording != held_out
    asked = [code.absent(Random(seed), PROGRAM, "def elsewhere():\n    pass\n") or "" for seed in range(40)]
    assert {name for name in ("open_file", "elsewhere") if any(name in each for each in asked)} == {
        "open_file",
        "elsewhere",
    }
    assert not any("close_all" in each for each in asked)


def test_questions_about_programs_are_answered_from_them(prose: Prose, tokenizer: Tokenizer) -> None:
    """The model would learn to point beside the definition, or to define what is only used."""
    programs = Prose([PROGRAM + SHORT_FUNCTIONS])
    maker = Maker(Prose(prose.texts, code=programs), tokenizer, seed=5, programs=1.0, absent=0.3)
    refused = copied = 0
    for step in range(60):
        rng = Random(step)
        facts = FactMaker(rng, Words(rng, SENTENCES), maker.junk)
        hidden = maker.document(rng, facts, 256)
        branch = maker.code_branch(rng, facts, hidden) if hidden.program else None
        if branch is None:
            continue
        answer = tokenizer.decode(branch.answer).strip()
        if answer == "not found":
            refused += 1
            continue
        copied += 1
        place = branch.sources[0][0]
        assert hidden.tokens[place : place + len(branch.answer) - 1] == branch.answer[:-1]
    assert refused and copied


def test_sentences_are_ranked_by_the_rare_words_they_share() -> None:
    """The model would be compared with a ranking that nobody would use."""
    document = natural.Document(SENTENCES, [0, *prose_ends(SENTENCES)], [])
    ranking = natural.BM25(document.sentences())
    for asked, found in (
        ("Where did the wagon roll?", "wagon"),
        ("Who will remember the letter?", "Harriet"),
    ):
        assert found in document.sentences()[ranking.best(asked)]
    assert document.sentence(0) == 0
    assert document.sentence(len(SENTENCES) - 3) == len(document.sentences()) - 2


def test_gaps_are_cut_out_of_sentences_that_stand_in_the_text(prose: Prose) -> None:
    """Every gap would look unanswerable, or hold its answer."""
    documents = list(natural.cloze(prose))
    assert sum(len(document.asked) for document in documents) > 20
    for document in documents:
        for asked, (gold,) in document.asked:
            sentence = asked.split(": ", 1)[1]
            assert sentence.replace("____", gold) in document.text


@pytest.mark.parametrize("form", ["whole", "echo"])
def test_names_that_are_asked_for_stand_in_the_text(prose: Prose, form: str) -> None:
    """The model would be marked wrong for every answer."""
    documents = list(natural.telling(prose, 4_000, form))
    assert sum(len(document.asked) for document in documents) >= 10
    for document in documents:
        for asked, golds in document.asked:
            assert all(gold in document.text for gold in golds)
            assert golds[-1].startswith(golds[0])
            assert ("____" in asked) == (form == "whole")


@pytest.mark.parametrize(
    ("told", "golds", "wanted"),
    [("the old mill", ["old mill"], 0.8), ("Mill", ["mill", "x"], 1.0), ("", ["mill"], 0.0)],
)
def test_overlap_is_that_of_squad(told: str, golds: list[str], wanted: float) -> None:
    """F1 could not be compared with anybody's."""
    assert natural.overlap(told, golds) == pytest.approx(wanted)


def test_sentences_that_later_text_repeats_are_learned(prose: Prose) -> None:
    """The comparison with LexRank would be one with noise."""
    rarity = salience.Rarity(prose, seed=1, stretches=200)
    assert rarity.telling("And the harbors lay quiet") == ["harbors"]
    rarity.weights = {"harriet": 2.0, "needle": 3.0, "late": 1.0}
    passage = salience.Passage(
        ["Harriet looked up from her needle again.", "It was late, and then it was later."] * 7,
        [frozenset({"harriet", "needle"}), frozenset({"late"})] * 7,
        Counter({"harriet": 9, "needle": 4}),
    )
    marks = salience.labels(passage, rarity)
    assert sum(marks) == pytest.approx(2 * len(marks))
    assert min(marks[::2]) > max(marks[1::2])
    chosen = salience.choose(passage, marks)
    assert sum(len(passage.sentences[i].split()) for i in chosen) <= salience.BUDGET
    assert salience.covered(passage, chosen, rarity)[0] == 1
    assert salience.covered(passage, [1], rarity)[0] == 0


@given(seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_a_regression_finds_the_weights_behind_its_targets(seed: int) -> None:
    """What the model holds would be judged by a fit that does not fit."""
    random = torch.Generator().manual_seed(seed)
    features = torch.cat([torch.randn(4000, 5, generator=random) * 3 + 1, torch.ones(4000, 1)], dim=1)
    wanted = torch.randn(6, generator=random)
    found = salience.fit(features, features @ wanted)
    torch.testing.assert_close(features @ found, features @ wanted, atol=0.2, rtol=0.05)


def test_larger_vocabularies_make_shorter_texts(prose: Prose, tmp_path: Path) -> None:
    """The tokenizer's size would be chosen by a wrong measure."""
    (tmp_path / "de.txt").write_text(
        "Es war einmal ein König, der hatte eine Tochter. " * 20, encoding="utf-8"
    )
    small, large = (
        sizes.densities(
            tokenizer_training.train(tokenizer_training.samples(prose, seed=3, megabytes=0.05), entries),
            prose,
            tmp_path,
        )
        for entries in (300, 900)
    )
    assert large["prose"] > small["prose"] > 1
    assert small["tokens a value"] >= large["tokens a value"]


def test_the_chart_shows_what_was_measured() -> None:
    """The figure of the ablations would not match its table."""
    answers = [{"tokens": n, "right": n < 2000} for n in (512, 4096) for _ in range(4)]
    run = {"speed": {"512": 9000.0, "4096": 8000.0}, "answers": answers}
    told = chart.table({"hybrid": run, "softmax": run})
    assert "| 512 | 1.000 (4/4; 0.510-1.000) |" in told
    assert "| 4,096 | 0.000 (0/4;" in told
    drawn = ElementTree.fromstring(chart.figure({"hybrid": run, "softmax": run}))
    assert sum(element.tag.endswith("polyline") for element in drawn.iter()) == 4


def test_ablations_differ_in_their_mixers_alone() -> None:
    """The comparison would show the difference between two recipes."""
    variants = [ablations.settings_of(name, small_settings(), 9) for name in ablations.VARIANTS]
    first = variants[0]
    assert {each.shape.mixers for each in variants} == {"LLLS", "LLLL", "SSSS"}
    for each in variants:
        assert replace(each, shape=first.shape) == first
        assert replace(each.shape, mixers="LLLS", theta=0.0) == first.shape


@given(seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_rivals_are_near_and_never_the_same(seed: int) -> None:
    """ "Not found" would be taught for keys that are there."""
    rng = Random(seed)
    maker = FactMaker(rng, Words(rng, SENTENCES), lambda r: "qua#", open_share=0.3)
    for _ in range(20):
        fact = maker.draw()
        before = set(maker.topics)
        rival = maker.rival(fact)
        assert rival.topic not in before
        assert not set(rival.questions) & set(fact.questions)


@given(step=st.integers(0, 9000))
@settings(max_examples=50, deadline=None)
def test_schedules_stay_in_their_range(step: int) -> None:
    """A run could end at a full learning rate, or begin harder than it can learn."""
    chosen = replace(small_settings(), steps=9000)
    assert 0 <= chosen.rate(step) <= 1
    assert 1 <= chosen.copies(step) <= chosen.data["copies"]
    assert chosen.rate(9000) == 0


def test_a_mixer_that_does_not_exist_is_refused() -> None:
    """A typing error in the shape would train another model than the one asked for."""
    with pytest.raises(ValueError, match="LXS"):
        replace(SHAPE, mixers="LXS")


def test_settings_refuse_unknown_keys(tmp_path: Path) -> None:
    """A typing error in the settings would be ignored for an hour of training."""
    shipped = (Path(__file__).parents[1] / "training" / "config.toml").read_text()
    (tmp_path / "config.toml").write_text("sede = 1\n" + shipped)
    with pytest.raises(TypeError, match="sede"):
        Settings.load(tmp_path / "config.toml")
