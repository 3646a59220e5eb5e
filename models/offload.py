"""Experts that memory has no room for: read when they are used, and kept while there is room.

What was used last is kept longest. Long passages use all experts of a layer in turn, which would drive out
every expert before it is used again; they only fill room that is free. While a layer is computed, a thread
reads what comes next.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import overload

from torch import Tensor

from longctx.kernels.linear import Matrix

FEW = 16  # tokens, up to which their experts are worth keeping in place of others
AHEAD = 4  # the share of the budget that is for what comes next is one of so many

Key = tuple[int, int]  # number of a stack, number of a matrix in it


class ExpertCache:
    """Matrices of experts in memory, up to a budget.

    Attributes:
        budget: bytes of matrices held and read ahead.
        hits, misses: matrices that were asked for and were held, or were not.
    """

    def __init__(self, budget: int):
        self.budget, self.hits, self.misses = budget, 0, 0
        self._stacks: list[OffDevice] = []
        self._held: OrderedDict[Key, Matrix] = OrderedDict()
        self._bytes = self._ahead = 0  # of those held, and of those read ahead
        self._coming: dict[Key, Future[Matrix]] = {}
        self._wanted: deque[Key] = deque()
        self._replacing = True
        self._reader = ThreadPoolExecutor(1, "experts")

    def stack(self, makers: Sequence[Callable[[], Matrix]], size: int) -> "OffDevice":
        """Return a stack whose matrices are made when they are asked for.

        Args:
            makers: one for each matrix; run in any thread, they give the same matrix every time.
            size: bytes of a matrix.
        """
        self._stacks.append(OffDevice(self, len(self._stacks), makers, size))
        return self._stacks[-1]

    def expect(self, layer: Sequence["OffDevice"], following: Sequence["OffDevice"], chosen: Tensor) -> None:
        """Read ahead what a layer is going to use.

        Args:
            layer: its stacks, in the order of their use.
            following: those of the next layer, of which many tokens will use most matrices.
            chosen: experts of each token, (T, k).
        """
        self._replacing = len(chosen) <= FEW
        experts = chosen[0].tolist() if len(chosen) == 1 else chosen.unique().tolist()
        keys = [(stack.number, e) for e in experts for stack in layer]
        if following and not self._replacing:
            keys += [(stack.number, e) for e in range(len(following[0])) for stack in following]
        self._wanted = deque(keys)
        for key in self._coming.keys() - set(keys):  # they would take the room of others for ever
            self._coming.pop(key).cancel()
            self._ahead -= self._stacks[key[0]].size
        self._read_ahead()

    def get(self, key: Key) -> Matrix:
        """Return a matrix."""
        number, member = key
        stack = self._stacks[number]
        found = self._held.get(key)
        if found is not None:
            self.hits += 1
            self._held.move_to_end(key)
        else:
            self.misses += 1
            found = self._come(key) if key in self._coming else stack.makers[member]()
            self._keep(key, found)
        self._read_ahead()
        return found

    @property
    def held_bytes(self) -> int:
        """Return the bytes held and read ahead."""
        return self._bytes + self._ahead

    def finish_reading(self) -> None:
        """Wait for what is being read ahead."""
        wait(self._coming.values())

    def _come(self, key: Key) -> Matrix:
        self._ahead -= self._stacks[key[0]].size
        return self._coming.pop(key).result()

    def _keep(self, key: Key, matrix: Matrix) -> None:
        size, room = self._stacks[key[0]].size, self.budget - self.budget // AHEAD
        while self._replacing and self._held and self._bytes + size > room:
            (number, _), _ = self._held.popitem(last=False)
            self._bytes -= self._stacks[number].size
        if self._bytes + size <= room:
            self._held[key] = matrix
            self._bytes += size

    def _read_ahead(self) -> None:
        while self._wanted:
            number, member = key = self._wanted[0]
            stack = self._stacks[number]
            if key not in self._held and key not in self._coming:
                if self._ahead + stack.size > self.budget // AHEAD:
                    return
                self._ahead += stack.size
                self._coming[key] = self._reader.submit(stack.makers[member])
            self._wanted.popleft()


class OffDevice(Sequence[Matrix]):
    """A stack of matrices, each in memory only as the cache decides."""

    def __init__(self, cache: ExpertCache, number: int, makers: Sequence[Callable[[], Matrix]], size: int):
        self._cache, self.number, self.makers, self.size = cache, number, makers, size

    def __len__(self) -> int:
        return len(self.makers)

    @overload
    def __getitem__(self, member: int) -> Matrix: ...
    @overload
    def __getitem__(self, member: slice) -> Sequence[Matrix]: ...
    def __getitem__(self, member: int | slice) -> Matrix | Sequence[Matrix]:
        """Return a matrix."""
        if isinstance(member, slice):
            return [self[e] for e in range(len(self))[member]]
        return self._cache.get((self.number, member))

    def __iter__(self) -> Iterator[Matrix]:
        return map(self.__getitem__, range(len(self)))
