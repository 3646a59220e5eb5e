"""Read by every Python process that a test starts: brings it the fault, or notes what it enters.

This folder is put on PYTHONPATH by `bench.mutants`. MUTANT names a source file and a file of code to run in
its place; ENTERED names a folder for the names of entered functions. As little as can be is imported.
"""

import atexit
import marshal
import os
import sys
from importlib.machinery import SourceFileLoader
from types import CodeType, FrameType
from typing import Any

if fault := os.environ.get("MUTANT"):
    source, compiled = fault.split(os.pathsep)
    ordinary = SourceFileLoader.get_code

    def get_code(loader: SourceFileLoader, fullname: str) -> CodeType | None:
        """Return the code with the fault for the module that has it, and its own for any other."""
        if os.path.realpath(loader.path) != source:
            return ordinary(loader, fullname)
        with open(compiled, "rb") as file:  # noqa: PTH123
            code: CodeType = marshal.load(file)
        return code

    SourceFileLoader.get_code = get_code  # type: ignore[method-assign, assignment]

if folder := os.environ.get("ENTERED"):
    entered: dict[int, CodeType] = {}

    def note(frame: FrameType, event: str, _: Any) -> None:
        """Remember the code of a function that is called."""
        if event == "call":
            entered[id(frame.f_code)] = frame.f_code

    def write() -> None:
        """Leave the names of all functions entered."""
        sys.settrace(None)
        lines = {f"{code.co_filename}\t{code.co_qualname}\n" for code in entered.values()}
        with open(f"{folder}/{os.getpid()}", "w", encoding="utf-8") as file:  # noqa: PTH123
            file.writelines(line for line in lines if line[0] != "<")

    atexit.register(write)
    sys.settrace(note)
