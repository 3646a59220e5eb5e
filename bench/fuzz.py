"""Damaged and hostile inputs by the thousand: each costs one line, or is read rightly.

    python -m bench.fuzz --inputs 500 --seed 1 [PARSER ...]

Each parser (of a format, an encoding, a kind of packed repository, a file of a checkpoint) gets so many
inputs made from a whole one. A worker under limits reads them as the command does; what ends in anything but
a text or an expected error of one line, takes over 20 seconds or over 2 GiB, is kept in --keep. Of each
parser some also go through the command itself. Exit status 1 if there is any.
"""

import argparse
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from random import Random

from bench.fuzz_inputs import TEMPLATE, damaged, texts
from longctx.errors import LONGEST, LongctxError

SECONDS = 20  # of the processor: how long a clock shows depends on what else runs
WAITING = 10 * SECONDS  # by the clock, after which a worker that waits is ended
MEMORY = 2 << 30
ADDRESSES = 8 << 30  # of a worker, so that the machine survives
SHOWN = 3  # of each parser; all are kept
ROOT = Path(__file__).parents[1]
MODEL = ROOT / "models" / "bundled"

Reader = Callable[[Path], object]


def read_text(path: Path) -> None:
    """Read a file as `summarize` and `ask` do, and compare each quote with its place."""
    from longctx import render
    from longctx.quotes.exact.look_up import look_up
    from longctx.quotes.passages import passages
    from longctx.tasks.extract import extract
    from longctx.tasks.results import Answer
    from longctx.text.source import gather

    with gather([str(path)]) as corpus:
        for document in corpus.documents[:20]:
            for quote in islice(passages(document), 50):
                assert quote.span.text() == quote.text, f"a quote is not what stands at its place: {quote}"
                assert str(quote.span)
        look_up("What is the fare of the Quay?", corpus.documents)
        look_up("Where is fare defined?", corpus.documents)
        with suppress(LongctxError):  # read, but with nothing in it that could be quoted
            *_, answer = extract(corpus, words=60)
            assert isinstance(answer, Answer)
            json.dumps({**render.answer_values(answer), "sources": render.source_values(corpus)})
            render.answer_text(answer, streamed=False)


def read_ignored(path: Path) -> None:
    """Walk through a folder with such a .gitignore."""
    from longctx.text.source import gather

    folder = path.parent
    (folder / "a.txt").write_text("The ferry.")
    gather([str(folder)]).close()


def read_config(path: Path) -> None:
    """Read a configuration, and which weights it needs."""
    from longctx.models.config_file import read_config as read
    from longctx.models.config_file import weight_map

    read(path.parent)
    weight_map(read(path.parent))


def read_tokenizer(path: Path) -> None:
    """Load a tokenizer, and encode and decode with it."""
    from longctx.tokens.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(path.parent, 1 << 20)
    text = "The ferry leaves at noon, number 4031775.\n\n  def fare():\t\u00e9 " * 20
    tokens = tokenizer.encode(text)
    tokenizer.decode(tokens[:200])


def read_weights(path: Path) -> None:
    """Read the headers of a checkpoint's weights, and a tensor."""
    from longctx.models.shards import Shards

    shards = Shards(path.parent)
    for name in sorted(shards.located)[:3]:
        shards(name).sum()


def read_template(path: Path) -> None:
    """Render a chat template in its child."""
    from longctx.tasks.templates import TemplateFailedError, render

    messages = [{"role": "user", "content": "Why?"}]
    try:
        source = path.read_bytes().decode("utf-8", "replace")
        render(source, {"messages": messages, "add_generation_prompt": True})
    except TemplateFailedError as error:
        raise LongctxError(str(error)) from error


def parsers() -> dict[str, tuple[str, bytes, Reader]]:
    """Return the name of a file, its whole content and what reads it, for each parser."""
    found: dict[str, tuple[str, bytes, Reader]] = {key: (*one, read_text) for key, one in texts().items()}
    found["gitignore"] = (
        ".gitignore",
        b"*.log\n!keep.log\n/build/\n**/a/**/b\n[a-z]?.txt\n\\#x\n",
        read_ignored,
    )
    for name, reader in (("config.json", read_config), ("tokenizer.json", read_tokenizer)):
        found[name] = name, (MODEL / name).read_bytes(), reader
    weights = next(MODEL.glob("*.safetensors")).read_bytes()
    found["safetensors"] = "model.safetensors", weights, read_weights
    found["template"] = "chat_template.jinja", TEMPLATE.encode(), read_template
    return found


def inputs(parser: str, seed: int, count: int) -> Iterator[bytes]:
    """Yield the inputs of a campaign: the whole one, then damaged ones."""
    name, content, _ = parsers()[parser]
    yield content
    for number in range(1, count):
        random = Random(f"{parser} {seed} {number}")
        if parser == "safetensors":  # the header is what is parsed
            end = 8 + int.from_bytes(content[:8], "little")
            yield damaged(content[:end], name, random) + content[end:]
        else:
            yield damaged(content, name, random)


def outcome(read: Reader, path: Path) -> str:
    """Read one input; return "read" or "refused", or what is wrong with how it ended."""
    started = _used()
    try:
        read(path)
        result = "read"
    except LongctxError as error:
        message = str(error)
        short = len(message) < LONGEST + 10
        result = "refused" if short else f"BROKEN: a message longer than a screen: {message[:200]!r}"
    except BaseException:
        result = f"BROKEN: {traceback.format_exc()[-700:]}"
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > MEMORY >> 10:
        result = f"BROKEN: over {MEMORY >> 30} GiB, {result}"
    if _used() - started > SECONDS:
        result = f"BROKEN: over {SECONDS} seconds, {result}"
    return result


def _used() -> float:
    """Return the seconds of a processor that this process and those that it has started took."""
    return sum(os.times()[:4])


def work(parser: str, folder: Path, seed: int, first: int, count: int, pipe: int) -> None:
    """Read inputs from number `first` on in this process, which ends when one takes too long."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    name, _, read = parsers()[parser]
    for number, content in enumerate(islice(inputs(parser, seed, count), first, None), first):
        place = folder / "case"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(MODEL, place) if read in (read_config, read_tokenizer) else place.mkdir()
        (place / name).write_bytes(content)
        signal.setitimer(signal.ITIMER_PROF, 2 * SECONDS)  # the default action of both ends the process
        signal.setitimer(signal.ITIMER_REAL, WAITING)
        result = outcome(read, place / name)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.write(pipe, json.dumps([number, result]).encode() + b"\n")


def warm(parser: str, folder: Path) -> None:
    """Import here what each worker would import."""
    name, content, read = parsers()[parser]
    if read is read_text:
        (folder / name).write_bytes(content)
        outcome(read, folder / name)
        (folder / name).unlink()


def campaign(parser: str, seed: int, count: int) -> dict[int, str]:
    """Return the outcome of each input of a parser."""
    found: dict[int, str] = {}
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        tempfile.tempdir = folder
        warm(parser, Path(folder))
        while len(found) < count:
            ours, theirs = os.pipe()
            if not (child := os.fork()):
                try:
                    work(parser, Path(folder), seed, len(found), count, theirs)
                finally:
                    os._exit(0)
            os.close(theirs)
            with os.fdopen(ours, encoding="utf-8") as lines:
                found |= dict(json.loads(line) for line in lines)
            _, status = os.waitpid(child, 0)
            if len(found) < count:
                found[len(found)] = f"BROKEN: the process ended ({os.waitstatus_to_exitcode(status)})"
        tempfile.tempdir = None
    return found


def through_the_command(parser: str, seed: int, count: int, sample: int) -> dict[int, str]:
    """Give some inputs to `longctx summarize` itself; return the outcome of each."""
    name, _, read = parsers()[parser]
    found: dict[int, str] = {}
    if read is not read_text:
        return found
    chosen = sorted(Random(seed).sample(range(count), min(sample, count)))
    for number, content in enumerate(inputs(parser, seed, count)):
        if number not in chosen:
            continue
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            place = Path(folder, name)
            place.write_bytes(content)
            command = [sys.executable, "-m", "longctx", "summarize", str(place), "--json"]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120, check=False)
            left = [path.name for path in Path(folder).iterdir() if path != place]
        clean = b"Traceback" not in done.stderr and done.returncode in (0, 3) and not left
        found[number] = (
            "by the command" if clean else f"BROKEN: {done.returncode} {left} {done.stderr[-500:]!r}"
        )
    return found


def main() -> None:
    """Run campaigns and print what came of them."""
    described = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=described)
    parser.add_argument("parsers", nargs="*", metavar="PARSER")
    parser.add_argument("--inputs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sample", type=int, default=1, help="of each parser, through the command")
    parser.add_argument("--keep", type=Path, help="a folder for inputs that broke something")
    args = parser.parse_args()
    broken = 0
    for name in args.parsers or parsers():
        started = time.monotonic()
        found = campaign(name, args.seed, args.inputs)
        ends = [found, through_the_command(name, args.seed, args.inputs, args.sample)]
        counts = Counter(result.split(":")[0] for results in ends for result in results.values())
        print(f"{name:<16} {time.monotonic() - started:>6.1f} s  {dict(counts)}", flush=True)
        bad = {number: result for one in ends for number, result in one.items() if "BROKEN" in result}
        broken += len(bad)
        for number, result in bad.items():
            if list(bad).index(number) < SHOWN:
                print(f"  input {number}: {result}", flush=True)
            if args.keep:
                args.keep.mkdir(parents=True, exist_ok=True)
                content = next(islice(inputs(name, args.seed, args.inputs), number, None))
                digest = hashlib.sha256(content).hexdigest()[:8]
                (args.keep / f"{number}-{digest}-{parsers()[name][0]}").write_bytes(content)
    sys.exit(broken > 0)


if __name__ == "__main__":
    main()
