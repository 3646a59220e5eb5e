"""A reader in the box: how often are its answers right, and does it refuse what a text does not say?

    python -m bench.reader ask --books BOOKS --part dev --out DEV.jsonl
    python -m bench.reader read --books BOOKS --rows DEV.jsonl --out DEV-READ.jsonl
    python -m bench.reader report --dev DEV-READ.jsonl --test TEST-READ.jsonl --out REPORT.json

`ask` asks the tool as if there was no reader; books are left out where their folder is not given. `read` lets
the reader answer. `report` fits the probability and its threshold on dev, writes them where --calibration
says, and judges test.
"""

import argparse
import json
import resource
from pathlib import Path

import torch

from bench.reader.collect import Row, ask_tool, read
from bench.reader.questions import PARTS, load
from bench.reader.verdict import calibrate, verdict


def main() -> None:
    """Run one of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("ask", "read", "report"))
    for name in ("books", "rows", "dev", "test", "out", "calibration"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--part", choices=PARTS, default="dev")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.what != "report":
        asked = ask_tool(load(args.part, args.books), args.books) if args.what == "ask" else None
        with args.out.open("w", encoding="utf-8") as file:
            for row in asked or read(_rows(args.rows), args.books):
                print(row.store(), end="", file=file, flush=True)
        print(f"at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
        return
    dev = _rows(args.dev)
    if args.calibration:
        fitted = json.dumps(calibrate(dev), indent=1)
        args.calibration.write_text(fitted + "\n", encoding="utf-8")
    told = verdict(dev, _rows(args.test) if args.test else [])
    args.out.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _rows(path: Path) -> list[Row]:
    return [Row.load(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    main()
