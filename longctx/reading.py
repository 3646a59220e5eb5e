"""A reading keeps its text: documents that a model has read, to be asked about and to be looked up in.

It knows token ids and places, not what a question or an answer means.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from time import perf_counter
from typing import Self

from longctx.engine import Engine, Piece, Session
from longctx.progress import Progress, Usage
from longctx.quotes.passages import PassageIndex
from longctx.sampling import Sampling
from longctx.text.source import Document
from longctx.text.span import Span
from longctx.tokens.stream import TokenStream


class Reading:
    """Documents as a model reads them, behind the beginning of a prompt.

    Attributes:
        engine: the model.
        before: token ids that stand before the documents.
        index: of the documents' passages, where there is one.
        session: what the model has read so far.
        usage: what reading and asking have cost, forks included.
    """

    def __init__(
        self,
        engine: Engine,
        documents: Sequence[Document],
        before: Sequence[int],
        chunk: int,
        header: Callable[[Document], str] | None = None,
        index: PassageIndex | None = None,
    ) -> None:
        self.engine = engine
        self.before = before
        self.index = index
        self.session = engine.session()
        self.usage = Usage()
        self._stream = TokenStream(engine.tokenizer, documents, chunk, header)

    def read(self, label: str = "reading") -> Iterator[Progress]:
        """Read the prompt's beginning and all documents, chunk by chunk."""
        started = perf_counter()
        total = sum(document.end - document.start for document in self._stream.documents)
        yield Progress(label, 0, total, 0)
        self.session.read(self.before)
        for count in self.session.read_chunks(self._stream):
            self.usage.tokens_read += count
            yield Progress(label, self._stream.bytes_read, total, self.usage.tokens_read)
        self.usage.read_seconds += perf_counter() - started
        self.usage.state_bytes = self.session.state.nbytes

    def locate(self, position: int) -> Span | None:
        """Return where the token at a position of the session stands; None for one of the prompt.

        Raises:
            InputError: when the document has changed since it was read.
        """
        return self._stream.locate(position - len(self.before))

    def fork(self) -> Self:
        """Return an independent continuation: asking it does not disturb this one."""
        return self._with(self.session.fork())

    def without(self, start: int, end: int) -> Self:
        """Return a fork that finds everything but the tokens at positions start..end of the session."""
        return self._with(self.session.without(start, end))

    def generate(self, after: Sequence[int], sampling: Sampling) -> Iterator[Piece]:
        """Read the prompt's end and write an answer; the reading moves along, so fork first to keep it."""
        started = perf_counter()
        for piece in self.session.generate(after, sampling):
            self.usage.tokens_written += piece.token is not None
            self.usage.write_seconds += perf_counter() - started
            yield piece
            started = perf_counter()

    def _with(self, session: Session) -> Self:
        other = copy(self)
        other.session = session
        return other
