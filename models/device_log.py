"""KV logs as a decode step on a device sees them: a table of pages that kernels follow by themselves."""

import torch
from torch import Tensor

from longctx.kernels.attention import Page
from longctx.kernels.select import attempt

Angles = tuple[Tensor, Tensor]


class StepError(Exception):
    """The decode step cannot run: a kernel cannot be built, or a text has more pages than its table."""


class DeviceLog:
    """The KV logs of one softmax layer for B branches.

    Where keys and values lie, and how many there are, is read from device memory when the kernels run: a
    CUDA graph that was captured once serves every reading.

    Attributes:
        table: (B, rows, 5) int64, made by `kernels.attention_triton.page_table`.
        counts: (B,) int32, pages in use.
        pointed: position (B,) int64 and mass (B,) float32 of the last token's pointer, when asked for.
    """

    def __init__(
        self, batch: int, rows: int, n_kv_heads: int, pointer_heads: tuple[int, ...], device: torch.device
    ):
        from longctx.kernels.attention_triton import PAGE_FIELDS, default_splits

        self.table = torch.zeros(batch, rows, PAGE_FIELDS, dtype=torch.int64, device=device)
        self.counts = torch.zeros(batch, dtype=torch.int32, device=device)
        self.pointed: tuple[Tensor, Tensor] | None = None
        self._heads = torch.tensor(pointer_heads, dtype=torch.int32, device=device) if pointer_heads else None
        # Triton's interpreter, on the CPU, runs one program after another.
        self._splits = default_splits(device, batch, n_kv_heads) if device.type == "cuda" else 2

    def show(self, branch: int, pages: list[Page]) -> None:
        """Let a branch see these pages, (1, Hkv, n, D) each; the last one has room for its next token.

        Raises:
            StepError: when there are more pages than rows.
        """
        from longctx.kernels.attention_triton import page_table

        if len(pages) > self.table.shape[1]:
            raise StepError

        rows = page_table([pages], self.table.shape[1])
        self.table[branch].copy_(rows[0], non_blocking=True)
        self.counts[branch] = len(pages)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, angles: Angles) -> Tensor:
        """Append one token per branch and attend from it to all of its branch, itself included.

        Args:
            q: (B, H, D), k, v: (B, Hkv, D), not rotated. angles: cos and sin, (B, R/2) float32.

        Returns:
            (B, H, D).

        Raises:
            StepError: when a kernel cannot be built for this device.
        """
        from longctx.kernels import attention_triton as kernels

        def run() -> Tensor:
            kernels.append_token(q, k, v, *angles, self.table, self.counts)
            out, weight = kernels.attention_decode(
                q, self.table, self.counts, n_kv_heads=k.shape[1], splits=self._splits
            )
            if self._heads is not None:
                self.pointed = kernels.attention_pointer(
                    q,
                    self.table,
                    self.counts,
                    weight,
                    self._heads,
                    n_kv_heads=k.shape[1],
                    splits=self._splits,
                )
            return out

        done = attempt("attention_decode", run, q)
        if done is None:
            raise StepError
        return done.value
