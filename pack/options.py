"""What command lines of several rooms say in the same words."""

from typing import Annotated

import typer

AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON, and nothing else, on the standard output; all else goes to stderr.")
]
