"""What a person meets at the command line: wrong calls are one clear sentence and exit code 2."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("warm")


def david(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "david.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=240)


def refused(*words: object, cwd: Path) -> str:
    done = david(*words, cwd=cwd)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr.startswith("david: ")
    assert len(done.stderr.strip().splitlines()) == 1
    return done.stderr


def test_help_names_every_command(tmp_path: Path) -> None:
    done = david("--help", cwd=tmp_path)
    assert done.returncode == 0
    commands = "synth pack download verify view train recipes plot eval replay verify-run bench quickstart"
    for command in commands.split():
        assert f" {command} " in done.stdout


@pytest.mark.parametrize("command", ["train", "bench"])
def test_no_shards_there(command: str, tmp_path: Path) -> None:
    assert "no shards there" in refused(command, "--shards", tmp_path, cwd=tmp_path)


def test_a_zip_cut_short(raw: Path, tmp_path: Path) -> None:
    whole = sorted(raw.glob("*.zip"))[0]
    cut = tmp_path / whole.name
    cut.write_bytes(whole.read_bytes()[:-100_000])
    told = refused("pack", cut, tmp_path / "shards", cwd=tmp_path)
    assert str(cut) in told
    assert "cut short" in told


def test_an_unknown_recipe_and_field(shards: Path, tmp_path: Path) -> None:
    told = refused("train", "--shards", shards, "--recipe", "david-huge", cwd=tmp_path)
    assert "david-huge" in told
    assert "david-base" in told
    told = refused("train", "--shards", shards, "--set", "optim.speed=3", cwd=tmp_path)
    assert "optim.speed" in told
    assert "rate" in told


def test_a_batch_too_large_for_the_data(shards: Path, tmp_path: Path) -> None:
    told = refused("train", "--shards", shards, "--set", "batch_size=4096", cwd=tmp_path)
    assert "4096" in told


def test_a_recipe_that_does_not_match_the_run(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    small = ("--set", "data.height=64", "--set", "data.width=48", "--set", "batch_size=2", "--set", "parallel=ddp")
    done = david("train", "--shards", shards, "--out", out, "--steps", 1, *small, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = refused("train", "--shards", shards, "--out", out, "--recipe", "david-base", *small, cwd=tmp_path)
    assert "smoke" in told
    assert "david-base" in told
