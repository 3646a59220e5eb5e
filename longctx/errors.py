"""Errors a user can cause, one class per exit code; a message says what is wrong, where, and what to do."""

LONGEST = 1000  # characters of a message: some quote what a stranger wrote


def shortened(message: str) -> str:
    """Return a message that is not longer than a screen."""
    return message if len(message) <= LONGEST else f"{message[:LONGEST]} ..."


class LongctxError(Exception):
    """Base of every expected failure; `exit_code` is what the command returns."""

    exit_code = 70

    def __init__(self, message: str) -> None:
        super().__init__(shortened(message))


class OptionError(LongctxError):
    """An invalid setting where click does not look, such as the environment."""

    exit_code = 2


class InputError(LongctxError):
    """A source that cannot be read: missing, empty, binary, or an encoding that cannot be decoded."""

    exit_code = 3


class ModelError(LongctxError):
    """A checkpoint or tokenizer that cannot be used: missing, corrupt, misshapen or of an unknown kind."""

    exit_code = 4


class DoesNotFitError(LongctxError):
    """The planned run needs more memory than the machine has."""

    exit_code = 5


class QuotationError(LongctxError):
    """With --strict: an answer quotes what does not stand in the documents."""

    exit_code = 7


class OutputError(LongctxError):
    """The answer cannot be written to the chosen place."""

    exit_code = 6
