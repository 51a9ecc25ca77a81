"""Runs from end to end on a tiny network: stopped, killed, shared by ranks, refused."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from smallest import SMALLEST

from david import cli
from david.pack.errors import DavidError
from david.pack.shards import manifest
from david.pipeline.sampling.order import Order
from david.train import distributed, ledger, recipes, shelf
from david.train.journal import read
from david.train.loop import Finished, train
from david.train.recipe import Recipe, override, to_json
from david.train.record import past
from david.train.record.recorder import Recorder
from david.train.signals import EXIT_STOPPED
from david.train.step.step import Outcome

pytestmark = pytest.mark.usefixtures("warm")
SETTINGS = [
    *SMALLEST,
    *("batch_size=4", "steps=14", "optim.warmup=3", "checkpoint_every=3", "keep=9"),
]
TINY = override(recipes.recipe("smoke"), SETTINGS)


@pytest.fixture(scope="module")
def shards(figures: Path) -> Path:
    return figures


def go(shards: Path, out: Path, recipe: Recipe = TINY, **how) -> Finished:
    return train(recipe, shards, out, device="cpu", speaks=False, **how)


def losses(run: Path) -> list[float]:
    return [record["loss"] for record in read(run / "journal.jsonl")]


def seen(run: Path) -> list[tuple[int, str]]:
    return [(record["step"], record["sha256"]) for record in read(run / "ledger.jsonl")]


def command(shards: Path, out: Path, *more: str) -> list[str]:
    sets = [word for setting in SETTINGS for word in ("--set", setting)]
    return ["train", "--shards", str(shards), "--out", str(out), "--device", "cpu", *sets, *more]


@pytest.fixture(scope="module")
def unbroken(shards: Path, tmp_path_factory: pytest.TempPathFactory, drawn) -> Path:
    """A run of 14 steps in batches of 4, over more than one epoch."""
    out = tmp_path_factory.mktemp("unbroken") / "run"
    with drawn():
        assert go(shards, out).step == 14
    return out


SMOOTH = ["seed=8"]  # of this seed's first steps none turns a ReLU by a last bit, which Adam would make a thousandth of


@pytest.fixture(scope="module")
def begun(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three steps whose gradients are summed exactly."""
    out = tmp_path_factory.mktemp("begun") / "run"
    go(shards, out, override(TINY, SMOOTH), stop=3)
    return out


def assert_same_run(run: Path, unbroken: Path) -> None:
    """Every loss, every sample, every weight, to the bit."""
    assert [record["step"] for record in read(run / "journal.jsonl")] == list(range(1, 15))
    assert losses(run) == losses(unbroken) and len(set(losses(run))) == 14
    assert seen(run) == seen(unbroken)
    one, other = (load_file(shelf.path_of(r / "checkpoints", 14) / shelf.MODEL) for r in (run, unbroken))
    assert one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)
    assert list(read(run / "metrics.jsonl")) == list(read(unbroken / "metrics.jsonl"))


def test_a_run_stopped_after_step_7_equals_one_that_was_not(shards: Path, unbroken: Path, tmp_path: Path):
    assert go(shards, tmp_path / "run", stop=7).step == 7
    assert losses(tmp_path / "run") == losses(unbroken)[:7]
    go(shards, tmp_path / "run")
    kept = [record for record in read(tmp_path / "run" / "metrics.jsonl") if record["step"] != 7]
    (tmp_path / "run" / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in kept))
    assert_same_run(tmp_path / "run", unbroken)


def struck(words: list[str], number: int, after: int, said: Path) -> None:
    """In a process of its own: `david` with these words, which sends itself a signal once it has recorded a step."""
    take = Recorder.take

    def struck_after(recorder: Recorder, outcome: Outcome, *more) -> None:
        take(recorder, outcome, *more)
        if outcome.step == after:
            os.kill(os.getpid(), number)

    Recorder.take = struck_after
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT), 2)
    sys.argv = ["david", *words]
    cli.main()


@pytest.mark.parametrize(("number", "after"), [(signal.SIGKILL, 5), (signal.SIGTERM, 4)])
def test_a_killed_run_goes_on_to_the_bit(shards: Path, unbroken: Path, tmp_path: Path, number: int, after: int):
    out = tmp_path / "run"
    words = (command(shards, out), number, after, tmp_path / "said")
    process = multiprocessing.get_context("spawn").Process(target=struck, args=words)
    process.start()
    process.join()
    said = (tmp_path / "said").read_text()
    if number == signal.SIGTERM:
        assert process.exitcode == EXIT_STOPPED, said
        assert f"saved after step {after}" in said and shelf.steps(out / "checkpoints")[0] == after
    else:
        assert process.exitcode == -number, said
    assert len(losses(out)) == after
    go(shards, out)
    assert_same_run(out, unbroken)


def test_a_signal_to_a_run_of_several_ranks_saves_and_leaves_with_75(shards: Path, tmp_path: Path):
    """SIGUSR1, which Slurm sends before the time is up, to the process that was started; the run itself has no end."""
    out = tmp_path / "run"
    words = command(shards, out, "--nproc", "2", "--set", "steps=1000000", "--set", "checkpoint_every=0")
    with subprocess.Popen([sys.executable, "-m", "david.cli", *words], stderr=subprocess.PIPE, text=True) as process:
        while len(losses(out)) < 2:
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            time.sleep(0.05)
        process.send_signal(signal.SIGUSR1)
        said = process.communicate()[1]
    assert process.returncode == EXIT_STOPPED, said
    (kept,) = shelf.steps(out / "checkpoints")
    assert f"stopped by a signal and saved after step {kept}" in said and len(losses(out)) == kept


def test_a_run_goes_on_past_a_damaged_checkpoint(shards: Path, unbroken: Path, tmp_path: Path, capfd):
    out = tmp_path / "run"
    go(shards, out, stop=8)
    (shelf.path_of(out / "checkpoints", 8) / shelf.OPTIMISER).write_bytes(b"rubbish")
    train(TINY, shards, out, device="cpu")
    said = capfd.readouterr().err
    assert "step-00000008 is damaged" in said and "on from step 6" in said
    assert losses(out) == losses(unbroken) and seen(out) == seen(unbroken)


def test_every_sample_is_trained_on_once_an_epoch(shards: Path, unbroken: Path):
    """The ledger's hashes are those of an order that holds each id of an epoch once."""
    samples = manifest.load(shards).samples("train")
    order = Order(samples, TINY.batch_size, TINY.seed, shuffle=True, last_batch="drop")
    for step in range(14):
        assert ledger.entry(step + 1, *order.batch(step))["sha256"] == seen(unbroken)[step][1]
    epochs = 14 // order.batches_per_epoch
    for epoch in range(epochs):
        first = epoch * order.batches_per_epoch
        ids = [id for step in range(first, first + order.batches_per_epoch) for id in order.batch(step).ids]
        assert len(ids) == len(set(ids)) == samples // 4 * 4


def test_ranks_may_change_in_the_middle_of_an_epoch(shards: Path, unbroken: Path, tmp_path: Path):
    """Two, then one, then four: as one process all the way, in every loss and sample; the ledger proves the epochs."""
    out = tmp_path / "run"
    how = {"recipe": TINY, "shards": shards, "out": out, "device": "cpu", "speaks": False}
    distributed.launch(2, train, **how, stop=6)
    train(**how, stop=10)
    finished = distributed.launch(4, train, **how)
    assert losses(out) == losses(unbroken)  # to the bit: gradients are summed exactly
    assert seen(out) == seen(unbroken)
    assert past.verify(out, shards).steps == 14
    (alone,) = read(unbroken / "metrics.jsonl")
    assert finished.metrics == pytest.approx({k: v for k, v in alone.items() if k != "step"}, rel=1e-3)


@pytest.mark.parametrize("how", [["micro_batch=1"], ["micro_batch=none"]])
def test_two_ranks_of_ddp_begin_as_one_process(shards: Path, begun: Path, tmp_path: Path, how: list[str]):
    """DDP averages over ranks, the loss is a mean over the global batch: the gradient's norm shows a wrong factor."""
    out, recipe = tmp_path / "run", override(TINY, ["parallel=ddp", *SMOOTH, *how])
    distributed.launch(2, train, recipe=recipe, shards=shards, out=out, stop=3, device="cpu", speaks=False)
    ours, theirs = (list(read(run / "journal.jsonl")) for run in (out, begun))
    for name in ("loss", "norm"):
        assert [line[name] for line in ours] == pytest.approx([line[name] for line in theirs], rel=1e-5)


def test_torchrun_joins_and_equals_one_process(shards: Path, unbroken: Path, tmp_path: Path, cold: None):
    """Agent, ranks and all from nothing, as a user starts them."""
    out = tmp_path / "run"
    agent = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "david.cli"]
    subprocess.run([sys.executable, *agent, *command(shards, out)], check=True)
    assert losses(out) == losses(unbroken)
    assert seen(out) == seen(unbroken)


@pytest.mark.parametrize("how", [["micro_batch=3"], ["micro_batch=none"]])
def test_the_faster_summation_begins_as_the_exact_one(shards: Path, begun: Path, tmp_path: Path, how: list[str]):
    """Micro-batches of any size, and none: the first steps agree; later ones differ as rounding does."""
    go(shards, tmp_path / "run", override(TINY, ["parallel=ddp", *SMOOTH, *how]), stop=3)
    assert losses(tmp_path / "run") == pytest.approx(losses(begun), rel=1e-6)


def test_a_run_leaves_what_it_promises(shards: Path, unbroken: Path):
    assert sorted(path.name for path in unbroken.iterdir() if not path.name.startswith(".")) == [
        *("checkpoints", "journal.jsonl", "ledger.jsonl", "loss.png", "metrics.jsonl", "pictures", "recipe.json"),
        *("tensorboard", "weights.safetensors"),
    ]
    assert [p.name for p in sorted((unbroken / "pictures").iterdir())] == ["step-00000000.png", "step-00000014.png"]
    settled = override(TINY, ["parallel=exact", "data.decode=cpu"])  # what `auto` is on a CPU
    assert json.loads((unbroken / "recipe.json").read_text())["recipe"] == to_json(settled)
    for record in read(unbroken / "journal.jsonl"):
        assert {"step", "epoch", "loss", "depth_ssi_mse", "alpha_dice", "norm", "rate", "samples_per_s"} <= set(record)
    (measured,) = read(unbroken / "metrics.jsonl")
    assert measured["samples"] == manifest.load(shards).samples("val") and {
        "depth_abs_rel",
        "normals_mean_deg",
        "alpha_iou",
    } <= set(measured)


def test_a_finished_run_is_left_alone_and_a_longer_one_goes_on(shards: Path, tmp_path: Path):
    first = go(shards, tmp_path, override(TINY, ["steps=3"]))
    again = go(shards, tmp_path, override(TINY, ["steps=3"]))
    assert again == first and len(losses(tmp_path)) == 3
    assert go(shards, tmp_path, override(TINY, ["steps=5"])).step == 5
    assert len(losses(tmp_path)) == 5


def test_a_rank_that_fails_ends_all_with_its_own_sentence(shards: Path, tmp_path: Path):
    begun = time.monotonic()
    with pytest.raises(DavidError, match="an error of rank 1"):
        distributed.launch(2, fail_on_rank_1)
    assert time.monotonic() - begun < 60
    with pytest.raises(DavidError, match="rank 1 died by SIGKILL"):
        distributed.launch(2, die_on_rank_1)


def fail_on_rank_1() -> None:
    with distributed.joined("cpu") as world:
        if world.rank == 1:
            raise DavidError("an error of rank 1")
        world.from_leader(1)
        world.any(False)


def die_on_rank_1() -> None:
    with distributed.joined("cpu") as world:
        if world.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        world.any(False)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--recipe", "smok"], "no recipe `smok`; there are smoke, david-base"),
        (["--shards", "/nowhere"], "/nowhere: no shards there"),
        (["--set", "batch_size=4000"], "a batch of 4000 samples is more than the"),
        (["--set", "optim.rat=1"], "no `rat` there; there are rate"),
        (["--set", "optim.rate=high"], "expected a number, found 'high'"),
        (["--set", "micro_batch=0"], "micro_batch is 0; it must be 1 or more"),
        (["--nproc", "3"], "a global batch of 4 can't be shared by 3 ranks"),
        (["--out", "FULL"], "not empty and holds no run"),
        (["--out", "RUN", "--set", "optim.rate=0.5"], f"has optim.rate = {TINY.optim.rate}, this recipe has 0.5"),
        (["--out", "RUN", "--recipe", "david-base"], "david-base"),
        (["--device", "tpu"], "--device tpu: there are auto, cpu and cuda"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_call_ends_with_one_sentence_and_code_2(
    shards: Path, unbroken: Path, tmp_path: Path, monkeypatch, capfd, more: list[str], said: str
):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    places = {"FULL": str(tmp_path / "full"), "RUN": str(unbroken)}
    words = command(shards, tmp_path / "run", *(places.get(word, word) for word in more))
    monkeypatch.setattr(sys, "argv", ["david", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    spoken = capfd.readouterr().err
    assert end.value.code == 2 and said in spoken
    assert spoken.startswith("david: ") and spoken.count("\n") == 1
    assert not (tmp_path / "run" / "recipe.json").exists() and losses(unbroken) and len(losses(unbroken)) == 14


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("how", [["precision=auto"], ["precision=auto", "compile=true"], ["micro_batch=2"]])
def test_a_gpu_learns_as_the_cpu_does(shards: Path, unbroken: Path, tmp_path: Path, how: list[str]):
    """bf16, compiled and in parts: the first losses within bf16's digits, and a resume that goes on."""
    recipe = override(TINY, ["parallel=ddp", *how])
    train(recipe, shards, tmp_path, device="cuda", speaks=False, stop=3)
    assert losses(tmp_path) == pytest.approx(losses(unbroken)[:3], rel=0.05)
    assert train(recipe, shards, tmp_path, device="cuda", speaks=False, stop=6).step == 6
    assert seen(tmp_path) == seen(unbroken)[:6]
