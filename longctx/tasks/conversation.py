"""`chat`: questions about a text that was read once, each of which knows the ones before."""

from collections.abc import Generator
from dataclasses import dataclass, replace

from longctx.chat import Chat
from longctx.reading import Reading
from longctx.sampling import Sampling
from longctx.tasks import quoted
from longctx.tasks.ask import Opening, write
from longctx.tasks.prompt import Prompt, next_turn
from longctx.tasks.results import Answer, Text, Thought
from longctx.text.source import Document

RETRY_TEMPERATURE = 0.7  # where the likeliest tokens are taken, they would be the same again


@dataclass(frozen=True)
class Turn:
    """A question and its answer.

    Attributes:
        before: everything read before the question.
        prompt: the question as the model read it.
    """

    question: str
    answer: Answer
    before: Reading
    prompt: Prompt


class Conversation:
    """A branch of a reading that grows by a question and an answer at a time; the reading stays as it is.

    A model's thoughts are not part of it: the next question follows the answer alone.

    Args:
        reading: of all documents.
        opening: the prompt around the documents for a first question.
    """

    def __init__(
        self,
        reading: Reading,
        documents: list[Document],
        opening: Opening,
        sampling: Sampling,
        chat: Chat,
    ) -> None:
        self.turns: list[Turn] = []
        self._reading, self._documents, self._opening = reading, documents, opening
        self._sampling, self._chat = sampling, chat

    def ask(self, question: str) -> Generator[Text | Thought, None, Answer]:
        """Answer the next question. Stopped before its end, it has never been asked."""
        engine = self._reading.engine
        if self.turns:
            last = self.turns[-1]
            before = last.before.fork()
            before.session.read([*last.prompt.after, *engine.tokenizer.encode(last.answer.text)])
            prompt = next_turn(engine.tokenizer, engine.folder, question, self._chat)
        else:
            before, prompt = self._reading, self._opening(question)
        return (yield from self._answer(question, before, prompt, self._sampling))

    def retry(self) -> Generator[Text | Thought, None, Answer]:
        """Answer the last question once more, with other random choices."""
        last, sampling = self.turns[-1], self._sampling
        tried = replace(
            sampling, seed=sampling.seed + 1, temperature=sampling.temperature or RETRY_TEMPERATURE
        )
        answer = yield from self._answer(last.question, last.before, last.prompt, tried)
        del self.turns[-2]
        self._sampling = replace(sampling, seed=tried.seed)  # so that the next retry differs from this one
        return answer

    def undo(self) -> str | None:
        """Forget the last question and its answer; return the question, or None if there is none."""
        return self.turns.pop().question if self.turns else None

    def _answer(
        self, question: str, before: Reading, prompt: Prompt, sampling: Sampling
    ) -> Generator[Text | Thought, None, Answer]:
        answer = yield from write(before.fork(), prompt, sampling, self._chat)
        answer.quotations = quoted.check(answer.text, self._documents, question)
        if before.index is not None:
            answer.evidence = before.index.search(question, 3)
        self.turns.append(Turn(question, answer, before, prompt))
        return answer
