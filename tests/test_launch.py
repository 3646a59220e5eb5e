"""What a command loads: nothing before it is needed, and nothing twice."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from longctx.errors import DoesNotFitError
from longctx.launch import Launch
from longctx.options import Options
from longctx.text.source import gather

FACT = "One of the special magic numbers for quiet-lantern is: 4031775.\n"
# Prints, last, what was opened how often and whether torch was imported.
PROGRAM = """
import json, os, sys
from collections import Counter
opened = Counter()
def audit(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, os.PathLike)):
        opened[os.path.basename(arguments[0])] += 1
sys.addaudithook(audit)
from longctx.cli import main
try:
    main(sys.argv[1:])
finally:
    print(json.dumps({"torch": "torch" in sys.modules, **opened}))
"""


def seen(folder: Path, *arguments: str) -> dict[str, int]:
    (folder / "book.txt").write_text(FACT * 3)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("models",),
        ("ask", "Why?", "missing.txt"),
        ("ask", "  ", "book.txt"),
        ("ask", "Why?", "book.txt", "--model", "."),
        ("summarize", "book.txt", "--chunk", "none"),
        ("summarize", "book.txt"),
    ],
    ids=" ".join,
)
def test_what_needs_no_model_does_not_wait_for_torch(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """If this fails a mistyped file name takes seconds to be noticed."""
    assert not seen(tmp_path, *arguments)["torch"]


@pytest.mark.parametrize(
    "arguments", [("ask", "Which number?", "book.txt", "--deep", "--no-store"), ("doctor",)], ids=" ".join
)
def test_configuration_and_tokenizer_are_read_once(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """If this fails every command builds its tokenizer twice, which takes seconds for a large one."""
    found = seen(tmp_path, *arguments)
    assert (found["config.json"], found["tokenizer.json"]) == (1, 1)


@pytest.mark.parametrize("threads", ["5000", "2147483648", str(10**30)])
def test_more_threads_than_cpus_are_refused(tmp_path: Path, threads: str) -> None:
    """If this fails a slip of the finger ends in a crash of the libraries below."""
    (tmp_path / "book.txt").write_text("One of the special magic numbers for x is: 4031775.")
    command = [
        sys.executable,
        "-m",
        "longctx",
        "ask",
        "Which?",
        str(tmp_path / "book.txt"),
        "--threads",
        threads,
    ]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.returncode == 2
    assert child.stderr.startswith(f"longctx: --threads {threads}: this machine has")


def test_a_text_that_does_not_fit_is_refused_with_what_would(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails the reader of a refusal does not learn that the question can be asked after all."""
    (tmp_path / "long.txt").write_text("The ferry left the quay at noon.\n" * 3000)
    launch = Launch(
        Options(
            output=None,
            as_json=False,
            quiet=True,
            verbose=False,
            model=str(checkpoint),
            device="cpu",
            dtype="auto",
            quant="none",
            threads=1,
            chunk=64,
        )
    )
    short = launch.plan(8192, 16).needed
    monkeypatch.setattr("longctx.plan._available", lambda _: short)
    with gather([str(tmp_path / "long.txt")]) as corpus, pytest.raises(DoesNotFitError) as caught:
        launch.engine(launch.options.out(), corpus, 16)
    budget = int(str(caught.value).split("--quick --budget ")[1].split()[0])
    assert 4096 <= budget <= 8192
    assert launch.plan(budget, 16).fits
