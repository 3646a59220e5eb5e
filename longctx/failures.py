"""Failures and warnings as a user meets them: one line on stderr and an exit code, never a traceback."""

import os
import sys
import warnings
from typing import Any

import click

from longctx.errors import DoesNotFitError, LongctxError
from longctx.machine import prepare_cpu

EXIT_CODES = """
\b
Exit codes:
  0    done
  1    unexpected failure
  2    wrong options
  3    an input is missing, empty, binary or unreadable
  4    a model or tokenizer is missing, corrupt or of an unknown kind
  5    it does not fit into memory, or onto the disk
  6    the answer cannot be written where -o says
  7    with --strict: the answer quotes what does not stand in the text
  130  stopped with Ctrl-C
  141  the reader of the output went away
"""


class ReaderGoneError(Exception):
    """The program that reads our stdout has closed it."""


class Commands(click.Group):
    """The command group, which turns failures into one line and an exit code."""

    def main(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102  # click's own
        prepare_cpu()
        warnings.showwarning = lambda message, *_: say(str(message))
        sys.exit(self._run(*args, **{**kwargs, "standalone_mode": False}))

    def invoke(self, ctx: click.Context) -> Any:  # noqa: D102  # click's own
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # click would exit with 1
            raise ReaderGoneError from error

    def _run(self, *args: Any, **kwargs: Any) -> int:
        try:
            exit_code = super().main(*args, **kwargs)
            return exit_code if isinstance(exit_code, int) else 0
        except click.ClickException as error:
            error.show()
            return error.exit_code
        except (KeyboardInterrupt, click.Abort):
            return 130
        except LongctxError as error:
            say(str(error))
            return error.exit_code
        except ReaderGoneError:
            # Python would complain again when it flushes stdout at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, MemoryError) or "memory" in str(error).lower():
                say("out of memory; longctx plan tells what a run needs")
                return DoesNotFitError.exit_code
            raise


def say(message: str) -> None:
    """Print a failure or a warning as one line on stderr."""
    from longctx.output import clean

    click.echo(f"longctx: {clean(' '.join(message.split()))}", err=True)
