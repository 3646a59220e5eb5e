"""Training of the reader: what is learned, and from what."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest
import torch
from tiny_tokenizers import SPLITS, train
from tokenizers import Tokenizer

from longctx.models.encoder import Encoder, Sizes
from longctx.tasks.spans import FIRST, SEPARATOR
from training.reader.batches import Encoded, Example, batches, encode, tensors
from training.reader.data import Elsewhere, answerable_or_not
from training.reader.labelled import Asked, place, searched, unspaced, window, without
from training.reader.made import documents
from training.reader.prose import ask, questions
from training.reader.tables import asked as about_cell
from training.reader.train import groups, loss_of

SIZES = Sizes(vocabulary=500, positions=320, hidden=24, inner=48, layers=2, heads=4)
DICE = random.Random(5)


def example(at: int) -> Encoded:
    """A question of five tokens about a passage in which token 7 answers, or of nothing."""
    passage = [DICE.randrange(200, 400) for _ in range(DICE.randrange(6, 60))]
    if at % 2:
        passage[at % 5] = 7
    place = (7 + at % 5,) if at % 2 else (0,)
    return Encoded([FIRST, 11, 12, 13, 14, 15, SEPARATOR, *passage, SEPARATOR], 7, place, place)


EXAMPLES = [example(at) for at in range(40)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A tokenizer of few words."""
    folder = train(SPLITS["digits"], tmp_path_factory.mktemp("tokenizer"))
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def test_training_lowers_the_loss_and_leaves_the_words_alone() -> None:
    """Nothing would be learned, or the embedding of words would drift on a few thousand questions."""
    torch.manual_seed(0)
    net = Encoder(SIZES)
    words = net.words.weight.clone()
    optimizer = torch.optim.AdamW(groups(net))
    for group in optimizer.param_groups:
        group["lr"] = 3e-3
    losses = []
    for _ in range(40):
        loss = loss_of(net, EXAMPLES, 0.0)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert torch.equal(net.words.weight, words)


def test_loss_does_not_see_padding_or_the_question() -> None:
    """Answers would be learned to stand in the question, or in nothing."""
    torch.manual_seed(0)
    net = Encoder(SIZES).eval()
    short = min(EXAMPLES, key=lambda one: len(one.ids))
    long = max(EXAMPLES, key=lambda one: len(one.ids))
    alone = loss_of(net, [short], 0.0), loss_of(net, [long], 0.0)
    torch.testing.assert_close(loss_of(net, [short, long], 0.0), sum(alone) / 2, atol=2e-2, rtol=2e-2)
    _, _, mask, allowed, right = tensors([short, long])
    assert not allowed[:, 1 : short.passage].any()
    assert not (allowed & ~mask).any()
    assert (right.any(1) & ~allowed).sum() == 0


def test_an_answer_is_found_where_it_stands(tokenizer: Tokenizer) -> None:
    """The reader would be taught to point beside the answer."""
    passage = "The rent is 40 a month. Of the 40, ten are for heating."
    one = encode(Example("rent?", passage, "40", "test"), tokenizer)
    assert one is not None
    assert len(one.starts) == 2
    for start, end in zip(one.starts, one.ends, strict=True):
        assert tokenizer.decode(one.ids[start : end + 1]).strip() == "40"
    none = encode(Example("rent?", passage, None, "test"), tokenizer)
    assert none is not None
    assert none.starts == none.ends == (0,)
    far = Example("rent?", "word " * 400 + "40", "40", "test")
    assert encode(far, tokenizer) is None


def test_batches_hold_every_example_once() -> None:
    """Some questions would never be learned."""
    made = list(batches(EXAMPLES, 320, seed=0))
    assert sorted(len(one.ids) for batch in made for one in batch) == sorted(len(one.ids) for one in EXAMPLES)
    assert all(len(batch) * max(len(one.ids) for one in batch) <= 320 for batch in made)


def test_searched_questions_keep_their_answers(tmp_path: Path) -> None:
    """Answers would be cut at the wrong letters where spaces before marks are taken out."""
    text = "In 1901 , it was Wilhelm Conrad ( of Lennep ) 's prize ."
    answer = text.index("Wilhelm"), text.index(" 's prize")
    span = {"start": answer[0], "end": answer[1], "string": text[slice(*answer)]}
    row = {"question_text": "who", "title_text": "t", "paragraph_text": text, "original_nq_answers": [[span]]}
    (tmp_path / "qed.jsonl").write_text(json.dumps(row))
    (one,) = searched(tmp_path / "qed.jsonl")
    assert one.context == "In 1901, it was Wilhelm Conrad (of Lennep)'s prize."
    assert one.answer == "Wilhelm Conrad (of Lennep)"
    assert one.start is not None
    assert one.context[one.start :].startswith(one.answer)
    assert unspaced("a b")[1] == [0, 1, 2, 3]


@pytest.mark.parametrize("seed", range(3))
def test_made_answers_stand_in_their_passages(seed: int) -> None:
    """The reader would learn to say what is not in the text, or to refuse what is."""
    examples = list(documents(400, random.Random(seed)))
    answers = [example for example in examples if example.answer is not None]
    assert 0.4 < len(answers) / len(examples) < 0.6
    assert len({example.kind for example in examples}) > 20
    assert not [example for example in answers if (example.answer or "") not in example.passage]


CONTEXT = (
    "Mr. Toller keeps bees. Two hives stand behind his barn in Orrin. They were built by his uncle in 1921. "
    "In good years they give forty jars of honey. He sells them at the market."
)


def question(text: str, answer: str, context: str = CONTEXT) -> Asked:
    return Asked(text, "bees", context, answer, context.index(answer), "test")


def test_windows_hold_the_answer_or_lack_it() -> None:
    """Answerable questions would be taught as unanswerable ones, and the other way round."""
    dice, long = (
        random.Random(2),
        CONTEXT.replace("Mr. Toller", "Mr. Toller of Orrin Mill " * 9) + " He is old." * 60,
    )
    asked = question("Who built the hives?", "his uncle", long)
    for _ in range(20):
        assert "his uncle" in window(asked, dice)
        gone = without(asked, dice)
        assert gone is not None
        assert "his uncle" not in gone
    assert without(question("Who?", "Orrin", long), dice) is None  # it is named twice


def test_passages_from_elsewhere_lack_the_answer() -> None:
    """Right answers would be taught as wrong ones."""
    other = "The market of Orrin sells jars of honey, built on the uncle's good name."
    same = "They were built by his uncle in 1921, says the market's own book about hives and bees."
    asked = [
        question("Who built the hives for the bees?", "his uncle"),
        question("Where is the market?", "Orrin", other),
    ]
    asked.append(question("When?", "1921", same))
    fill = [question("Why?", "rain", f"Of the rain in town {i} nothing is known.") for i in range(20)]
    assert Elsewhere(asked + fill, random.Random(0)).find(asked[0], random.Random(0)) == other
    for example in answerable_or_not(asked * 20, 40, random.Random(1)):
        known = next(each for each in asked if each.question.lower().startswith(example.question.lower()[:4]))
        assert ((known.answer or "") in example.passage) == (example.answer is not None)


def test_answers_that_stand_twice_are_not_used() -> None:
    """An answer could be cited from the wrong place."""
    assert place("his barn", CONTEXT) == (CONTEXT.index("his barn"), CONTEXT.index("his barn") + 8)
    assert place("they", CONTEXT.lower()) is None
    assert place("oney", CONTEXT) is None  # part of a word


def test_prose_questions_are_answered_by_their_sentence() -> None:
    """Questions over books would have wrong answers."""
    text = "It rained. Harriet wore a grey coat. “I have lost my boat,” said Harriet."
    assert ask(text, {"Harriet"}, Counter(), 5) == ("What did Harriet wear?", "a grey coat", 24)
    walked = "Harriet walked home over the wet fields."
    assert ask(walked, {"Harriet"}, Counter(), 5) == ("Who walked home over the wet fields?", "Harriet", 0)
    assert ask(text.replace("Harriet", "Then"), {"Then"}, Counter(), 5) is None
    said = "“I have lost my boat,” said Harriet."
    assert ask(said, {"Harriet"}, Counter(), 5) == ("Who said “I have lost my boat”?", "Harriet", 28)
    book = "\n\n".join([f"He met Harriet, and Harriet, and Harriet. {text}"] * 5)
    for asked in questions("book", book, 9, random.Random(0)):
        assert asked.start is not None
        assert asked.answer == asked.context[asked.start : asked.start + len(asked.answer or "")]


def test_cells_that_are_hidden_are_not_in_the_table() -> None:
    """Questions about tables would be taught to be refused although the cell is shown."""
    dice = random.Random(0)
    head = ["Town", "River", "Mills"]
    table = [head, *([f"Town{name}", f"River {name}", f"{name} {name}"] for name in "ABCDEFGH")]
    made = [example for _ in range(300) if (example := about_cell(table, dice))]
    assert {example.answer is None for example in made} == {True, False}
    for example in made:
        cell = next((name for name in "ABCDEFGH" if f"Town{name}" in example.question), None)
        if example.answer is not None:
            assert example.answer in example.passage
        elif cell and "Mills" in example.question:
            assert f"{cell} {cell}" not in example.passage
