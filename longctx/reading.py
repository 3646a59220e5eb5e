"""A reading keeps its text: documents that a model has read. You can ask it and locate its tokens.

It knows token ids and places, not what a question or an answer means.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from copy import copy
from pathlib import Path
from time import perf_counter
from typing import Self

from longctx.engine import Engine, Session
from longctx.errors import InputError
from longctx.progress import Progress, Usage
from longctx.quotes.index import PassageIndex
from longctx.sampling import Sampling
from longctx.store.folder import Folder
from longctx.store.keeper import Keeper, keeper_of
from longctx.text.source import Document
from longctx.text.span import Span
from longctx.tokens.stream import TokenStream
from longctx.writing import Piece


class Reading:
    """Documents that a model reads after the beginning of a prompt.

    Attributes:
        engine: the model.
        documents: in the order in which they are read.
        before: token ids of the prompt before the documents.
        index: the documents' passages, if indexed.
        session: what the model has read so far.
        usage: the cost of reading and asking, forks included.

    Args:
        store: where what is read is kept, and found again.
        movable: documents may be read in another order, in which some of them were read before.
    """

    def __init__(
        self,
        engine: Engine,
        documents: Sequence[Document | Span],
        before: Sequence[int],
        chunk: int,
        header: Callable[[Document], str] | None = None,
        index: PassageIndex | None = None,
        store: Folder | None = None,
        *,
        movable: bool = False,
    ) -> None:
        self.engine = engine
        self.before = before
        self.index = index
        self.session = engine.session()
        self.usage = Usage()
        self.documents, self._chunk, self._header = list(documents), chunk, header
        self._stream = TokenStream(engine.tokenizer, (), chunk, header)
        self._keeper: Keeper | None = None
        if store is not None and documents:
            self._keeper = keeper_of(store, engine, before, chunk, self.documents, header, movable=movable)
            self.documents = self._keeper.documents if self._keeper else self.documents

    def read(self, label: str = "reading", upto: int | None = None) -> Iterator[Progress]:
        """Read the prompt's beginning and all documents, or the first so many, chunk by chunk.

        What was read before, by this reading or another that was kept, is not read again.
        """
        started = perf_counter()
        stream = self._stream = self._continued(self.documents[:upto])
        total = stream.bytes_total
        keeper, session = self._keeper, self.session
        self.usage.tokens_reused += keeper.resume(session, stream) if keeper else 0
        yield Progress(label, stream.bytes_read, total, 0)
        if not session.position:
            session.read(self.before)
        for count in session.read_chunks(keeper.watch(session, stream) if keeper else stream):
            self.usage.tokens_read += count
            yield Progress(label, stream.bytes_read, total, self.usage.tokens_read)
        if keeper:
            keeper.finish(session, stream)
        self.usage.read_seconds += perf_counter() - started
        self.usage.state_bytes = session.state.nbytes

    def _continued(self, documents: Sequence[Document | Span]) -> TokenStream:
        """Return a stream of documents that goes on where the one before has ended."""
        stream = TokenStream(self.engine.tokenizer, documents, self._chunk, self._header)
        if before := self._stream.anchors:
            stream.begin_after(before, before[-1].end)
        return stream

    def locate(self, position: int) -> Span | None:
        """Return where the token at a session's position stands; None for a token of the prompt.

        Raises:
            InputError: when the document has changed since it was read.
        """
        return self._stream.locate(position - len(self.before))

    def _tokens(self, position: int, count: int) -> list[int]:
        """Return up to so many tokens that were read from a session's position on, of one window."""
        with suppress(InputError):  # the document has changed since
            return self._stream.tokens(position - len(self.before), count)
        return []

    def fork(self) -> Self:
        """Return an independent continuation; asking it leaves this reading unchanged."""
        return self._with(self.session.fork())

    def without(self, start: int, end: int) -> Self:
        """Return a fork that can find everything except the session's tokens start..end."""
        return self._with(self.session.without(start, end))

    def generate(self, after: Sequence[int], sampling: Sampling) -> Iterator[Piece]:
        """Read the prompt's end and write an answer. This advances the reading: fork first to keep it."""
        started = perf_counter()
        for piece in self.session.generate(after, sampling, self._tokens):
            self.usage.tokens_written += piece.token is not None
            self.usage.write_seconds += perf_counter() - started
            yield piece
            started = perf_counter()

    @property
    def kept(self) -> Path | None:
        """Return the folder where it is kept, if it is."""
        return self._keeper.entry if self._keeper else None

    def close(self) -> None:
        """Wait until all that was read is kept; otherwise that is done when the program ends."""
        if self._keeper:
            self._keeper.close()

    def _with(self, session: Session) -> Self:
        other = copy(self)
        other.session = session
        return other
