"""`ask --follow`: what grows is asked again, and only another answer is shown."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from longctx import following
from longctx.cli import main

EVENT = "2024-03-01T10:{minute:02}:00 INFO request {minute} was served\n"
FAILED = "2024-03-01T10:{minute:02}:00 ERROR upload of disk {minute} failed\n"
QUESTION = "When did the upload fail last?"


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "app.log"
    path.write_text(EVENT.format(minute=1) + FAILED.format(minute=2) + EVENT.format(minute=3))
    return path


@pytest.fixture
def follow(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Follow while some things happen, one after the other between two looks; then press Ctrl-C."""

    def run(*words: str, meanwhile: list[Callable[[], object]]) -> Result:
        happening, waited = iter(meanwhile), []

        def sleep(seconds: float) -> None:
            waited.append(seconds)
            if (one := next(happening, None)) is None:
                raise KeyboardInterrupt
            one()

        monkeypatch.setattr(following, "sleep", sleep)
        result = CliRunner().invoke(main, ["ask", "--follow", *words, "--threads", "1"])
        assert result.exit_code == 130 or not waited
        return result

    return run


def append(path: Path, text: str) -> Callable[[], object]:
    def do() -> None:
        with path.open("a") as file:
            file.write(text)

    return do


def answers(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_an_answer_is_shown_when_it_is_another_one(log: Path, follow: Callable[..., Result]) -> None:
    """If this fails a person who waits for the next failure is not told, or is told the same for ever."""
    happening = [
        lambda: None,
        append(log, EVENT.format(minute=4)),
        append(log, FAILED.format(minute=5)),
        append(log, EVENT.format(minute=6)),
    ]
    result = follow("app.log", QUESTION, "--json", meanwhile=happening)
    told = answers(result)
    assert ["10:02" in str(told[0]["answer"]), "10:05" in str(told[1]["answer"])] == [True, True]
    assert len(told) == 2
    assert told[1]["question"] == QUESTION
    assert told[1]["source"]["first_line"] == 5  # type: ignore[index]


def test_a_log_that_is_rotated_is_followed(log: Path, follow: Callable[..., Result]) -> None:
    """If this fails following ends at midnight, with an error or with the answers of yesterday."""

    def rotate() -> None:
        log.rename("app.log.1")

    def begin() -> None:
        log.write_text("")

    def truncate() -> None:
        log.write_text(FAILED.format(minute=8))

    happening = [rotate, begin, append(log, FAILED.format(minute=7) * 3), truncate]
    result = follow(QUESTION, "app.log", "--passages", "0", "--every", "0.5", meanwhile=happening)
    assert [minute for minute in range(10) if f"10:0{minute}:00" in result.stdout] == [2, 7, 8]
    said = [line for line in result.stderr.splitlines() if line.startswith("app.log: ")]
    assert said == ["app.log: is gone; waiting for it", "app.log: became shorter; reading what it holds now"]


def test_a_file_that_takes_the_place_of_another_is_told(log: Path, follow: Callable[..., Result]) -> None:
    """If this fails nobody knows that the answers are about another file now."""

    def replace() -> None:
        other = log.with_name("new")
        other.write_text(FAILED.format(minute=9))
        other.replace(log)

    result = follow(QUESTION, "app.log", meanwhile=[replace])
    assert "app.log: is another file now; reading that from its beginning" in result.stderr
    assert "10:09:00" in result.stdout


def test_a_model_reads_only_what_is_new(
    log: Path, checkpoint: Path, follow: Callable[..., Result], tmp_path: Path
) -> None:
    """If this fails every line of a log costs the reading of all of it, or a model is loaded each time."""
    log.write_text("".join(EVENT.format(minute=n) for n in range(40)))
    happening = [append(log, FAILED.format(minute=41)), append(log, EVENT.format(minute=42))]
    words = ("What failed?", "app.log", "--model", str(checkpoint), "--max-tokens", "4", "--chunk", "64")
    result = follow(*words, "--store", str(tmp_path / "store"), "-v", "--fresh", meanwhile=happening)
    lines = [line for line in result.stderr.splitlines() if "tokens in" in line]
    assert len(lines) == 3, result.stderr
    first, *others = [
        [int(word.replace(",", "")) for word in line.split() if word.replace(",", "").isdigit()][:2]
        for line in lines
    ]
    assert first[0] > 500
    assert all(reused > 0.8 * first[0] and read < 150 for reused, read in others)
    assert result.stderr.count("model " + str(checkpoint)) == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([QUESTION], 2, "name files that grow"),
        ([QUESTION, "-"], 2, "name files that grow"),
        ([QUESTION, "."], 2, "--follow .: name files that grow"),
        ([QUESTION, "nowhere.log"], 3, "nowhere.log: no such file"),
        ([QUESTION, "app.log", "--until", "3"], 2, "--follow goes with one question"),
        ([QUESTION, "app.log", "--since", "3"], 2, "--follow goes with one question"),
        ([QUESTION, "app.log", "--strict"], 2, "--follow goes with one question"),
        ([QUESTION, "app.log", "-o", "x"], 2, "--follow goes with one question"),
        (["-Q", "Why?", "-Q", "When?", "app.log"], 2, "--follow goes with one question"),
    ],
)
def test_what_cannot_be_followed_is_one_line(
    log: Path, follow: Callable[..., Result], words: list[str], code: int, said: str
) -> None:
    """If this fails the command waits for ever for what never comes."""
    result = follow(*words, meanwhile=[])
    assert result.exit_code == code, result.output
    assert said in " ".join(result.stderr.split())


def test_an_empty_file_is_waited_for(log: Path, follow: Callable[..., Result]) -> None:
    """If this fails a log cannot be followed from its first line on."""
    log.write_text("")
    result = follow(QUESTION, "app.log", meanwhile=[append(log, FAILED.format(minute=3))])
    assert "waiting for text" in result.stderr
    assert "10:03:00" in result.stdout


def test_only_what_became_shorter_is_said_to_be(tmp_path: Path) -> None:
    """If this fails a file that was only touched, or rewritten in place, is told of as if lines were lost."""
    path = tmp_path / "app.log"
    path.write_text("one\n")
    seen = following.Watched([str(path)])
    assert seen.changed() == (True, [])
    for text, said in (
        ("two\n", []),
        ("two\nthree\n", []),
        ("four\n", [f"{path}: became shorter; reading what it holds now"]),
    ):
        path.write_text(text)
        os.utime(path, ns=(0, len(text) * 10**9))
        assert seen.changed() == (True, said)
    assert seen.changed() == (False, [])
