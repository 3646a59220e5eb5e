"""The program `longctx`, also `python -m longctx`: signals are obeyed before anything else is imported."""

MADE = 50_000  # objects between two searches for unreachable ones: 700 cost a tenth of importing torch


def main() -> None:
    """Run the command line."""
    import _signal  # type: ignore[import-not-found]  # built in: all else has to be found on the disk

    if _signal.getsignal(_signal.SIGINT) == _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # silent, until it is obeyed
    from longctx import signals

    signals.obey()
    import gc

    gc.set_threshold(MADE)
    from longctx.cli import main as commands

    try:
        commands()
    finally:
        signals.done()
        gc.freeze()  # or Python looks through all that torch has made, once more, while the user waits


if __name__ == "__main__":
    main()
