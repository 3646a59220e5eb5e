"""Streams a single line of 30 MB through the tokenizer: exact, in bounded memory, how fast.

    python -m bench.long_line BOOK...

The line is the given texts joined by spaces, repeated up to the size. Memory is measured in a child process,
and the tokens are compared with encoding the whole line at once.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from array import array
from pathlib import Path

from longctx.hub import BUNDLED
from longctx.machine import resident_memory
from longctx.text.source import gather
from longctx.tokens.stream import TokenStream
from longctx.tokens.tokenizer import Tokenizer

SIZE = 30_000_000  # characters


def measure(path: Path) -> dict[str, float | str]:
    """Stream the file; return tokens, their digest, seconds and the growth of resident memory."""
    tokenizer = Tokenizer.load(BUNDLED, 4096)
    digest, peak = hashlib.sha256(), resident_memory()
    before, started = peak, time.perf_counter()
    with gather([str(path)]) as corpus:
        tokens = 0
        for chunk in TokenStream(tokenizer, corpus.documents, 1024):
            digest.update(array("q", chunk).tobytes())
            peak = max(peak, resident_memory()) if tokens % (1024 * 256) == 0 else peak
            tokens += len(chunk)
    seconds = time.perf_counter() - started
    grown = (max(peak, resident_memory()) - before) / 1e6
    return {
        "tokens": tokens,
        "digest": digest.hexdigest(),
        "seconds": round(seconds, 2),
        "grown_mb": round(grown, 1),
    }


def main() -> None:
    """Make the line, measure it in a child, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", nargs="+", type=Path)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(args.texts[0])))
        return
    joined = " ".join(" ".join(path.read_text(encoding="utf-8").split()) for path in args.texts)
    line = (joined * (SIZE // len(joined) + 1))[:SIZE]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "one-line.txt")
        path.write_text(line, encoding="utf-8")
        command = [sys.executable, "-m", "bench.long_line", "--child", str(path)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        megabytes = path.stat().st_size / 1e6
    whole = array("q", Tokenizer.load(BUNDLED, 4096).encode(line))
    found["equal"] = found.pop("digest") == hashlib.sha256(whole.tobytes()).hexdigest()
    found |= {"megabytes": megabytes, "mb_per_second": round(megabytes / found["seconds"], 2)}
    print(json.dumps(found))
    if not found["equal"]:
        sys.exit("the streamed tokens differ from encoding the line at once")


if __name__ == "__main__":
    main()
