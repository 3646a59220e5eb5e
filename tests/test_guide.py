"""The commands that explain the others."""

import pytest
from click.testing import CliRunner

from longctx.cli import main


@pytest.mark.parametrize("names", [[], ["ask"], ["models", "show"]], ids=str)
def test_help_is_what_the_option_prints(names: list[str]) -> None:
    """If this fails `longctx help ask` tells something else than `longctx ask --help`, or nothing."""
    asked, option = (
        CliRunner().invoke(main, words, prog_name="longctx")
        for words in (["help", *names], [*names, "--help"])
    )
    assert (asked.exit_code, asked.stdout) == (0, option.stdout)


@pytest.mark.parametrize("names", [["asq"], ["ask", "more"]], ids=str)
def test_help_for_a_command_that_is_not_there_says_so(names: list[str]) -> None:
    """If this fails a mistyped command gets the help of another one."""
    result = CliRunner().invoke(main, ["help", *names])
    assert result.exit_code == 2
    assert "no such command" in result.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_a_shell_gets_its_completion(shell: str) -> None:
    """If this fails the tab key offers nothing."""
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0
    assert f"_LONGCTX_COMPLETE={shell}_complete" in result.stdout


@pytest.mark.parametrize("names", [[], ["models"], ["store"]], ids=str)
def test_no_line_of_a_list_of_commands_is_cut(names: list[str]) -> None:
    """If this fails a stranger reads half a sentence about each command, in a window of 80 columns."""
    listed = CliRunner().invoke(main, ["help", *names]).stdout.partition("Commands:\n")[2]
    assert listed.count("\n") >= 5
    assert "..." not in listed
