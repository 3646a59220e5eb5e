"""Slips at the command line are told in one line, with what to type instead."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from longctx.cli import main


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["ask", "{file}"], "the question comes first"),
        (["ask", "Who?", "https://a.example/b"], "opens no addresses"),
        (["ask", "-Q", "Who?", "Where are they?", "{file}"], "Where are they?: beside -Q or --questions"),
        (
            ["ask", "what", "is", "the", "port", "{file}"],
            'put the question in quotation marks: longctx ask "what is the port" ',
        ),
        (["summarize", "{file}*.md"], "a pattern in quotation marks is not expanded"),
    ],
)
def test_slips_are_told(tmp_path: Path, given: list[str], told: str) -> None:
    """A person would wait for standard input, or read that a file with an odd name is missing."""
    file = tmp_path / "a.txt"
    file.write_text("Ferries leave at nine.\n")
    result = CliRunner().invoke(main, [one.format(file=file) for one in given])
    assert result.exit_code == 2
    assert told in result.stderr


def test_options_without_effect_are_named(tmp_path: Path) -> None:
    """A person would think that a temperature changes what is looked up."""
    file = tmp_path / "a.ini"
    file.write_text("port = 80\n")
    given = [
        "ask",
        "What is the port?",
        str(file),
        "--temperature",
        "0.5",
        "--budget",
        "9",
        "--passages",
        "0",
    ]
    result = CliRunner().invoke(main, given)
    assert result.stdout.startswith("80\n")
    assert "without effect" in result.stderr
    assert "--temperature" in result.stderr
    assert "without effect without --quick: --budget" in result.stderr
    assert "without effect" not in CliRunner().invoke(main, given[:3]).stderr
