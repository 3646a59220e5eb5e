"""Proves a kept reading: files against their hashes, states and logs against reading some windows again.

A window begins at a snapshot. It is read twice from there: on the grid of chunks that the reading had, which
should give the same bits, and on a finer one. What the finer grid changes is rounding, and tells how much a
difference may be before it is none of rounding.
"""

import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

from longctx.store.files import Unusable, check, open_tensors
from longctx.store.kept import KeptReading
from longctx.store.manifest import Manifest, Snapshot
from longctx.store.segment import TOKENS
from longctx.tokens.stream import borders

if TYPE_CHECKING:
    from torch import Tensor

    from longctx.engine import Engine, Session

Tensors: TypeAlias = "dict[tuple[str, str], Tensor]"  # by kind and name
Amounts = dict[str, float]  # of each kind (log, state, logits): the largest difference, of the largest value
SLACK = 8  # times what another grid changes, a difference may be rounding, too: other threads, another torch
FINEST = 16  # roundings of a number, likewise, where another grid changes nothing


@dataclass(frozen=True)
class Window:
    """Tokens start..end, read again and compared.

    Attributes:
        differences: from what is kept, on the same grid.
        others: from that, on a finer grid of `chunk` tokens.
        bounds: of what rounding explains. wrong: the tensors that differ by more.
    """

    start: int
    end: int
    chunk: int
    differences: Amounts
    others: Amounts
    bounds: Amounts
    wrong: list[str] = field(default_factory=list)


def damages(kept: KeptReading) -> Iterator[str]:
    """Yield what is wrong with the files of a reading and the chain that ties them, byte by byte."""
    manifest = kept.manifest
    again, end = Manifest(manifest.fingerprint, manifest.prompt), 0
    for segment in manifest.segments:
        if segment.start != end or again.link(segment.start, segment.end, segment.file) != segment:
            yield f"{segment.file.name} is not tied to what is before it"
            return
        again.segments.append(segment)
        end = segment.end
    for file in manifest.files:
        try:
            check(kept.folder, file, whole=True)
        except Unusable as reason:
            yield str(reason)
    ends = {segment.end for segment in manifest.segments}
    yield from (f"{s.file.name} is of no segment's end" for s in manifest.snapshots if s.position not in ends)


class Verifier:
    """Reads windows of a reading again.

    Args:
        most: tokens of a window; one that cannot reach the next snapshot has no state to be compared with.
        show: is told how many tokens were read.
    """

    def __init__(
        self, kept: KeptReading, engine: "Engine", most: int, show: Callable[[int], object] = lambda _: None
    ) -> None:
        self._kept, self._engine, self._most, self._show = kept, engine, most, show
        manifest = kept.manifest
        self._ids = [
            token for n in range(len(manifest.segments)) for token in kept.segment(n)[TOKENS].tolist()
        ]
        self._starts: list[Snapshot | None] = [None, *manifest.snapshots]
        self._chunk = int(manifest.fingerprint["chunk"])
        windows = ((place[0], place[2]) for place, _ in kept.windows())
        self._borders = [manifest.prompt + at for at in borders(windows, self._chunk)]

    def windows(self, count: int, draw: random.Random) -> Iterator[Window]:
        """Compare some windows, drawn at random; at least one reaches a snapshot, if any is near enough."""
        snapshots = self._kept.manifest.snapshots
        choices = range(len(snapshots))
        picked = draw.sample(choices, min(count, len(choices)))
        near = [n for n in choices if self._end(n) == snapshots[n].position]
        if near and picked and not set(near) & set(picked):
            picked[-1] = draw.choice(near)
        for number in sorted(picked):
            yield self._compared(number)

    def _position(self, number: int) -> int:
        snapshot = self._starts[number]
        return snapshot.position if snapshot else 0

    def _cuts(self, start: int, end: int, chunk: int) -> list[int]:
        """Return where chunks end that begin at or after a start, up to an end, which is the last."""
        cuts = {end}
        for segment in self._kept.manifest.segments:
            first = segment.start or self._kept.manifest.prompt
            begins = [first, *(at for at in self._borders if first < at < segment.end)]
            for begin, stop in pairwise([*begins, segment.end]):
                cuts.update(range(begin, min(stop, end), chunk))
        return sorted(cut for cut in cuts if cut > max(start, self._first(start)))

    def _first(self, start: int) -> int:
        """Return where documents begin behind a start: the prompt is read apart."""
        return start or self._kept.manifest.prompt

    def _end(self, number: int) -> int:
        """Return where a window ends: at the next snapshot, or at the last border of chunks before `most`."""
        start, end = self._position(number), self._position(number + 1)
        cuts = self._cuts(start, end, self._chunk) or [end]
        return max((cut for cut in cuts if cut - start <= self._most), default=cuts[0])

    def _compared(self, number: int) -> Window:
        import torch

        start, end = self._position(number), self._end(number)
        finer = max(1, min(self._chunk, end - self._first(start)) // 2)
        reached = self._starts[number + 1]
        expected = self._expected(start, end, reached if reached and reached.position == end else None)
        again, other = (self._again(number, end, chunk, set(expected)) for chunk in (self._chunk, finer))
        whole = ("logits", "logits") in expected
        found = {key: difference(again[key], tensor, whole) for key, tensor in expected.items()}
        most, others = largest(found), largest({key: difference(other[key], again[key]) for key in again})
        least = FINEST * torch.finfo(self._engine.model.dtype).eps
        bounds = {kind: max(SLACK * by, least) if math.isfinite(by) else least for kind, by in others.items()}
        wrong = [name for (kind, name), by in found.items() if not by <= bounds[kind]]
        return Window(start, end, finer, most, others, bounds, wrong)

    def _expected(self, start: int, end: int, reached: Snapshot | None) -> Tensors:
        """Return what is kept of a window: rows of logs; where it reaches a snapshot, states and logits."""
        import torch

        rows: dict[str, list[Tensor]] = {}
        for number, segment in enumerate(self._kept.manifest.segments):
            if start <= segment.start < end:
                for name, tensor in self._kept.segment(number).items():
                    if name[:1].isdigit():  # of a layer
                        rows.setdefault(name, []).append(tensor)
        found: Tensors = {("logs", name): torch.cat(pieces, dim=-2) for name, pieces in rows.items()}
        if reached is not None:
            states = open_tensors(self._kept.folder, reached.file)
            found |= {("states", name): tensor for name, tensor in states.items()}
            found["logits", "logits"] = self._logits(self._loaded(reached))
        return found

    def _loaded(self, snapshot: Snapshot | None) -> "Session":
        session = self._engine.session()
        if snapshot:
            self._kept.load(session.state, snapshot)
        return session

    def _logits(self, session: "Session") -> "Tensor":
        """Return the logits (V,) after one more token: the next that was read, or else the last once more."""
        import torch

        model, at = self._engine.model, min(session.position, len(self._ids) - 1)
        with torch.inference_mode():
            token = torch.tensor([[self._ids[at]]], device=self._engine.device)
            return model.logits(model(token, session.state)[0, -1])

    def _again(self, number: int, end: int, chunk: int, wanted: set[tuple[str, str]]) -> Tensors:
        """Read a window, and return what is wanted of it; what the model does not have is empty."""
        import torch

        session = self._loaded(self._starts[number])
        start = session.position
        since = session.state.rows() if start else dict.fromkeys(session.state.rows(), 0)
        first = self._first(start)
        session.read(self._ids[start:first])
        pieces = pairwise([first, *self._cuts(start, end, chunk)])
        for count in session.read_chunks(self._ids[a:b] for a, b in pieces):
            self._show(count)
        logs = session.state.appended(since).items()
        got = {("logs", name): torch.cat(list(rows), dim=-2) for name, rows in logs if rows}
        got |= {("states", name): tensor for name, tensor in session.state.constants().items()}
        if ("logits", "logits") in wanted:
            got["logits", "logits"] = self._logits(session.fork())  # states change in place
        return {key: got.get(key, torch.empty(0)) for key in wanted}


def difference(got: "Tensor", kept: "Tensor", whole: bool = True) -> float:
    """Return the largest difference as a share of the largest value; infinite where shapes do not fit.

    Args:
        got: as it was read again. kept: more rows, unless it is the `whole`, of a log that goes on.
    """
    import torch

    from longctx.models.kv_form import unrounded

    if not whole and got.ndim == kept.ndim:
        kept = kept[..., : got.shape[-2], :]
    if (got.shape, got.dtype) != (kept.shape, kept.dtype):
        return float("inf")
    if torch.equal(got, kept) or not kept.numel():
        return 0.0
    if got.dtype == torch.int8:  # rows of a log in 8 bits
        got, kept = unrounded(got), unrounded(kept)
    got, kept = got.double(), kept.double()
    by = float((got - kept).abs().max() / got.abs().max())
    return float("inf") if math.isnan(by) else by


def largest(found: Mapping[tuple[str, str], float]) -> Amounts:
    """Return the largest difference of each kind."""
    amounts: Amounts = {}
    for (kind, _), by in found.items():
        amounts[kind] = max(by, amounts.get(kind, 0.0))
    return amounts
