"""Two `david train` begun together on one folder, in processes of their own, at length.

    PYTHONPATH=tests python tests/soak/train_starters.py [ROUNDS]

Each round begins a run, goes on with it, and ends it. To begin and to go on, two start at a barrier, one of them later
at times: one trains, and the other is refused in a sentence or finds all done; or both are refused. The second of the
two gives the same command, in a folder named with --out or in the one that it finds by itself; or one of another seed,
or one that fails once the folder is its own. What a round leaves is, to the bit, what one alone leaves.

Not part of the suite, which does the same to the folder's lock in threads. A fault ends it with an error.
"""

import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
from starters import contents, tiny_raw

from david import cli
from david.pack.work import build, plan
from david.train import run, shelf
from david.train.eval import pictures
from david.train.journal import read
from david.train.record import curves

LOADED = ["train_starters", "david.train.commands", "david.train.loop", "david.train.forecast"]
LOADED += ["torch.utils.tensorboard"]  # once, for all processes
SETTINGS = [
    *("data.height=16", "data.width=12", "model.backbone_size=32", "model.width=16", "model.head_widths=8,8"),
    *("model.reassemble=8,8,8,8", "batch_size=4", "optim.warmup=1", "picture_every=0"),
]
BEGIN, GO_ON, END = 1, 2, 3  # after how many steps
SECONDS = ("same", False), ("same", True), ("other", True), ("fails", True)  # of two; whether --out names the folder
REFUSED = "another process trains there", "the run there has seed = "
FAILED = "expected backbone weights"
LATER_S = 0.0, 0.3, 3.0  # at most, after the other

Outcome = tuple[int, str]  # a command's exit code and words


def command(word: str, steps: int, shards: Path, out: Path | None) -> list[str]:
    more = {"same": [], "other": ["--set", "seed=1"], "fails": ["--backbone-weights", str(shards)]}[word]
    sets = [word for setting in SETTINGS for word in ("--set", setting)]
    named = ["--out", str(out)] if out else []
    return ["david", "train", "--shards", str(shards), "--device", "cpu", "--steps", str(steps), *sets, *more, *named]


def start(arguments: list[str], folder: Path, together: Barrier, later_s: float, said: Path) -> None:
    """`david` in this very process, in a folder; what it says goes to a file. Pictures, half of its time, are empty."""
    curves.draw = lambda _, path: path.touch()
    pictures.draw = lambda *_: np.zeros((8, 8, 3), np.uint8)
    os.chdir(folder)
    with said.open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.argv = arguments
    together.wait()
    time.sleep(later_s)
    cli.main()


def david(folder: Path, commands: Sequence[list[str]], later_s: Sequence[float] = (0.0,)) -> list[Outcome]:
    """What became of the commands, begun together."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    together = context.Barrier(len(commands))
    said = [folder / f"said-{number}" for number in range(len(commands))]
    processes = [
        context.Process(target=start, args=(arguments, folder, together, later, path))
        for arguments, later, path in zip(commands, later_s, said, strict=True)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    words = [path.read_text() for path in said]
    for path in said:
        path.unlink()
    return [(int(process.exitcode), told) for process, told in zip(processes, words, strict=True)]


def left(out: Path) -> tuple:
    """What must not depend on how a run came to its end: its records and its weights."""
    records = (("journal.jsonl", ("step", "loss", "norm")), ("ledger.jsonl", ("step", "sha256")))
    told = [[[line[key] for key in keys] for line in read(out / name)] for name, keys in records]
    last = contents(shelf.path_of(out / "checkpoints", END))
    return told, last[shelf.MODEL], last[shelf.OPTIMISER], (out / run.WEIGHTS).read_bytes()


def seed_of(out: Path) -> int:
    """Of the run in a folder; 0 where there is none yet."""
    return json.loads((out / run.RECIPE).read_bytes())["recipe"]["seed"] if run.begun(out) else 0


def judged(outcomes: list[Outcome], words: Sequence[str]) -> str:
    """What became of two that began together, in words. Raises AssertionError where it is not as promised."""
    for (code, said), word in zip(outcomes, words, strict=True):
        refusals = (*REFUSED, FAILED) if word == "fails" else REFUSED
        assert code == 0 or (code == 2 and any(one in said for one in refusals)), outcomes
    ended = [said for code, said in outcomes if code == 0]
    if len(ended) == 2:
        assert any("is done; more --steps go on" in said for said in ended), outcomes
        return "one trained, the other found all done"
    return "one trained, the other was refused" if ended else "both were refused"


def starters(folder: Path, rounds: int) -> str:
    shards, chance, seen = folder / "shards", random.Random(0), Counter[str]()
    build.build(tiny_raw(folder / "few.zip"), shards, plan.PackOptions(val_fraction=0), workers=2)
    alone = []
    for word in ("same", "other"):  # of seed 0 and 1
        ((code, said),) = david(folder, [command(word, END, shards, folder / word)])
        assert code == 0, said
        alone.append(left(folder / word))
    for number in range(rounds):
        here, (second, named) = folder / f"round {number}", SECONDS[number % len(SECONDS)]
        here.mkdir()
        words, given = ("same", second), here / "run" if named else None
        for steps in (BEGIN, GO_ON):
            later_s = [0.0, chance.uniform(0.0, chance.choice(LATER_S))]
            chance.shuffle(later_s)
            outcomes = david(here, [command(word, steps, shards, given) for word in words], later_s)
            seen[f"{' and '.join(words)}: {judged(outcomes, words)}"] += 1
        out = given or next((here / "runs").iterdir())
        ((code, said),) = david(here, [command(("same", "other")[seed_of(out)], END, shards, given)])
        assert code == 0, said
        assert left(out) == alone[seed_of(out)], f"{out} differs"
        assert [path.name for path in out.parent.iterdir()] == [out.name]
        shutil.rmtree(here)
    return f"{rounds} rounds of two trainings begun and gone on with together: nothing was lost; {dict(seen)}"


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny steps, two at a time
    with tempfile.TemporaryDirectory() as made:
        print(starters(Path(made), int(sys.argv[1]) if len(sys.argv) > 1 else 100))
