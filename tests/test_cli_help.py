"""What `--help` shows: each option explained, each default, and sentences that break where the terminal ends."""

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from david.cli import app

GROUP = get_command(app)


def test_every_option_is_explained_and_no_default_is_lost_as_markup() -> None:
    commands = {**GROUP.commands, **GROUP.commands["bench"].commands}
    for name, command in commands.items():
        for one in command.params:
            told = getattr(one, "help", None)
            assert told, (name, one.name)
            assert "[default" not in told.replace("\\[default", ""), (name, one.name)


@pytest.mark.parametrize(("command", "default"), [("pack", "all cores"), ("train", "smoke"), ("eval", "eval-SPLIT/")])
def test_defaults_that_are_worked_out_are_shown(command: str, default: str) -> None:
    said = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "300"}, terminal_width=300).output
    assert f"[default: {default}" in " ".join(said.split())


def test_no_sentence_of_a_help_breaks_by_itself() -> None:
    for command in GROUP.commands.values():
        assert all("\n" not in paragraph for paragraph in (command.help or "").split("\n\n")), command.name
