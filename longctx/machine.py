"""What a machine offers a model: threads, memory, and one CPU hazard."""

import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

from longctx.errors import ModelError

ONEDNN_LIMIT = "ONEDNN_MAX_CPU_ISA"
NO_AMX = "AVX512_CORE_BF16"  # a value of it
TILE_LEAF = 0x1D  # of CPUID
SPIN = "20000"  # turns of a waiting loop: more than passes between two products of a token
# Numbers of malloc.h: what is freed at the end of the heap is given back from so many bytes on; what is
# larger gets pages of its own. The second is the most that glibc takes.
TRIM, MMAP = (-1, 256 << 20), (-3, 32 << 20)


def prepare_cpu() -> None:
    """Set the environment of torch's libraries; must run before torch is imported.

    Waiting threads spin for some hundred microseconds and then sleep. Spinning for long, as GNU
    OpenMP does by itself, makes two threads 80 times slower than one as soon as another program keeps a
    core busy; sleeping at once makes them three times slower than this on an idle machine.

    oneDNN is kept off AMX where the processor does not describe its tiles: some virtual machines advertise
    AMX and hide the CPUID leaf that says how large tiles are, and a product then dies with SIGILL. Elsewhere
    AMX makes products of 8 bits more than twice as fast.

    Freed memory is kept for the next temporary: by itself, glibc gives the end of its heap back after every
    layer, and new pages cost a tenth of the time of reading.

    Values set by the user are kept.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN)
    cpuinfo = Path("/proc/cpuinfo")
    if ONEDNN_LIMIT not in os.environ and cpuinfo.exists() and hides_tiles(cpuinfo.read_text()):
        os.environ[ONEDNN_LIMIT] = NO_AMX
    if sys.platform == "linux" and not any(name.startswith("MALLOC_") for name in os.environ):
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):  # musl has none
            library.mallopt(*TRIM)
            library.mallopt(*MMAP)


def hides_tiles(cpuinfo: str) -> bool:
    """Tell whether a CPU, as Linux describes it, has AMX and ends its CPUID before the leaf of the tiles."""
    levels = re.findall(r"^cpuid level\s*:\s*(\d+)", cpuinfo, re.MULTILINE)
    return "amx_tile" in cpuinfo and min(map(int, levels), default=0) < TILE_LEAF


def check_reduced_precision(dtype: str) -> None:
    """Try a matmul in `dtype` in a child process, where a crash does no harm.

    Raises:
        ModelError: when the child dies or computes nonsense.
    """
    program = (
        f"import torch; x = torch.full((64, 64), 0.5, dtype=torch.{dtype}); "
        "assert (torch.nn.functional.linear(x, x).float() == 16).all()"
    )
    # Without -P, and in this folder, the child would import a torch.py that lies here.
    command = [sys.executable, "-P", "-c", program]
    child = subprocess.run(command, capture_output=True, cwd="/", check=False)
    if child.returncode:
        raise ModelError(f"--dtype {dtype}: this CPU cannot compute in it; use --dtype float32")


def usable_threads() -> int:
    """Return the number of CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory() -> int:
    """Return the bytes this process can still use: free memory, or less under a container's limit."""
    import psutil

    free = int(psutil.virtual_memory().available)
    limit = Path("/sys/fs/cgroup/memory.max")
    used = Path("/sys/fs/cgroup/memory.current")
    try:
        return min(free, int(limit.read_text()) - int(used.read_text()))
    except (OSError, ValueError):  # no cgroup, or "max"
        return free


def give_back_memory() -> None:
    """Give the system what was freed; the C library keeps some hundred MB after rounding weights."""
    import ctypes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim:
        trim(0)


def resident_memory() -> int:
    """Return the bytes of memory this process holds now."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def gib(size: float) -> str:
    """Return a size as text, in binary units."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:,.0f} bytes" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1024
    raise AssertionError
