"""A student that learns from what a teacher said once: by david's commands, from shards to a run without a teacher; and
what does not belong together ends in one sentence with code 2."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from learn_rooms import command
from safetensors.torch import load_file
from test_distill_task import WIDE, teachers

from david.model import build, weights
from david.model.config import configure
from david.pipeline.loader import Loader
from david.train import run as runs
from david.train.distill import crops
from david.train.distill import teachers as asked
from david.train.distill.nearness import nearness
from david.train.journal import read
from david.train.losses.distill.hdn import hdn

pytestmark = pytest.mark.usefixtures("warm")
__all__ = ["teachers"]
SQUARES = ["data.height=56", "data.width=56", "objective.least=42", "objective.crop=28", "objective.window=28"]
QUICK = ["batch_size=3", "optim.warmup=1", "log_every=1", "checkpoint_every=0", "parallel=exact"]
NO_TEACHER = ["objective.local_global=0", "objective.features=0"]


def sets(*settings: str) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


@pytest.fixture(scope="module")
def made(figures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A teacher's run, and what it says of `figures`."""
    folder = tmp_path_factory.mktemp("made")
    teacher, sidecar = folder / "teacher", folder / "sidecar"
    settings = ("model=da2-smoke", "data.height=56", "data.width=42", "steps=2", *QUICK)
    where = ("--device", "cpu")
    command("train", "--shards", figures, "--recipe", "metric-smoke", "--out", teacher, *where, *sets(*settings))
    command("label", figures, "--teacher", teacher, "--out", sidecar, *where, "--no-progress")
    return teacher, sidecar


def test_a_student_learns_from_a_sidecar_and_asks_no_teacher(
    made: tuple[Path, Path], figures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, sidecar = made
    shutil.move(teacher, tmp_path / "gone")  # whoever asked it would see
    monkeypatch.setattr(asked, "load", lambda *_: pytest.fail("a teacher was loaded"))
    how = ["train", "--shards", f"{figures}+{sidecar}", "--recipe", "distill-smoke", "--device", "cpu"]
    how += sets(*SQUARES, *QUICK, *NO_TEACHER, "steps=4")
    command(*how, "--out", tmp_path / "through")
    command(*how, "--out", tmp_path / "broken", "--steps", 2)
    command("train", "--out", tmp_path / "broken", "--device", "cpu")  # a run knows its labels
    shutil.move(tmp_path / "gone", teacher)
    one, other = (list(read(tmp_path / name / "journal.jsonl")) for name in ("through", "broken"))
    told = ("loss", "norm", "shared_context", "gradient", "median", "spread_moved")
    assert len(one) == 4 and [[line[name] for name in told] for line in one] == [
        [line[name] for name in told] for line in other
    ]
    ours, theirs = (load_file(tmp_path / name / runs.WEIGHTS) for name in ("through", "broken"))
    assert all(ours[name].equal(theirs[name]) for name in ours)

    recipe = runs.trained(tmp_path / "through").recipe
    assert recipe.objective.teachers == recipe.objective.sha256 == ()  # type: ignore[union-attr]
    torch.manual_seed(recipe.seed)
    network = build(recipe.model)
    with Loader(f"{figures}+{sidecar}", "train", recipe.data, batch_size=3, seed=recipe.seed) as loader:
        batch = next(loader)
    square = crops.shared(recipe.seed, batch.epochs, batch.ids, (56, 56), 42)
    labels = crops.targets(batch, square, 28)["teacher_depth"]
    with torch.no_grad():
        student = nearness(network(crops.cropped(batch.image, square, 28)))
    expected = hdn(student, labels.value, labels.valid).mean().item()
    assert one[0]["shared_context"] == pytest.approx(expected, rel=1e-5) and labels.valid.all()


def test_what_does_not_belong_together_ends_in_a_sentence_with_code_2(
    made: tuple[Path, Path],
    figures: Path,
    teachers: list[Path],
    tiny: Callable[[Path, list[int]], Path],
    tmp_path: Path,
) -> None:
    _, sidecar = made
    others, file = tiny(tmp_path / "others", [3]), tmp_path / "teacher.safetensors"
    shutil.copy(teachers[0], file)
    recipe = ["--recipe", "distill-smoke", "--device", "cpu"]
    taught = sets(f"objective.teachers={file}", *SQUARES, *QUICK, "steps=2")
    command("train", "--shards", figures, "--out", tmp_path / "run", *recipe, *taught, "--steps", 1)
    command("label", figures, "--teacher", file, "--out", tmp_path / "labels", "--part", "1/2", "--size", 28)
    torch.manual_seed(3)
    weights.save(build(configure("da2-smoke", **WIDE)), file)
    small = sets("model=david-smoke", "model.heads=depth", "model.backbone_size=48", "objective.local_global=0")
    tokens = "of 28 x 28 pixels the student has 9 tokens and teacher.safetensors 4"
    for words, said in (
        (["train", "--shards", f"{others}+{sidecar}", *recipe], f"{sidecar}: labels of the shard set"),
        (["train", "--out", tmp_path / "run", "--device", "cpu"], "put back what taught the run"),
        (
            ["label", figures, "--teacher", file, "--out", tmp_path / "labels", "--size", 28],
            "the teacher's sha256 is",
        ),
        (["train", "--shards", figures, "--out", tmp_path / "new", *recipe, *taught, *small], tokens),
    ):
        called = [sys.executable, "-m", "david.cli", *map(str, words)]
        done = subprocess.run(called, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 2, (words, done.stderr)
        (line,) = done.stderr.splitlines()
        assert line.startswith("david: ") and said in line
    assert not (tmp_path / "new" / "journal.jsonl").exists()
