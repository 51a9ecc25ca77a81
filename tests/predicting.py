"""`david predict` as the tests ask for it, and what it leaves."""

import json
from pathlib import Path

from typer.testing import CliRunner

from david.cli import app


def ask(*words: object) -> tuple[int, str]:
    """Its exit code and what it said; an error of our own is raised."""
    done = CliRunner().invoke(app, ["predict", *map(str, words)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file below a folder, by its path there."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lines(path: Path) -> list[dict]:
    """What a record says of each input."""
    return [json.loads(line) for line in path.read_text().splitlines()]
