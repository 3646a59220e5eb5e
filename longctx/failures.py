"""Failures and warnings as a user meets them: one line on stderr and an exit code, never a traceback."""

import errno
import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import click

from longctx import preferences
from longctx.errors import DoesNotFitError, InputError, LongctxError, shortened
from longctx.machine import prepare_cpu

EXIT_CODES = """
\b
Exit codes:
  0    done
  1    no answer found (passages are shown all the same), or a check failed
  2    wrong options
  3    an input is missing, empty or blank, binary, or unreadable
  4    a model or tokenizer is missing, corrupt or of an unknown kind
  5    it does not fit into memory, or onto the disk
  6    the answer cannot be written where -o says
  7    with --strict: the answer quotes what does not stand in the text
  70   unexpected failure
  130  stopped with Ctrl-C
  141  the reader of the output went away
"""
_NO_ARGUMENTS = getattr(click.exceptions, "NoArgsIsHelpError", ())  # since click 8.2


class ReaderGoneError(Exception):
    """The program that reads our stdout has closed it."""


class Commands(click.Group):
    """The command group, which turns failures into one line and an exit code."""

    def main(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102  # click's own
        prepare_cpu()
        warnings.showwarning = lambda message, *_: say(str(message))
        sys.exit(self._run(*args, **{**kwargs, "standalone_mode": False, "prog_name": "longctx"}))

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of cli.py: what most people come for stands first."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is called, and let the user's own file give its options."""
        name, command, rest = super().resolve_command(ctx, args)
        if name and command:
            ctx.default_map = {name: preferences.defaults(name, self.commands)}
        return name, command, rest

    def invoke(self, ctx: click.Context) -> Any:  # noqa: D102  # click's own
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # click would exit with 1
            raise ReaderGoneError from error

    def _run(self, *args: Any, **kwargs: Any) -> int:
        try:
            _check_folder()
            exit_code = super().main(*args, **kwargs)
            return exit_code if isinstance(exit_code, int) else 0
        except (Exception, KeyboardInterrupt) as error:
            return _exit_code(error)


def _check_folder() -> None:
    """Refuse to run where the libraries below would end the process.

    Raises:
        InputError: when the current folder was deleted.
    """
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise InputError("the current folder was deleted; go to another one") from error


def _exit_code(error: BaseException) -> int:
    """Say what went wrong, and return the code for it."""
    code = LongctxError.exit_code
    if isinstance(error, click.ClickException):
        _say_wrong(error)
        code = error.exit_code
    elif isinstance(error, KeyboardInterrupt | click.Abort):
        code = 130
    elif isinstance(error, LongctxError):
        say(str(error))
        code = error.exit_code
    elif isinstance(error, ReaderGoneError):
        # Python would complain again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    elif _lacks_memory(error):
        say("out of memory; longctx plan tells what a run needs")
        code = DoesNotFitError.exit_code
    elif isinstance(error, OSError | ImportError):  # of the machine, and no fault of the program
        say(f"unexpected: {error}")
    else:
        traceback.print_exception(error)
    return code


def _lacks_memory(error: BaseException) -> bool:
    """Tell whether memory ran out: to torch, a new thread, the system, or a library being loaded."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    told = str(error).lower()
    signs = {
        RuntimeError: ("memory", "can't start new thread"),
        ImportError: ("cannot allocate memory", "failed to map segment"),
    }
    return any(isinstance(error, kind) and any(sign in told for sign in signs[kind]) for kind in signs)


def _say_wrong(error: click.ClickException) -> None:
    """Say in one line what is wrong with the command line, and where its options are told."""
    missing = isinstance(error, click.MissingParameter)  # whose message is made of the choices
    if isinstance(error, click.BadParameter) and error.param and not missing:
        wrong = preferences.plainly(error.message, error.param.type)
        error = click.BadParameter(wrong, error.ctx, error.param, error.param_hint)
    message = error.format_message()
    if isinstance(error, _NO_ARGUMENTS):  # the message is the whole help
        click.echo(message, err=True)
    elif isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "longctx"
        say(f"{shortened(message.rstrip('.'))} (see {path} --help)")
    else:
        say(message)


def say(message: str) -> None:
    """Print a failure or a warning as one line on stderr."""
    from longctx.output import clean

    click.echo(f"longctx: {clean(' '.join(message.split()))}", err=True)
