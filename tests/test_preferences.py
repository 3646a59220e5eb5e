"""The user's own file: which model runs when none is named, and the defaults of other options."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from longctx import preferences
from longctx.cli import main
from longctx.errors import OptionError


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LONGCTX_MODEL", raising=False)
    return tmp_path / "settings/longctx/config.toml"


def test_what_is_written_is_read(settings: Path) -> None:
    """If this fails `models use` has no effect, or a name with a quote in it breaks the next start."""
    assert preferences.default_model() is None
    for name in ("hypenet-2b", '/home/jo/a "model"\\é'):
        assert preferences.use(name) == settings
        assert preferences.default_model() == name


@pytest.mark.parametrize("text", ["model = ", "\udcff"])
def test_a_broken_file_is_one_line_and_left_alone(settings: Path, text: str) -> None:
    """If this fails one wrong character in a file makes every command a traceback, or costs all settings."""
    raw = write(settings, text)
    for words in (["models", "use", "bundled"], ["ask", "Who?", "x"], ["models"]):
        result = CliRunner().invoke(main, words)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert f"{settings}: cannot be read" in result.stderr
        assert "mend it or delete it" in result.stderr
    assert settings.read_bytes() == raw


def write(settings: Path, text: str) -> bytes:
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_bytes(raw := text.encode("utf-8", "surrogateescape"))
    return raw


def test_a_default_model_is_written_among_other_settings(settings: Path) -> None:
    """If this fails `models use` throws away what the user wrote."""
    rest = "# mine\nthreads = 2\n\n[ask]\nmodel = 'other'\npassages = 5\n"
    write(settings, "# nothing yet\n")
    preferences.use("ring-mini")
    assert settings.read_text() == 'model = "ring-mini"\n# nothing yet\n'
    for before in (rest, f"model = 3 # a number\n{rest}", f"model = 'old'\n{rest}"):
        write(settings, before)
        assert CliRunner().invoke(main, ["models", "use", "ring-mini"]).exit_code == 0
        assert settings.read_text() == f'model = "ring-mini"\n{rest}'
    raw = write(settings, '"model" = "a"\n')
    with pytest.raises(OptionError, match='write there by hand: model = "ring-mini"'):
        preferences.use("ring-mini")
    assert settings.read_bytes() == raw


def test_options_get_their_defaults_there(
    settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails the file is read and nothing comes of it, or it wins over what is typed."""
    book = tmp_path / "book.txt"
    lines = [
        f"On day {day} the passengers of ferry {day} were counted twice.\n{'Rain. ' * 300}"
        for day in range(9)
    ]
    book.write_text("\n\n".join(lines))
    write(settings, "json = true\nstore = 'kept'\n[ask]\npassages = 2\n[summarize]\nwords = 20\n")

    def shown(*words: str) -> int:
        result = CliRunner().invoke(main, ["ask", "Who counted the passengers?", str(book), *words])
        assert result.exit_code == 1, result.output
        return len(json.loads(result.stdout)["evidence"])

    assert shown() == 2
    assert shown("--passages", "1") == 1
    assert json.loads(CliRunner().invoke(main, ["summarize", str(book)]).stdout)["how"] == "extracted"
    monkeypatch.chdir(tmp_path)
    assert preferences.store() == str(settings.parent / "kept")
    assert isinstance(main, click.Group)
    assert preferences.defaults("ask", main.commands)["store"] == str(settings.parent / "kept")


def test_the_environment_wins_over_the_file(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a script that sets LONGCTX_MODEL gets the model of whoever runs it."""
    write(settings, "model = 'no/model-of-the-file'\n")
    monkeypatch.setenv("LONGCTX_MODEL", "no/model-of-the-script")
    command = ["plan", "--length", "4k"]
    assert "LONGCTX_MODEL: no/model-of-the-script" in CliRunner().invoke(main, command).stderr
    assert "no/model-typed" in CliRunner().invoke(main, [*command, "--model", "no/model-typed"]).stderr
    monkeypatch.delenv("LONGCTX_MODEL")
    assert f"{settings}: no/model-of-the-file" in CliRunner().invoke(main, command).stderr


def test_the_settings_that_the_page_shows_are_taken(settings: Path) -> None:
    """If this fails whoever copies them from the documentation gets an error."""
    page = (Path(__file__).parents[1] / "docs" / "settings.md").read_text(encoding="utf-8")
    write(settings, page.partition("```toml\n")[2].partition("```")[0])
    assert isinstance(main, click.Group)
    assert preferences.defaults("ask", main.commands)["passages"] == "5"
    assert preferences.defaults("niah", main.commands)["length"] == ["16k", "64k"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thread = 2", "thread is no option; did you mean threads?"),
        ("xyzzy = 2", "xyzzy is no option; longctx help COMMAND lists them"),
        ("[aks]\npassages = 2", "[aks] is no command with options; did you mean ask?"),
        ("[store]\nwindows = 2", "[store] is no command with options"),
        ("[ask]\nwords = 2", "[ask] words is no option"),
        ("output = 'x'", "output goes on the command line only"),
        ("threads = 'two'", "threads: must be a whole number of 1 or more, not 'two'"),
        ("threads = 2.5", "threads: must be a whole number of 1 or more, not '2.5'"),
        ("threads = true", "threads takes a value, not true or false"),
        ("threads = [2]", "threads takes one value"),
        ("json = 'yes'", "json takes true or false"),
        ("stop = 'x'", "stop takes a list"),
        ("[ask.quant]\nx = 1", "quant takes one value"),
        ("quant = 'int3'", "quant: 'int3' is not one of"),
    ],
)
def test_a_wrong_setting_is_named(settings: Path, text: str, message: str) -> None:
    """If this fails a mistyped setting does nothing, and nobody learns why."""
    write(settings, text)
    result = CliRunner().invoke(main, ["ask", "Who?", "missing.txt"])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert f"{settings}: {message}" in result.stderr
    assert CliRunner().invoke(main, ["help", "ask"]).exit_code == 0


def test_it_is_never_looked_for_where_texts_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a repository that is read can choose the model that reads it."""
    preferences.use("ring-mini")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ring-mini").mkdir()
    result = CliRunner().invoke(main, ["plan", "--length", "4k"])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "there is a ring-mini in the current folder, too" in result.stderr
    monkeypatch.setenv("XDG_CONFIG_HOME", "settings")
    assert preferences.default_model() is None


def test_a_folder_is_kept_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails the default model is another one in every folder."""
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["models", "use", "mine"])
    assert "longctx models pull" not in result.output
    assert preferences.default_model() == str(tmp_path / "mine")
    assert (
        CliRunner()
        .invoke(main, ["models", "use", "sala"])
        .output.strip()
        .endswith("longctx models pull sala gets it here")
    )


def test_the_list_needs_no_torch_and_no_network() -> None:
    """If this fails looking at the list takes seconds."""
    result = CliRunner().invoke(main, ["models"])
    assert result.exit_code == 0, result.output
    assert "* bundled" in result.output
    assert "hypenet-2b" in result.output
    assert CliRunner().invoke(main, ["models", "list"]).output == result.output
