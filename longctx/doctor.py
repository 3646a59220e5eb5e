"""What `models` lists and `doctor` checks."""

import platform
from dataclasses import dataclass
from importlib.metadata import version

from longctx.errors import LongctxError
from longctx.hub import BUNDLED, KNOWN, cached, checkpoint_bytes
from longctx.launch import Launch
from longctx.machine import available_memory, gib, usable_threads
from longctx.output import Output

NEEDLE = "One of the special magic numbers for velvet-harbor is: 7391846.\n"
FILLER = "The ferry left the quay at noon and came back before the lamps were lit.\n"


@dataclass(frozen=True)
class Model:
    """A line of `models`."""

    name: str
    where: str
    size: str
    note: str


@dataclass(frozen=True)
class Check:
    """A line of `doctor`."""

    name: str
    ok: bool
    value: str


def models() -> list[Model]:
    """Return the bundled model, those in the hub cache, and the published ones that are known to run."""
    here = dict(cached())
    found = [Model("bundled", "bundled", gib(checkpoint_bytes(BUNDLED)), "finds facts; cannot write prose")]
    for known in KNOWN:
        where = "cached" if known.name in here else "hub"
        found.append(Model(known.name, where, gib(here.pop(known.name, known.weights_bytes)), known.note))
    return found + [Model(name, "cached", gib(size), "not known to run") for name, size in here.items()]


def check(launch: Launch, out: Output) -> list[Check]:
    """Return what matters on this machine, and whether the model finds a fact on it."""
    import torch

    from longctx.kernels.select import describe, failures

    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    checks = [
        Check("python", True, platform.python_version()),
        Check("torch", True, f"{torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"),
        Check("tokenizers", True, version("tokenizers")),
        Check("threads", True, str(launch.options.threads or usable_threads())),
        Check("memory", True, f"{gib(available_memory())} available"),
        Check("devices", True, ", ".join(["cpu", *devices])),
    ]
    try:
        checks.append(_retrieval(launch, out))
    except LongctxError as error:
        checks.append(Check("model", False, str(error)))
    # Last, because a kernel that cannot be built is found out by running it.
    return [*checks, Check("kernels", not failures, describe(launch.device))]


def _retrieval(launch: Launch, out: Output) -> Check:
    """Hide a fact in a page of text and look whether the answer holds it."""
    from longctx.sampling import Sampling
    from longctx.tasks.prompt import build_prompt, read_template

    engine = launch.engine(out, 1024, 0)
    retriever = bool(engine.model.config.pointer_heads)
    template = read_template(None, "lookup.md" if retriever else "ask.md")
    question = "What is the special magic number for velvet-harbor?"
    prompt = build_prompt(engine.tokenizer, engine.folder, template, question=question)
    session = engine.session()
    session.read(prompt.before + engine.tokenizer.encode(FILLER * 20 + NEEDLE + FILLER * 20))
    answer = "".join(p.text for p in session.generate(prompt.after, Sampling(max_tokens=32, stop=("\n",))))
    return Check(
        "model", "7391846" in answer, f"{engine.folder} answers {answer.strip()!r}, 7391846 is right"
    )
