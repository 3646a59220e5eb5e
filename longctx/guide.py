"""The commands `help` and `completion`."""

import click
from click.shell_completion import get_completion_class


@click.command("help")
@click.argument("names", nargs=-1, metavar="[COMMAND]...")
@click.pass_context
def help_(context: click.Context, names: tuple[str, ...]) -> None:
    """Tell what a command does, as its --help does."""
    assert context.parent
    at = context.parent
    for name in names:
        command = at.command.get_command(at, name) if isinstance(at.command, click.Group) else None
        if command is None:
            raise click.UsageError(f"no such command: {' '.join(names)}; longctx help lists all", at)
        at = click.Context(command, info_name=name, parent=at, **command.context_settings)
    click.echo(at.get_help())


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what completes commands and options in a shell.

    \b
    Examples:
      longctx completion bash >> ~/.bashrc
      longctx completion zsh >> ~/.zshrc
      longctx completion fish > ~/.config/fish/completions/longctx.fish
    """
    kind = get_completion_class(shell)
    assert kind, shell
    click.echo(kind(context.find_root().command, {}, "longctx", "_LONGCTX_COMPLETE").source())
