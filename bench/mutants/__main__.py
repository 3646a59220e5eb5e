"""A mutation score: small faults put into functions one by one, and whether the tests notice.

    python -m bench.mutants --each 2 --seed 27 --minutes 60 --map map.json

A sample, not a census: `--each` faults are drawn from each module, in rounds over the modules, so that a run
that stops early has sampled all alike. A fault is judged by the tests that enter its function (or
else its module), the quickest first, until one fails or `--seconds` of tests have passed.
Some are tried again without the fault. No file changes: tests are collected once, and each trial is a fork in
which one function gets other code. Processes that tests start get it as well. Faults outside of functions are
not tried. Left out are slow tests, those of the benches, of training and of Triton's interpreter, and the
modules that only a GPU runs.
"""

import argparse
import ast
import contextlib
import importlib
import marshal
import math
import os
import random
import signal
import tempfile
import time
from pathlib import Path
from types import CodeType
from typing import NamedTuple

import pytest
import torch  # noqa: F401 - before all forks, which then need not

from bench.mutants.faults import Site, implant, sites
from bench.mutants.reach import QUIETLY, ROOT, Steady, Test, fill, quiet

CHILD = Path(__file__).parent / "child"
PARTS = ("longctx/**/*.py", "models/**/*.py", "kernels/*.py")
NOT_HERE = ("triton", "kernels/chips.py", "models/lane.py", "models/slots.py", "models/mixers/device_log.py")
LEFT_OUT = (
    "triton",
    "training",
    "bench",
    "gpu",
    "compiled",
    "evaluation",
    "fuzz",
    "layers",
    "packaging",
    "shape",
)
CONTROL = 10  # of so many faults that are noticed, one is tried again without the fault
BROKEN = 77  # exit code of a trial that could not be run
OUTCOMES = {0: "survived", BROKEN: "not tried"}


class Fault(NamedTuple):
    """A fault: its file, the function it is in, a line about it, and the module's code with it."""

    path: Path
    function: str
    line: str
    code: CodeType


def modules() -> list[str]:
    """List the modules that hold code for a machine without a GPU."""
    found = {path.relative_to(ROOT).as_posix() for part in PARTS for path in ROOT.glob(part)}
    return sorted(name for name in found if not any(word in name for word in NOT_HERE))


def draw(module: str, seed: int, each: int) -> list[Fault]:
    """Draw different faults of a module; fewer if it has fewer."""
    path = ROOT / module
    source = path.read_text(encoding="utf-8")
    chosen = random.Random(f"{seed} {module}")
    numbers = range(len(sites(ast.parse(source))))
    return [_made(path, source, number) for number in chosen.sample(numbers, min(each, len(numbers)))]


def _made(path: Path, source: str, number: int) -> Fault:
    tree = ast.parse(source)
    site: Site = sites(tree)[number]
    before, at = " ".join(ast.unparse(site.node).split()), site.node.lineno  # type: ignore[attr-defined]
    site.apply()
    after = "" if site.kind in ("removed", "return", "not") else f" -> `{ast.unparse(site.node)}`"
    name = path.relative_to(ROOT).as_posix()
    line = f"{name}:{at} {site.kind}: `{before[:90]}`{after} in `{source.splitlines()[at - 1].strip()}`"
    code = compile(ast.fix_missing_locations(tree), str(path), "exec")
    return Fault(path, f"{name} {site.function}", line, code)


def judges(fault: Fault, known: dict[str, Test], seconds: float) -> list[str]:
    """Choose the tests for a fault, quickest first: those that enter its function, or its module."""
    module = fault.function.split()[0] + " "
    near = [name for name, test in known.items() if fault.function in test.functions] or [
        name for name, test in known.items() if any(x.startswith(module) for x in test.functions)
    ]
    chosen: list[str] = []
    left = seconds
    for name in sorted(near, key=lambda name: known[name].seconds):
        if chosen and known[name].seconds > left:
            break
        left -= known[name].seconds
        chosen.append(name)
    return chosen


class Trials:
    """A pytest plugin that runs chosen tests for each fault, in a fork, instead of all tests once."""

    def __init__(self, faults: list[Fault], known: dict[str, Test], options: argparse.Namespace):
        self._faults, self._known, self._options = faults, known, options
        self.outcomes: list[str] = []

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Try the faults, as many as there is time for."""
        items = {item.nodeid: item for item in session.items}
        end = time.monotonic() + self._options.minutes * 60
        for fault in self._faults:
            if time.monotonic() < end:
                names = [x for x in judges(fault, self._known, self._options.seconds) if x in items]
                chosen = [items[name] for name in names]
                outcome = self._judge(session, chosen, fault) if names else "unreached"
                self.outcomes.append(outcome)
                if outcome == "noticed" and self.outcomes.count(outcome) % CONTROL == 1:
                    without = self._judge(session, chosen, None)
                    assert without in ("survived", "out of time"), f"{without} without a fault: {names}"
                print(f"{outcome} ({len(names)}): {fault.line}", flush=True)
        return True

    def _judge(self, session: pytest.Session, items: list[pytest.Item], fault: Fault | None) -> str:
        """Return "survived", "noticed", "hung" (far more CPU than without the fault), or "out of time"."""
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            if not (child := os.fork()):
                os.setpgid(0, 0)
                with contextlib.suppress(BaseException):
                    quiet(folder)
                    self._run(session, items, fault, Path(folder))
                os._exit(BROKEN)
            end = time.monotonic() + self._options.limit
            outcome = ""
            while not outcome:
                time.sleep(0.02)
                done, status = os.waitpid(child, os.WNOHANG)
                if done:
                    code = os.waitstatus_to_exitcode(status)
                    outcome = OUTCOMES.get(code, "hung" if code < 0 else "noticed")
                elif time.monotonic() > end:
                    outcome = "out of time"
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)  # with what the tests started
            if outcome == "out of time":
                os.waitpid(child, 0)
            return outcome

    def _run(
        self, session: pytest.Session, items: list[pytest.Item], fault: Fault | None, folder: Path
    ) -> None:
        """Run tests on the code with a fault until one fails; ends this process."""
        if fault:
            compiled = folder / "fault"
            compiled.write_bytes(marshal.dumps(fault.code))
            os.environ["MUTANT"] = f"{fault.path.resolve()}{os.pathsep}{compiled}"
            os.environ["PYTHONPATH"] = f"{CHILD}{os.pathsep}{ROOT}"
            module = fault.function.split(".py")[0].removeprefix("longctx/").replace("/", ".")
            importlib.import_module(f"longctx.{module}".removesuffix(".__init__"))  # many are imported late
            implant(fault.path.resolve(), fault.code)
        for item, following in zip(items, [*items[1:], None], strict=True):
            signal.setitimer(signal.ITIMER_PROF, 10 + 5 * self._known[item.nodeid].seconds)
            try:
                session.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            except BaseException:  # a fault may stop pytest itself
                os._exit(1)
            if session.testsfailed:
                os._exit(1)
        os._exit(0)


def interval(noticed: int, total: int) -> tuple[float, float]:
    """Wilson's interval of 95% for a share."""
    z, share = 1.96, noticed / total
    middle = share + z * z / (2 * total)
    reach = z * math.sqrt(share * (1 - share) / total + (z / total / 2) ** 2)
    return (middle - reach) / (1 + z * z / total), (middle + reach) / (1 + z * z / total)


def main() -> None:
    """Sample faults, judge each, and print what survived."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--each", type=int, default=2, help="faults for each module")
    parser.add_argument("--seed", type=int, default=27)
    parser.add_argument("--minutes", type=float, default=60, help="start no trial after so long")
    parser.add_argument("--seconds", type=float, default=12, help="CPU time of the tests for one trial")
    parser.add_argument("--limit", type=float, default=150, help="seconds by the clock for one trial")
    parser.add_argument("--map", type=Path, required=True, help="which test enters what: kept in this file")
    parser.add_argument(
        "modules", nargs="*", default=modules(), metavar="MODULE", help="as longctx/output.py"
    )
    options = parser.parse_args()
    os.environ["TRITON_INTERPRET"] = "1"
    files = [x for x in sorted((ROOT / "tests").glob("test_*.py")) if not any(y in x.stem for y in LEFT_OUT)]
    known = fill(options.map, files, CHILD)
    drawn = [draw(module, options.seed, options.each) for module in options.modules]
    faults = [faults[turn] for turn in range(options.each) for faults in drawn if turn < len(faults)]
    needed = {name.split("::")[0] for fault in faults for name in judges(fault, known, options.seconds)}
    trials = Trials(faults, known, options)
    pytest.main([*QUIETLY, *sorted(needed)], plugins=[Steady(), trials])
    outcomes = [how for how in trials.outcomes if how not in ("out of time", "not tried")]
    noticed = outcomes.count("noticed") + outcomes.count("hung")
    low, high = interval(noticed, len(outcomes))
    print(
        f"# {noticed} of {len(outcomes)} noticed, {outcomes.count('hung')} of them hung; seed {options.seed}"
    )
    print(f"# score {noticed / len(outcomes):.0%}, 95% interval {low:.0%} to {high:.0%}")


if __name__ == "__main__":
    main()
