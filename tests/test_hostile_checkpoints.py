"""Checkpoints of strangers: whatever is in their small files costs one line, not the machine."""

import json
import os
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from checkpoints import write_checkpoint

from longctx.errors import InputError, ModelError
from longctx.known import known
from longctx.machine import check_reduced_precision
from longctx.models.config_file import read_config, translate, weight_map
from longctx.tasks import templates
from longctx.tasks.frame import read_template
from longctx.tasks.prompt import build_prompt
from longctx.tokens.tokenizer import Tokenizer

FILLING = [
    "{{ 'a' * 10**10 }}",
    "{{ 'a'.center(10**10) }}",
    "{{ '%10000000000d' % 1 }}",
    "{% set n = namespace(t='ab') %}{% for i in range(60) %}{% set n.t = n.t + n.t %}{% endfor %}",
    "{{ [1, 2] | slice(10**9) | list }}",
    "{{ lipsum(n=10**6) }}",
    "{{ 'a' * 3000000 }}",
]
ENDLESS = [
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(1) }}",
]


@pytest.mark.parametrize("template", [*FILLING, *ENDLESS])
def test_a_template_cannot_fill_the_memory_or_run_for_ever(
    template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails a downloaded chat template takes the machine down before a word is read."""
    monkeypatch.setattr(templates, "MOST_SECONDS", 1)
    with pytest.raises(templates.TemplateFailedError) as caught:
        templates.render(template, {"messages": []})
    assert len(str(caught.value)) <= 500


@pytest.mark.parametrize(
    "template", ["\n{{ one }}: {{ two }}\n\n", "{{ one }}\r\n{{ two }}\r\n", "{{ one }}"]
)
def test_a_template_of_mere_names_is_filled_as_jinja_does(template: str) -> None:
    """If this fails a prompt has another line end than in training, and the bundled model answers worse."""
    values = {"one": 1, "two": "a {{ b }}\n"}
    jinja = templates._rendered(json.dumps({"source": template, "variables": values}))["text"]
    assert templates.render(template, values) == jinja


@pytest.mark.parametrize("template", ["{{ '\\ud800' }}{{ document }}", "{{ 'a' * 10**10 }}{{ document }}"])
def test_a_hostile_prompt_template_is_one_line(checkpoint: Path, template: str) -> None:
    """A prompt file may come from a repository as well as a model does."""
    with pytest.raises(InputError, match="prompt template"):
        build_prompt(Tokenizer.load(checkpoint, 400), checkpoint, template, question="Who?")


def test_no_child_imports_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a file called torch.py in somebody's repository is executed when it is read."""
    for name in ("torch", "jinja2", "json"):
        (tmp_path / f"{name}.py").write_text("open('OWNED', 'w').close()")
    monkeypatch.chdir(tmp_path)
    templates._rendered.cache_clear()
    assert templates.render("{{ one + 0 }}", {"one": 1}) == "1"
    with suppress(ModelError):  # on a processor that cannot
        check_reduced_precision("bfloat16")
    assert not (tmp_path / "OWNED").exists()


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "generation_config.json"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_pipes_and_devices_are_no_files_of_a_checkpoint(tmp_path: Path, name: str, kind: str) -> None:
    """If this fails a checkpoint waits for ever for a writer, or reads /dev/zero to the end of memory."""
    folder = write_checkpoint(tmp_path)
    (folder / name).unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(folder / name)
    else:
        (folder / name).symlink_to("/dev/zero")
    program = (
        "from pathlib import Path; from longctx.models.config_file import read_config; "
        "from longctx.tokens.tokenizer import Tokenizer; import sys; folder = Path(sys.argv[1])\n"
        "try: read_config(folder); Tokenizer.load(folder, 400)\n"
        "except Exception as error: print(type(error).__name__)"
    )
    command = [sys.executable, "-c", program, str(folder)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    # A folder without generation_config.json is whole; what is no file counts as absent there.
    assert child.stdout.strip() == ("" if name == "generation_config.json" else "ModelError")


def test_a_device_is_no_prompt(tmp_path: Path) -> None:
    """If this fails `--prompt /dev/zero` fills the memory."""
    with pytest.raises(InputError, match="not a regular file"):
        read_template("/dev/zero", "ask.md")


VALUES: list[Any] = [
    *(None, True, "", "7", "1e400", [], [1], {}, {"a": {}}, -1, 0, 3, 0.5, 10**9, 10**18, 10**29, 10**400),
    *(float("inf"), float("-inf"), float("nan"), "a" * 10**6, "\x1b]52;c;x\x07", [[]] * 10, 10**6),
]


def _settings(raw: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """Return each place of a configuration, inner ones too."""
    found = [(raw, key) for key in raw]
    return found + [place for value in raw.values() if isinstance(value, dict) for place in _settings(value)]


@pytest.mark.parametrize("name", sorted(known()))
def test_any_value_in_a_config_is_taken_or_refused_in_one_line(name: str) -> None:
    """If this fails a damaged or hostile config.json ends in a traceback, or fills the memory."""
    origin, draw = Path("config.json"), random.Random(name)
    text = (known()[name].folder / "config.json").read_text()
    for place in range(len(_settings(json.loads(text)))):
        raw = json.loads(text)
        where, key = _settings(raw)[place]
        where[key] = draw.choice(VALUES)
        try:
            assert len(weight_map(translate(raw, origin))) < 1 << 18
        except ModelError as error:
            assert len(str(error)) < 1100


def test_a_config_that_is_no_table_of_settings_is_refused(tmp_path: Path) -> None:
    """The same promise for what stands around the settings."""
    folder = write_checkpoint(tmp_path)
    raw = json.loads((folder / "config.json").read_text())
    for change in ({"text_config": "7"}, {"rope_parameters": [1]}, {"num_attention_heads": 10**9}):
        (folder / "config.json").write_text(json.dumps(raw | change))
        with pytest.raises(ModelError):
            read_config(folder)


REGEX = {"type": "Split", "pattern": {"Regex": r"\s+$|(?:\S+\s?)+#"}, "behavior": "Isolated", "invert": False}


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("normalizer", {"type": "Replace", "pattern": {"Regex": "^"}, "content": "q"}),
        ("normalizer", {"type": "Replace", "pattern": {"String": "e"}, "content": "e" * 10**6}),
        ("pre_tokenizer", REGEX),
        ("pre_tokenizer", {"type": "FixedLength", "length": 0}),
        ("prefix", "x"),
    ],
)
def test_tokenizers_that_panic_or_abort_are_one_line(tmp_path: Path, part: str, value: Any) -> None:
    """If this fails a hostile tokenizer.json ends the process in a panic, with a megabyte of trace."""
    folder = write_checkpoint(tmp_path)
    raw = json.loads((folder / "tokenizer.json").read_text())
    if part == "prefix":
        raw["model"]["continuing_subword_prefix"] = value
    else:
        raw[part] = value
    (folder / "tokenizer.json").write_text(json.dumps(raw))
    try:
        Tokenizer.load(folder, 400).encode("the eel " * 3000 + "\n")
    except ModelError as error:
        assert len(str(error)) < 600
        return
    assert (part, value) == ("pre_tokenizer", REGEX), "only the pattern may be harmless, on another version"
