"""How an answer is written token by token, and what a command says when it is there."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from longctx import doctor, examine
from longctx.errors import QuotationError
from longctx.finish import answer_of, finish
from longctx.progress import Progress, Usage
from longctx.sampling import Sampling
from longctx.tasks.results import Answer, Quotation
from longctx.text.document import Corpus
from longctx.tokens.tokenizer import Tokenizer
from longctx.writing import Piece, Pointer, Writing

NOTHING = torch.tensor([], dtype=torch.long)


class Said:
    """Stands where an Output does: keeps what it is told."""

    def __init__(self, live: bool = False) -> None:
        self.live, self.notes, self.written = live, list[str](), list[tuple[str, dict[str, Any]]]()

    def show(self, event: object) -> object:
        return event

    def note(self, text: str) -> None:
        self.notes.append(text)

    def write(self, text: str, values: dict[str, Any]) -> None:
        self.written.append((text, values))


@pytest.fixture
def tokenizer(tokenizers: dict[str, Tokenizer]) -> Tokenizer:
    return tokenizers["gpt2"]


def written(
    tokenizer: Tokenizer, text: str, sampling: Sampling, stop: int = 0, forbidden: Any = NOTHING
) -> Any:
    """Write a text, whose tokens are the likeliest one after the other; then `stop`."""
    writing = Writing(tokenizer, {stop}, forbidden, sampling)
    pieces: list[Piece] = []
    for token in [*tokenizer.encode(text), stop]:
        if writing.ended:
            break
        logits = torch.zeros(400)
        logits[token] = 5.0
        pieces += writing.take(logits, Pointer(7, 0.5))
    return writing, pieces


def test_an_answer_ends_at_a_stop_token(tokenizer: Tokenizer) -> None:
    """If this fails an answer goes on behind its end, or loses its last letters."""
    writing, pieces = written(tokenizer, "the river", Sampling(max_tokens=50))
    assert "".join(one.text for one in pieces) == "the river"
    assert writing.ended
    assert writing.written == [*tokenizer.encode("the river"), 0]
    assert (pieces[-1].finish, pieces[-1].token, pieces[-1].pointer) == ("stop", None, None)
    assert [one.finish for one in pieces[:-1]] == [None] * (len(pieces) - 1)
    assert pieces[0].pointer == Pointer(7, 0.5)


def test_an_answer_ends_at_the_limit(tokenizer: Tokenizer) -> None:
    """If this fails a limit of tokens is one more or one less, or nobody is told of it."""
    ids = tokenizer.encode("the river rose in the night")
    for limit in (1, 2, len(ids) - 1):
        writing, pieces = written(tokenizer, "the river rose in the night", Sampling(max_tokens=limit))
        assert writing.written == ids[:limit]
        assert pieces[-1].finish == "length"
        assert "".join(one.text for one in pieces) == tokenizer.decode(ids[:limit])


def test_an_answer_ends_at_a_stop_string(tokenizer: Tokenizer) -> None:
    """If this fails an answer holds what should have ended it, or half of it."""
    writing, pieces = written(tokenizer, "the river rose", Sampling(max_tokens=50, stop=("ver r",)))
    assert "".join(one.text for one in pieces) == "the ri"
    assert (writing.ended, pieces[-1].finish) == (True, "stop")
    _, pieces = written(tokenizer, "the river", Sampling(max_tokens=50, stop=("ver rose",)))
    assert "".join(one.text for one in pieces) == "the river"


def test_what_no_answer_may_hold_is_not_written(tokenizer: Tokenizer) -> None:
    """If this fails a model writes padding for ever."""
    first = tokenizer.encode("the")[0]
    writing, _ = written(tokenizer, "the", Sampling(max_tokens=1), forbidden=torch.tensor([first]))
    assert writing.written != [first]


def answer(**more: Any) -> Answer:
    return Answer(**{"how": "generated", "text": "noon", **more})


def test_an_answer_is_not_kept_waiting() -> None:
    """If this fails an answer that is there waits for what only makes the next one faster."""

    def events() -> Iterator[object]:
        yield Progress("reading", 1, 2, 0)
        yield answer()
        raise AssertionError("went on")

    assert answer_of(events(), Said()).text == "noon"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("more", "notes"),
    [
        ({}, []),
        ({"usage": Usage(tokens_read=5, read_seconds=1.0)}, ["read 5 tokens in 1.0 s (5 tokens/s)"]),
        ({"usage": Usage(tokens_reused=7)}, ["reused 7 tokens, read 0 tokens in 0.0 s, state"]),
        (
            {"usage": Usage(tokens_read=5, read_seconds=1.0), "tokens_in_all": 900, "passages_read": 3},
            ["read 5 of 900 tokens: the 3 passages", "read 5 tokens"],
        ),
        ({"tokens_in_all": 900, "estimated": True}, ["read 0 of about 900 tokens, chosen by their words"]),
    ],
)
def test_an_answer_is_followed_by_what_it_cost(more: dict[str, Any], notes: list[str]) -> None:
    """If this fails nobody learns that only a part was read; or of a cost where there was none."""
    said = Said()
    with Corpus() as corpus:
        finish(said, "ask", answer(**more), corpus, strict=False, question="When?")  # type: ignore[arg-type]
    assert len(said.notes) == len(notes)
    assert all(note.startswith(begins) for note, begins in zip(said.notes, notes, strict=True))
    (text, values), *others = said.written
    assert (text.startswith("noon"), values["command"], values["question"], others) == (
        True,
        "ask",
        "When?",
        [],
    )


def test_a_person_is_not_shown_an_answer_twice() -> None:
    """If this fails text that was shown while it was written is shown again."""
    with Corpus() as corpus:
        for live, how, again in (
            (True, "generated", False),
            (False, "generated", True),
            (True, "found", True),
        ):
            said = Said(live)
            finish(said, "ask", answer(how=how), corpus, strict=False)  # type: ignore[arg-type]
            assert said.written[0][0].startswith("noon") == again


def test_scripts_are_told_how_it_ended() -> None:
    """If this fails a script takes "not found" for an answer, or an untrue quotation for a true one."""
    with Corpus() as corpus:
        for how in ("not found", "closest"):
            with pytest.raises(SystemExit) as end:
                finish(Said(), "ask", answer(how=how), corpus, strict=False)  # type: ignore[arg-type]
            assert end.value.code == 1
        untrue = answer(quotations=[Quotation("noon", None), Quotation("night", None)])
        said = Said()
        with pytest.raises(QuotationError, match="2 of 2 quotations do not stand in the text"):
            finish(said, "ask", untrue, corpus, strict=True)  # type: ignore[arg-type]
        assert said.written
        finish(Said(), "ask", untrue, corpus, strict=False)  # type: ignore[arg-type]


def test_doctor_tells_the_machine_and_whether_the_model_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails `doctor` calls a broken model sound, or tells of another number of threads."""
    trial = SimpleNamespace(correct=True)
    monkeypatch.setattr(doctor, "_retrieval", lambda *_: examine.Check("model", trial.correct, "said"))
    monkeypatch.setattr(doctor, "usable_threads", lambda: 5)
    options = SimpleNamespace(threads=3)
    config = SimpleNamespace(copies_facts=True)
    launch: Any = SimpleNamespace(options=options, config=config, device=torch.device("cpu"))
    found = {one.name: one for one in doctor.check(launch, Said())}  # type: ignore[arg-type]
    assert found["threads"].value == "3"
    assert found["devices"].value.startswith("cpu")
    assert found["model"].ok
    assert list(found)[-2:] == ["model", "kernels"]
    trial.correct, options.threads = False, None
    found = {one.name: one for one in doctor.check(launch, Said())}  # type: ignore[arg-type]
    assert (found["threads"].value, found["model"].ok) == ("5", False)


def test_rates_are_of_what_was_read_and_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails `doctor` promises a speed that nobody gets."""
    clock = iter([10.0, 12.0, 12.0, 16.0])
    monkeypatch.setattr(examine, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(examine, "resident_memory", lambda: 3 << 30)
    asked: list[Any] = []

    class Session:
        def read(self, ids: list[int]) -> None:
            asked.append(ids)

        def generate(self, ids: list[int], sampling: Sampling) -> Iterator[Piece]:
            asked.append((ids, sampling.max_tokens))
            yield from [Piece("a", 1, None, None)] * 8
            yield Piece("", None, None, "length")

    cache = SimpleNamespace(hits=3, misses=1)
    model = SimpleNamespace(experts=cache)
    engine: Any = SimpleNamespace(session=Session, device=torch.device("cpu"), model=model)
    found = examine._speed(engine, [4, 5, 6, 7], 1 << 30)
    assert found.value == (
        "reads 2 tokens/s and writes 2.0 after 4; holds 3.0 GiB, the plan said 1.0 GiB;"
        " 75% of experts were at hand"
    )
    assert found.numbers == {"read_rate": 2.0, "write_rate": 2.0, "bytes": 3 << 30, "planned_bytes": 1 << 30}
    assert asked == [[4, 5, 6, 7], ([7], examine.WRITTEN)]
    for nothing in (None, SimpleNamespace(hits=0, misses=0)):
        clock, model.experts = iter([0.0, 1.0, 1.0, 2.0]), nothing
        assert examine._speed(engine, [4], 1).value.endswith("the plan said 1 bytes")
