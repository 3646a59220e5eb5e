"""A reader in the box: how often are its answers right, and does it refuse what a text does not say?

    python -m bench.reader collect --books BOOKS --part dev --out DEV.jsonl
    python -m bench.reader ask --base FOLDER --update LORA --rows DEV.jsonl --out DEV-ASKED.jsonl
    python -m bench.reader closed --base FOLDER --update LORA --rows TEST.jsonl
    python -m bench.reader report --dev DEV-ASKED.jsonl --test TEST-ASKED.jsonl --out REPORT.json

`collect` asks the tool as it is and keeps the passages that it shows; books are left out where their folder
is not given. `ask` lets the reader answer from these; `--base` is what `python -m bench.smollm2` writes, and
without `--update` it is asked untrained. `report` fits the probability and its threshold on dev, and judges
test.
"""

import argparse
import json
import resource
from pathlib import Path

import torch
from tokenizers import Tokenizer

from bench.reader.asked import one_by_one
from bench.reader.closed import closed_book
from bench.reader.collect import Row, collect
from bench.reader.network import Network
from bench.reader.questions import load
from bench.reader.spans import Reader
from bench.reader.verdict import verdict


def main() -> None:
    """Run one of the four."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("collect", "ask", "closed", "report"))
    for name in ("base", "update", "books", "rows", "dev", "test", "out"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--part", choices=("dev", "test"), default="dev")
    parser.add_argument("--every", type=int, default=1, help="ask only every so many-th question")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.what == "collect":
        with args.out.open("w", encoding="utf-8") as file:
            file.writelines(row.store() for row in collect(load(args.part, args.books), args.books))
        return
    if args.what == "report":
        told = verdict(_rows(args.dev), _rows(args.test) if args.test else [])
        args.out.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return
    rows = _rows(args.rows)[:: args.every]
    reader = Reader(Network(args.base, args.update), Tokenizer.from_file(str(args.base / "tokenizer.json")))
    if args.what == "closed":
        print(json.dumps(closed_book(reader, [row.question for row in rows]), indent=1))
        return
    with args.out.open("w", encoding="utf-8") as file:
        one_by_one(rows, reader, file)
    print(f"at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def _rows(path: Path) -> list[Row]:
    return [Row.load(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    main()
