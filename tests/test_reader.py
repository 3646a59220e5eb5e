"""The reader: its encoder, the words that it points at, and where its answers come among others."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel

import longctx
from longctx.models.encoder import Encoder, Sizes, from_bert, load_rounded, rounded
from longctx.render import answer_text, answer_values
from longctx.tasks.reader import FOLDER
from longctx.tasks.results import Answer
from longctx.tasks.spans import load

PASSAGES = (
    "The rent is 40 a month, and the house is old.",
    "Nobody came to the meeting.\n\nIt was put off until 3 June.",
    "",
)


def test_the_encoder_computes_what_bert_does() -> None:
    """If this fails, the trained weights mean something else to the program than to what they began from."""
    torch.manual_seed(0)
    sizes = Sizes(vocabulary=50, positions=40, hidden=24, inner=48, layers=2, heads=4)
    config = BertConfig(
        vocab_size=50, max_position_embeddings=40, hidden_size=24, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4,
    )  # fmt: skip
    theirs = BertModel(config, add_pooling_layer=False).train(False)
    ours = Encoder(sizes).eval()
    ours.load_state_dict(from_bert(theirs.state_dict()), strict=False)
    ids, parts = torch.randint(50, (3, 17)), torch.zeros(3, 17, dtype=torch.long)
    parts[:, 5:] = 1
    mask = torch.ones(3, 17, dtype=torch.bool)
    mask[1, 9:] = False
    with torch.inference_mode():
        wanted = theirs(ids, mask.long(), parts).last_hidden_state
        torch.testing.assert_close(ours.read(ids, parts, mask)[mask], wanted[mask], atol=1e-5, rtol=1e-4)


def test_rounded_rows_come_back_within_half_a_step(tmp_path: Path) -> None:
    """If this fails, the weights that ship are not those that were measured."""
    torch.manual_seed(0)
    encoder = Encoder(Sizes())
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    save_file(rounded(before), tmp_path / "r.safetensors")
    after = load_rounded(tmp_path / "r.safetensors").state_dict()
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        step = tensor.abs().amax(-1, keepdim=True) / 127 if tensor.ndim == 2 else torch.tensor(0.0)
        assert ((after[name] - tensor).abs() <= 0.51 * step).all(), name


def test_words_pointed_at_are_whole_and_stand_in_their_passage() -> None:
    """If this fails, parts of words are shown, or an answer runs on across paragraphs."""
    for passage, said in zip(PASSAGES, load(FOLDER).ask("until when was it put off", PASSAGES), strict=True):
        words = passage[said.start : said.end]
        around = passage[max(0, said.start - 1) : said.start] + passage[said.end : said.end + 1]
        assert not any(one.isalnum() for one in around)
        assert "\n\n" not in words
        assert bool(words) is bool(passage)
        assert 0.0 <= said.first <= 1.0


def test_passages_read_together_are_read_as_if_alone() -> None:
    """If this fails, what is said of a passage depends on its neighbours in the batch."""
    reader = load(FOLDER)
    together = reader.ask("What is the rent?", PASSAGES[:2])
    for passage, one in zip(PASSAGES[:2], together, strict=True):
        (alone,) = reader.ask("What is the rent?", [passage])
        assert (alone.start, alone.end) == (one.start, one.end)
        assert alone.margin == pytest.approx(one.margin, abs=1e-3)


LEASE = (
    "The flat in Mill Lane is let to Ms Ada Quist. The tenant pays 940 euros each month.\n\n"
    "Either side may end the lease by writing to the other three months ahead.\n\n"
    "Dogs are allowed, parrots are not. The cellar belongs to the flat; the garden does not.\n"
)


def asked(tmp_path: Path, question: str, text: str = LEASE) -> Answer:
    """Ask the tool about a file."""
    (tmp_path / "lease.txt").write_text(text)
    with longctx.read(str(tmp_path / "lease.txt"), store=False) as book:
        return book.ask(question)


def test_ordinary_questions_are_answered_from_the_text(tmp_path: Path) -> None:
    """If this fails, the reader ships and nobody gets its answers, or they are passed off as look-ups."""
    answer = asked(tmp_path, "How much does the tenant pay each month?")
    assert (answer.how, answer.by, answer.text) == ("read", "reader", "940 euros")
    assert answer.source is not None
    assert answer.source.span.first_line == 1
    assert answer.source.text.startswith("The flat in Mill Lane")
    assert answer.confidence is not None
    shown = answer_text(answer, streamed=False)
    assert "less certain" in shown
    assert "in 10 such answers are right" in shown
    assert answer_values(answer)["how"] == "read"


@pytest.mark.parametrize(
    "question", ["Who repairs the roof?", "What does the lift cost?", "where is the bank"]
)
def test_what_the_text_does_not_say_is_not_read_in_it(tmp_path: Path, question: str) -> None:
    """If this fails, every question gets an answer, right or not."""
    assert asked(tmp_path, question).how != "read"


def test_a_text_in_another_language_is_left_to_the_passages(tmp_path: Path) -> None:
    """If this fails, a reader that knows English points at words of texts that it cannot read."""
    german = (
        "Die Miete beträgt 940 Euro im Monat, und der Hund ist nicht erlaubt. Das ist so und bleibt so.\n"
    )
    assert asked(tmp_path, "Wie hoch ist die Miete im Monat?", german).how != "read"


def test_look_ups_come_first(tmp_path: Path) -> None:
    """If this fails, what is certain is hidden by what is likely."""
    answer = asked(tmp_path, "What is the port?", "[server]\nport = 8080\nhost = db-3.internal\n")
    assert (answer.how, answer.by, answer.text) == ("found", "look-up", "8080")


def test_words_across_two_items_are_no_answer(tmp_path: Path) -> None:
    """If this fails, "Which flour?" is answered by the end of one item and the beginning of the next."""
    answer = asked(tmp_path, "Which flour?", "- Bread\n- Rye flour\n- Yeast\n")
    assert answer.how != "read"
    assert answer.closest is not None
    assert answer.closest.text.strip() == "- Rye flour"


def test_the_sentence_pointed_at_is_shown_where_no_answer_is_sure(tmp_path: Path) -> None:
    """If this fails, the sentence with most of the question's words hides the one that tells."""
    answer = asked(tmp_path, "Which pets may the tenant of the flat have?")
    assert (answer.how, answer.by) == ("closest", None)
    assert answer.closest is not None
    assert answer.closest.text.strip() == "Dogs are allowed, parrots are not."
