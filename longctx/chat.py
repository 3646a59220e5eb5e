"""How a model is spoken to, and what of its words is thought and what is answer. Knows no model."""

from dataclasses import dataclass
from typing import Literal

Think = Literal["off", "on", "show"]
OPEN, CLOSE = "<think>", "</think>"


@dataclass(frozen=True)
class Chat:
    """How a model is spoken to.

    Attributes:
        template: a file to take instead of the built-in prompt template.
        system: what the system says before the user; None: what the chat template says by itself.
        think: "off" asks for no thoughts, where the chat template knows how to; "on" lets the model think
            and keeps the thoughts back; "show" shows them apart from the answer.
        strict: a quotation that does not stand in the documents is a failure.
    """

    template: str | None = None
    system: str | None = None
    think: Think = "off"
    strict: bool = False


class Thoughts:
    """Parts a `<think>...</think>` block at the start of what a model writes from the answer after it.

    Text comes in pieces of any size. White space around an answer, and before thoughts, is dropped.

    Args:
        begun: the prompt ended inside such a block.
    """

    def __init__(self, begun: bool = False) -> None:
        self._held = ""
        self._part: Literal["start", "thought", "gap", "answer"] = "thought" if begun else "start"
        self._fresh = True  # no thought has come yet

    def push(self, text: str, last: bool = False) -> tuple[str, str]:
        """Return the text of thoughts and of the answer that is certain now; with the last piece all."""
        self._held += text
        thought = ""
        if self._part == "start":
            self._held = self._held.lstrip()
            if self._held.startswith(OPEN):
                self._part, self._held = "thought", self._held.removeprefix(OPEN)
            elif last or not OPEN.startswith(self._held):
                self._part = "answer"
        if self._part == "thought":
            thought, closed, rest = self._held.partition(CLOSE)
            if closed:
                self._part, self._held = "gap", rest
            else:
                kept = len(thought) - (0 if last else _begun(thought))
                thought, self._held = thought[:kept], thought[kept:]
            thought = thought.lstrip() if self._fresh else thought
            self._fresh = self._fresh and not thought
        if self._part == "gap":
            self._held = self._held.lstrip()
        if self._part == "gap" and self._held:
            self._part = "answer"
        answer = ""
        if self._part == "answer":
            answer = self._held.rstrip()
            self._held = self._held[len(answer) :]
        return thought, answer


def _begun(text: str) -> int:
    """Return how many characters at the end of a text may be the beginning of CLOSE."""
    return next((size for size in range(len(CLOSE) - 1, 0, -1) if text.endswith(CLOSE[:size])), 0)
