"""Two ranks, of which one comes to a bad end while the other waits for it: all end soon, and say by what."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import called, children
from smallest import SMALLEST

from david.pack.errors import DavidError
from david.pipeline.batch import Batch
from david.pipeline.loader import Loader
from david.train import distributed, loop, recipes
from david.train.journal import read
from david.train.recipe import Recipe, override

pytestmark = pytest.mark.usefixtures("warm")
SETTINGS = [*SMALLEST, "batch_size=4", "steps=1000000", "checkpoint_every=0", "picture_every=0", "parallel=ddp"]
LONGEST_S = 60.0  # from the end of one rank to that of all


@pytest.fixture(scope="module")
def shards(figures: Path) -> Path:
    return figures


def test_a_killed_rank_ends_the_command_with_code_2(shards: Path, tmp_path: Path):
    words = ["train", "--shards", str(shards), "--out", str(tmp_path / "run"), "--device", "cpu", "--nproc", "2"]
    words += [word for setting in SETTINGS for word in ("--set", setting)]
    with subprocess.Popen([sys.executable, "-m", "david.cli", *words], stderr=subprocess.PIPE, text=True) as process:
        while sum(1 for _ in read(tmp_path / "run" / "journal.jsonl")) < 2:
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            time.sleep(0.05)
        _, other = sorted(pid for pid in children(process.pid) if called(pid, b"spawn_main"))
        os.kill(other, signal.SIGKILL)
        said = process.communicate(timeout=LONGEST_S)[1]
    assert process.returncode == 2, said
    assert "died by SIGKILL and the others were ended; the same command goes on" in said


class Failing(Loader):
    """A loader of rank 1 whose third batch can't be read."""

    def __next__(self) -> Batch:
        batch = super().__next__()
        if self.state == 3 and os.environ["RANK"] == "1":
            Path(os.environ["FAILED"]).touch()
            raise DavidError("a shard that is gone")
        return batch


def failing(recipe: Recipe, shards: Path, out: Path) -> None:
    os.environ["FAILED"] = str(out.with_name("failed"))
    loop.Loader = Failing
    loop.train(recipe, shards, out, device="cpu", speaks=False)


def test_an_error_of_a_rank_ends_the_one_that_waits_for_its_gradient(shards: Path, tmp_path: Path):
    recipe = override(recipes.recipe("smoke"), SETTINGS)
    with pytest.raises(DavidError, match="a shard that is gone"):
        distributed.launch(2, failing, recipe=recipe, shards=shards, out=tmp_path / "run")
    assert time.time() - (tmp_path / "failed").stat().st_mtime < LONGEST_S
    assert sum(1 for _ in read(tmp_path / "run" / "journal.jsonl")) == 2
