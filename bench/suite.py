"""What is measured: agreement, prefill, decode, streaming, and speed and memory over length."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from bench.contenders import Contender, LlamaCpp, Longctx, Transformers
from bench.measure import CHUNK, ceilings, interleave, memory_of_read
from bench.random_model import Shape, write_checkpoint
from bench.report import Report
from longctx.engine import Engine
from longctx.hub import BUNDLED
from longctx.models.config_file import read_config
from longctx.models.decoder import Decoder
from longctx.models.weights import load_model

REPEATS = {1024: 7, 4096: 7, 16384: 3, 65536: 2}
DECODE_STEPS = 32
LONGEST_LLAMA = 180.0  # seconds that one llama.cpp prefill may take
UBATCHES = (128, 512)
AGREEMENT = 1e-3
# Engines whose weights have 8 bits differ by more; how much is printed.
ROUNDED = ("int8", *(f"Q8_0 ub{ubatch}" for ubatch in UBATCHES))


class Suite:
    """One run of everything.

    Args:
        report: takes the numbers.
        threads: of every engine.
        quick: 1k and 4k tokens only.
        retrieval_model: folder of the small trained model; None means the bundled one.
    """

    def __init__(self, report: Report, threads: int, quick: bool, retrieval_model: Path | None):
        torch.set_num_threads(threads)
        self.report, self.threads, self.quick = report, threads, quick
        self.lengths = [n for n in REPEATS if n <= 4096 or not quick]
        self.retrieval = retrieval_model or BUNDLED
        self.shape = Shape()
        generator = torch.Generator().manual_seed(1)
        self.tokens = torch.randint(self.shape.vocab, (max(self.lengths),), generator=generator)

    def run(self) -> None:
        """Measure everything."""
        self.report.machine(ceilings())
        with tempfile.TemporaryDirectory() as folder:
            engines, model = self._load(Path(folder))
            self._agreement(engines)
            self._prefill(dict(engines))
            self._decode(engines)
            self._streaming(model)
        self.trained()

    def _load(self, folder: Path) -> tuple[dict[str, Contender], Decoder]:
        weights = write_checkpoint(folder, self.shape)
        model = load_model(folder, read_config(folder), form="packed")
        small = load_model(folder, read_config(folder), form="int8")
        engines: dict[str, Contender] = {
            "longctx": Longctx(model, CHUNK, everything=False),
            "longctx, int8": Longctx(small, CHUNK, everything=False),
            "longctx, all outputs": Longctx(model, CHUNK, everything=True),
        }
        for name, load in (("transformers", self._transformers), ("llama.cpp", self._llamas)):
            try:
                engines |= load(folder, weights)
            except ImportError as error:
                self.report.note(f"{name} left out, it is not installed: {error}")
        return engines, model

    def _transformers(self, folder: Path, weights: dict[str, Tensor]) -> dict[str, Contender]:
        return {"transformers": Transformers(folder)}

    def _llamas(self, folder: Path, weights: dict[str, Tensor]) -> dict[str, Contender]:
        from bench.gguf_export import export

        engines: dict[str, Contender] = {}
        for kind in ("F32", "Q8_0"):
            path = folder / f"{kind}.gguf"
            export(path, self.shape, weights, quantized=kind == "Q8_0")
            for ubatch in UBATCHES:
                context = max(self.lengths) + 1024
                engines[f"llama.cpp {kind} ub{ubatch}"] = LlamaCpp(path, context, ubatch, self.threads)
        return engines

    def _agreement(self, engines: dict[str, Contender]) -> None:
        """Refuse to time engines that do not compute one function, in prefill and in eight more tokens."""
        logits: dict[str, Tensor] = {}
        for name, engine in engines.items():
            engine.prefill(self.tokens[:300], steps=True)
            rows = [engine.logits()]
            for token in self.tokens[300:308].tolist():
                engine.step(token)
                rows.append(engine.logits())
            logits[name] = torch.stack(rows)
        base = "transformers" if "transformers" in logits else "longctx"
        reference = logits[base]
        for name, values in logits.items():
            error = (values - reference).abs().max().item()
            greedy = torch.equal(values.argmax(-1), reference.argmax(-1))
            self.report.agreement(name, error, greedy)
            if error > AGREEMENT and not name.endswith(ROUNDED):
                raise SystemExit(f"{name}: logits differ from those of {base} by {error:.2g}; not timed")

    def _prefill(self, engines: dict[str, Contender]) -> None:
        flops = self.report.ceilings["flops"]
        for length in self.lengths:
            if length > 4096:
                self._keep_best_llama(engines, length)
            tokens = self.tokens[:length]
            jobs = {name: partial(engine.prefill, tokens) for name, engine in engines.items()}
            if length == min(self.lengths):
                interleave(jobs, 1)
            timings = interleave(jobs, 2 if self.quick else REPEATS[length])
            for name, timing in timings.items():
                reads = name in ("longctx", "longctx, int8")
                work = self.shape.read_flops if reads else self.shape.forward_flops
                roofline = flops / work(length) * length
                self.report.row("prefill", length, name, tokens=length, timing=timing, roofline=roofline)
            self.report.end("prefill", length)

    def _keep_best_llama(self, engines: dict[str, Contender], length: int) -> None:
        """After 4k only the fastest llama.cpp goes on, and only while it takes less than three minutes."""
        llamas = [name for name in engines if name.startswith("llama.cpp")]
        if not llamas:
            return
        shorter = self.lengths[self.lengths.index(length) - 1]
        best = max(llamas, key=lambda name: self.report.rate("prefill", shorter, name))
        seconds = length / self.report.rate("prefill", shorter, best)
        for name in llamas:
            if name != best or seconds > LONGEST_LLAMA:
                del engines[name]
        if seconds > LONGEST_LLAMA:
            self.report.note(f"prefill {length}: llama.cpp left out, would take {seconds:.0f} s")

    def _decode(self, engines: dict[str, Contender]) -> None:
        bandwidth = self.report.ceilings["bytes"]
        # The micro-batch plays no part in decoding, nor does what prefill computes.
        left_out = (f"ub{UBATCHES[1]}", "all outputs")
        chosen = {name: engine for name, engine in engines.items() if not name.endswith(left_out)}
        for length in [n for n in self.lengths if n in (1024, 16384)]:
            for engine in chosen.values():
                engine.prefill(self.tokens[:length], steps=True)
            jobs = {name: _steps(engine) for name, engine in chosen.items()}
            interleave(jobs, 1)
            timings = interleave(jobs, 3 if self.quick else 5)
            for name, timing in timings.items():
                roofline = bandwidth / self.shape.decode(length, itemsize=4).bytes
                self.report.row("decode", length, name, tokens=DECODE_STEPS, timing=timing, roofline=roofline)
            self.report.end("decode", length)

    def _streaming(self, model: Decoder) -> None:
        flops = self.report.ceilings["flops"]
        for length in [n for n in self.lengths if n in (4096, 16384)]:
            for everything in (False, True):
                section = "streamed, all outputs" if everything else "streamed"
                names = {0: "one pass", 1024: "chunks of 1024", 2048: "chunks of 2048"}
                runs = {name: Longctx(model, chunk, everything) for chunk, name in names.items()}
                jobs = {name: partial(run.prefill, self.tokens[:length]) for name, run in runs.items()}
                work = self.shape.forward_flops if everything else self.shape.read_flops
                roofline = flops / work(length) * length
                for name, timing in interleave(jobs, 3 if self.quick else REPEATS[length]).items():
                    self.report.row(section, length, name, tokens=length, timing=timing, roofline=roofline)
                self.report.end(section, length)

    def trained(self) -> None:
        """Measure the small trained model: one long text against many short ones, decode, and memory."""
        if not (self.retrieval / "config.json").exists():
            self.report.note("trained model: left out, none is bundled; name one with --retrieval-model")
            return
        engine = Engine.load(self.retrieval, "cpu", "float32")
        longest, vocabulary = 1 << (17 if self.quick else 20), engine.model.config.vocab_size
        ids = torch.randint(vocabulary, (CHUNK,), generator=torch.Generator().manual_seed(2))
        chunk: list[int] = ids.tolist()

        def read(tokens: int, total: int) -> None:
            for _ in range(0, total, tokens):
                session = engine.session()
                for _ in range(0, tokens, CHUNK):
                    session.read(chunk)

        # Short texts are read many times over, so that both clocks run for about as long.
        jobs = {"texts of 4096": lambda: read(4096, longest), "one text": lambda: read(longest, longest)}
        for name, timing in interleave(jobs, 3).items():
            self.report.row("trained model", longest, name, tokens=longest, timing=timing, roofline=None)
        self.report.end("trained model", longest)
        for tokens in (4096, longest):
            decoder = Longctx(engine.model, CHUNK, everything=False)
            decoder.prefill(ids.repeat(tokens // CHUNK), steps=True)
            timing = interleave({"decode": _steps(decoder)}, 3)["decode"]
            section = "trained model, decode after"
            self.report.row(section, tokens, "longctx", tokens=DECODE_STEPS, timing=timing, roofline=None)
            self.report.end(section, tokens)
        for tokens in (1 << 16, longest):
            self.report.memory(tokens, memory_of_read(self.retrieval, tokens, self.threads))


def _steps(engine: Contender) -> Callable[[], None]:
    def run() -> None:
        for _ in range(DECODE_STEPS):
            engine.step(int(engine.logits().argmax()))

    return run
