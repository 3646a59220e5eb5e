"""Which test enters which functions, and in what time: a map that tells by which tests a fault is judged.

The map is kept in a file and made anew only for test files that changed.
"""

import hashlib
import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("longctx/", "models/", "kernels/")


class Test(NamedTuple):
    """What is known of a test: seconds of CPU, and functions entered, as "longctx/output.py clean"."""

    seconds: float
    functions: frozenset[str]


def names(entered: Iterator[tuple[str, str]]) -> set[str]:
    """Return the names of our own functions among pairs of a file and a qualified name."""
    found = set()
    for file, name in entered:
        path = os.path.relpath(os.path.realpath(file), ROOT)
        if path.startswith(PARTS):
            found.add(f"{path} {name}")
    return found


class Steady:
    """A pytest plugin: hypothesis draws the same examples each time, and does not shrink those that fail."""

    def pytest_collection(self) -> None:
        """Change the profile that conftest has made; imported here, or pytest warns."""
        from hypothesis import Phase, settings

        phases = (Phase.explicit, Phase.generate)
        settings.register_profile("mutants", derandomize=True, database=None, phases=phases, deadline=None)
        settings.load_profile("mutants")


class Watch:
    """A pytest plugin that notes the functions entered by each test, its fixtures and its processes."""

    def __init__(self, folder: str):
        self.tests: dict[str, tuple[float, list[str]]] = {}
        self._folder = Path(folder)
        self._entered: list[dict[int, CodeType]] = [{}]
        self._fixtures: dict[str, set[str]] = {}
        self._failed = False

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            self._entered[-1][id(frame.f_code)] = frame.f_code

    def _leave(self) -> set[str]:
        """Return what was entered since the last level began, with what child processes left."""
        codes = self._entered.pop().values()
        found = names((code.co_filename, code.co_qualname) for code in codes if code.co_filename[0] != "<")
        for left in self._folder.iterdir():
            found |= names(tuple(line.split("\t")) for line in left.read_text().splitlines())  # type: ignore[misc]
            left.unlink()
        return found

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        """Note what a fixture enters: it is made once, and serves later tests too."""
        self._entered.append({})
        try:
            return (yield)
        finally:
            self._fixtures.setdefault(fixturedef.argname, set()).update(self._leave())

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Function) -> Iterator[None]:
        """Note what one test enters, and whether it passes."""
        self._entered, self._failed, before = [{}], False, sum(os.times()[:4])
        threading.settrace(self._note)  # for threads that begin now
        sys.settrace(self._note)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)
            found = self._leave().union(*(self._fixtures.get(name, ()) for name in item.fixturenames))
            if not self._failed:
                self.tests[item.nodeid] = (round(sum(os.times()[:4]) - before, 3), sorted(found))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test that does not pass: it judges nothing."""
        self._failed |= report.outcome != "passed"


def digest(path: Path) -> str:
    """Return what tells one version of a file from another."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fill(kept: Path, files: list[Path], child: Path) -> dict[str, Test]:
    """Return the map for some test files; those that it lacks, or has of another version, are run now."""
    known: dict[str, Any] = json.loads(kept.read_text()) if kept.is_file() else {}
    for path in files:
        name = path.relative_to(ROOT).as_posix()
        if known.get(name, {}).get("digest") != digest(path):
            known[name] = {"digest": digest(path), "tests": _watched(path, child)}
            print(f"# {name}: {len(known[name]['tests'])} tests", flush=True)
            kept.write_text(json.dumps(known))
    chosen = [known[path.relative_to(ROOT).as_posix()]["tests"] for path in files]
    return {name: Test(*told) for tests in chosen for name, told in tests.items()}


def _watched(path: Path, child: Path) -> dict[str, Any]:
    """Run a test file in a fork, with an eye on what it enters."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        entered = Path(folder, "entered")
        entered.mkdir()
        if not (pid := os.fork()):
            os.environ |= {"ENTERED": str(entered), "PYTHONPATH": f"{child}{os.pathsep}{ROOT}"}
            watch = Watch(str(entered))
            quiet(folder)
            pytest.main([*QUIETLY, str(path)], plugins=[Steady(), watch])
            result.write_text(json.dumps(watch.tests))
            os._exit(0)
        os.waitpid(pid, 0)
        return dict(json.loads(result.read_text())) if result.is_file() else {}


QUIETLY = ["-q", "-s", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not slow"]


def quiet(folder: str) -> None:
    """In a fork: read and write nothing of the caller's, and keep temporary files in a folder that goes."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.environ |= {"TMPDIR": folder, "PYTEST_DEBUG_TEMPROOT": folder}
    tempfile.tempdir = folder
