"""Takes the outcome of the kernel tests on the GPU into the results.

python -m bench.gpu.parity REPORT.xml EXIT_STATUS
"""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

from bench.gpu.report import Table, default_out


def counts(report: Path) -> tuple[int, int]:
    """Return how many tests ran and how many of them failed, from a JUnit report.

    Raises:
        ValueError: when no test ran, which proves nothing.
    """
    suites = ElementTree.parse(report).getroot().iter("testsuite")
    ran = failed = 0
    for suite in suites:
        ran += int(suite.get("tests", 0)) - int(suite.get("skipped", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    if not ran:
        raise ValueError(f"{report}: no test ran")
    return ran, failed


def main() -> int:
    """Take the counts; of a run that did not come to its end only failures count."""
    table = Table("parity", default_out())
    ran, failed = counts(Path(sys.argv[1]))
    ended = sys.argv[2] in ("0", "1")
    table.note(
        f"{ran} kernel tests ran on the GPU, {failed} failed{'' if ended else ', stopped before the end'}"
    )
    if ended or failed:
        table.value("kernel tests that fail on the GPU", failed)
    return int(failed > 0 or not ended)


if __name__ == "__main__":
    sys.exit(main())
