"""Where an answer goes: nothing of the user's is damaged, and no answer is lost."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

QUESTION = "What is the value of LIMIT?"


def run(folder: Path, redirect: str) -> subprocess.CompletedProcess[str]:
    """Ask in a shell, as a user does."""
    (folder / "a.py").write_text("LIMIT = 64\n")
    command = f"{sys.executable} -m longctx ask {QUESTION!r} a.py {redirect}"
    environment = os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.run(
        ["sh", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_a_link_is_followed_and_permissions_stay(tmp_path: Path) -> None:
    """If this fails -o replaces a link by a file, and a secret answer becomes readable to all."""
    target, link = tmp_path / "target.txt", tmp_path / "link"
    target.write_text("old")
    target.chmod(0o600)
    link.symlink_to(target)
    assert run(tmp_path, "-o link").returncode == 0
    assert link.is_symlink()
    assert "64" in target.read_text()
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_device_stays_a_device(tmp_path: Path) -> None:
    """If this fails -o /dev/stdout, or a link to it, destroys the link, and the answer is lost."""
    (tmp_path / "link").symlink_to("/proc/self/fd/1")
    done = run(tmp_path, "-o link > log")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "link").readlink() == Path("/proc/self/fd/1")
    assert "64" in (tmp_path / "log").read_text()
    os.mkfifo(tmp_path / "pipe")
    assert "64" in run(tmp_path, "-o pipe & cat pipe").stdout
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_stdout_costs_one_line_and_not_the_answer(tmp_path: Path) -> None:
    """If this fails an hour of reading ends in a traceback."""
    done = run(tmp_path, "> /dev/full")
    assert done.returncode == 6
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("longctx: ")]
    found = re.fullmatch(r"longctx: stdout: .*; the answer is in (.*)", line)
    assert found
    assert "64" in Path(found[1]).read_text()


@pytest.mark.parametrize(("redirect", "code"), [("<&-", 0), ("2>&-", 0), (">&-", 6)])
def test_closed_streams_end_in_the_right_code(tmp_path: Path, redirect: str, code: int) -> None:
    """If this fails longctx cannot be used from cron and services."""
    done = run(tmp_path, redirect)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_read_is_not_written_over(tmp_path: Path) -> None:
    """If this fails a slip in -o replaces the user's own text by an answer about it."""
    (tmp_path / "link").symlink_to("a.py")
    done = run(tmp_path, "-o link")
    assert done.returncode == 6
    assert done.stderr == "longctx: a.py: would be read and written over; choose another file for -o\n"
    assert (tmp_path / "a.py").read_text() == "LIMIT = 64\n"
