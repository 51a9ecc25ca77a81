"""The README is true: its figures are the newest rows', its code runs, its options exist."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import peers_picture
import pytest
import typer
from readme import BLOCKS, NAMES, PICTURE, README, ROOT, block, newest
from smallest import network

from david.cli import app
from david.model import weights
from david.train import recipes

TEXT = README.read_text()


def code(marker: str) -> str:
    """The block of code behind a marker."""
    found = re.search(rf"<!-- {marker} -->\n```\w+\n(.*?)```", TEXT, re.DOTALL)
    assert found, f"README.md has no block of code behind <!-- {marker} -->"
    return found[1]


@pytest.mark.parametrize("marker", BLOCKS)
def test_a_figure_is_what_the_newest_row_says(marker: str) -> None:
    said, (name, say) = block(marker).search(TEXT), BLOCKS[marker]
    assert said and said[0].split() == say(newest(name)).split(), "run: python tests/readme.py"


def test_the_picture_of_the_loaders_shows_the_newest_row() -> None:
    row = newest("load-peers-cpu")
    medians = {NAMES[name].strip("*"): found["rate"]["median"] for name, found in row["figures"].items()}
    told = peers_picture.told(PICTURE)
    assert told == {"bars": medians, "when": row["when"], "commit": row["commit"]}, "run: python tests/readme.py"
    assert list(told["bars"]) == sorted(medians, key=medians.__getitem__)
    assert peers_picture.shown(peers_picture.drawn(row, NAMES)) == medians
    assert f"({PICTURE.relative_to(ROOT)})" in TEXT


def test_the_recipe_of_ones_own_is_six_lines_and_resolves(tmp_path: Path) -> None:
    lines = [line for line in code("recipe").splitlines() if line]
    assert len(lines) <= 6
    (tmp_path / "mine.py").write_text(code("recipe"))
    mine = recipes.recipe(str(tmp_path / "mine.py"))
    assert (mine.name, mine.batch_size, mine.optim.rate) == ("mine", 48, 5e-5)


def test_the_loop_of_ones_own_is_below_fifteen_lines() -> None:
    assert len([line for line in code("loader").splitlines() if line]) < 15


@pytest.mark.parametrize("marker", ["read", "loader"])
def test_the_code_for_ones_own_loop_runs(marker: str, shards: Path) -> None:
    names: dict[str, object] = {}
    exec(code(marker).replace('"/shards"', repr(str(shards))).replace("batch_size=16", "batch_size=2"), names)
    last = names["sample" if marker == "read" else "batch"]
    assert last.image.shape == (2, 3, 512, 384) if marker == "loader" else last.rgb.ndim == 3  # type: ignore[attr-defined]


def test_what_was_trained_is_loaded_as_it_says(tmp_path: Path) -> None:
    rgb = np.zeros((40, 30, 3), np.uint8)
    weights.save(network(), tmp_path / "run.safetensors")
    names: dict[str, Any] = {"rgb": rgb}
    exec(code("predict").replace('"quickstart/run"', repr(str(tmp_path / "run.safetensors"))), names)
    assert names["out"].normals.shape == (40, 30, 3)


def said_commands() -> list[list[str]]:
    """Each `david ...` that the README and the pages for users say, as words."""
    pages = ("using.md", "data.md", "new-machine.md")
    text = TEXT + "".join((ROOT / "docs" / page).read_text() for page in pages)
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ")
    lines = [line.split("#")[0] for line in blocks.splitlines() if not line.startswith("#")]
    quoted = re.findall(r"`([^`\n]*david [^`]*)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    found = [re.search(r"(?:^|[ /])david(?:\.cli)? (.*)", one) for one in (*lines, *quoted)]
    return [shlex.split(one[1].split(" && ")[0]) for one in found if one]


def test_every_command_and_option_that_it_names_exists() -> None:
    assert len(said_commands()) > 15
    for words in said_commands():
        command: Any = typer.main.get_command(app)
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        options = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help"}
        for word in words:
            if word.startswith("--"):
                assert word.split("=")[0] in options, f"david {command.name} has no {word}"


def test_the_slurm_script_is_one_that_bash_reads(tmp_path: Path) -> None:
    (tmp_path / "job.sh").write_text(code("slurm"))
    subprocess.run(["bash", "-n", str(tmp_path / "job.sh")], check=True)
    for needed in ("--requeue", "--signal=USR1@", "--cache ", "--out ", "75", "scontrol requeue"):
        assert needed in code("slurm")


def test_files_that_it_names_are_there_and_it_is_short() -> None:
    for link in re.findall(r"\]\((?!http)([^)]+)\)", TEXT):
        assert (ROOT / link).exists(), link
    assert len(TEXT.split()) < 1700
