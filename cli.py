"""The one command `david`: each room brings its own subcommands."""

import os
import sys

import typer
from rich.console import Console
from rich.markup import escape

from david.bench.commands import register as register_bench
from david.pack.commands import register as register_pack
from david.pack.errors import DavidError
from david.train.commands import register as register_train

app = typer.Typer(
    help="Train relative depth, surface normals and soft foreground of people: pack once, train, see where time goes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for register in (register_pack, register_train, register_bench):
    register(app)


def main() -> None:
    """Run the command line: a mistake in what came from outside is one sentence and exit code 2."""
    # Threads of OpenMP (torch on a CPU) spin where they wait; on a machine that others use too, a step that waits for
    # a thread without a core then takes four times as long. Read when torch is loaded, and a user's own value stays.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        app()
    except DavidError as error:
        Console(stderr=True, soft_wrap=True).print(f"[bold red]david:[/] {escape(str(error))}", highlight=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
