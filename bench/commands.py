"""Writes docs/commands.md from the help of each command: `python -m bench.commands`."""

from pathlib import Path

import click

from longctx.cli import main as group

PAGE = Path(__file__).parents[1] / "docs" / "commands.md"
WIDTH = 100
HEAD = "# Commands\n\nMade of the commands' own help by `python -m bench.commands`.\n"


def page() -> str:
    """Return the page, which tests compare with the file."""
    assert isinstance(group, click.Group)
    width = {"terminal_width": WIDTH, "max_content_width": WIDTH}
    top = click.Context(group, info_name="longctx", **{**group.context_settings, **width})
    parts = [HEAD]
    for names, command in _commands(group, ()):
        context = click.Context(
            command, parent=top, info_name=" ".join(names), max_content_width=WIDTH, terminal_width=WIDTH
        )
        title = " ".join(("longctx", *names))
        parts.append(f"## {title}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def _commands(group: click.Group, names: tuple[str, ...]) -> list[tuple[tuple[str, ...], click.Command]]:
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name, command in group.commands.items():
        found.append(((*names, name), command))
        if isinstance(command, click.Group):
            found += _commands(command, (*names, name))
    return found


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
