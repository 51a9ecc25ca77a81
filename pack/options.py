"""What command lines of several rooms say in the same words."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Annotated

import typer

AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON, and nothing else, on the standard output; all else goes to stderr.")
]


@contextmanager
def aside(as_json: bool) -> Iterator[None]:
    """Where JSON is asked for, all that is printed meanwhile goes to the standard error stream: by Python, by
    libraries, and by processes that are started."""
    if not as_json:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
