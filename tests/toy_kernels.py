"""A good kernel and launches of it that are bad on purpose: what the compile check must tell apart."""

import torch
import triton
import triton.language as tl

from bench.compiled import Case


@triton.jit  # type: ignore[untyped-decorator]  # triton has no types
def product(x, y, out, ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr):  # type: ignore[no-untyped-def]  # arguments of a kernel have no Python types
    i, j, k = tl.arange(0, ROWS), tl.arange(0, COLUMNS), tl.arange(0, INNER)
    a = tl.load(x + i[:, None] * INNER + k[None, :])
    b = tl.load(y + k[:, None] * COLUMNS + j[None, :])
    tl.store(out + i[:, None] * COLUMNS + j[None, :], tl.dot(a, b))


@triton.jit  # type: ignore[untyped-decorator]  # triton has no types
def copy(x, out, N: tl.constexpr):  # type: ignore[no-untyped-def]  # as above
    i = tl.arange(0, N)
    tl.store(out + i, tl.load(x + i))


def launch(rows: int, columns: int, inner: int, warps: int) -> None:
    x = torch.empty(rows, inner, dtype=torch.bfloat16)
    y = torch.empty(inner, columns, dtype=torch.bfloat16)
    out = torch.empty(rows, columns)
    product[(1,)](x, y, out, ROWS=rows, COLUMNS=columns, INNER=inner, num_warps=warps, num_stages=1)


GOOD = Case("good", lambda: launch(64, 64, 64, 4), wgmma=True)
SPILLS = Case("spills", lambda: launch(128, 128, 64, 1))
GREEDY = Case("greedy", lambda: launch(64, 64, 2048, 8))
OLD = Case("without wgmma", lambda: launch(16, 64, 64, 4), wgmma=True)
BROKEN = Case("broken", lambda: launch(64, 64, 48, 4))
IDLE = Case("idle", lambda: copy[(1,)](torch.empty(64), torch.empty(64), N=64), wgmma=True)
SILENT = Case("silent", lambda: None)
CASES = [GOOD, SPILLS, GREEDY, OLD, BROKEN, IDLE, SILENT]
