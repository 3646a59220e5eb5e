"""Sessions: reading, forking and writing answers."""

from pathlib import Path

import pytest
import torch
from checkpoints import hf_config, write_checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from longctx.engine import Engine, pick_device, pick_dtype, pick_forms
from longctx.errors import ModelError
from longctx.models.kv_log import KVLog
from longctx.models.published import OURS
from longctx.models.state import State
from longctx.sampling import Sampling


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> Engine:
    return Engine.load(checkpoint, "cpu", "float32")


@pytest.fixture(scope="module")
def pointing(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    config = hf_config(pointer_heads=[0, 1])
    return Engine.load(write_checkpoint(tmp_path_factory.mktemp("pointing"), config), "cpu")


def written(engine: Engine, prompt: list[int], how: Sampling) -> list[int | None]:
    return [piece.token for piece in engine.session().generate(prompt, how) if piece.token is not None]


def test_generation_equals_repeated_full_forwards(engine: Engine) -> None:
    """If this fails an answer differs from what the model says when it sees the whole text at once."""
    prompt = engine.tokenizer.encode("The keeper of the lighthouse wrote down every ship")
    expected = list(prompt)
    with torch.inference_mode():
        for _ in range(12):
            hidden = engine.model(torch.tensor([expected]), engine.model.new_state())
            logits = engine.model.logits(hidden[0, -1])
            expected.append(int(logits.argmax()))
    stop = engine.model.config.stop_ids
    cut = next((i for i, t in enumerate(expected) if t in stop and i >= len(prompt)), len(expected))
    assert written(engine, prompt, Sampling(max_tokens=12)) == expected[len(prompt) : cut]


def test_a_question_does_not_disturb_the_reading(engine: Engine) -> None:
    """If this fails the second question about a book is answered from a spoiled memory."""
    text = engine.tokenizer.encode("Nobody in the village knew why the river had changed. " * 20)
    question = engine.tokenizer.encode("Why?")
    session = engine.session()
    assert sum(session.read_chunks([text[:100], text[100:]])) == len(text)
    first = [p.token for p in session.fork().generate(question, Sampling(max_tokens=8))]
    list(session.fork().generate(engine.tokenizer.encode("Something else entirely?"), Sampling(max_tokens=8)))
    assert [p.token for p in session.fork().generate(question, Sampling(max_tokens=8))] == first
    assert session.position == len(text)


def test_pieces_join_to_the_text_and_say_why_they_end(engine: Engine) -> None:
    """If this fails streamed answers lose characters, or a cut answer looks complete."""
    prompt = engine.tokenizer.encode("def area")
    pieces = list(engine.session().generate(prompt, Sampling(max_tokens=20)))
    tokens = [p.token for p in pieces if p.token is not None]
    assert "".join(p.text for p in pieces) == engine.tokenizer.decode(tokens)
    assert [p.finish for p in pieces[:-1]] == [None] * (len(pieces) - 1)
    assert pieces[-1].finish == ("length" if len(tokens) == 20 else "stop")
    text = "".join(p.text for p in pieces)
    ended = list(engine.session().generate(prompt, Sampling(max_tokens=20, stop=(text[3:5],))))
    assert "".join(p.text for p in ended) == text[: text.find(text[3:5])]
    assert ended[-1].finish == "stop"


def test_stop_tokens_end_the_answer(tmp_path: Path, engine: Engine) -> None:
    """If this fails answers run on past their end until the token limit."""
    prompt = engine.tokenizer.encode("The river")
    first = written(engine, prompt, Sampling(max_tokens=3))
    folder = write_checkpoint(tmp_path, hf_config(eos_token_id=[first[2]]))
    pieces = list(Engine.load(folder, "cpu").session().generate(prompt, Sampling(max_tokens=9)))
    at = first.index(first[2])
    assert [p.token for p in pieces[:-1]] == first[:at]
    assert pieces[-1].finish == "stop"


def test_padding_ids_are_never_written(tmp_path: Path) -> None:
    """If this fails answers hold tokens that have no text."""
    folder = write_checkpoint(tmp_path, hf_config(vocab_size=464, tie_word_embeddings=True))
    engine = Engine.load(folder, "cpu")
    tokens = written(engine, [5, 6, 7], Sampling(max_tokens=60, temperature=5.0))
    assert tokens
    assert all(t is not None and t < engine.tokenizer.vocab_size for t in tokens)


def test_pointers_tell_where_the_model_looked(tmp_path: Path) -> None:
    """If this fails a found answer is shown with a wrong place, or without one."""
    engine = Engine.load(write_checkpoint(tmp_path, hf_config(pointer_heads=[0, 1])), "cpu")
    session = engine.session()
    session.read(engine.tokenizer.encode("One of the special magic numbers is 7. " * 30))
    read = session.position
    pieces = list(session.generate([1, 2, 3], Sampling(max_tokens=4)))
    for step, piece in enumerate(p for p in pieces if p.pointer):
        assert piece.pointer is not None
        assert 0 <= piece.pointer.position < read + 3 + step
        assert 0 < piece.pointer.mass <= 1


@given(spans=st.lists(st.tuples(st.integers(0, 599), st.integers(1, 40)), min_size=1, max_size=4))
@settings(max_examples=10, deadline=None)
def test_what_was_found_is_not_looked_at_again(pointing: Engine, spans: list[tuple[int, int]]) -> None:
    """If this fails a list of answers names one twice, or quotes a wrong place for the second."""
    session = pointing.session()
    session.read([1 + i % 90 for i in range(600)])
    before = session.fork()
    for start, length in spans:
        session = session.without(start, min(600, start + length))
    left = [n for n in range(600) if not any(s <= n < s + length for s, length in spans)]
    assert session.gone == tuple(n for n in range(600) if n not in left)
    assert session.position == len(left)
    logs = [layer for each in (session, before) for layer in each.state.layers if isinstance(layer, KVLog)]
    keys, all_keys = (torch.cat([k for k, _ in log.pages()], dim=2) for log in (logs[0], logs[-1]))
    assert torch.equal(keys, all_keys[:, :, left])
    if left:
        (piece, *_) = session.generate([5, 6], Sampling(max_tokens=1))
        assert piece.pointer is not None
        assert piece.pointer.position in [*left, 600, 601]


@pytest.mark.parametrize("name", ["cuda:99", "tpu", "mps", "nonsense:x"])
def test_devices_that_are_not_there_are_refused(name: str) -> None:
    """If this fails a mistyped device ends in a traceback."""
    with pytest.raises(ModelError, match="--device"):
        pick_device(name)


def test_precision_defaults_to_float32_on_the_cpu() -> None:
    """If this fails the default run dies on CPUs that advertise instructions they do not have."""
    assert pick_dtype("auto", torch.device("cpu"), "bfloat16") == torch.float32
    assert pick_dtype("auto", torch.device("cuda"), "float32") == torch.float32
    assert pick_dtype("auto", torch.device("cuda"), "bfloat16") == torch.bfloat16


@pytest.mark.parametrize(
    ("name", "device", "stored", "dtype"),
    [
        ("auto", "cpu", "float16", torch.float32),
        ("int8", "cpu", "bfloat16", torch.float32),
        ("float32", "cpu", "bfloat16", torch.float32),
        ("auto", "cuda", "float16", torch.float16),
        ("int8", "cuda", "float16", torch.float16),
        ("auto", "cuda", "float8_e4m3fn", torch.bfloat16),
        ("float16", "cuda", "float32", torch.float16),
        ("float32", "cuda", "bfloat16", torch.float32),
    ],
)
def test_only_halves_on_a_cpu_are_tried_first(
    name: str, device: str, stored: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails a run computes with other numbers than were asked for, or starts a child for nothing."""
    monkeypatch.setattr(
        "longctx.machine.check_reduced_precision", lambda name: pytest.fail(f"{name} was tried")
    )
    assert pick_dtype(name, torch.device(device), stored) == dtype


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_halves_on_a_cpu_are_tried_first(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a CPU without such instructions kills the run."""
    tried: list[str] = []
    monkeypatch.setattr("longctx.machine.check_reduced_precision", tried.append)
    assert pick_dtype(name, torch.device("cpu"), "float32") == getattr(torch, name)
    assert tried == [name]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_devices_are_counted_from_nought(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails the last GPU of a machine is refused, or one that is not there ends in a traceback."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert pick_device("auto").type == ("cuda" if count else "cpu")
    assert pick_device("cpu") == torch.device("cpu")
    for name, needed in (("cuda", 1), ("cuda:0", 1), ("cuda:1", 2), ("cuda:2", 3)):
        if count >= needed:
            assert pick_device(name) == torch.device(name)
        else:
            with pytest.raises(ModelError, match=f"--device {name}: no such CUDA device"):
                pick_device(name)
    with pytest.raises(ModelError, match="--device meta: not supported"):
        pick_device("meta")


@pytest.mark.parametrize("able", [(True, True), (True, False), (False, True), (False, False)])
def test_weights_take_the_forms_that_the_cpu_can_compute_with(
    able: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails weights are rounded that need not be, or to numbers that this CPU cannot multiply."""
    monkeypatch.setattr("longctx.kernels.quantized.can_quantize", lambda: able[0])
    monkeypatch.setattr("longctx.kernels.int4.can_quantize4", lambda: able[1])
    cpu, cuda, wide, half = torch.device("cpu"), torch.device("cuda"), torch.float32, torch.bfloat16
    eight, four = able[0], all(able)
    rounded = ["int8"] * eight + ["int4"] * four
    assert list(pick_forms("auto", "auto", cpu, wide)) == ["packed", *rounded]
    assert list(pick_forms("auto", "float32", cpu, wide)) == ["packed"]
    assert list(pick_forms("none", "auto", cpu, wide)) == ["packed"]
    assert list(pick_forms("none", "bfloat16", cpu, half)) == ["plain"]
    assert list(pick_forms("auto", "auto", cuda, half)) == ["plain"]
    assert list(pick_forms("none", "float32", cuda, wide)) == ["plain"]
    # What was published in few bits stays so, where that is possible.
    assert list(pick_forms("auto", "auto", cpu, wide, OURS + "int4")) == (
        ["int4"] if four else ["packed", *rounded]
    )
    assert list(pick_forms("none", "auto", cpu, wide, OURS + "int4")) == ["packed"]
    assert list(pick_forms("auto", "float32", cpu, wide, OURS + "int4")) == ["packed"]
    assert list(pick_forms("auto", "auto", cuda, half, OURS + "int4")) == ["plain"]
    for form, possible in (("int8", eight), ("int4", four), ("int4-all", four)):
        assert list(pick_forms(form, "auto", cuda, half)) == [form]
        if possible:
            assert list(pick_forms(form, "auto", cpu, wide)) == [form]
        else:
            with pytest.raises(ModelError, match=f"--quant {form}: this torch cannot compute with it"):
                list(pick_forms(form, "auto", cpu, wide))


def test_a_prompt_is_read_in_pieces_of_bounded_size(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a long question takes more memory than the text, or is not the same in pieces."""
    tokens = [1 + i % 90 for i in range(23)]
    whole = engine.session()
    whole.read(tokens)
    sizes: list[int] = []
    real = engine.model.absorb

    def absorb(part: torch.Tensor, state: State) -> None:
        sizes.append(part.shape[1])
        real(part, state)

    monkeypatch.setattr("longctx.engine.LONGEST_PIECE", 10)
    monkeypatch.setattr(engine.model, "absorb", absorb)
    parts = engine.session()
    parts.read(tokens)
    assert sizes == [10, 10, 3]
    assert parts.position == whole.position == 23
    for name, tensor in whole.state.tensors().items():
        torch.testing.assert_close(parts.state.tensors()[name], tensor, rtol=1e-4, atol=1e-5)
    chunks = engine.session()
    assert list(chunks.read_chunks([tokens[:4], tokens[4:]])) == [4, 19]
    assert chunks.position == 23
