"""What `doctor` checks."""

import platform
from importlib.metadata import version

import longctx
from longctx.errors import LongctxError
from longctx.examine import Check, examine
from longctx.launch import Launch
from longctx.machine import available_memory, gib, usable_threads
from longctx.output import Output

FILLER = "The ferry left the quay at noon and came back before the lamps were lit.\n"


def check(launch: Launch, out: Output) -> list[Check]:
    """Return what matters on this machine, and whether the model works on it."""
    import torch

    from longctx.kernels.select import describe, failures

    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    checks = [
        Check("longctx", True, f"{longctx.__version__}, on {platform.platform()}"),
        Check("python", True, platform.python_version()),
        Check("torch", True, f"{torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"),
        Check("tokenizers", True, version("tokenizers")),
        Check("threads", True, str(launch.options.threads or usable_threads())),
        Check("memory", True, f"{gib(available_memory())} available"),
        Check("devices", True, ", ".join(["cpu", *devices])),
    ]
    try:
        if launch.config.copies_facts:
            checks.append(_retrieval(launch, out))
        else:
            checks += examine(launch, out)
    except LongctxError as error:
        checks.append(Check("model", False, str(error)))
    # Last, because loading the model tries its kernels.
    return [*checks, Check("kernels", not failures, describe(launch.device))]


def _retrieval(launch: Launch, out: Output) -> Check:
    """Hide a fact in a page of text and check that the answer holds it."""
    from longctx.progress import Usage
    from longctx.tasks.haystack import Sample, hidden
    from longctx.tasks.niah import probe
    from longctx.tasks.results import Trial

    needle, question = hidden("number", "velvet-harbor", "7391846")
    page = FILLER * 20
    sample = Sample(page, f"{needle}\n", page, question, "7391846", repeated=1)
    engine = launch.engine(out, 1024, 0)
    *_, trial = map(out.show, probe(engine, sample, 1024, 50.0, launch.chunk, "reading", Usage()))
    assert isinstance(trial, Trial)
    said = f"{engine.folder} answers {trial.answer.strip()!r}, {sample.expected} is right"
    return Check("model", trial.correct, said)
