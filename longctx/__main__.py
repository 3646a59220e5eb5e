"""The program `longctx`, also `python -m longctx`: signals are obeyed before anything else is imported."""

from longctx import signals

MADE = 50_000  # objects between two searches for unreachable ones: 700 cost a tenth of importing torch


def main() -> None:
    """Run the command line."""
    signals.obey()
    import gc

    gc.set_threshold(MADE)
    from longctx.cli import main as commands

    try:
        commands()
    finally:
        signals.done()


if __name__ == "__main__":
    main()
