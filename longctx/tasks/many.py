"""Many questions off one reading, answered side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from longctx.chat import Chat, Thoughts
from longctx.errors import OptionError
from longctx.reading import Reading
from longctx.sampling import Sampling
from longctx.tasks.ask import Opening
from longctx.tasks.results import Answer
from longctx.together import write_together


@dataclass
class _Draft:
    """An answer that is being written."""

    thoughts: Thoughts
    thinking: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)


def read_before(opening: Opening) -> list[int]:
    """Return the prompt before the documents, which is to be the same for all questions.

    Raises:
        OptionError: when it depends on the question.
    """
    before = opening("a").before
    if before != opening("b").before:
        raise OptionError("the prompt template names the question before the document; put it behind")
    return before


def write_all(
    reading: Reading, questions: Sequence[str], opening: Opening, sampling: Sampling, chat: Chat
) -> Iterator[Answer]:
    """Let a model that has read everything answer questions; yield the answers in the order of the questions.

    What a model thinks is kept with the answer, never shown: thoughts of several answers would mix.
    """
    prompts = [opening(question) for question in questions]
    drafts = [_Draft(Thoughts(prompt.thinking)) for prompt in prompts]
    done: dict[int, Answer] = {}
    following = 0
    for number, piece in write_together(reading.session, [prompt.after for prompt in prompts], sampling):
        draft = drafts[number]
        thought, said = draft.thoughts.push(piece.text, last=piece.finish is not None)
        draft.thinking.append(thought)
        draft.text.append(said)
        reading.usage.tokens_written += piece.token is not None
        if piece.finish is not None:
            text, thinking = ("".join(parts).strip() for parts in (draft.text, draft.thinking))
            done[number] = Answer("generated", text, finish=piece.finish, thinking=thinking)
        while following in done:
            yield done.pop(following)
            following += 1
