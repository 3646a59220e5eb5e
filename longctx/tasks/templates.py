"""Jinja templates of strangers, rendered in a child process under limits.

The sandbox keeps a template from changing and reaching anything; it does not keep one from filling the memory
or from running for ever. This file is the child's program too: it is started by its path, so that nothing in
the current folder can take the place of a module, and it imports nothing of longctx there.
"""

import json
import re
import subprocess
import sys
from contextlib import suppress
from functools import lru_cache
from typing import Any

MOST_SECONDS = 5  # of processor time; published chat templates take milliseconds
MOST_MEMORY = 1 << 29  # bytes of the child's address space
MOST_CHARACTERS = 1 << 21  # of what a template makes
WAIT = 30  # seconds, on a busy machine
_NAME = re.compile(r"\{\{ (\w+) \}\}")
_NAME = re.compile(r"\{\{ (\w+) \}\}")


class TemplateFailedError(Exception):
    """A template is broken, or has gone beyond the limits; the message says how."""


def render(source: str, variables: dict[str, Any]) -> str:
    """Return what a template makes of variables, which must be JSON.

    One that only names variables, as ours do, can do nothing else, and a child would take longer than to find
    a fact in a text that was read.

    Raises:
        TemplateFailedError: when the template fails, whatever it does.
    """
    if not re.search(r"[{\r]", _NAME.sub("", source)) and variables.keys() >= set(_NAME.findall(source)):
        return _NAME.sub(lambda name: str(variables[name[1]]), source.removesuffix("\n"))
    found = _rendered(json.dumps({"source": source, "variables": variables}))
    if "error" in found:
        raise TemplateFailedError(found["error"])
    return found["text"]


@lru_cache(maxsize=64)
def _rendered(request: str) -> dict[str, str]:
    """Return the child's reply; the same template is asked for with each question."""
    command = [sys.executable, "-P", __file__, str(MOST_SECONDS), str(MOST_MEMORY)]
    try:
        child = subprocess.run(
            command, input=request.encode(), capture_output=True, timeout=WAIT, cwd="/", check=False
        )
    except subprocess.TimeoutExpired:
        return {"error": f"it runs for more than {WAIT} seconds"}
    try:
        reply: dict[str, str] = json.loads(child.stdout)
        return reply
    except ValueError:
        limits = f"{MOST_SECONDS} seconds or {MOST_MEMORY >> 20} MiB"
        return {"error": f"it takes more than {limits}, or crashes"}


def _limit(seconds: int, memory: int) -> None:
    """Let the system end this process when it takes too much, where the system can."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _reply(request: dict[str, Any]) -> dict[str, str]:
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = refuse
    try:
        text = environment.from_string(request["source"]).render(request["variables"])
        text.encode()  # half of a character pair cannot be written
    except (Exception, RecursionError) as error:  # a template can raise anything
        return {"error": str(error)[:500] or type(error).__name__}
    if len(text) > MOST_CHARACTERS:
        return {"error": f"it makes {len(text):,} characters, more than {MOST_CHARACTERS:,}"}
    return {"text": text}


if __name__ == "__main__":
    _limit(*map(int, sys.argv[1:]))
    sys.stdout.write(json.dumps(_reply(json.load(sys.stdin))))
