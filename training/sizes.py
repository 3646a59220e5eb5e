"""Choose the tokenizer's size by measurement: how long texts are, how fast they are read, how well it copies.

    python -m training.sizes --data DATA --books BOOKS --other LANGUAGES --out runs/sizes

For each size a tokenizer is trained, and with it the same small model for the same number of steps. A larger
vocabulary makes texts shorter and reading faster; a smaller one leaves more of the weights to the layers and
has fewer rare tokens to copy.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer

from longctx.machine import prepare_cpu
from training import export, haystack
from training import tokenizer as tokenizer_training
from training.ablations import measure, settings_of, train
from training.evaluate import Haystack
from training.facts import FactMaker
from training.haystack import Prose
from training.settings import Settings
from training.tables import cell
from training.words import Words

SAMPLE = 300_000  # characters of each kind of text
VALUES = ["number", "uuid", "code", "constant"]  # kinds whose length in tokens is what copying costs


def densities(tokenizer: Tokenizer, books: Prose, other: Path) -> dict[str, float]:
    """Return characters per token of unseen prose, code, logs and other languages, and tokens per value."""
    rng = Random(3)
    words = Words(rng, books.stretch(rng, 20_000))
    texts = {
        "prose": books.stretch(rng, SAMPLE),
        "code": "".join(haystack.code_pieces(rng, words, SAMPLE)),
        "logs": "".join(haystack.log_pieces(rng, words, SAMPLE)),
    }
    texts |= {path.stem[:2]: path.read_text("utf-8")[:SAMPLE] for path in sorted(other.iterdir())}
    found = {name: len(text) / len(tokenizer.encode(text).ids) for name, text in texts.items()}
    maker = FactMaker(rng, words, junk=lambda r: "", junk_share=0.0)
    values = [maker.value(kind) for kind in VALUES for _ in range(250)]
    return found | {"tokens a value": sum(len(tokenizer.encode(v).ids) for v in values) / len(values)}


def main() -> None:
    """Train and measure every size, and write a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--books", type=Path, required=True, help="folder with *.txt that training did not read"
    )
    parser.add_argument("--other", type=Path, required=True, help="folder with files in other languages")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("config.toml"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 2048, 4096, 8192])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--documents", type=int, default=8)
    args = parser.parse_args()
    prepare_cpu()
    torch.set_num_threads(1)
    prose, books = Prose.load(args.data), Prose.load(args.books)
    shipped = settings_of("hybrid", Settings.load(args.config), args.steps)
    rows = []
    for size in args.sizes:
        folder: Path = args.out / str(size)
        tokenizer = tokenizer_training.train(tokenizer_training.samples(prose, 1, 12), size)
        tokenizer_training.save(tokenizer, folder)
        begun = time.process_time()
        torch.set_float32_matmul_precision("medium")
        train(replace(shipped, shape=replace(shipped.shape, vocab=size)), prose, tokenizer, folder)
        torch.set_float32_matmul_precision("highest")
        seconds = time.process_time() - begun
        weights, shape, _ = export.read_run(folder)
        export.write(folder / "model", weights, shape, folder, sharpen=1.0)
        with torch.inference_mode():
            found = measure(folder / "model", Haystack(books, tokenizer), [4096], args.documents)
        density = densities(tokenizer, books, args.other)
        count = sum(weight.numel() for weight in weights.values())
        rows.append(
            {
                "size": size,
                "weights": count,
                "in the embedding": size * shape.hidden / count,
                **density,
                "MB/s read": found["speed"][4096] * density["prose"] / 1e6,  # type: ignore[index]  # a mixed dict
                "training s": seconds,
                "answers": [row["right"] for row in found["answers"]],  # type: ignore[attr-defined]  # likewise
            }
        )
        (args.out / "sizes.json").write_text(json.dumps(rows) + "\n", encoding="utf-8")
    columns = [name for name in rows[0] if name != "answers"]
    lines = ["| " + " | ".join([*columns, "16 look-alikes, 4k"]) + " |", "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        told = [f"{row[name]:,.0f}" if row[name] > 100 else f"{row[name]:.2f}" for name in columns]
        lines.append("| " + " | ".join([*told, cell(row["answers"])]) + " |")
    (args.out / "sizes.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
