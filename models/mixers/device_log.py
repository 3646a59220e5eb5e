"""KV logs as a decode step sees them: a table of pages on the device, which the kernels read."""

import torch
from torch import Tensor

from longctx.models.config import SoftmaxSpec
from longctx.models.kv_log import KVLog
from longctx.models.mixers.memory import Pointed, StepError, StepMemory
from longctx.models.rotary import Angles


class DeviceLog(StepMemory[KVLog]):
    """The KV logs of one softmax layer for B branches.

    Kernels read from device memory where keys and values lie and how many there are, so one captured CUDA
    graph serves every reading.

    Attributes:
        table: (B, rows, 5) int64, made by `kernels.pages_triton.page_table`.
        counts: (B,) int32, pages in use.
        pointed: where pointer heads looked in the last step; None without pointer heads.
    """

    def __init__(self, spec: SoftmaxSpec, batch: int, rows: int, device: torch.device):
        from longctx.kernels.attention_triton import default_splits
        from longctx.kernels.pages_triton import PAGE_FIELDS

        self.table = torch.zeros(batch, rows, PAGE_FIELDS, dtype=torch.int64, device=device)
        self.counts = torch.zeros(batch, dtype=torch.int32, device=device)
        self.pointed: Pointed | None = None
        heads = spec.pointer_heads
        self._heads = torch.tensor(heads, dtype=torch.int32, device=device) if heads else None
        # Triton's interpreter, on the CPU, runs one program after another.
        self._splits = default_splits(device, batch, spec.n_kv_heads) if device.type == "cuda" else 2

    def enter(self, branch: int, memory: KVLog, moved: bool) -> None:
        """Give a branch the pages of a log; the last page has room for its next token.

        Raises:
            StepError: when there are more pages than rows, or pages do not stay where they are.
        """
        from longctx.kernels.pages_triton import page_table

        if memory.opaque:
            raise StepError
        if not moved and not memory.needs_page:
            return
        pages = memory.reserve()
        if len(pages) > self.table.shape[1]:
            raise StepError
        self.table[branch].copy_(page_table([pages], self.table.shape[1])[0], non_blocking=True)
        self.counts[branch] = len(pages)

    def advance(self, branch: int, memory: KVLog) -> None:
        """Count the token that the kernels wrote into the log."""
        memory.advance()
        if self.pointed:
            position, mass = self.pointed
            memory.pointed = position[branch, None, None], mass[branch, None, None]

    def attend(self, q: Tensor, k: Tensor, v: Tensor, angles: Angles) -> Tensor:
        """Append one token per branch and attend from it to its whole branch, itself included.

        Args:
            q: (B, H, D), k, v: (B, Hkv, D), not rotated. angles: cos and sin, (B, R/2) float32.

        Returns:
            (B, H, D).
        """
        from longctx.kernels import attention_triton as kernels
        from longctx.kernels.pages_triton import append_token

        append_token(q, k, v, *angles, self.table, self.counts)
        at = q, self.table, self.counts
        count, splits = k.shape[1], self._splits
        out, weight = kernels.attention_decode(*at, n_kv_heads=count, splits=splits)
        if self._heads is not None:
            self.pointed = kernels.attention_pointer(
                *at, weight, self._heads, n_kv_heads=count, splits=splits
            )
        return out
