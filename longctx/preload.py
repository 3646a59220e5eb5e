"""How a command comes by torch sooner: its library needs no Python, and is loaded beside what does."""

import ctypes
import os
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Thread


def begin() -> None:
    """Begin to load torch's library, for whoever will import torch soon; nothing is lost if that fails.

    That is a fifth of what importing it takes. Modules written in C that are imported meanwhile wait for it:
    the system loads one library at a time.
    """
    spec = find_spec("torch") if sys.platform == "linux" and "torch" not in sys.modules else None
    if spec and spec.origin:
        library = Path(spec.origin).parent / "lib" / "libtorch_cpu.so"
        with suppress(RuntimeError):  # there may be no more threads
            Thread(target=_load, args=(library,)).start()


def _load(library: Path) -> None:
    # ctypes.CDLL itself would keep Python waiting.
    load = ctypes.CDLL(None).dlopen
    load.restype, load.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
    load(os.fsencode(library), os.RTLD_NOW)
