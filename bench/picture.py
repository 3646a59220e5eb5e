"""Draw the README's picture: real commands on files of this repository, and what they print.

python -m bench.picture
"""

import re
import shlex
from pathlib import Path

from click.testing import CliRunner
from rich.console import Console
from rich.text import Text

from longctx.cli import main

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "picture.svg"
COMMANDS = (
    "longctx ask 'Where is QuotationError defined?' longctx/ --passages 0",
    "longctx ask 'Who stole the tarts?' tests/data/alice.txt --passages 0",
    "longctx summarize tests/data/alice.txt --words 60",
)
WIDTH = 100  # characters
# A picture that fetches fonts from elsewhere tells them who reads the page.
FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
LARGEST = 100_000  # bytes


def draw() -> str:
    """Run the commands; return an SVG of them and their output."""
    with Path("/dev/null").open("w") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere, force_terminal=True, highlight=False)
        for command in COMMANDS:
            console.print(Text(f"$ {command}", style="bold green"))
            run = CliRunner().invoke(main, [*shlex.split(command)[1:], "--model", "bundled"])
            if not run.stdout:
                raise SystemExit(run.output)
            console.print(Text(run.output))
        picture = console.export_svg(title="longctx", unique_id="longctx")
    return FONT.sub("", picture)


if __name__ == "__main__":
    picture = draw()
    if len(picture.encode()) > LARGEST:
        raise SystemExit(f"the picture has {len(picture.encode())} bytes, more than {LARGEST}")
    PICTURE.write_text(picture)
