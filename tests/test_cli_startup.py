"""A wrong name or path is refused before torch and timm are loaded, which takes seconds; lists need neither."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from david.pack.progress import progress_bar
from david.train.recipes import ABOUT, RECIPES

SLOW = {"torch", "timm", "nvidia.dali", "matplotlib"}
# Says of each command in turn its exit code, what it said, and which slow modules this process has by then.
ASKED = """
import contextlib, io, sys
from david import cli
for words in {calls}:
    sys.argv = ["david", *words]
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            cli.main()
    except SystemExit as end:
        code = end.code
    print(repr((words, code, said.getvalue(), sorted(set({slow}) & set(sys.modules)))))
"""


def ask(calls: list[list[str]], cwd: Path) -> list[tuple[list[str], int, str, list[str]]]:
    code = ASKED.format(calls=calls, slow=sorted(SLOW))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, timeout=120)
    assert done.returncode == 0, done.stderr
    return [eval(line) for line in done.stdout.splitlines()]


def test_wrong_names_and_paths_are_refused_before_anything_slow_is_loaded(shards: Path, tmp_path: Path) -> None:
    there, nowhere = str(shards), "/nowhere"
    (tmp_path / "empty").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.json").write_text("{}")
    calls = [
        ["train", "--shards", there, "--recipe", "nope"],
        ["train", "--shards", nowhere],
        ["train", "--shards", nowhere, "--recipe", "david-base"],
        ["train", "--shards", there, "--set", "optim.speed=3"],
        ["train", "--shards", there, "--set", "batch_size=4096"],
        ["train", "--shards", there, "--from", "runs/nope"],
        ["recipes", "nope"],
        ["verify-run", nowhere, "--shards", there],
        ["verify-run", "empty", "--shards", there],
        ["replay", nowhere, "--shards", there, "--step", "1"],
        ["replay", "--bundle", nowhere],
        ["plot", nowhere],
        ["eval", "--run", nowhere, "--shards", there],
        ["eval", "--weights", "nope.safetensors", "--shards", there],
        ["eval", "--weights", "nope.safetensors", "--shards", nowhere],
        ["bench", "--shards", nowhere],
        ["bench", "--shards", there, "--recipe", "nope"],
        ["bench", "load", "--shards", nowhere],
        ["bench", "load", "--peers", nowhere],
        ["bench", "step", "--shards", nowhere],
        ["bench", "pack", nowhere],
        ["bench", "learn", "--recipe", "nope"],
        ["pack", nowhere, "out"],
        ["verify", nowhere],
        ["view", nowhere],
        ["view", "run", "--contact-sheet", "sheet.png"],
        ["info", nowhere],
    ]
    for words, code, said, loaded in ask(calls, tmp_path):
        assert code == 2, (words, said)
        assert said.startswith("david: ") and said.count("\n") == 1, (words, said)
        assert not loaded, (words, loaded)


def test_lists_need_nothing_slow(shards: Path, tmp_path: Path) -> None:
    calls = [["--help"], ["--version"], ["recipes"], ["recipes", "smoke"], ["recipes", "--json"], ["info", str(shards)]]
    calls += [["train", "--help"], ["pack", "--help"], ["info", str(shards), "--json"]]
    for words, code, said, loaded in ask(calls, tmp_path):
        assert code == 0, (words, said)
        assert not loaded, (words, loaded)
    assert not list(tmp_path.iterdir())


def test_off_a_terminal_work_is_told_at_its_tenths(capsys) -> None:
    with progress_bar(Console(), "synth") as progress:
        for done in range(1, 1001):
            progress(done, 1000)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"synth: {done:,} of 1,000 samples" for done in range(100, 1001, 100)]


def test_verify_and_info_speak_json_and_nothing_else(shards: Path, tmp_path: Path) -> None:
    calls = [["info", str(shards), "--json"], ["verify", str(shards), "--json"], ["recipes", "--json"]]
    (_, _, info, _), (_, code, verified, _), (_, _, recipes, _) = ask(calls, tmp_path)
    told = json.loads(info)
    assert told["splits"]["train"]["samples"] + told["splits"]["val"]["samples"] == 24
    assert told["first_sample"] == {"height": 512, "width": 384}
    assert code == 0 and json.loads(verified)["whole"] is True and json.loads(verified)["faults"] == []
    assert {row["name"] for row in json.loads(recipes)} == set(RECIPES) == set(ABOUT)


def test_a_broken_set_is_told_in_json_and_by_the_exit_code(shards: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(shards, tmp_path / "set"))
    tar = folder / "train-000000.tar"
    tar.write_bytes(tar.read_bytes()[:2000] + b"changed" + tar.read_bytes()[2007:])
    ((_, code, said, _),) = ask([["verify", str(folder), "--json"]], tmp_path)
    told = json.loads(said)
    assert code == 2 and not told["whole"] and "train-000000" in told["faults"][0]
