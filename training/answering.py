"""Questions of the evaluation: answers and their places, lists of values, many needles in one reading.

The program's sessions on token ids, so that what is measured is the model alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from longctx.engine import Engine, Session
from longctx.sampling import Sampling
from longctx.tasks.lookup import start_of
from longctx.writing import Pointer

CHUNK = 2048
LONGEST_ANSWER = 64
MOST_VALUES = 12
NOWHERE = Pointer(-1, 0.0)
# After so many tokens the slowest head keeps e^-21 of what it held (slope 2^-8 / 3): nothing, in float32.
FORGOTTEN = 16_384


@dataclass(frozen=True)
class Reply:
    """What the model wrote, and where from.

    Attributes:
        place, mass: the token the pointer heads looked at first, and how much of their attention it got.
        start: where the text begins, by the pointers of all its tokens.
        tokens: written before the line end.
    """

    text: str
    place: int
    mass: float
    start: int
    tokens: int


class Reader:
    """Reads token ids and answers questions about them, as the program does."""

    def __init__(self, engine: Engine, longest: int = LONGEST_ANSWER) -> None:
        self.engine = engine
        self.longest = longest

    def read(self, ids: list[int], session: Session | None = None) -> Session:
        """Stream tokens into a session, a new one if none is given."""
        session = session or self.engine.session()
        for start in range(0, len(ids), CHUNK):
            session.read(ids[start : start + CHUNK])
        return session

    def answer(self, session: Session, prompt: str, begun: tuple[int, Pointer] | None = None) -> Reply:
        """Answer from a fork of the session.

        Args:
            begun: a token that the answer begins with, and its place.
        """
        written, pointers = ([begun[0]], [begun[1]]) if begun else (list[int](), list[Pointer]())
        tokenizer = self.engine.tokenizer
        sampling = Sampling(self.longest - len(written), stop=("\n",))
        for piece in session.fork().generate(tokenizer.encode(prompt) + written, sampling):
            pointers.append(piece.pointer or NOWHERE)
            if piece.token is not None and piece.finish is None:
                written.append(piece.token)
        first, start = pointers[0], start_of(pointers[: max(1, len(written))])
        text = tokenizer.decode(written).strip()
        return Reply(text, first.position, first.mass, start.position, len(written))

    def answers(
        self, session: Session, ids: list[int], prompt: str, accept: Callable[[Reply], bool]
    ) -> list[Reply]:
        """Ask the same question again and again, each time without the keys of what was found.

        As in the program, a refusal that looks at a place in the text is taken for what stands there.

        Args:
            ids: the document that the session has read.
            accept: looks at where an answer stands, as the program does; the first that it refuses ends it.
        """
        found: list[Reply] = []
        while len(found) < MOST_VALUES:
            reply = self.answer(session, prompt)
            if reply.text == "not found" and reply.place < len(ids):
                begun = ids[reply.place], Pointer(reply.place, reply.mass)
                reply = self.answer(session, prompt, begun)
            end = reply.start + reply.tokens
            known = ["", "not found", *(earlier.text for earlier in found)]
            if reply.text in known or not 0 <= reply.start < end <= len(ids) or not accept(reply):
                break
            session = session.without(reply.start, end)
            found.append(reply)
        return found


class NeedleReading:
    """One reading of a haystack, from which the reading with a needle anywhere follows exactly, and soon.

    What comes before the needle is the same with and without it. What comes more than FORGOTTEN tokens after
    it is the same too: lightning memories fade, and the last layer has no positions, so its keys can stay.

    Args:
        reader: of a model whose last layer, and no other, is softmax attention without positions.
        ids: the haystack.
        places: where needles may come, in tokens.
    """

    def __init__(self, reader: Reader, ids: list[int], places: list[int]) -> None:
        self.reader = reader
        self.ids = ids
        self.session = reader.engine.session()
        self.at = {}
        for place in sorted(set(places)):
            reader.read(ids[self.session.position : place], self.session)
            self.at[place] = self.session.fork()
        reader.read(ids[self.session.position :], self.session)

    @torch.inference_mode()
    def hide(self, place: int, needle: list[int]) -> Session:
        """Return the session after the haystack with `needle` put in at one of the places."""
        total, session = len(self.ids), self.at[place].fork()
        end = min(total, place + FORGOTTEN)
        self.reader.read([*needle, *self.ids[place:end]], session)
        if end < total:
            *fading, log = self.session.state.without(0, end).layers
            session.state.layers[-1].restore(log.tensors())
            session.state.layers[:-1] = fading
            session.state.position += total - end
        return session
