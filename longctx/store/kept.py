"""A kept reading on disk: opened, proven against the documents, and loaded into a session.

Knows the files and what is in them; `keeper` decides when they are read and written.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from longctx.store.files import Unusable, check, open_tensors
from longctx.store.manifest import Manifest, Segment, Snapshot, read_manifest
from longctx.store.match import Proven, document_of, prove
from longctx.store.segment import DIGESTS, PLACES, TOKENS
from longctx.text.span import Span
from longctx.tokens.stream import Anchor, TokenStream

if TYPE_CHECKING:
    from torch import Tensor

    from longctx.models.state import State


@dataclass
class KeptReading:
    """A kept reading.

    Attributes:
        seal: of its manifest, as it was opened.
        damage: why later files of it cannot be used, once that was found out.
    """

    folder: Path
    manifest: Manifest
    seal: str
    damage: str = ""
    _segments: "dict[int, dict[str, Tensor]]" = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, folder: Path) -> "KeptReading":
        """Open a reading; what is damaged of it is left out.

        Raises:
            Unusable: when it has no manifest that can be read.
        """
        kept = cls(folder, *read_manifest(folder))
        segments = list(kept._sound())
        kept.manifest.segments = segments
        end = kept.manifest.tokens
        kept.manifest.snapshots = [one for one in kept.manifest.snapshots if one.position <= end]
        return kept

    def _sound(self) -> Iterator[Segment]:
        """Yield the segments up to the first that is damaged."""
        end = 0
        for segment in self.manifest.segments:
            try:
                if segment.start != end:
                    raise Unusable(f"{segment.file.name} does not follow what is before it")
                check(self.folder, segment.file)
            except Unusable as reason:
                self.damage = str(reason)
                return
            end = segment.end
            yield segment

    def segment(self, number: int) -> "dict[str, Tensor]":
        """Return the tensors of a segment, mapped into memory once."""
        if number not in self._segments:
            self._segments[number] = open_tensors(self.folder, self.manifest.segments[number].file)
        return self._segments[number]

    def tokens(self) -> list[int]:
        """Return the token ids of the documents."""
        count = len(self.manifest.segments)
        tokens = [token for number in range(count) for token in self.segment(number)[TOKENS].tolist()]
        return tokens[self.manifest.prompt :]

    def anchors(self, stream: TokenStream) -> list[Anchor]:
        """Return the places of the tokens, up to the first in a document that the stream does not have."""
        anchors: list[Anchor] = []
        for (position, tokens, part, *place), told in self.windows():
            if part >= len(stream.documents):
                break
            span = Span(document_of(stream.documents[part]), *place)
            anchors.append(Anchor(position, tokens, part, span, told))
        return anchors

    def windows(self) -> list[tuple[list[int], bytes]]:
        """Return place and digest of each window that was read, in order."""
        windows: list[tuple[list[int], bytes]] = []
        for number in range(len(self.manifest.segments)):
            tensors = self.segment(number)
            rows, digests = tensors[PLACES].tolist(), tensors[DIGESTS].numpy()
            if rows:  # of a text that changed, windows were cut anew
                while windows and windows[-1][0][0] >= rows[0][0]:
                    windows.pop()
            windows += zip(rows, (told.tobytes() for told in digests), strict=True)
        return windows

    def proven(self, stream: TokenStream) -> Proven:
        """Return how much of the stream it holds."""
        manifest = self.manifest
        count = max(0, manifest.tokens - manifest.prompt)
        return prove(manifest.documents, self.anchors(stream), count, self.tokens, stream)

    def latest(self, tokens: int) -> Iterator[Snapshot]:
        """Yield the snapshots at or before a position, the last first."""
        yield from reversed([one for one in self.manifest.snapshots if one.position <= tokens])

    def load(self, state: "State", snapshot: Snapshot) -> None:
        """Bring a new state to where a snapshot was taken.

        Raises:
            Unusable: when a file is damaged, or is of another model.
        """
        constants = open_tensors(self.folder, snapshot.file)
        logs: dict[str, list[Tensor]] = {name: [] for name in state.rows()}
        for number, segment in enumerate(self.manifest.segments):
            if segment.end <= snapshot.position:
                self._add_rows(number, logs)
        try:
            state.adopt(snapshot.position, constants, logs)
        except (ValueError, KeyError) as error:
            raise Unusable(f"{snapshot.file.name} is of another model ({error})") from error
        for name, count in state.rows().items():
            if name.endswith((".keys", ".values")) and count != snapshot.position:
                raise Unusable(f"{name} has {count:,} rows for {snapshot.position:,} tokens")

    def _add_rows(self, number: int, logs: "Mapping[str, list[Tensor]]") -> None:
        tensors = self.segment(number)
        for name, pieces in logs.items():
            if name in tensors:  # a log may have grown by nothing
                pieces.append(tensors[name])
