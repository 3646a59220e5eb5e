"""Which snapshots are worth their bytes: dense near the end, ever fewer towards the beginning."""

from collections.abc import Mapping

MOST = 12
PREFERRED = 4  # times as much as another, a snapshot is worth where a document begins


def most_useful(positions: Mapping[int, bool], most: int = MOST) -> set[int]:
    """Return at most so many of some rising positions, the last two always among them.

    An edit somewhere costs reading from the last snapshot before it. What is dropped is the snapshot whose
    loss makes that cost grow least, compared with the distance from the end: edits are likelier there. Where
    a document begins, nothing at all is read twice when it is changed, renamed or deleted.

    Args:
        positions: whether a document begins there.
    """
    kept = list(positions)
    while len(kept) > max(2, most):
        rest, end = [0, *kept], kept[-1]
        costs = [
            (rest[n + 2] - rest[n]) / (end - rest[n + 1]) * (PREFERRED if positions[rest[n + 1]] else 1)
            for n in range(len(kept) - 2)
        ]
        del kept[costs.index(min(costs))]
    return set(kept)
