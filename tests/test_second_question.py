"""What a second question costs beside importing torch: nothing is imported that it does not use."""

import json
import subprocess
import sys
from pathlib import Path

FACT = "One of the special magic numbers for quiet-lantern is: 4031775.\n"
# Runs a command, and prints last which libraries it has imported.
PROGRAM = """
import json, sys
from longctx.cli import main
try:
    main(sys.argv[1:])
finally:
    print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
# Takes long to import, and is for people at a terminal or for folders.
IDLE = {"rich", "pathspec", "huggingface_hub", "transformers", "triton"}


def imported(folder: Path, *arguments: str) -> tuple[list[str], set[str]]:
    """Return the lines that a command has printed, and the libraries that it has imported."""
    words = [sys.executable, "-c", PROGRAM, *arguments, "--store", str(folder / "store")]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    *lines, last = done.stdout.splitlines()
    return [*lines, *done.stderr.splitlines()], set(json.loads(last))


def test_a_second_question_imports_what_it_uses(tmp_path: Path) -> None:
    """If this fails each question waits for libraries that only a terminal, or a folder, has a use for."""
    (tmp_path / "book.txt").write_text(FACT * 3)
    ask = "ask", "Which number is for quiet-lantern?", "book.txt", "--deep"
    imported(tmp_path, *ask)
    told, libraries = imported(tmp_path, *ask)
    assert any("reused" in line for line in told)
    assert "torch" in libraries
    assert not libraries & IDLE


def test_what_is_looked_up_waits_for_no_model(tmp_path: Path) -> None:
    """If this fails a question that a line of the text answers takes seconds instead of a blink."""
    (tmp_path / "app.py").write_text("TIMEOUT_SECONDS = 30\n")
    told, libraries = imported(tmp_path, "ask", "What is TIMEOUT_SECONDS set to?", "app.py")
    assert told[0] == "30"
    assert not libraries & (IDLE | {"torch", "numpy", "safetensors"})
