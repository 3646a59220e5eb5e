"""What a segment says of its tokens beside the rows of logs: their ids, and where they stand."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from longctx.tokens.stream import DIGEST, Anchor

if TYPE_CHECKING:
    from torch import Tensor

# The names of logs begin with the number of their layer.
TOKENS, PLACES, DIGESTS = "tokens", "places", "digests"


def told(ids: Sequence[int], anchors: Sequence[Anchor]) -> "dict[str, list[Tensor]]":
    """Return ids (n,) int32, and of windows: places (m, 7) int64 and digests (m, 16) uint8."""
    import torch

    rows = [
        (
            one.position,
            one.tokens,
            one.part,
            one.span.byte_start,
            one.span.byte_end,
            one.span.first_line,
            one.span.last_line,
        )
        for one in anchors
    ]
    digests = [list(one.digest) for one in anchors]
    return {
        TOKENS: [torch.tensor(ids, dtype=torch.int32)],
        PLACES: [torch.tensor(rows, dtype=torch.int64).reshape(-1, 7)],
        DIGESTS: [torch.tensor(digests, dtype=torch.uint8).reshape(-1, DIGEST)],
    }
