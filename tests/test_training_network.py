"""The network of training: what it computes is what the exported model computes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_texts import MAKER, PROSE, SHAPE, TOKENIZER, alone, exported, stage_with

from longctx.models.config_file import read_config
from longctx.models.weights import load_model
from training.data import Maker
from training.network import Network, far_bias
from training.shape import grown, new_weights


@pytest.mark.parametrize(("mixers", "theta"), [("LLS", 0.0), ("LLL", 0.0), ("SSS", 1e4), ("SLS", 1e4)])
def test_export_gives_the_logits_of_training(tmp_path: Path, mixers: str, theta: float) -> None:
    """The shipped model would not be the one that was trained, and the ablations would compare mistakes."""
    shape = replace(SHAPE, mixers=mixers, theta=theta)
    folder, weights = exported(tmp_path, shape)
    model = load_model(folder, read_config(folder))
    assert model.config.copies_facts == mixers.endswith("S")
    batch = alone(MAKER.batch(3, 128, 1.0))
    wanted, attention, _ = Network(shape).run(weights, batch)  # as in training, with gradients
    assert wanted.requires_grad
    with torch.inference_mode():
        each = len(batch.tails) // len(batch.documents)
        for tail in range(0, len(batch.tails), each):
            state = model.new_state()
            model.absorb(batch.documents[tail // each : tail // each + 1], state)
            hidden = model(batch.tails[tail : tail + 1], state)
            asked = batch.row == tail
            got = model.logits(hidden)[0, batch.position[asked]]
            torch.testing.assert_close(got, wanted[asked], atol=1e-4, rtol=1e-4)
    if attention is not None:
        torch.testing.assert_close(attention.sum(-1), torch.ones(SHAPE.heads, len(batch.target)))


def test_virtual_copies_equal_real_ones() -> None:
    """Training against a long context that is not there would train something else."""
    batch = alone(MAKER.batch(3, 128, 1.0))
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


def test_virtual_copies_spare_what_is_asked_for() -> None:
    """A word left out of a sentence would count as often as its rivals: long texts would not be practised."""
    maker = Maker(PROSE, TOKENIZER, stage_with(gaps=0.8))
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


def test_a_grown_model_computes_the_same() -> None:
    """Hours of training would be lost with the first step of the larger model."""
    larger = replace(SHAPE, kv_heads=4, ffn=64)
    weights, batch = new_weights(SHAPE, seed=2), MAKER.batch(3, 128, 1.0)
    with torch.no_grad():
        wanted, got = (
            Network(shape).run(each, batch)[0]
            for shape, each in ((SHAPE, weights), (larger, grown(weights, larger)))
        )
    torch.testing.assert_close(got, wanted)
    with pytest.raises(ValueError, match="cannot grow"):
        grown(weights, replace(SHAPE, hidden=64))


def test_a_mixer_that_does_not_exist_is_refused() -> None:
    """A typing error in the shape would train another model than the one asked for."""
    with pytest.raises(ValueError, match="LXS"):
        replace(SHAPE, mixers="LXS")
