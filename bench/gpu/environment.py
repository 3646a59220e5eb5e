"""What the device is and what it reaches: the ceilings that all rooflines of a run are drawn from.

python -m bench.gpu.environment
"""

from __future__ import annotations

import json
import sys

from bench.gpu.report import Table, default_out, machine
from bench.gpu.timing import ceilings, need_cuda


def main() -> int:
    """Measure and keep the ceilings."""
    need_cuda()
    print(json.dumps(machine()))
    Table("environment", default_out(), ceilings())
    return 0


if __name__ == "__main__":
    sys.exit(main())
