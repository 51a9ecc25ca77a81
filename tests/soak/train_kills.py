"""A run that is killed again and again, against the same run left alone.

    PYTHONPATH=tests python tests/soak/train_kills.py [KILLS]

SIGKILL comes at random moments: before the first step, between steps, inside a step, and inside saving, where a
checkpoint stands half written. Each start takes one or two ranks; of two, all are killed, or one alone, whose death
must end the other.

The suite does the same, a few times. A fault ends it with an error.
"""

import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from forked import forking
from processes import called, children
from safetensors.torch import load_file

from david.pack import synth
from david.pack.work import build, plan
from david.train import distributed, loop, recipes, shelf
from david.train.journal import read
from david.train.recipe import Recipe, override
from david.train.record import past

EVERY = 3  # steps between checkpoints
RECIPE = override(
    recipes.recipe("smoke"),
    [
        *("data.height=48", "data.width=32", "model.backbone=test_vit.r160_in1k", "model.backbone_size=32"),
        *("model.width=16", "model.head_widths=8,8", "model.reassemble=8,8,8,8"),
        *("batch_size=4", "optim.warmup=3", f"checkpoint_every={EVERY}", "keep=2"),
        "picture_every=0",
    ],
)
LONGEST_S = 60.0  # that the end of one rank may leave the others alive


@dataclass(frozen=True)
class Kill:
    """ranks: of the run; alone: whether one of them died by itself; reached: the journal's last step; kept: the step
    of the newest whole checkpoint; saving: whether one stood half written; ended_s: until the other ranks ended"""

    ranks: int
    alone: bool
    reached: int
    kept: int
    saving: bool
    ended_s: float


def go(recipe: Recipe, shards: Path, out: Path, ranks: int) -> None:
    """Train in `ranks` processes. Runs in a process of its own, which leads a group of processes."""
    os.setpgid(0, 0)
    how = {"recipe": recipe, "shards": shards, "out": out, "device": "cpu", "speaks": False}
    if ranks == 1:
        loop.train(**how)
    else:
        distributed.launch(ranks, loop.train, **how)


def last_step(out: Path) -> int:
    return max((record["step"] for record in read(out / "journal.jsonl")), default=0)


def kill_once(recipe: Recipe, shards: Path, out: Path, chance: random.Random, ranks: int, alone: bool) -> Kill | None:
    """Go on with the run and kill it at a random moment; None where it came to its end before.

    alone: kill one of its ranks only"""
    target = last_step(out) // EVERY * EVERY + chance.randint(int(alone), 2 * EVERY)
    in_saving = chance.random() < 0.4
    process = multiprocessing.get_context("spawn").Process(target=go, args=(recipe, shards, out, ranks))
    process.start()
    assert process.pid is not None
    while process.is_alive() and os.getpgid(process.pid) != process.pid:
        time.sleep(0.001)
    begun = time.monotonic()

    def hit() -> bool:
        if in_saving:
            return last_step(out) >= target - EVERY and any((out / "checkpoints").glob(".step-*.part"))
        return target == 0 or (last_step(out) >= target)

    while not hit() and process.is_alive() and time.monotonic() - begun < 120:
        time.sleep(0.0005 if in_saving else 0.01)
    time.sleep(chance.random() * (0.01 if in_saving else 0.1))
    if not process.is_alive():
        process.join()
        assert process.exitcode == 0, f"the run ended by itself with exit code {process.exitcode}"
        return None
    workers = [pid for pid in children(process.pid) if called(pid, b"spawn_main")]
    killed = time.monotonic()
    if alone:
        assert len(workers) == ranks
        os.kill(chance.choice(workers), signal.SIGKILL)
        process.join(LONGEST_S)
        assert not process.is_alive(), f"{LONGEST_S} s after the end of a rank the others still ran"
        assert process.exitcode != 0
    else:
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    ended_s = time.monotonic() - killed
    time.sleep(0.1)
    saving = any((out / "checkpoints").glob(".step-*"))
    kept, damaged = shelf.newest_whole(out / "checkpoints")
    assert not damaged, damaged
    return Kill(ranks, alone, last_step(out), kept, saving, round(ended_s, 2))


def hunt(shards: Path, out: Path, kills: int, seed: int = 0, twos: float = 0.3, lone: float = 0.5) -> list[Kill]:
    """Train twice in `out`, left alone and killed `kills` times, and compare the two to the bit.

    twos: the share of starts with two ranks; lone: the share of those where one rank dies by itself"""
    chance, recipe = random.Random(seed), override(RECIPE, [f"steps={12 + 6 * kills}"])
    alone, broken = out / "unbroken", out / "broken"
    loop.train(recipe, shards, alone, device="cpu", speaks=False)
    found: list[Kill] = []
    while len(found) < kills:
        ranks = 2 if chance.random() < twos else 1
        kill = kill_once(recipe, shards, broken, chance, ranks, ranks == 2 and chance.random() < lone)
        if kill is None:
            break
        found.append(kill)
        lost = kill.reached - kill.kept
        assert lost <= 2 * EVERY, f"{lost} steps were lost at {kill}"  # one checkpoint may have been on its way
    loop.train(recipe, shards, broken, device="cpu", speaks=False)
    for name, keys in (("journal.jsonl", ("step", "loss", "norm")), ("ledger.jsonl", ("step", "sha256"))):
        one, other = ([[line[key] for key in keys] for line in read(run / name)] for run in (alone, broken))
        assert one == other and len(one) == recipe.steps, f"{name} differs"
    files = (shelf.path_of(run / "checkpoints", recipe.steps) / shelf.MODEL for run in (alone, broken))
    one, other = map(load_file, files)
    assert all(one[name].equal(value) for name, value in other.items())
    assert past.verify(broken, shards).steps == recipe.steps
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        synth.write(Path(made) / "raw", samples=24, zips=2, seed=0)
        build.build(Path(made) / "raw", Path(made) / "shards", plan.PackOptions(val_fraction=0.25, shard_samples=7))
        with forking():
            kills = hunt(Path(made) / "shards", Path(made), int(sys.argv[1]) if len(sys.argv) > 1 else 30)
    for one in kills:
        print(json.dumps(asdict(one)))
    print(f"{len(kills)} kills: the same losses, ledger and weights as the run left alone, to the bit")
