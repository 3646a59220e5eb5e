"""Experts that a device has no room for: brought there when they are used, and kept while there is room.

They come from the files of the checkpoint, or for a GPU from the memory of its host. When a text is written,
what was used last is likely to be used again, so it is kept longest. A long passage goes through the experts
of all layers in turn: what was used last is needed last, so it goes first, and what was there before stays.
While a layer is computed, what it needs, and after a long passage what the next layer needs, is on its way.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, overload

from torch import Tensor

from longctx.errors import ModelError
from longctx.kernels.linear import Matrix
from longctx.kernels.moe import Stack
from longctx.kernels.rounded import Bits, RoundedMatrix
from longctx.models.lane import Lane, Mark
from longctx.models.slots import AtOnce, Kind, Maker, Slots

FEW = 16  # tokens, up to which the device is asked which experts they chose
SURELY = 4  # choices for each expert of a layer, from which on all of them are taken for chosen

Key = tuple[int, int]  # number of a layer, number of an expert in it


@dataclass
class Held:
    """An expert that is there or on its way.

    Attributes:
        coming: its matrices; or, where there are slots, the moment when its slot is filled.
        size: bytes that count; none when it only passes through.
        slot: its number, where there are slots.
        free: the moment when the device has done with it.
        new: it was not used yet.
    """

    coming: Future[Any]
    size: int
    slot: int = 0
    free: Mark = None
    new: bool = True


class ExpertCache:
    """Experts on a device, up to a budget.

    Args:
        budget: bytes of experts held, those read ahead among them.
        lane: to a device whose kernels take experts in one piece; None where they take matrices one by one,
            as on a CPU.
        at_once: makers only look experts up, in the memory of the host; otherwise a thread waits for them.

    Attributes:
        at_once: as given.
        hits, misses: experts that were used and were held, or were not.
    """

    def __init__(self, budget: int, lane: Lane | None = None, *, at_once: bool = False):
        self.budget, self.lane, self.hits, self.misses = budget, lane, 0, 0
        self.slots: Slots | None = None
        self._layers: list[AwayExperts] = []
        self._idle: OrderedDict[Key, Held] = OrderedDict()  # the first goes first
        self._ahead: OrderedDict[Key, Held] = OrderedDict()  # are going to be used, the first soonest
        self._using: dict[Key, Held] = {}
        self._wanted: deque[Key] = deque()
        self._bytes, self._in_turn, self.at_once = 0, False, at_once
        self._runs: Executor = AtOnce() if at_once else ThreadPoolExecutor(1, "experts")

    def layer(self, makers: Sequence[Maker], size: int, kinds: Sequence[Kind] = ()) -> "AwayExperts":
        """Return the experts of a layer.

        Args:
            makers: one for each expert; run in any thread, they give the same matrices every time.
            size: bytes of an expert.
            kinds: of its matrices, where there is a lane.

        Raises:
            ModelError: when the budget is less than the experts of a layer, where there is a lane.
        """
        if self.lane and not self.slots:
            self.slots = Slots(self.lane, self.budget // size, kinds)
        if self.slots and (self.slots.count < len(makers) or self.slots.kinds != tuple(kinds)):
            raise ModelError("there must be room for the experts of one layer, and all must have one shape")
        self._layers.append(AwayExperts(self, len(self._layers), makers, size))
        return self._layers[-1]

    def expect(self, keys: Sequence[Key], *, in_turn: bool) -> None:
        """Begin to bring what is going to be used, in this order; `in_turn`: all experts are."""
        self.release()
        self._in_turn = in_turn
        self._wanted, wanted = deque(keys), set(keys)
        for key in [key for key in self._ahead if key not in wanted]:
            held = self._ahead.pop(key)
            if held.coming.cancel():
                self._drop(held)
            else:
                self._put_back(key, held)
        for key in keys:
            if key in self._idle:
                self._ahead[key] = self._idle.pop(key)
        self._bring_ahead()

    def get(self, key: Key, *, alone: bool = True) -> Any:
        """Return the matrices of an expert, or its slot; it stays until another one is asked for `alone`."""
        if key not in self._using:
            if alone:
                self.release()
            held = self._ahead.pop(key, None) or self._idle.pop(key, None) or self._bring(key)
            assert held, "there is room for an expert of which there are no more than slots"
            self.hits, self.misses = self.hits + (not held.new), self.misses + held.new
            held.new = False
            self._using[key] = held
            self._bring_ahead()
        held = self._using[key]
        arrived = held.coming.result()
        if not self.slots:
            return arrived
        self.slots.lane.wait(arrived)
        return held.slot

    def release(self) -> None:
        """Let go of what was asked for, once the work that it was for is queued."""
        mark = self.lane.mark() if self.lane and self._using else None
        for key, held in self._using.items():
            held.free = mark
            self._put_back(key, held)
        self._using.clear()
        self._bring_ahead()

    def pinned(self, tensor: Tensor) -> Tensor:
        """Return a tensor of the host as the device reads it fastest."""
        return self.lane.pinned(tensor) if self.lane else tensor

    @property
    def held_bytes(self) -> int:
        """Return the bytes held and on their way."""
        return self._bytes

    def finish_reading(self) -> None:
        """Wait for what is on its way."""
        wait([held.coming for held in self._ahead.values()])

    def _put_back(self, key: Key, held: Held) -> None:
        if held.size:
            self._idle[key] = held
            self._idle.move_to_end(key, last=not self._in_turn)

    def _bring_ahead(self) -> None:
        while self._wanted:
            key = self._wanted[0]
            if key not in self._ahead and key not in self._using:
                held = self._bring(key, ahead=True)
                if held is None:
                    return
                self._ahead[key] = held
            self._wanted.popleft()

    def _bring(self, key: Key, *, ahead: bool = False) -> Held | None:
        """Begin to bring an expert; None when there is no room but what is used, or is going to be."""
        layer = self._layers[key[0]]
        maker = layer.makers[key[1]]
        while self._bytes + layer.size > self.budget:
            if not self._idle and (ahead or not self._ahead):
                return None if ahead or self.slots else Held(self._runs.submit(maker), 0)
            # What is going to be used gives way only to what is used now, the latest first.
            _, gone = self._idle.popitem(last=False) if self._idle else self._ahead.popitem()
            self._drop(gone)
        self._bytes += layer.size
        if self.slots is None:
            return Held(self._runs.submit(maker), layer.size)
        slot, free = self.slots.take()
        return Held(self._runs.submit(self.slots.fill, slot, maker, free), layer.size, slot, free)

    def _drop(self, held: Held) -> None:
        self._bytes -= held.size
        cancelled = held.coming.cancel()
        if self.slots:
            if not cancelled:
                wait([held.coming])  # its slot is being filled
            self.slots.give(held.slot, held.free)


class AwayExperts:
    """The experts of a layer, each on the device only as the cache decides.

    Attributes:
        following: those of the next layer.
    """

    def __init__(self, cache: ExpertCache, number: int, makers: Sequence[Maker], size: int):
        self._cache, self.number, self.makers, self.size = cache, number, makers, size
        self.following: AwayExperts | None = None

    @property
    def bits(self) -> Bits | None:
        """Return the bits of a weight, where kernels take experts in one piece and these are rounded."""
        pool = self._cache.slots.pools[0] if self._cache.slots else None
        return pool.bits if isinstance(pool, RoundedMatrix) else None

    def begin(self, chosen: Tensor) -> tuple[Stack, Stack, Stack]:
        """Return the stacks w1, w3 and w2 for tokens that chose experts (T, k); `end` must follow."""
        in_turn, cache = len(chosen) > FEW, self._cache
        experts = self._experts(chosen)
        keys = [(self.number, e) for e in experts]
        later = self.following
        next_keys = [(later.number, e) for e in range(len(later.makers))] if later and in_turn else []
        cache.expect(keys + next_keys, in_turn=in_turn)
        if cache.slots is None:
            return Matrices(cache, self, 0), Matrices(cache, self, 1), Matrices(cache, self, 2)
        places = [0] * len(self.makers)
        for key in keys:
            places[key[1]] = cache.get(key, alone=False)
        return cache.slots.stacks(places)

    def end(self) -> None:
        """Let the experts go, whose work is queued."""
        self._cache.release()

    def _experts(self, chosen: Tensor) -> list[int]:
        """Return the experts chosen, some others among them where it would cost a wait to know them."""
        if self._cache.slots and chosen.numel() >= SURELY * len(self.makers):
            return list(range(len(self.makers)))
        return sorted(set(chosen.flatten().tolist())) if len(chosen) <= FEW else chosen.unique().tolist()


class Matrices(Sequence[Matrix]):
    """One of the three stacks of a layer whose matrices are taken one by one."""

    def __init__(self, cache: ExpertCache, layer: AwayExperts, which: int):
        self._cache, self._layer, self._which = cache, layer, which

    def __len__(self) -> int:
        return len(self._layer.makers)

    @overload
    def __getitem__(self, member: int) -> Matrix: ...
    @overload
    def __getitem__(self, member: slice) -> Sequence[Matrix]: ...
    def __getitem__(self, member: int | slice) -> Matrix | Sequence[Matrix]:
        """Return a matrix."""
        if isinstance(member, slice):
            return [self[e] for e in range(len(self))[member]]
        return self._cache.get((self._layer.number, member))[self._which]  # type: ignore[no-any-return]  # an Expert

    def __iter__(self) -> Iterator[Matrix]:
        return map(self.__getitem__, range(len(self)))
