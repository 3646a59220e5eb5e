"""Which snapshots are worth their bytes: dense near the end, ever fewer towards the beginning."""

from collections.abc import Sequence

MOST = 12


def most_useful(positions: Sequence[int], most: int = MOST) -> set[int]:
    """Return at most so many of some rising positions, the last two always among them.

    An edit somewhere costs reading from the last snapshot before it. What is dropped is the snapshot whose
    loss makes that cost grow least, compared with the distance from the end: edits are likelier there.
    """
    kept = list(positions)
    while len(kept) > max(2, most):
        rest, end = [0, *kept], kept[-1]
        costs = [(rest[n + 2] - rest[n]) / (end - rest[n + 1]) for n in range(len(kept) - 2)]
        del kept[costs.index(min(costs))]
    return set(kept)
