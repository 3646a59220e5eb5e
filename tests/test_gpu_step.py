"""The captured decode step on a GPU: a replayed graph says what the model's own forward says.

Skipped without LONGCTX_TEST_DEVICE=cuda (see tests/gpu.py).
"""

from pathlib import Path

import pytest
import torch
from checkpoints import hf_config, write_checkpoint
from gpu import DEVICE, on_gpu
from test_step import by_torch, model_of

from longctx.engine import Engine
from longctx.kernels.attention import choose_attention
from longctx.kernels.select import Site
from longctx.models.kv_form import KVForm
from longctx.models.kv_log import KVLog
from longctx.models.kv_room import Room
from longctx.models.step import DecodeStep
from longctx.sampling import Sampling

pytestmark = on_gpu


@pytest.mark.parametrize("kind", ["experts", "original", "ring-mini", "hypenet-2b"])
def test_a_replayed_graph_equals_forwards_over_many_pages(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails the second and every later token of an answer on a GPU is wrong."""
    model = model_of(kind).to(DEVICE).use()
    step = DecodeStep(model, batch=2)
    assert step.captured
    states = [model.new_state(), model.new_state()]
    with torch.inference_mode():
        for state, length in zip(states, (237, 5), strict=True):
            model.absorb(torch.arange(3, 3 + length, device=DEVICE)[None] % 100, state)
    truth = [state.fork() for state in states]
    for token in range(40):  # the first page of 256 ends on the way
        logits = step.run([token, token + 50], states)
        with by_torch(model, monkeypatch), torch.inference_mode():
            for row, state, own in zip(logits, truth, (token, token + 50), strict=True):
                hidden = model(torch.tensor([[own]], device=DEVICE), state)
                torch.testing.assert_close(row, model.logits(hidden[0, -1]), rtol=1e-3, atol=1e-3)


def test_an_answer_is_the_same_with_and_without_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails an answer, or the place it points at, depends on who multiplies."""
    config = hf_config(layers="LLS", pointer_heads=[0, 1], dtype="float32")
    engine = Engine.load(write_checkpoint(tmp_path / "model", config), str(DEVICE))
    session = engine.session()
    session.read(engine.tokenizer.encode("Nobody in the village knew why the river had changed. " * 30))

    def answer() -> list[tuple[int | None, int | None]]:
        pieces = session.fork().generate(engine.tokenizer.encode(" Why?"), Sampling(max_tokens=24))
        return [(p.token, p.pointer.position if p.pointer else None) for p in pieces]

    by_graph = answer()
    assert engine.step is not None
    assert engine.step.captured
    engine.step = None
    with by_torch(engine.model, monkeypatch):
        assert answer() == by_graph


@pytest.mark.parametrize("memory", [0, 3 << 20])
def test_pages_that_a_gpu_has_no_room_for_come_in_time(memory: int, tmp_path: Path) -> None:
    """If this fails a GPU attends to a page before it is there, or after another has taken its place."""
    room = Room(DEVICE, memory, host=4 << 20, folder=tmp_path)
    logs = [KVLog(1, 2, 64, torch.bfloat16, DEVICE, form=KVForm(room=each)) for each in (room, None)]
    attention = choose_attention(Site(DEVICE, torch.bfloat16), 64)
    for _ in range(40):
        k, v = torch.randn(2, 1, 2, 1000, 64, device=DEVICE, dtype=torch.bfloat16)
        q = torch.randn(1, 4, 1000, 64, device=DEVICE, dtype=torch.bfloat16)
        ours, theirs = (attention(q, k, v, log.pages()) for log in logs)
        assert torch.equal(ours, theirs)
        for log in logs:
            log.append(k, v)
    assert room.spilled
