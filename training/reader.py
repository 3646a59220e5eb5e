"""Reading and asking for evaluation: whole documents, one reading with many needles, lists of values.

The same steps as the program takes, on token ids, so that what is measured is the model alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from tokenizers import Tokenizer
from torch import Tensor

from longctx.engine import Pointer
from longctx.models.decoder import Decoder
from longctx.models.mixers.memory import Memory
from longctx.models.state import State
from longctx.tasks.lookup import start_of

CHUNK = 2048
LONGEST_ANSWER = 64
MOST_VALUES = 12
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
    """Answers questions from one reading of one document, as the program does."""

    def __init__(self, model: Decoder, tokenizer: Tokenizer) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.newline = tokenizer.encode("\n").ids[0]

    def read(self, ids: list[int], state: State | None = None) -> State:
        """Stream tokens into a state, a new one if none is given."""
        state = state or self.model.new_state()
        for start in range(0, len(ids), CHUNK):
            self.model.absorb(torch.tensor([ids[start : start + CHUNK]]), state)
        return state

    def answer(
        self,
        state: State,
        prompt: str,
        longest: int = LONGEST_ANSWER,
        begun: tuple[int, Pointer] | None = None,
    ) -> Reply:
        """Answer from a fork of the state.

        Args:
            begun: a token that the answer begins with, and its place.
        """
        written, pointers = ([begun[0]], [begun[1]]) if begun else (list[int](), list[Pointer]())
        ids = self.tokenizer.encode(prompt).ids + written
        state = state.fork()
        self.model.absorb(torch.tensor([ids[:-1]]), state)
        token = ids[-1]
        while len(written) < longest:
            hidden = self.model(torch.tensor([[token]]), state)
            token = int(self.model.logits(hidden[:, -1]).argmax())
            pointers.append(_pointer(state))
            if token == self.newline or token in self.model.config.stop_ids:
                break
            written.append(token)
        first, start = pointers[0], start_of(pointers[: max(1, len(written))])
        text = self.tokenizer.decode(written).strip()
        return Reply(text, first.position, first.mass, start.position, len(written))

    def answers(
        self, state: State, ids: list[int], prompt: str, accept: Callable[[Reply], bool]
    ) -> list[Reply]:
        """Ask the same question again and again, each time without the keys of what was found.

        As in the program, a refusal that looks at a place in the text is taken for what stands there.

        Args:
            ids: the document that the state has read.
            accept: looks at where an answer stands, as the program does; the first that it refuses ends it.
        """
        found: list[Reply] = []
        left = list(range(len(ids)))  # what the last layer still has of the document
        while len(found) < MOST_VALUES:
            reply = self.answer(state, prompt)
            if reply.text == "not found" and reply.place < len(left):
                begun = ids[left[reply.place]], Pointer(reply.place, reply.mass)
                reply = self.answer(state, prompt, begun=begun)
            start, end = reply.start, reply.start + reply.tokens
            known = [earlier.text for earlier in found]
            if reply.text in ("", "not found", *known) or start < 0 or end > len(left):
                break
            state = state.without(start, end)
            reply = replace(reply, place=left[start], start=left[start])
            if not accept(reply):
                break
            del left[start:end]
            found.append(reply)
        return found


def _pointer(state: State) -> Pointer:
    found = state.pointed
    return Pointer(int(found[0][0]), float(found[1][0])) if found else Pointer(-1, 0.0)


def recurrent(state: State) -> list[Memory]:
    """Copy the memories of all layers but the last."""
    return [layer.fork() for layer in state.layers[:-1]]


def joined(model: Decoder, memories: list[Memory], keys_values: list[tuple[Tensor, Tensor]]) -> State:
    """Build a state of a model whose last layer alone is softmax attention."""
    state = model.new_state()
    state.layers[:-1] = [memory.fork() for memory in memories]
    for k, v in keys_values:
        state.layers[-1].restore({"keys": k, "values": v})
        state.position += k.shape[2]
    return state


def rows(state: State, start: int, end: int) -> list[tuple[Tensor, Tensor]]:
    """Return the last layer's keys and values of tokens start..end."""
    k, v = (tensor[:, :, start:end] for tensor in state.layers[-1].tensors().values())
    return [(k, v)]


class Reading:
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
        self.memories: dict[int, list[Memory]] = {}
        state = reader.model.new_state()
        for place in sorted(set(places)):
            reader.read(ids[state.position : place], state)
            self.memories[place] = recurrent(state)
        self.state = reader.read(ids[state.position :], state)

    def hide(self, place: int, needle: list[int]) -> State:
        """Return the state after the haystack with `needle` put in at one of the places."""
        model, total = self.reader.model, len(self.ids)
        state = joined(model, self.memories[place], list(rows(self.state, 0, place)))
        end = min(total, place + FORGOTTEN)
        self.reader.read([*needle, *self.ids[place:end]], state)
        if end == total:
            return state
        kept = [*rows(state, 0, state.position), *rows(self.state, end, total)]
        return joined(model, recurrent(self.state), kept)
