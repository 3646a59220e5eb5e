"""What README and docs show is what happens.

In a `console` block each command after `$` runs at the root of the repository. Its standard output must
be what stands below it; `...` stands for anything. In a `bash` block commands need other files, models
or much time: they must only be commands and options that there are. Python examples run as doctest reads
them.
"""

import doctest
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from longctx.cli import main

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
SAME = doctest.OutputChecker()


def blocks(kind: str) -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for found in BLOCK.finditer(page.read_text()):
            if found[1] == kind:
                yield page.name, found[2]


def runs() -> list[tuple[str, str, str]]:
    """Return page, command and expected output of each command in a console block."""
    shown = (
        (page, part) for page, text in blocks("console") for part in re.split(r"^\$ ", text, flags=re.M)[1:]
    )
    return [(page, *part.partition("\n")[::2]) for page, part in shown]


def commands(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each `longctx` in shell commands."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("();<>|&"):
                if words[:1] and Path(words[0]).name == "longctx":
                    yield words[1:]
                words = []
            else:
                words.append(word)


def check(command: click.Command, arguments: list[str]) -> None:
    """Raise click's error for a command or an option that does not exist."""
    if isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        below = command.get_command(click.Context(command), arguments[0])
        assert below, f"there is no command {arguments[0]}"
        check(below, arguments[1:])
    elif not {"--help", "--version"} & set(arguments):
        command.make_context("longctx", list(arguments))


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("LONGCTX_MODEL", "bundled")


@pytest.mark.parametrize("page, command, expected", runs())
def test_a_command_prints_what_the_page_shows(page: str, command: str, expected: str) -> None:
    """If this fails a reader who types an example gets something else."""
    piped, _, after = command.rpartition("| ")
    given = b"".join(Path(name).read_bytes() for name in shlex.split(piped)[1:])
    assert not piped or piped.startswith("cat ")
    name, *arguments = shlex.split(after)
    assert name == "longctx"
    result = CliRunner().invoke(main, arguments, input=given)
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert SAME.check_output(expected, result.stdout, options), result.stdout + result.stderr


@pytest.mark.parametrize("page, text", list(blocks("bash")))
def test_commands_that_are_not_run_are_valid(page: str, text: str) -> None:
    """If this fails a page tells readers to use an option that is gone."""
    for arguments in commands(text):
        check(main, arguments)


def test_an_option_that_is_gone_is_noticed() -> None:
    """If this fails the test above lets everything pass."""
    (found,) = commands("repomix --stdout | longctx ask 'where?' --fast src/ # why")
    with pytest.raises(click.NoSuchOption):
        check(main, found)
    with pytest.raises(AssertionError, match="no command"):
        check(main, ["asks"])


def test_python_examples_give_what_the_page_shows() -> None:
    """If this fails the documented Python API is not the one that is installed."""
    failed, tried = doctest.testfile(str(ROOT / "docs" / "python-api.md"), module_relative=False)
    assert tried > 10
    assert not failed


def test_links_lead_somewhere() -> None:
    """If this fails a reader who clicks gets a page that does not exist."""
    broken = [
        f"{page.name}: {target}"
        for page in PAGES
        for target in LINK.findall(page.read_text())
        if not (page.parent / target).exists()
    ]
    assert not broken


def test_nobody_is_told_to_install_another_tool() -> None:
    """If this fails a reader installs a stranger's package that has our command's name."""
    wrong = re.compile(r"(?:pip3?|pipx|uv tool) install (?:\S+ )*['\"]?longctx(?!-lightning)\b")
    assert not [page.name for page in PAGES if wrong.search(page.read_text())]


def test_the_page_of_commands_is_their_help() -> None:
    """If this fails the page tells of options that are gone: run `python -m bench.commands`."""
    program = "import sys; from bench.commands import page; sys.stdout.write(page())"
    made = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (ROOT / "docs" / "commands.md").read_text(encoding="utf-8") == made.stdout
