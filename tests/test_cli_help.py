"""What `--help` shows: each command and option in one short sentence, each default, and nothing that folds badly."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from david.cli import app

SENTENCE = re.compile(r"[A-Z][^.!?]*(\.[^ .!?][^.!?]*)*\.")  # dots within words, as of FILE.py, end none
METAVAR = re.compile(r"[A-Z]+[|/=]?[A-Z]*|[a-z0-9]+(\|[a-z0-9]+)+|N(\|[a-z]+)+")


def commands(group: Any = None, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that call it, groups among them."""
    group = group or get_command(app)
    yield words, group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*words, name))


COMMANDS = dict(commands())


def shown(words: tuple[str, ...], width: int) -> str:
    return CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": str(width)}, terminal_width=width).output


def test_every_command_says_what_it_does_in_one_line_of_a_list() -> None:
    assert len(COMMANDS) == 35
    for words, command in COMMANDS.items():
        first, *rest = command.help.split("\n\n")
        assert SENTENCE.fullmatch(first) and len(first) <= (64 if words else 76), (words, first)
        assert all("\n" not in paragraph and paragraph.endswith(".") for paragraph in rest), words


def test_every_option_is_one_short_sentence_with_what_it_takes() -> None:
    for words, command in COMMANDS.items():
        for one in command.get_params(command.make_context("david", [], resilient_parsing=True)):
            assert SENTENCE.fullmatch(one.help) and len(one.help) <= 80, (words, one.name, one.help)
            flag = getattr(one, "is_flag", False)
            assert one.metavar == "" if flag else METAVAR.fullmatch(one.metavar or ""), (words, one.name, one.metavar)


@pytest.mark.parametrize(("command", "default"), [("pack", "all cores"), ("train", "smoke"), ("eval", "eval-SPLIT")])
def test_defaults_that_are_worked_out_are_shown(command: str, default: str) -> None:
    assert f"[default: ({default}" in " ".join(shown((command,), 300).split())


@pytest.mark.parametrize("width", [80, 130])
def test_no_help_is_cut(width: int) -> None:
    for words in COMMANDS:
        lines = shown(words, width).splitlines()
        assert lines and all(len(line) <= width and "…" not in line for line in lines), words
