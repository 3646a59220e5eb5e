"""Tokenizer files that are whole give the right ids; all others give one clear line."""

import json
from pathlib import Path

import pytest
from tiny_tokenizers import SPLITS, train

from longctx.errors import ModelError
from longctx.tokens.files import check_growth
from longctx.tokens.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(SPLITS["gpt2"], tmp_path_factory.mktemp("gpt2"))


@pytest.mark.parametrize("ignore_merges", [False, True])
def test_no_merge_makes_a_special_token(folder: Path, tmp_path: Path, ignore_merges: bool) -> None:
    """Even a vocabulary with merges that lead to a special token gives none for the text of a document."""
    specification = json.loads((folder / "tokenizer.json").read_text())
    model = specification["model"]
    model["vocab"] |= {"qx": 400, "qxj": 401}
    model["merges"] += [["q", "x"], ["qx", "j"]]
    model["ignore_merges"] = ignore_merges
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    specification["added_tokens"] += [{"id": 401, "content": "qxj", **flags}]
    (tmp_path / "tokenizer.json").write_text(json.dumps(specification))
    tokenizer = Tokenizer.load(tmp_path, 402)
    assert tokenizer.encode("qxj") == [400, *tokenizer.encode("j")]
    assert tokenizer.special_tokens["qxj"] == 401


def test_a_merge_of_a_special_token_is_left_out(folder: Path, tmp_path: Path) -> None:
    """If this fails a tokenizer in which a special token is part of a merge cannot be loaded."""
    specification = json.loads((folder / "tokenizer.json").read_text())
    model = specification["model"]
    special = specification["added_tokens"][0]["content"]
    model["vocab"] |= {special: 0, f"{special}q": 400}
    model["merges"] += [[special, "q"]]
    (tmp_path / "tokenizer.json").write_text(json.dumps(specification))
    tokenizer = Tokenizer.load(tmp_path, 401)
    assert 400 not in tokenizer.encode(f"{special}q")


@pytest.mark.parametrize(
    "processor",
    ["x", {"processors": ["x"]}, {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}]}],
)
def test_a_damaged_post_processor_is_one_line(folder: Path, tmp_path: Path, processor: object) -> None:
    """If this fails a damaged tokenizer.json ends in a traceback."""
    specification = json.loads((folder / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps({**specification, "post_processor": processor}))
    with pytest.raises(ModelError, match="post_processor"):
        Tokenizer.load(tmp_path, 1000)


def test_a_tokenizer_of_another_model_is_refused(folder: Path) -> None:
    """Its ids would lie beyond the embedding table, or mean other words."""
    with pytest.raises(ModelError, match=r"ids up to 399, the model only 399"):
        Tokenizer.load(folder, 399)
    assert Tokenizer.load(folder, 1000).vocab_size == 400


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", "{}", '{"model": 1}', '{"model": {"type": "none"}}', "[" * 100_000, b"\xff\xfe", None],
    ids=lambda content: repr(content)[:20],
)
def test_a_damaged_tokenizer_is_one_clear_line(tmp_path: Path, content: str | bytes | None) -> None:
    """A half-finished download is the usual cause, and a traceback would not say so."""
    path = tmp_path / "tokenizer.json"
    if isinstance(content, str):
        path.write_text(content)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        Tokenizer.load(tmp_path, 1000)
    message = str(caught.value)
    assert message.startswith(str(tmp_path))
    assert "\n" not in message
    assert "download" in message
    assert caught.value.exit_code == 4


def test_a_huge_tokenizer_file_is_refused_unread(tmp_path: Path) -> None:
    """A weights file under the wrong name would fill the memory before the error."""
    with (tmp_path / "tokenizer.json").open("wb") as file:
        file.truncate((1 << 26) + 1)
    with pytest.raises(ModelError, match="larger than 64 MiB"):
        Tokenizer.load(tmp_path, 1000)


def test_gaps_between_added_tokens_are_refused(folder: Path, tmp_path: Path) -> None:
    """The library would give the token another id than the model knows."""
    specification = json.loads((folder / "tokenizer.json").read_text())
    specification["added_tokens"] += [{**specification["added_tokens"][0], "id": 500, "content": "<late>"}]
    (tmp_path / "tokenizer.json").write_text(json.dumps(specification))
    with pytest.raises(ModelError, match="'<late>' should have id 500 but gets 400"):
        Tokenizer.load(tmp_path, 1000)


@pytest.fixture
def original(folder: Path, tmp_path: Path) -> Path:
    """A folder as original checkpoints have it: vocab.json and merges.txt."""
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = "".join(f"{left} {right}\n" for left, right in model["merges"])
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + merges)
    return tmp_path


def test_vocabulary_and_merges_are_enough(original: Path, folder: Path) -> None:
    """Original checkpoints ship no tokenizer.json: the same text must give the same ids from their files."""
    added = {"400": {"content": "<late>", "special": True}, "401": {"content": "<tool>", "special": False}}
    (original / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": added}))
    tokenizer = Tokenizer.load(original, 1000)
    text = "The history of <|end|> the naïve 日本語's 4096\n\n 🎉<late><tool>"
    assert tokenizer.encode(text) == Tokenizer.load(folder, 400).encode(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert {"<|end|>": 0, "<late>": 400, "<tool>": 401}.items() <= tokenizer.special_tokens.items()
    assert not tokenizer.note


def test_damaged_vocabularies_are_refused(original: Path) -> None:
    """The same promise as for tokenizer.json: one line that names the file."""
    (original / "tokenizer_config.json").write_text('{"added_tokens_decoder": {"x": 1}}')
    with pytest.raises(ModelError, match="added_tokens_decoder"):
        Tokenizer.load(original, 1000)
    (original / "tokenizer_config.json").write_text("{}")
    (original / "merges.txt").write_text("no such")
    with pytest.raises(ModelError, match="out of vocabulary"):
        Tokenizer.load(original, 1000)
    (original / "vocab.json").write_text('{"a": "b"}')
    with pytest.raises(ModelError, match=r"vocab\.json"):
        Tokenizer.load(original, 1000)


def test_a_splitter_of_no_length_is_refused_before_the_library_panics(tmp_path: Path) -> None:
    """If this fails a tokenizer of a stranger fills the screen with a trace of Rust."""
    specification = {"model": {"type": "BPE"}, "pre_tokenizer": {"type": "FixedLength", "length": 0}}
    with pytest.raises(ModelError, match="FixedLength of 0"):
        check_growth(specification, tmp_path)
    check_growth(specification | {"pre_tokenizer": {"type": "FixedLength", "length": 1}}, tmp_path)
