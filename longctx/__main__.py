"""Run the command line as `python -m longctx`."""

from longctx.cli import main

main()
