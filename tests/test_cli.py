"""The commands as a user runs them: real files, exit codes, stdout apart from stderr."""

import json
from pathlib import Path
from typing import Any

import pytest
from checkpoints import hf_config, write_checkpoint
from click.testing import CliRunner, Result

from longctx.cli import main
from longctx.hub import BUNDLED

FACT = "One of the special magic numbers for quiet-lantern is: 4031775.\n"
QUESTION = "What is the special magic number for quiet-lantern?"
STORY = (
    "The ferry left the quay at noon and came back before the lamps were lit in the harbor.\n"
    "Old Marten counted the passengers twice, because the bridge had been closed since the flood.\n"
    "The baker's daughter carried a basket of warm bread for the keeper of the lighthouse.\n"
    "Nobody in the village knew why the river had changed its course that spring.\n"
)


@pytest.fixture
def run() -> Any:
    def invoke(*arguments: str, stdin: str | bytes = "", env: dict[str, str] | None = None) -> Result:
        return CliRunner().invoke(main, list(arguments), input=stdin, env=env or {})

    return invoke


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_text(STORY * 30 + FACT + STORY * 30)
    return path


def test_ask_finds_a_fact_and_says_where(run: Any, book: Path) -> None:
    """If this fails the main command does not do its main job."""
    result = run("ask", QUESTION, str(book))
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("4031775\n")
    assert f"{book}:121: {FACT.strip()}" in result.stdout
    assert "found in the text" in result.stdout


def test_ask_answers_for_each_key_and_refuses_the_one_that_is_not_there(run: Any, tmp_path: Path) -> None:
    """If this fails a question for several things gets the answer to one of them."""
    book = tmp_path / "book.txt"
    other = "One of the special magic numbers for brave-otter is: 7719034.\n"
    book.write_text(STORY * 20 + FACT + STORY * 20 + other + STORY * 20)
    asked = "What are the special magic numbers for brave-otter, stale-anvil and quiet-lantern?"
    result = run("ask", asked, str(book))
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[:5] == [
        "brave-otter: 7719034",
        f"  {book}:162: {other.strip()}",
        "stale-anvil: not found",
        "quiet-lantern: 4031775",
        f"  {book}:81: {FACT.strip()}",
    ]


@pytest.mark.parametrize(
    ("kind", "values"),
    [("number", ["4031775", "8820146", "2957301"]), ("word", ["tunnel", "fence", "cells"])],
)
def test_ask_finds_every_value_of_a_key(run: Any, tmp_path: Path, kind: str, values: list[str]) -> None:
    """If this fails a list of what a text says of a thing ends after the first."""
    book = tmp_path / "book.txt"
    told = [FACT.replace("4031775", value).replace("number", kind) for value in values]
    book.write_text(STORY * 20 + (STORY * 15).join(told) + STORY * 20)
    asked = f"What are all the special magic {kind}s for quiet-lantern mentioned in the provided text?"
    found = json.loads(run("ask", "--json", asked, str(book)).stdout)
    assert found["how"] == "found"
    assert sorted(part["text"] for part in found["parts"]) == sorted(values)
    for part in found["parts"]:
        assert part["text"] in part["source"]["quote"]


def test_ask_says_in_which_line_of_a_program_a_name_is_defined(run: Any, tmp_path: Path) -> None:
    """If this fails a repository cannot be asked the first thing that people ask of one."""
    lines = [
        f"def step_{i}(state: State) -> State:\n    return state.next(load_settings({i}))\n\n\n"
        for i in range(40)
    ]
    definition = "def load_settings(number: int, *, strict: bool = False) -> Settings:"
    lines.insert(20, f"{definition}\n    return Settings(number, strict)\n\n\n")
    (tmp_path / "app.py").write_text("".join(lines))
    (tmp_path / "main.py").write_text("from app import load_settings\n\nprint(load_settings(2))\n" * 9)
    found = json.loads(run("ask", "--json", "Where is load_settings defined?", str(tmp_path)).stdout)
    assert found["how"] == "found"
    assert found["answer"] == definition
    source = found["source"]
    assert (Path(source["path"]).name, source["first_line"]) == ("app.py", 81)
    whole = Path(tmp_path, "app.py").read_bytes()
    assert whole[source["byte_start"] : source["byte_end"]].decode() == definition
    asked = "What are the arguments of load_settings?"
    assert run("ask", "-q", asked, str(tmp_path)).stdout.startswith("number: int, *, strict: bool = False\n")
    assert run("ask", "Where is save_settings defined?", str(tmp_path)).stdout.startswith(
        "[the model found no"
    )


def test_ask_as_json_says_everything_once(run: Any, book: Path) -> None:
    """If this fails scripts cannot use answers, places or timings."""
    result = run("ask", QUESTION, str(book), "--json", "-q", "--passages", "2")
    values = json.loads(result.stdout)
    assert result.stderr == ""
    assert values["schema"] == 1
    assert (values["command"], values["how"], values["answer"]) == ("ask", "found", "4031775")
    assert values["source"]["first_line"] == 121
    assert values["source"]["quote"] == FACT.strip()
    assert 1 <= len(values["evidence"]) <= 2
    raw = book.read_bytes()
    for quote in (values["source"], *values["evidence"]):
        assert raw[quote["byte_start"] : quote["byte_end"]].decode() == quote["quote"]
    assert values["usage"]["tokens_read"] > 1000
    assert values["usage"]["read_tokens_per_second"] > 0


def test_ask_quotes_the_whole_line_of_an_answer(run: Any, tmp_path: Path) -> None:
    """If this fails a quoted sentence breaks off in a word, and looks as if the author had written it so."""
    line = "The river was quiet on that day. " * 12 + FACT.strip() + " Nobody came to the mill." * 15
    (tmp_path / "short.txt").write_text(f"{line}\n{STORY}")
    values = json.loads(run("ask", QUESTION, str(tmp_path / "short.txt"), "--json").stdout)
    assert values["source"]["quote"] == line


def test_ask_says_not_found_and_still_quotes_passages(run: Any, book: Path) -> None:
    """If this fails the tool invents an answer that no text holds."""
    result = run("ask", "What is the special magic number for amber-castle?", str(book), "--json")
    values = json.loads(result.stdout)
    assert (values["how"], values["answer"], values["source"]) == ("not found", "", None)
    assert values["evidence"]


@pytest.mark.parametrize("chunk", ["1", "77", "100000"])
def test_the_chunk_size_never_changes_an_answer(run: Any, tmp_path: Path, chunk: str) -> None:
    """If this fails --chunk, which is about speed, is about correctness."""
    short = tmp_path / "short.txt"
    short.write_text(STORY * 3 + FACT + STORY)
    values = json.loads(run("ask", QUESTION, str(short), "--json", "--chunk", chunk).stdout)
    assert values["answer"] == "4031775"


def test_standard_input_and_packed_repositories_are_read(run: Any) -> None:
    """If this fails `repomix --stdout | longctx ask` does not name the file of an answer."""
    files = {"src/auth.py": "def check(user):\n    return user.token\n", "README.md": STORY + FACT}
    dump = "".join(f'<file path="{name}">\n{text}</file>\n\n' for name, text in files.items())
    packed = f"<file_summary>\nPacked.\n</file_summary>\n\n<files>\n{dump}</files>\n"
    for inputs in ([], ["-"]):
        values = json.loads(run("ask", QUESTION, *inputs, "--json", stdin=packed).stdout)
        assert values["answer"] == "4031775"
        assert values["source"]["path"].endswith("README.md")
        assert values["source"]["first_line"] == 5


def test_summaries_of_the_bundled_model_are_quoted_sentences(run: Any, book: Path) -> None:
    """If this fails a summary holds words that the text does not, or no places."""
    result = run("summarize", str(book), "--words", "60", "--json")
    values = json.loads(result.stdout)
    text = book.read_text()
    assert values["how"] == "extracted"
    assert values["evidence"]
    for sentence in values["evidence"]:
        assert sentence["quote"] in text
        assert text.splitlines()[sentence["first_line"] - 1].startswith(sentence["quote"][:20])
    assert "no model wrote them" in run("summarize", str(book)).stdout


def test_a_summary_names_all_lines_of_a_sentence(run: Any, tmp_path: Path) -> None:
    """If this fails a sentence of wrapped text is cited with its first line, and the rest is not found."""
    wrapped = "The ferry of the lake village\nwas built by the two sisters\nwho owned the mill beside it.\n"
    (tmp_path / "ferry.txt").write_text(f"\n\n{wrapped}")
    values = json.loads(run("summarize", str(tmp_path / "ferry.txt"), "--json").stdout)
    assert [(e["first_line"], e["last_line"]) for e in values["evidence"]] == [(3, 5)]
    assert "ferry.txt:3-5]" in run("summarize", str(tmp_path / "ferry.txt")).stdout


def test_a_capable_model_writes_from_its_state(run: Any, book: Path, checkpoint: Path) -> None:
    """If this fails --model cannot be used for summaries and free answers."""
    common = ("--model", str(checkpoint), "--max-tokens", "12", "--seed", "1", "--temperature", "1.0")
    for command in (("summarize",), ("ask", "Why did the river change its course?")):
        values = json.loads(run(*command, str(book), "--json", *common).stdout)
        assert values["how"] == "generated"
        assert values["answer"]
        assert values["usage"]["tokens_written"] <= 12
        again = run(*command, str(book), *common)
        assert again.stdout.startswith(values["answer"].lstrip()[:5]) or values["answer"][:5] in again.stdout


def test_prompt_templates_can_be_replaced(run: Any, book: Path, checkpoint: Path, tmp_path: Path) -> None:
    """If this fails --prompt is ignored, or a template that loses the text is accepted."""
    good, bad, evil = tmp_path / "good.md", tmp_path / "bad.md", tmp_path / "evil.md"
    good.write_text("{{ document }}\nQ: {{ question }}\nA:")
    bad.write_text("Just answer {{ question }}")
    evil.write_text("{{ document }}{{ document.__class__.__mro__ }}")
    arguments = ("ask", "Why?", str(book), "--model", str(checkpoint), "--max-tokens", "2", "-q", "--prompt")
    assert run(*arguments, str(good)).exit_code == 0
    for template in (bad, evil, tmp_path / "missing.md"):
        result = run(*arguments, str(template))
        assert result.exit_code == 3
        assert result.stderr.count("\n") == 1


def test_niah_reports_a_grid(run: Any, tmp_path: Path) -> None:
    """If this fails retrieval cannot be proven."""
    out = tmp_path / "report.json"
    result = run("niah", "--length", "1k", "--length", "2k", "--depths", "3", "--json", "-o", str(out))
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    values = json.loads(out.read_text())
    assert [t["depth"] for t in values["trials"]] == [0.0, 50.0, 100.0] * 2
    assert all(t["tokens"] <= t["length"] for t in values["trials"])
    assert all(t["tokens"] > 0.9 * t["length"] for t in values["trials"])
    assert values["accuracy"] == 1.0
    assert all(t["pointed"] for t in values["trials"])
    table = run("niah", "--length", "512", "--depths", "1", "--kind", "word").stdout
    assert "1/1" in table


def test_plan_counts_before_anything_loads(run: Any, book: Path, tmp_path: Path) -> None:
    """If this fails a user learns after an hour that a text does not fit."""
    values = json.loads(run("plan", str(book), "--json", "--max-tokens", "1").stdout)
    read = json.loads(run("ask", QUESTION, str(book), "--json").stdout)["usage"]["tokens_read"]
    assert values["tokens"] == read + 1
    assert values["fits"]
    config = json.loads((BUNDLED / "config.json").read_text())
    per_token = 2 * config["num_key_value_heads"] * config["head_dim"] * 4
    assert values["kv"] == values["tokens"] * per_token
    assert values["needed"] == sum(values[part] for part in ("weights", "state", "kv", "workspace"))


def test_a_run_that_cannot_fit_is_refused_with_its_numbers(run: Any, tmp_path: Path, book: Path) -> None:
    """If this fails the machine swaps or the kernel kills the process. No weights exist to be loaded."""
    write_checkpoint(tmp_path / "model")
    config = hf_config(hidden_size=16384, intermediate_size=65536, num_local_experts=512)
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    result = run("ask", "Why?", str(book), "--model", str(tmp_path / "model"))
    assert result.exit_code == 5
    assert "weights" in result.stderr
    assert "KV cache" in result.stderr
    assert run("plan", str(book), "--model", str(tmp_path / "model")).exit_code == 5


@pytest.mark.parametrize("command", ["models", "doctor"])
def test_the_machine_and_the_models_are_described(run: Any, command: str) -> None:
    """If this fails a user cannot tell what is wrong with an installation."""
    result = run(command, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["command"] == command
    assert "bundled" in run(command).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("ask", "Why?", "missing.txt"), 3, "missing.txt"),
        (("summarize", "missing.txt"), 3, "missing.txt"),
        (("ask", "Why?", "empty.txt"), 3, "empty"),
        (("summarize", "empty.txt"), 3, "empty"),
        (("ask", "Why?", "blank.txt"), 3, "nothing but white space"),
        (("summarize", "blank.txt"), 3, "nothing but white space"),
        (("ask", "Why?", "image.png"), 3, "image.png"),
        (("ask", "Why?"), 3, "empty"),
        (("ask", "  ", "empty.txt"), 2, "question"),
        (("ask", "Why?", "text.txt", "--model", "no/such/folder"), 4, "no/such/folder"),
        (("ask", "Why?", "text.txt", "--model", "text.txt"), 4, "folder"),
        (("ask", "Why?", "text.txt", "--model", "."), 4, "config.json"),
        (("ask", "What is K7-R2P?", "text.txt", "--device", "cuda:9"), 4, "cuda:9"),
        (("ask", "Why?", "text.txt", "--max-tokens", "0"), 2, "must be a whole number of 1 or more, not 0"),
        (("ask", "Why?", "text.txt", "--top-p", "x"), 2, "must be a number from 0 to 1, not 'x'"),
        (("niah", "--length", "many"), 2, "many"),
        (("ask", "Why?", "text.txt", "--passage", "1"), 2, "'--passages'?) (see longctx ask --help)"),
        (("models", "shwo"), 2, "No such command 'shwo'"),
        (("completion",), 2, "bash, zsh, fish (see longctx completion --help)"),
        (("niah", "--length", "80"), 3, "too short"),
        (("summarize", "text.txt", "-o", "no/where/answer.txt"), 6, "no/where"),
        (("summarize", "text.txt", "-o", "."), 6, "directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_bad_input_is_one_clear_line(
    run: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    """If this fails a user meets a traceback, or a failure that looks like success."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").touch()
    (tmp_path / "blank.txt").write_text("\n \n")
    (tmp_path / "text.txt").write_text(STORY)
    (tmp_path / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8)
    result = run(*arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("longctx: ")
    assert result.stderr.count("\n") == 1


def test_a_damaged_checkpoint_is_named(run: Any, tmp_path: Path) -> None:
    """If this fails an interrupted download looks like a bug of longctx."""
    text = tmp_path / "text.txt"
    text.write_text(STORY)

    def fails_with(message: str) -> None:
        result = run("ask", "Why?", str(text), "--model", str(folder))
        assert result.exit_code == 4
        assert message in result.stderr
        assert result.stderr.count("\n") == 1

    folder = write_checkpoint(tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    fails_with("truncated or corrupt")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    write_checkpoint(folder, hf_config(vocab_size=300))
    fails_with("tokenizer")
    tokenizer["model"] = {}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    fails_with("tokenizer.json")
    (folder / "tokenizer.json").unlink()
    fails_with("tokenizer.json")


def test_control_sequences_of_a_document_never_reach_the_terminal(run: Any, tmp_path: Path) -> None:
    """If this fails a text can rewrite the user's screen or its own quotes."""
    evil = tmp_path / "evil\x1b[31m.txt"
    evil.write_text(STORY + "The lighthouse \x1b[2J\x07 keeper \u202e said \x9b31m hello.\r" + STORY)
    for arguments in (
        ("ask", "lighthouse keeper hello", str(evil)),
        ("summarize", str(evil)),
        ("ask", "x", "no\x1b[2J"),
        ("ask", "x", str(evil), "--model", "no\x1b[2J"),
    ):
        result = run(*arguments)
        for text in (result.stdout, result.stderr):
            assert not set(text) & set("\x1b\x07\x9b\u202e\r")


def test_an_answer_replaces_a_file_only_when_it_is_whole(run: Any, book: Path, tmp_path: Path) -> None:
    """If this fails -o destroys the last answer before it has a new one."""
    out = tmp_path / "answer.txt"
    out.write_text("the old answer")
    assert run("ask", QUESTION, "missing.txt", "-o", str(out)).exit_code == 3
    assert out.read_text() == "the old answer"
    result = run("ask", QUESTION, str(book), "-o", str(out))
    assert (result.exit_code, result.stdout) == (0, "")
    assert out.read_text().startswith("4031775\n")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["answer.txt", "book.txt"]


def test_help_names_every_exit_code_and_example(run: Any) -> None:
    """If this fails scripts cannot tell failures apart."""
    text = run("--help").stdout
    for code in ("0 ", "2 ", "3 ", "4 ", "5 ", "6 ", "130", "141"):
        assert f"\n    {code}" in text
    assert run("--version").stdout.startswith("longctx, version ")


def test_a_question_in_plain_words_gets_a_place_and_no_made_up_answer(run: Any, tmp_path: Path) -> None:
    """If this fails a stranger's first question is answered wrongly, and after a long wait."""
    book = tmp_path / "book.txt"
    book.write_text(STORY)
    values = json.loads(run("ask", "Why did he count the passengers?", str(book), "--json").stdout)
    assert (values["how"], values["answer"], values["confidence"]) == ("closest", "", None)
    assert values["closest"]["quote"].startswith("Old Marten counted the passengers")
    assert values["usage"]["tokens_read"] == 0
    assert (
        json.loads(run("ask", "Who came?", str(book), "--json", "--deep").stdout)["usage"]["tokens_read"] > 0
    )


def test_a_setting_is_looked_up(run: Any, tmp_path: Path) -> None:
    """If this fails "What is the timeout?" over a file of settings is answered with another setting."""
    (tmp_path / "app.yaml").write_text("database: postgres://db\ntimeout: 30s\n")
    values = json.loads(run("ask", "What is the timeout?", str(tmp_path), "--json").stdout)
    assert (values["how"], values["by"], values["answer"]) == ("found", "look-up", "30s")
    assert values["source"]["first_line"] == 2
