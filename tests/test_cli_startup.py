"""A wrong name or path is refused before torch and timm are loaded, which takes seconds; lists need neither."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import save_file

from david.model import label
from david.pack.progress import progress_bar
from david.train import recipes
from david.train.recipe import to_json
from david.train.recipes import ABOUT, RECIPES

SLOW = {"torch", "timm", "nvidia.dali", "matplotlib", "gradio", "onnxruntime"}
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

# As `david`, but when torch is about to be imported, this very process gets a signal.
SIGNALLED = """
import os, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Finder())
sys.argv = ["david", *{words}]
from david.cli import main
main()
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
        ["export", "--weights", nowhere, "--out", "net.onnx"],
        ["bench", "--shards", nowhere],
        ["bench", "--shards", there, "--recipe", "nope"],
        ["bench", "load", "--shards", nowhere],
        ["bench", "load", "--peers", nowhere],
        ["bench", "step", "--shards", nowhere],
        ["bench", "counts", "--recipe", "nope"],
        ["bench", "pack", nowhere],
        ["bench", "predict", "--images", nowhere],
        ["predict", nowhere, "--weights", "user/name"],
        ["predict", nowhere, "--weights", "nope"],
        ["bench", "learn", "--recipe", "nope"],
        ["bench", "campaign", "--out", "new", "--shards", nowhere],
        ["bench", "campaign", "--out", "new", "--device", "tpu"],
        ["bench", "compare", nowhere],
        ["bench", "plan", "--gpus", "8", "--recipe", "nope"],
        ["bench", "tune", "--shards", nowhere],
        ["bench", "tune", "--shards", there, "--raw", nowhere],
        ["train", "--shards", there, "--tuned", nowhere],
        ["pack", there, "out", "--tuned", nowhere],
        ["bench", "explain", "--shards", nowhere],
        ["bench", "explain", "--shards", there, "--recipe", "nope"],
        ["bench", "explain", "--shards", there, "--if", "threads=none"],
        ["bench", "explain", "--shards", there, "--check"],
        ["doctor", "--disk", nowhere],
        ["pack", nowhere, "out"],
        ["verify", nowhere],
        ["view", nowhere],
        ["view", "run", "--contact-sheet", "sheet.png"],
        ["view", there, "--weights", "nope"],
        ["view", there, "--onnx", "nope.onnx"],
        ["label", nowhere, "--teacher", "nope", "--out", "new"],
        ["label", there, "--teacher", "nope", "--out", "new"],
        ["demo", "--weights", "nope"],
        ["demo", "--onnx", "nope.onnx"],
        ["info", nowhere],
    ]
    for words, code, said, loaded in ask(calls, tmp_path):
        assert code == 2, (words, said)
        assert said.startswith("david: ") and said.count("\n") == 1, (words, said)
        assert not loaded, (words, loaded)


def test_what_the_words_and_files_alone_tell_is_refused_before_anything_slow_is_loaded(
    shards: Path, tmp_path: Path
) -> None:
    smoke, there = recipes.recipe("smoke"), ["--shards", str(shards)]
    (tmp_path / "file.txt").write_text("text")
    (tmp_path / "empty").mkdir()
    save_file({"tensor": np.zeros(1)}, tmp_path / "w.safetensors", label.metadata(smoke.model))
    (tmp_path / "run" / "checkpoints" / "step-00000002").mkdir(parents=True)
    (tmp_path / "run" / "recipe.json").write_text(json.dumps({"recipe": to_json(smoke), "shards": ""}))
    (tmp_path / "run" / "journal.jsonl").write_text("{}\n")
    (tmp_path / "seen" / "pictures").mkdir(parents=True)
    (tmp_path / "seen" / "recipe.json").write_text("{}")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"a picture")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "predictions.json").write_text('{"save": ["npz"], "fit": "square", "size": 512}')
    predict = ["predict", "photos", "--weights", "w.safetensors"]
    export = ["export", "--weights", "w.safetensors", "--out", "net.onnx"]
    measured = ["eval", "--weights", "w.safetensors"]
    labels = ["label", str(shards), "--teacher", "w.safetensors"]
    weights = [*measured, *there]
    calls = [
        (2, "--steady: of videos and cameras, and there is none among 1 input", [*predict, "--steady"]),
        (2, 'save is ["npz"] there and ["picture"] now', [*predict, "--out", "begun"]),
        (2, "--out file.txt: a file; expected a folder to write to", [*predict, "--out", "file.txt"]),
        (2, "the folder of outputs, which holds no inputs", [*predict, "--out", "photos"]),
        (2, "--out file.txt: a file; expected a folder to write to", [*labels, "--out", "file.txt"]),
        (2, "a shard set, and no labels of", [*labels, "--out", str(shards)]),
        (2, "no labels there; make them: david label", ["train", "--shards", f"{shards}+gone"]),
        (2, "--precision fp8: there are", [*labels, "--out", "new", "--precision", "fp8"]),
        (1, "/proc/x: can't be written", [*labels, "--out", "/proc/x"]),
        (2, "name a run, a file of weights or an ONNX file", ["eval", *there]),
        (2, "does not say what to measure it on", weights[:3]),
        (2, "fp8: there are auto, fp32, bf16, fp16", [*weights, "--precision", "fp8"]),
        (2, "gone.onnx: no such file; expected an ONNX file", ["eval", "--onnx", "gone.onnx", *there]),
        (2, "no samples in a split `test`", [*weights, "--split", "test"]),
        (2, "height is -3", [*weights, "--height", "-3", "--width", "64"]),
        (2, "height is 64 and width is None", [*weights, "--height", "64"]),
        (2, "no checkpoint of step 7; there are 2", ["eval", "--run", "run", "--checkpoint", "7", *there]),
        (2, "--checkpoint last: give a step", ["eval", "--run", "run", "--checkpoint", "last", *there]),
        (2, "file.txt: expected weights", ["eval", "--weights", "file.txt", *there]),
        (2, "empty: no run there", ["eval", "--weights", "empty", *there]),
        (2, "--benchmark is `coco`, but can only be p3m-500-np", [*measured, "--benchmark", "coco", "--root", "empty"]),
        (2, "a benchmark has to lie somewhere; name its folder", [*measured, "--benchmark", "hi4d"]),
        (2, "name it with --benchmark", [*measured, "--root", "empty"]),
        (2, "--split: says how shards", [*measured, "--benchmark", "hi4d", "--root", "empty", "--split", "val"]),
        (2, "empty: has no folder `image`", [*measured, "--benchmark", "hi4d", "--root", "empty"]),
        (2, "gone: no folder there; expected that of ppm-100", [*measured, "--benchmark", "ppm-100", "--root", "gone"]),
        (2, "nope: no such file or folder", ["eval", "--weights", "nope", "--benchmark", "hi4d", "--root", "empty"]),
        (1, "/proc/x: can't be written", [*weights, "--out", "/proc/x"]),
        (2, "--size 100: expected a multiple of 16", [*export, "--size", "100"]),
        (2, "--task faces: there are multi, depth, normals, alpha", [*export, "--task", "faces"]),
        (2, "--precision fp16: of ONNX files only", [*export, "--format", "pt2", "--precision", "fp16"]),
        (2, "--format trt: there are onnx, pt2", [*export, "--format", "trt"]),
        (2, "net.onnx: expected a name ending in .pt2", [*export, "--format", "pt2"]),
        (2, "--check nowhere: no such folder", [*export, "--check", "nowhere"]),
        (2, "--check empty: expected a shard set, or pictures", [*export, "--check", "empty"]),
        (2, "no samples in a split `test`", [*export, "--check", str(shards), "--split", "test"]),
        (2, "file.txt: expected a network's weights", ["export", "--weights", "file.txt", "--out", "net.onnx"]),
        (1, "/proc: can't be written", [*export, "--out", "/proc/x.onnx"]),
        (1, "/proc/x: can't be written", ["train", *there, "--out", "/proc/x"]),
        (2, "file.txt: expected a network's weights ending in", ["train", *there, "--from", "file.txt"]),
        (2, "empty: no run there", ["train", *there, "--from", "empty"]),
        (2, "file.txt: expected backbone weights ending in", ["train", *there, "--backbone-weights", "file.txt"]),
        (2, "gone.pth: no such file", ["train", *there, "--backbone-weights", "gone.pth"]),
        (2, "there are wandb and mlflow", ["train", *there, "--track", "neptune"]),
        (2, "file.txt: the file of a recipe ends in .py", ["train", *there, "--recipe", "file.txt"]),
        (2, "empty: no bundle of a step", ["replay", "--bundle", "empty"]),
        (1, "/proc/x: can't be written", ["bench", "campaign", "--out", "/proc/x"]),
        (2, "file.txt: a file; expected the folder", ["bench", "campaign", "--out", "new", "--shards", "file.txt"]),
        (2, "file.txt: a file; expected the folder", ["verify", "file.txt"]),
        (2, "file.txt: a file; expected the folder", ["info", "file.txt"]),
        (2, "file.txt: a file; expected the folder", ["merge", "file.txt"]),
        (1, "/proc: can't be written", ["view", str(shards), "--out", "/proc/x.html"]),
        (2, "file.txt: expected a network's weights ending in", ["view", str(shards), "--weights", "file.txt"]),
        (2, "--onnx w.safetensors: expected an ONNX file", ["view", str(shards), "--onnx", "w.safetensors"]),
        (2, "a run has no samples", ["view", "seen", "--weights", "w.safetensors"]),
        (2, "no sample at position 99", ["view", str(shards), "--start-idx", "99", "--weights", "w.safetensors"]),
        (2, "empty: a folder without inputs", ["view", "empty", "--weights", "w.safetensors"]),
        (2, "file.txt: no picture", ["view", "file.txt", "--weights", "w.safetensors"]),
        (1, "/proc: can't be written", ["view", str(shards), "--weights", "w.safetensors", "--out", "/proc/x.html"]),
        (2, "name a network", ["demo"]),
        (2, "--onnx file.txt: expected an ONNX file", ["demo", "--onnx", "file.txt"]),
        (2, "--host nowhere.invalid: no address", ["demo", "--weights", "w.safetensors", "--host", "nowhere.invalid"]),
        (1, "file.txt: can't be written", ["view", str(shards), "--contact-sheet", "file.txt/x.png"]),
    ]
    before = sorted(tmp_path.rglob("*"))
    found = ask([words for _, _, words in calls], tmp_path)
    for (expected, why, words), (_, code, said, loaded) in zip(calls, found, strict=True):
        assert code == expected and why in " ".join(said.replace("│", " ").split()), (words, code, said)
        assert not loaded, (words, loaded)
    assert sorted(tmp_path.rglob("*")) == before


def test_lists_need_nothing_slow(shards: Path, tmp_path: Path) -> None:
    calls = [["--help"], ["--version"], ["recipes"], ["recipes", "smoke"], ["recipes", "--json"], ["info", str(shards)]]
    calls += [["bench", "campaign", "--out", "new", "--device", "cpu", "--dry-run"], ["doctor", "--help"]]
    calls += [["train", "--help"], ["pack", "--help"], ["info", str(shards), "--json"]]
    for words, code, said, loaded in ask(calls, tmp_path):
        assert code == 0, (words, said)
        assert not loaded, (words, loaded)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_before_training_begins_leaves_as_one_that_comes_later(
    number: signal.Signals, shards: Path, tmp_path: Path
) -> None:
    """A job's script that gives the same command again where it ends with 75 does so here too."""
    words = ["train", "--shards", str(shards), "--out", "run"]
    code = SIGNALLED.format(number=int(number), words=words)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 75, done.stderr
    assert done.stderr == f"stopped by {number.name} with no step begun; the same command goes on\n"
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
