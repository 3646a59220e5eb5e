"""Many answers written side by side: each token of each of them costs one reading of the weights for all."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from longctx.engine import Engine, Session
from longctx.sampling import Sampling
from longctx.writing import Piece, Writing

if TYPE_CHECKING:
    from longctx.models.step import DecodeStep


@dataclass
class _Branch:
    """An answer that has a place in the step.

    Attributes:
        of: the number of its prompt.
        token: to read next.
    """

    of: int
    session: Session
    writing: Writing
    token: int


def write_together(
    session: Session, prompts: Sequence[Sequence[int]], sampling: Sampling
) -> Iterator[tuple[int, Piece]]:
    """Read each prompt on a branch of its own and write its answer; the session stays as it is.

    As many answers grow at a time as a step has places; where one ends, the next begins. What is written
    depends neither on the order of the prompts nor on their company, but for rounding in products.

    Yields:
        The number of the prompt, and a piece as of `Session.generate`, in the order they are written.
    """
    import torch

    engine, waiting = session.engine, list(enumerate(prompts))
    step = _step(engine, len(prompts))
    if step is None:
        for number, prompt in waiting:
            yield from ((number, piece) for piece in session.fork().generate(prompt, sampling))
        return
    branches: list[_Branch | None] = [_begin(session, *waiting.pop(0), sampling) for _ in range(step.places)]
    idle = [engine.model.new_state() for _ in branches]  # for places that nobody needs any more
    while any(branches):
        with torch.inference_mode():
            logits = step.run(
                [one.token if one else 0 for one in branches],
                [one.session.state if one else idle[place] for place, one in enumerate(branches)],
            ).clone()
        for place, one in enumerate(branches):
            if one is None:
                continue
            with torch.inference_mode():
                pieces = one.writing.take(logits[place])
            yield from ((one.of, piece) for piece in pieces)
            one.token = one.writing.written[-1]
            if one.writing.ended:
                branches[place] = _begin(session, *waiting.pop(0), sampling) if waiting else None


def _step(engine: Engine, wanted: int) -> "DecodeStep | None":
    """Return a decode step for so many branches, or for the most there can be; None if there is none."""
    from longctx.models.mixers.memory import StepError
    from longctx.models.step import MOST_AT_ONCE, DecodeStep

    try:
        return DecodeStep(engine.model, min(MOST_AT_ONCE, wanted)) if wanted > 1 else None
    except StepError:
        return None


def _begin(session: Session, of: int, prompt: Sequence[int], sampling: Sampling) -> _Branch:
    """Read all of a prompt but its last token, on a branch of its own."""
    branch = session.fork()
    branch.read(prompt[:-1])
    return _Branch(of, branch, session.engine.writing(sampling), prompt[-1])
