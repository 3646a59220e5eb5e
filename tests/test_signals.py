"""Signals end a command at once, in silence, with its files put away; a library's user keeps their own."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from longctx import signals


def ended(run: Callable[[], object]) -> tuple[int, str]:
    """Run something in a process of its own: its exit code, 128 and more for a signal, and what it wrote."""
    read, write = os.pipe()
    if not (child := os.fork()):
        os.dup2(write, 1)
        try:
            run()
        finally:
            os._exit(99)  # nothing stopped it
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    return (128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)), said


def say(word: str) -> None:
    os.write(1, f"{word} ".encode())


def fail() -> None:
    raise OSError("gone")


@pytest.mark.parametrize("number", signals.STOPPING)
def test_a_signal_undoes_the_last_first_and_ends_with_its_number(number: signal.Signals) -> None:
    """Scratch files would stay, one failure would keep all others, or a script take a stop for success."""

    def run() -> None:
        signals.obey()
        taken = lambda: say("taken back")  # noqa: E731 - the very same is forgotten
        for undo in (lambda: say("first"), fail, taken, lambda: say("last")):
            signals.when_stopped(undo)
        signals.forget(taken)
        signals.forget(fail)
        signals.when_stopped(fail)
        os.kill(os.getpid(), number)

    assert ended(run) == (128 + number, "last first ")


def test_what_the_caller_ignores_stays_ignored() -> None:
    """nohup would not keep a long reading alive."""

    def run() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signals.obey()
        os.kill(os.getpid(), signal.SIGHUP)
        say("went on")

    assert ended(run) == (99, "went on ")


def test_nothing_stops_what_is_done() -> None:
    """Ctrl-C after the answer would make a success look like a failure."""

    def run() -> None:
        signals.obey()
        signals.done()
        for number in signals.STOPPING:
            os.kill(os.getpid(), number)
        say("went on")

    assert ended(run) == (99, "went on ")


def test_a_first_interrupt_is_noted_where_something_is_finished_and_a_second_ends() -> None:
    """Ctrl-C would lose a reading that is being saved, or never end."""

    def run() -> None:
        signals.obey()
        with signals.patience(lambda: say("saving")) as patience:
            os.kill(os.getpid(), signal.SIGINT)
            say(str(patience.asked))
            os.kill(os.getpid(), signal.SIGINT)

    assert ended(run) == (130, "saving True ")

    def after() -> None:
        signals.obey()
        with signals.patience(lambda: say("saving")):
            pass
        os.kill(os.getpid(), signal.SIGINT)

    assert ended(after) == (130, "")

    def ended_by_another() -> None:
        signals.obey()
        with signals.patience(lambda: say("saving")):
            os.kill(os.getpid(), signal.SIGTERM)

    assert ended(ended_by_another) == (143, "")


def test_an_answer_may_be_interrupted_without_ending_the_command() -> None:
    """Ctrl-C in a chat would end the chat; or after an answer not end it any more."""

    def run() -> None:
        signals.obey()
        try:
            with signals.interruptible():
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(5)
        except KeyboardInterrupt:
            say("stopped")
        os.kill(os.getpid(), signal.SIGINT)

    assert ended(run) == (130, "stopped ")


def test_programs_that_use_the_library_keep_their_signals(tmp_path: Path) -> None:
    """A service would lose its own handler of SIGINT, or functions pile up that nobody calls."""
    own = signal.getsignal(signal.SIGINT)
    with signals.interruptible():
        assert signal.getsignal(signal.SIGINT) is own
    assert signal.getsignal(signal.SIGINT) is own
    with signals.scratch(tmp_path / "part") as part:
        part.write_text("half")
        assert not signals._undo
    assert not part.exists()


def test_a_scratch_file_goes_however_its_use_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half an answer would stay beside the one that it was to replace."""
    undo: list[Callable[[], object]] = []
    monkeypatch.setattr(signals, "_undo", undo)
    path = tmp_path / "part"
    with signals.scratch(path) as part:
        part.write_text("half")
        (remove,) = undo
        remove()
        assert not path.exists()
    assert not undo
    with pytest.raises(ValueError, match="full"), signals.scratch(path) as part:
        part.write_text("half")
        raise ValueError("full")
    assert not path.exists()
    assert not undo
    with signals.scratch(path) as part:
        part.write_text("whole")
        part.replace(tmp_path / "answer")
    assert (tmp_path / "answer").read_text() == "whole"


def test_what_takes_too_long_is_stopped_and_the_clock_with_it() -> None:
    """A pattern would run for ever, or a reading be stopped by the clock of the search before it."""
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(TimeoutError, match=r"more than 0\.05 s"), signals.within(0.05):
        while True:
            pass
    with signals.within(30):
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 20
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) is before


def test_other_threads_work_without_a_clock() -> None:
    """longctx in a server would fail on each question: only the main thread has signals."""
    done = []

    def run() -> None:
        with signals.within(0.01):
            time.sleep(0.03)
            done.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert done == [True]
