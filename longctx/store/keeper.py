"""What keeps a reading while it is read, and finds what was kept of it: one keeper per reading.

Nothing here may cost an answer: whatever goes wrong is said in one line, and reading goes on without.
"""

import datetime
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import longctx
from longctx import signals
from longctx.hub import name_of
from longctx.store.files import LaterVersion, Unusable, sha256_of
from longctx.store.fingerprint import fingerprint
from longctx.store.folder import GIVEN, Folder
from longctx.store.kept import KeptReading
from longctx.store.manifest import NAME as MANIFEST
from longctx.store.manifest import Manifest, Snapshot, Source, differences, in_words, read_manifest
from longctx.store.match import Header, Proven, describe, which
from longctx.store.segment import told
from longctx.store.writer import Checkpoint, Writer, beside, use
from longctx.text.source import Document
from longctx.text.span import Span
from longctx.tokens.stream import Anchor, TokenStream

if TYPE_CHECKING:
    from longctx.engine import Engine, Session

TOKENS = 1 << 17  # of reading that a crash may cost, unless checkpoints take too long for that
SECONDS = 30.0  # likewise
WORTH = 40  # seconds of reading, at least, for each that a checkpoint takes
DIGITS = 16  # of each half of a folder's name


class Keeper:
    """Keeps what one session reads of some documents.

    Args:
        folder: of the store.
        engine: the model. before: token ids of the prompt before the documents. chunk: tokens read at once.
        documents: all that are going to be read, in order. header: what introduces each.
        movable: they may be read in the order in which others were before, as far as those are among them.

    Attributes:
        documents: in the order in which they are to be read.
    """

    def __init__(
        self,
        folder: Folder,
        engine: "Engine",
        before: Sequence[int],
        chunk: int,
        documents: Sequence[Document | Span],
        header: Header,
        *,
        movable: bool = False,
    ) -> None:
        self._folder, self._chunk = folder, chunk
        marks = fingerprint(engine, list(before), chunk, folder.root)
        self._group = sha256_of(marks)[:DIGITS]
        sources = [describe(one, header) for one in documents]
        order = self._order(sources) if movable else range(len(sources))
        self.documents = [documents[number] for number in order]
        sources = [sources[number] for number in order]
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self._manifest = Manifest(marks, len(before), sources, created=now, longctx=longctx.__version__)
        self._manifest.model = name_of(engine.folder)
        texts = zip(sources, self.documents, strict=True)
        self._text = sha256_of([which(*one) for one in texts])[:DIGITS]
        self._entry = folder.entry(f"{self._group}-{self._text}")
        self._origin: KeptReading | None = None
        self._seal = ""  # of the manifest that the entry had
        self._later = False  # a later version keeps this text
        self._writer: Writer | None = None
        self._ids = list(before)  # read since the last checkpoint
        self._anchors = 0  # of the stream, which are kept
        self._rows: dict[str, int] = {}  # of all logs, likewise
        self._seconds = 0.0  # of reading, in earlier runs
        self._began = self._last = perf_counter()

    def resume(self, session: "Session", stream: TokenStream) -> int:
        """Let a session begin behind what was kept of the stream; return the tokens that it need not read."""
        self._began = self._last = perf_counter()
        start = session.position
        self._rows = self._rows or dict.fromkeys(session.state.rows(), 0)
        if self._folder.fresh or self._writer is not None:
            return 0
        found = self._best(stream)
        if found is None:
            return 0
        kept, proven = found
        for snapshot in kept.latest(kept.manifest.prompt + proven.tokens):
            if snapshot.position <= start:
                break
            try:
                self._load(kept, snapshot, session)
            except Unusable as reason:
                self._refuse(str(reason))
                continue
            anchors = self._go_on(kept, proven, snapshot.position, session.state.rows())
            stream.begin_after(anchors, snapshot.position - kept.manifest.prompt)
            use(kept.folder)
            return session.position - start
        return 0

    def watch(self, session: "Session", stream: TokenStream) -> Iterator[list[int]]:
        """Yield the chunks of a stream, and keep from time to time what the session has read.

        Raises:
            KeyboardInterrupt: after Ctrl-C, once all that was read is kept.
        """
        with signals.patience(self._answer_signal) as patience:
            for tokens in stream:
                at = session.position - self._manifest.prompt
                # What a text grows by may change its last token: go back by less than a chunk then.
                last = len(self._ids) >= self._chunk > len(tokens) and stream.border <= at
                if self._is_due(at == stream.border) or last or patience.asked:
                    self._checkpoint(session, stream)
                if patience.asked:
                    self._stop(session.position)
                self._ids += tokens
                yield tokens

    def finish(self, session: "Session", stream: TokenStream) -> None:
        """Keep all that was read, while whatever follows goes on."""
        self._checkpoint(session, stream)

    @property
    def entry(self) -> Path:
        """Return the folder of what is kept."""
        return self._entry

    def close(self) -> None:
        """Wait until all is written."""
        if self._writer is not None:
            self._writer.close()

    def _order(self, sources: Sequence[Source]) -> list[int]:
        """Return the numbers of documents as the reading has them that begins with most of them, others last.

        Where a file is new, or another one is changed more often by now, nothing else is read again for that.
        """
        numbers = {_identity(source): number for number, source in enumerate(sources)}
        best: list[int] = []
        most = 0
        for path in self._folder.entries(self._group) if len(sources) > 1 and not self._folder.fresh else ():
            with suppress(Unusable):
                kept = [numbers.get(_identity(one)) for one in read_manifest(path)[0].documents]
                if (count := len(list(takewhile(lambda number: number is not None, kept)))) > most:
                    best, most = [number for number in kept if number is not None], count
        return list(dict.fromkeys([*best, *range(len(sources))]))

    def _best(self, stream: TokenStream) -> tuple[KeptReading, Proven] | None:
        """Return what was kept of this text, or else of another one that begins like it."""
        given = self._folder.entry(GIVEN)
        if given.exists() and (found := self._opened(given, stream)):
            return found
        if (self._entry / MANIFEST).exists():
            return self._opened(self._entry, stream)
        shared: dict[Path, int] = {}
        for path in self._folder.entries(self._group):
            with suppress(Unusable):
                shared[path] = _alike(read_manifest(path)[0].documents, self._manifest.documents)
        most = max(shared, key=lambda path: shared[path], default=None)
        if most is not None and shared[most]:
            return self._opened(most, stream)
        self._say_what_differs()
        return None

    def _opened(self, path: Path, stream: TokenStream) -> tuple[KeptReading, Proven] | None:
        try:
            kept = KeptReading.open(path)
            if path == self._entry:
                self._seal = kept.seal
            if kept.manifest.fingerprint != self._manifest.fingerprint:
                if path.name == GIVEN:
                    self._say_other(kept.manifest)
                return None
            if kept.damage:
                self._refuse(f"after {kept.manifest.tokens:,} tokens, {kept.damage}")
            return kept, kept.proven(stream)
        except LaterVersion as reason:
            self._later = path == self._entry
            self._refuse(str(reason))
        except (Unusable, OSError, ValueError, LookupError, TypeError) as reason:
            self._refuse(str(reason))
        return None

    def _load(self, kept: KeptReading, snapshot: Snapshot, session: "Session") -> None:
        new = session.engine.session()
        kept.load(new.state, snapshot)
        session.state = new.state

    def _go_on(self, kept: KeptReading, proven: Proven, position: int, rows: dict[str, int]) -> list[Anchor]:
        """Take over what was kept up to a position; return the places of what comes before it."""
        anchors = [one for one in proven.anchors if one.end <= position - kept.manifest.prompt]
        manifest = self._manifest
        manifest.segments = [one for one in kept.manifest.segments if one.end <= position]
        manifest.snapshots = [one for one in kept.manifest.snapshots if one.position <= position]
        manifest.created, self._seconds = kept.manifest.created, kept.manifest.seconds
        self._origin, self._ids, self._anchors, self._rows = kept, [], len(anchors), rows
        return anchors

    def _is_due(self, begins: bool) -> bool:
        """Tell whether to begin a checkpoint before another chunk is read.

        That is at half of what a crash may cost: the other half may be read until it is written. And where a
        document begins, for the day when it changes.
        """
        since = perf_counter() - self._last
        if not begins and 2 * (len(self._ids) + self._chunk) <= TOKENS and 2 * since < SECONDS:
            return False
        return self._writer is None or since >= WORTH * self._writer.cost

    def _checkpoint(self, session: "Session", stream: TokenStream) -> None:
        """Keep what was read since the last checkpoint, unless that is not worth it."""
        now = perf_counter()
        seconds, self._last = now - self._began, now
        prompt, end, state = self._manifest.prompt, session.position, session.state
        short = seconds < self._folder.least_seconds and not self._manifest.segments
        if not self._ids or end == prompt or short or self._later:
            return
        if self._writer is None:
            self._writer = Writer(self._folder, self._entry, self._manifest, self._origin, self._seal)
        if self._writer.failure:
            return
        anchors = [one for one in stream.anchors[self._anchors :] if prompt + one.end <= end]
        kept = {**told(self._ids, anchors), **state.appended(self._rows)}
        self._writer.write(
            Checkpoint(
                end - len(self._ids),
                end,
                {name: pieces for name, pieces in kept.items() if pieces},
                {name: x.clone() for name, x in state.constants().items()},
                self._seconds + seconds,
                end - prompt == stream.border,
                beside(session.engine.device),
            )
        )
        self._anchors += len(anchors)
        self._ids, self._rows = [], state.rows()

    def _stop(self, position: int) -> None:
        """End after Ctrl-C; say what is kept."""
        self.close()
        kept = self._writer is not None and not self._writer.failure
        how = f"{position:,} tokens are kept: the same command goes on from there"
        self._folder.say(f"stopped; {how if kept else 'nothing is kept'}")
        raise KeyboardInterrupt

    def _answer_signal(self) -> None:
        os.write(2, b"\nlongctx: finishing the tokens at hand, to keep them; Ctrl-C again stops at once\n")

    def _refuse(self, reason: str) -> None:
        self._folder.say(f"store: what was kept of this text is not used: {reason}")

    def _say_what_differs(self) -> None:
        """Say why nothing kept of this text can be used, where other weights or numbers read it."""
        for path in self._folder.entries():
            if path.name.endswith(f"-{self._text}"):
                with suppress(Unusable):
                    if self._say_other(read_manifest(path)[0]):
                        return

    def _say_other(self, manifest: Manifest) -> bool:
        """Say in what another reading of this text differs, unless it has another task."""
        other = differences(manifest.fingerprint, self._manifest.fingerprint)
        if "prompt" not in other:
            self._refuse(f"it was read with {in_words(other)}")
        return "prompt" not in other


def _alike(one: Sequence[Source], other: Sequence[Source]) -> int:
    """Count the leading documents that two readings have in common, whatever is in them."""
    pairs = zip(map(_identity, one), map(_identity, other), strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))


def _identity(source: Source) -> tuple[str, str | None, int]:
    """Return what tells a document from others, whatever is in it."""
    return source.place, source.header, source.start


def keeper_of(
    folder: Folder,
    engine: "Engine",
    before: Sequence[int],
    chunk: int,
    documents: Sequence[Document | Span],
    header: Header,
    *,
    movable: bool = False,
) -> Keeper | None:
    """Return what keeps a reading; None where nothing can be kept, having said why."""
    try:
        return Keeper(folder, engine, before, chunk, documents, header, movable=movable)
    except (OSError, Unusable) as reason:
        folder.say(f"store: nothing is kept or reused: {reason}")
        return None
