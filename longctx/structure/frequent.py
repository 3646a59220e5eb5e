"""The commonest of many things, counted in bounded memory (Misra and Gries 1982). Knows no texts."""


class Frequent:
    """Counts the commonest keys, and where each was first seen.

    Where more than twice `size` different keys come, the rarest are dropped. A count is then too small by at
    most `missed`, and a key that came more often than `missed` times is among those kept.
    """

    def __init__(self, size: int) -> None:
        self.size, self.missed, self.total = size, 0, 0
        self._kept: dict[str, list[int]] = {}  # key -> count, where it was first seen

    def add(self, key: str, where: int = 0) -> None:
        """Count a key."""
        self.total += 1
        if entry := self._kept.get(key):
            entry[0] += 1
            return
        self._kept[key] = [1, where]
        if len(self._kept) > 2 * self.size:
            self._drop()

    def __len__(self) -> int:
        return len(self._kept)

    def most(self, count: int | None = None) -> list[tuple[str, int, int]]:
        """List (key, count, where first seen), the commonest first, ties as they came."""
        ranked = sorted(self._kept.items(), key=lambda item: (-item[1][0], item[1][1]))
        return [(key, seen, where) for key, (seen, where) in ranked[:count]]

    def _drop(self) -> None:
        """Take the count of the key that just has no room from all, and drop those with nothing left."""
        least = sorted((seen for seen, _ in self._kept.values()), reverse=True)[self.size]
        self.missed += least
        self._kept = {key: [seen - least, where] for key, (seen, where) in self._kept.items() if seen > least}
