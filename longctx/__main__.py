"""The program `longctx`, also `python -m longctx`: signals are obeyed before anything else is imported."""

from longctx import signals


def main() -> None:
    """Run the command line."""
    signals.obey()
    from longctx.cli import main as commands

    try:
        commands()
    finally:
        signals.done()


if __name__ == "__main__":
    main()
