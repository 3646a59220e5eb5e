"""How a command ends when it is stopped, or when what it needs is not there."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from longctx.cli import main
from longctx.errors import LONGEST
from longctx.failures import _exit_code
from longctx.text.source import gather

QUESTION = "What is the special magic number for quiet-lantern?"
STORY = (
    "The ferry left the quay at noon and came back before the lamps were lit in the harbor.\n"
    "Nobody in the village knew why the river had changed its course that spring.\n"
) * 2


def spawn(*arguments: str, **options: Any) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "longctx", *arguments]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


def test_a_closed_pipe_ends_quietly(tmp_path: Path) -> None:
    """If this fails `longctx ... | head` prints a traceback."""
    text = tmp_path / "book.txt"
    text.write_text(STORY)
    process = spawn("ask", QUESTION, str(text), "-q")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr as errors:
        assert errors.read() == b""
    assert process.wait() == 141


STOPS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@pytest.mark.parametrize(("number", "code"), STOPS, ids=["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_stops_in_silence_and_leaves_nothing(tmp_path: Path, number: int, code: int) -> None:
    """If this fails stopping a long reading prints a traceback or leaves copies of piped text behind."""
    program = (
        # A job in the background may have been told to ignore them, and they would stay so.
        f"import signal; signal.signal({int(number)}, signal.SIG_DFL)\n"
        "import os, sys\n"
        "from pathlib import Path\n"
        "from longctx import __main__, cli, signals\n"
        "from longctx.text.document import Corpus\n"
        "def commands():\n"
        "    answer = Path(os.environ['TMPDIR'], 'answer.part')\n"
        "    with Corpus() as corpus, signals.scratch(answer) as part:\n"
        "        part.write_text('half an ans')\n"
        "        corpus.scratch().write_text('unpacked')\n"
        "        corpus.spool(sys.stdin.buffer)\n"
        f"        os.kill(os.getpid(), {number})\n"
        "        print('not stopped')\n"
        "cli.main = commands\n"
        "__main__.main()\n"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], input=b"text", capture_output=True, check=False, env=environment
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"")
    assert not list(tmp_path.iterdir())


def test_nothing_slow_is_imported_before_signals_are_obeyed() -> None:
    """If this fails Ctrl-C in the first moments prints a traceback of somebody's imports."""
    program = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r}); before = set(sys.modules)\n"
        "import longctx.__main__; print(*sorted(set(sys.modules) - before - {'_signal'}))"
    )
    # Without the site, which has imported os, and more where longctx is installed as a link to its source.
    command = [sys.executable, "-S", "-c", f"import os; {program}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["longctx", "longctx.__main__"]


def test_a_signal_that_the_caller_ignores_stays_ignored() -> None:
    """If this fails `nohup longctx ...` ends when the terminal is closed."""
    program = (
        "import os, signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from longctx import signals; signals.obey(); os.kill(os.getpid(), signal.SIGHUP); print('went on')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "went on\n")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere an open file needs a name")
def test_piped_text_has_no_name_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a killed process leaves a copy of what was piped to it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with gather(["-"], BytesIO(STORY.encode())) as corpus:
        assert not list(tmp_path.iterdir())
        for _ in range(2):
            assert "".join(corpus.documents[0].blocks()) == STORY


def test_running_out_of_memory_is_one_line(tmp_path: Path) -> None:
    """If this fails a run that outgrows a limit dies with a traceback. Imports come before the limit."""
    text = tmp_path / "long.txt"
    text.write_text(STORY * 6000)
    program = (
        "import resource, sys, psutil, torch, tokenizers\n"
        "from longctx.cli import main\n"
        "torch.ones(512, 512) @ torch.ones(512, 512)\n"
        "limit = psutil.Process().memory_info().vms + (150 << 20)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        # On a busy machine a checkpoint is due before memory runs out, and would be said to have failed.
        f"main(['ask', 'Why?', {str(text)!r}, '--threads', '1', '--deep', '--no-store'])\n"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 5, done.stderr
    assert done.stderr.startswith("longctx: out of memory")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("can't start new thread"),
        ImportError("libz.so.1: cannot open shared object file: Cannot allocate memory"),
        ImportError("_sqlite3.so: failed to map segment from shared object"),
    ],
)
def test_memory_runs_out_in_many_ways_and_is_told_in_one(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    """If this fails it depends on chance whether a run that needs more memory says so, or ends in riddles."""
    assert _exit_code(error) == 5
    assert capsys.readouterr().err == "longctx: out of memory; longctx plan tells what a run needs\n"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), ImportError("no x")])
def test_what_else_the_machine_lacks_is_named(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails a full disk is taken for too little memory."""
    assert _exit_code(error) == 70
    assert capsys.readouterr().err.startswith("longctx: unexpected: ")


def test_nothing_to_read_is_said_at_once() -> None:
    """If this fails `longctx ask` without a text hangs until the user gives up."""
    leader, terminal = os.openpty()
    process = subprocess.run(
        [sys.executable, "-m", "longctx", "ask", "Why?"],
        stdin=terminal,
        capture_output=True,
        check=False,
        timeout=60,
    )
    os.close(leader)
    os.close(terminal)
    assert process.returncode == 2
    assert b"nothing to read" in process.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--model", "~nobody-of-that-name/x"), 4),
        (("--model", "n" * 300), 4),
        (("-o", "n" * 300), 6),
        (("--passages", str(1 << 63)), 0),
    ],
    ids=["home", "model", "output", "passages"],
)
def test_odd_options_cost_one_line(tmp_path: Path, arguments: tuple[str, ...], code: int) -> None:
    """If this fails a mistyped option ends in a traceback."""
    (tmp_path / "a.txt").write_text(STORY)
    run = CliRunner().invoke(main, ["ask", "Who left the quay?", str(tmp_path / "a.txt"), *arguments])
    assert (run.exit_code, run.stderr.count("\n")) == (code, 1 if code else 0), run.output


@pytest.mark.parametrize("option", ["--until", "--quant", "-o"])
def test_an_option_of_ten_thousand_letters_costs_one_screen(option: str, tmp_path: Path) -> None:
    """If this fails what somebody pasted by mistake hides what is wrong with it."""
    text = tmp_path / "a.txt"
    text.write_text(STORY)
    result = CliRunner().invoke(main, ["ask", QUESTION, str(text), option, "(" * 10_000])
    assert result.exit_code in (2, 6)
    assert len(result.stderr) < 2 * LONGEST
    assert len(result.stderr.splitlines()) == 1


def test_a_deleted_folder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails torch's own library ends the process where a folder was deleted under the user."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    run = CliRunner().invoke(main, ["ask", "Who?", str(tmp_path)])
    assert run.exit_code == 3
    assert "the current folder was deleted" in run.stderr


def test_what_the_machine_lacks_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a library that is missing ends in a traceback of the import of torch."""

    def fails(*_: object) -> None:
        raise ImportError("libgomp.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.setattr("longctx.text.source.gather", fails)
    run = CliRunner().invoke(main, ["ask", "Who?", str(tmp_path)])
    assert (run.exit_code, run.stderr.count("\n")) == (70, 1)
