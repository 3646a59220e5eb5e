"""The user's own file: which model runs when none is named."""

from pathlib import Path

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


@pytest.mark.parametrize("text", ["model = ", "model = 3", "\udcff"])
def test_a_broken_file_is_one_line_and_can_be_written_anew(settings: Path, text: str) -> None:
    """If this fails one wrong character in a file makes every command a traceback."""
    settings.parent.mkdir(parents=True)
    settings.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(OptionError, match="models use NAME writes it anew"):
        preferences.default_model()
    assert CliRunner().invoke(main, ["models", "use", "bundled"]).exit_code == 0
    assert preferences.default_model() == "bundled"


def test_it_is_never_looked_for_where_texts_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a repository that is read can choose the model that reads it."""
    preferences.use("ring-mini")
    monkeypatch.chdir(tmp_path)
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
