"""A short campaign of bench.fuzz with fixed seeds; longer ones run by hand."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.fuzz import inputs, parsers

ROOT = Path(__file__).parents[1]


def test_damaged_inputs_of_every_parser_cost_one_line() -> None:
    """If this fails a damaged file of some format, or of a checkpoint, ends in a traceback."""
    pytest.importorskip("zstandard")
    command = [sys.executable, "-m", "bench.fuzz", "--inputs", "3", "--seed", "20261126", "--sample", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert len(done.stdout.splitlines()) == len(parsers())
    assert done.stdout.count("'read'") > len(parsers()) / 2  # it damages what can be read, not what cannot


@pytest.mark.parametrize("parser", ["guide.docx", ".xz", "config.json", "safetensors"])
def test_a_campaign_is_the_same_again(parser: str) -> None:
    """If this fails what a campaign has found cannot be found again."""
    assert list(inputs(parser, 1, 8)) == list(inputs(parser, 1, 8))
    assert len(set(inputs(parser, 1, 8))) > 2
