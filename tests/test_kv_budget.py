"""--kv-budget: what it takes, what it refuses, and that answers stay the same."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from longctx.cli import main
from longctx.errors import DoesNotFitError
from longctx.launch import Launch
from longctx.options import KvBudget, Options

ASK = ["ask", "What is the code of quiet-lantern?", "--no-store", "--json", "--max-tokens", "3"]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def text(tmp_path: Path) -> str:
    path = tmp_path / "notes.txt"
    path.write_text("The code of quiet-lantern is 48213.\n" + "Ships came and went.\n" * 40)
    return str(path)


def test_an_answer_is_the_same_under_a_budget(text: str, checkpoint: Path) -> None:
    """If this fails who has less memory gets another answer."""
    at = [*ASK, text, "--model", str(checkpoint)]
    free, bounded = run(*at), run(*at, "--kv-budget", "host=1MiB")
    assert bounded.exit_code == free.exit_code, bounded.stderr
    answers = [json.loads(result.stdout) for result in (free, bounded)]
    assert answers[0]["answer"] == answers[1]["answer"]


def launch(checkpoint: Path, budget: KvBudget | None) -> Launch:
    shown = {"output": None, "as_json": False, "quiet": True, "verbose": False}
    at = {
        "model": str(checkpoint),
        "device": "cpu",
        "dtype": "auto",
        "quant": "none",
        "threads": 1,
        "chunk": 64,
    }
    return Launch(Options(**shown, **at, kv_budget=budget))  # type: ignore[arg-type]  # each has its own


def test_a_refusal_names_a_budget_that_is_enough(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails a text is refused that a budget would let in, or takes more memory than was said."""
    free = launch(checkpoint, None)
    plan = free.plan(1 << 20, 0)
    room = plan.needed - plan.kv + 2 * plan.kv_least
    monkeypatch.setattr("longctx.plan._available", lambda _: room)
    with pytest.raises(DoesNotFitError) as caught:
        free.engine(free.options.out(), 1 << 20, 0)
    found = re.search(r"--kv-budget host=(\d+)MiB", str(caught.value))
    assert found
    bounded = launch(checkpoint, KvBudget(host=int(found[1]) << 20))
    assert bounded.plan(1 << 20, 0).needed <= room
    engine = bounded.engine(bounded.options.out(), 1 << 20, 0)
    assert engine.model.kv.room is not None
    assert "stay in memory" in bounded.notes[-1]


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        ("8GiB", "is not a budget such as host=8GiB"),
        ("host=8GiB,host=9GiB", "is not a budget such as host=8GiB"),
        ("host=much", "is not a number of bytes"),
        ("device=8GiB", "a CPU has the memory of the host alone"),
        ("host=1", "this model needs .* at least"),
    ],
)
def test_a_budget_that_means_nothing_is_refused(
    text: str, checkpoint: Path, budget: str, reason: str
) -> None:
    """If this fails a mistyped budget is taken for none, and the text takes all memory."""
    result = run(*ASK, text, "--model", str(checkpoint), "--device", "cpu", "--kv-budget", budget)
    assert result.exit_code == 2
    assert re.search(reason, " ".join(result.stderr.split()))
