"""How a command ends when it is stopped, or when what it needs is not there."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

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


def test_ctrl_c_stops_cleanly(tmp_path: Path) -> None:
    """If this fails stopping a long reading prints a traceback or leaves files behind."""
    text = tmp_path / "long.txt"
    text.write_text(STORY * 60000)
    process = spawn("ask", QUESTION, str(text), "--threads", "1", env=os.environ | {"TMPDIR": str(tmp_path)})
    time.sleep(4)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert err.strip() == b"longctx: stopped"
    assert [p.name for p in tmp_path.iterdir()] == ["long.txt"]


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
        f"main(['ask', 'Why?', {str(text)!r}, '--threads', '1'])\n"
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
