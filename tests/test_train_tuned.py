"""`--tuned`: what training and packing take from the file of `david bench tune`, and what they refuse or tell."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from smallest import SMALLEST
from typer.testing import CliRunner

from david.bench.suites import training
from david.bench.tune.packing import Enough, Pace, packing
from david.bench.tune.training import COMPILING_S, Training
from david.cli import app
from david.pack import tuned
from david.pack.errors import DavidError
from david.pipeline.reading import sets
from david.train import loop, recipes, run
from david.train.distributed import World
from david.train.journal import read
from david.train.recipe import Recipe, override, to_json
from david.train.step.gradients import settled
from david.train.step.tuned import Place, applied

CPU = torch.device("cpu")
SETS = [*SMALLEST, "batch_size=4", "steps=1", "optim.warmup=1"]
TINY = settled(override(recipes.recipe("smoke"), SETS), CPU)
WORDS = [word for one in SETS for word in ("--set", one)]
FOUND = {"data.threads": 2, "data.prefetch": 4}


def written(folder: Path, recipe: Recipe = TINY, shards: str = "", settings: Any = None, **more: Any) -> Path:
    """A file as if tuned here."""
    here = {**tuned.here(), "gpu": None}
    about = {"recipe": to_json(recipe), "shards": shards, "ranks": 1, "device": "cpu", "settings": settings or FOUND}
    content = {"hardware": here, "versions": tuned.machine.versions(), "train": about, "pack": None} | more
    tuned.write(folder / "tuned.json", content)
    return folder / "tuned.json"


def take(
    path: Path, recipe: Recipe = TINY, given: tuple[str, ...] = (), begun: Recipe | None = None, ranks: int = 1
) -> tuple[Recipe, str]:
    return applied(tuned.read(path), recipe, given, begun, Place(ranks, CPU, ""))


def test_settings_are_taken_and_what_was_said_here_wins(tmp_path: Path) -> None:
    path = written(tmp_path)
    recipe, said = take(path)
    assert recipe == replace(TINY, data=replace(TINY.data, threads=2, prefetch=4))
    assert said == f"--tuned {path}: data.threads=2, data.prefetch=4"
    recipe, said = take(path, override(TINY, ["data.threads=3"]), given=("data.threads",))
    assert (recipe.data.threads, recipe.data.prefetch) == (3, 4)
    assert said == f"--tuned {path}: data.prefetch=4; as it is here: data.threads=3, not 2"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("batch_size=8", "tuned for batch_size = 4, here it is 8"),
        ("data.width=48", "tuned for data.width = 32, here it is 48"),
        ("data.augment.blur=0.5", "tuned for data.augment.blur = 0.0, here it is 0.5"),
        ("optim.frozen_backbone=true", "tuned for optim.frozen_backbone = False, here it is True"),
        ("parallel=ddp", "tuned for parallel = exact, here it is ddp"),
        ("objective.alpha_dice=0", "tuned for objective.alpha_dice = 1.0, here it is 0.0"),
    ],
)
def test_another_step_is_refused_with_both_values(tmp_path: Path, change: str, said: str) -> None:
    with pytest.raises(DavidError, match=said):
        take(written(tmp_path), override(TINY, [change]))


def test_rates_seeds_and_records_may_differ(tmp_path: Path) -> None:
    other = override(TINY, ["seed=7", "optim.rate=1e-5", "optim.schedule=constant", "steps=9", "log_every=5", "keep=1"])
    recipe, said = take(written(tmp_path), override(other, ["data.threads=5"]))
    assert recipe == override(other, ["data.threads=2", "data.prefetch=4"]) and "found elsewhere" not in said


def test_other_ranks_and_devices_are_refused_other_machines_and_shards_told(tmp_path: Path) -> None:
    with pytest.raises(DavidError, match="tuned for ranks = 1, here it is 2"):
        take(written(tmp_path), ranks=2)
    with pytest.raises(DavidError, match="tuned for device = cpu, here it is cuda"):
        applied(tuned.read(written(tmp_path)), TINY, (), None, Place(1, torch.device("cuda"), ""))
    path = written(tmp_path, shards="a" * 64, hardware={"processor": "another", "cores": 96}, versions={"torch": "1.0"})
    recipe, said = take(path)
    assert recipe.data.threads == 2 and "; found elsewhere, another may be best here: " in said
    for part in ("shards aaaaaaaaaaaaaaaa there", "processor another there", "cores 96 there", "torch 1.0 there"):
        assert part in said


def test_a_run_keeps_what_rounds_as_it_began(tmp_path: Path) -> None:
    ddp = override(TINY, ["parallel=ddp"])
    path = written(tmp_path, ddp, settings=FOUND | {"micro_batch": 2, "compile": "off"})
    assert take(path, ddp)[0].micro_batch == 2
    recipe, said = take(path, ddp, begun=override(ddp, ["micro_batch=1"]))
    assert recipe == override(ddp, ["micro_batch=1", "data.threads=2", "data.prefetch=4"])
    assert "as it is here: micro_batch=1, not 2" in said
    run.compare(tmp_path, override(ddp, ["micro_batch=1"]), "", recipe, "")  # it can go on


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not what david bench tune writes"),
        ("[]", "not what david bench tune writes"),
        ("{}", "says nothing of david train; add --shards SHARDS to david bench tune"),
        ('{"train": 1}', "no settings in its train"),
        ('{"train": {"settings": {"seed": 3}}}', "`seed` is none of data.threads"),
        ('{"train": {"settings": {}}}', "no recipe in its train"),
        ('{"train": {"settings": {}, "recipe": {"a": 1}}}', r"tuned.json: .*recipe: no `a`"),
        (100_000 * "[", "not what david bench tune writes"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "tuned.json"
    path.write_text(content)
    with pytest.raises(DavidError, match=said):
        take(path)
    for value, said in (
        ("many", r"\(data.threads: expected a whole number"),
        (-5, r"\(threads is -5"),
        (10**6, r"\(threads is 1000000; at most 1,024 are taken"),
    ):
        with pytest.raises(DavidError, match=rf"--tuned .*tuned.json: not what david bench tune writes {said}"):
            take(written(tmp_path, settings={"data.threads": value}))


def test_packing_takes_workers_and_those_of_the_command_win(tmp_path: Path) -> None:
    path = written(tmp_path, pack={"settings": {"workers": 3}})
    assert tuned.workers(path, None) == (3, f"--tuned {path}: workers=3")
    assert tuned.workers(path, 2) == (2, f"--tuned {path}: nothing of it; as it is here: workers=2, not 3")
    with pytest.raises(DavidError, match="says nothing of david pack; add --raw RAW to david bench tune"):
        tuned.workers(written(tmp_path), None)
    for settings, said in (
        ({"workers": "all"}, "workers 'all'"),
        ({"workers": 10**9}, "workers 1000000000"),
        ({"workers": 3, "val_fraction": 0.5}, "val_fraction, which is not tuned"),
    ):
        with pytest.raises(DavidError, match=said):
            tuned.workers(written(tmp_path, pack={"settings": settings}), None)


def test_what_is_tuned_trains_to_the_same_losses_in_the_same_folder(
    figures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["bench", "tune", "--shards", str(figures), *WORDS, "--minutes", "0.02", "--rows", "rows.jsonl", "--json"]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    row = json.loads(done.stdout)
    assert row["suite"] == "tune" and row["data"]["folder"] == figures.name
    content = json.loads(Path("tuned.json").read_text())
    assert content["pack"] is None and content["train"]["shards"] == sets.load(figures).fingerprint
    assert set(content["train"]["settings"]) == set(FOUND) and content["train"]["gain"]["defaults"]["least"] > 0
    content["train"]["settings"] = FOUND  # whatever was found
    tuned.write(Path("tuned.json"), content)
    train = ["train", "--shards", str(figures), *WORDS]
    loop.train(TINY, figures, Path("plain"), speaks=False)
    CliRunner().invoke(app, [*train, "--out", "tuned", "--tuned", "tuned.json"], catch_exceptions=False)
    losses = [[one["loss"] for one in read(Path(name, "journal.jsonl"))] for name in ("plain", "tuned")]
    assert losses[0] == losses[1] and len(losses[0]) == 1
    now, before = (run.trained(Path(name)).recipe for name in ("tuned", "plain"))
    assert now == override(before, ["data.threads=2", "data.prefetch=4"])
    said = [CliRunner().invoke(app, [*train, "--dry-run", *more]).output for more in ([], ["--tuned", "tuned.json"])]
    assert "--tuned tuned.json: data.threads=2, data.prefetch=4" in said[1]
    assert [text.split("the run's folder is ")[1].split(";")[0] for text in said] == [
        "runs/smoke-" + said[0].split("runs/smoke-")[1][:8]
    ] * 2


def test_packing_is_timed_once_every_process_is_at_work_and_ends_when_its_time_does() -> None:
    pace = Pace(workers=2, budget_s=5.0)
    for worker, now in ((0, 1.0), (0, 2.0), (1, 10.0), (0, 11.0), (1, 12.0), (0, 13.0), (1, 14.0)):
        pace.hear(worker, now)
    assert pace.seconds() == 1.0  # the four after the tenth second
    with pytest.raises(Enough):
        pace.hear(0, 15.0)
    with pytest.raises(DavidError, match="too few samples for 3 processes"):
        Pace(3, 1.0).seconds()


def test_a_turn_of_packing_is_the_products_own_build(raw: Path, warm: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("david.bench.tune.packing.SAMPLES", 10)
    with packing(raw, most=2) as made:
        assert 0 < made.seconds(2, 0.0) < 10


def test_what_memory_or_a_compiler_refuses_is_dropped(figures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ddp = settled(override(TINY, ["parallel=ddp"]), CPU)
    made, out_of_memory = Training(ddp, figures, World(0, 1, CPU)), torch.OutOfMemoryError("of 80 GB")
    usual = made.groups[0][0] | made.groups[1][0]

    def refuses(*_: Any) -> None:
        raise out_of_memory

    assert [made.begins(usual | {"compile": mode}) for mode in ("off", "default")] == [0.0, COMPILING_S]
    monkeypatch.setattr(training, "both", refuses)
    with pytest.raises(DavidError, match="it takes more memory than there is"):
        made.seconds(usual, 0.0)
    step, said = made.step(ddp)
    said.append("torch.compile failed, so the network runs uncompiled (no compiler)")
    monkeypatch.setattr(training, "both", lambda *_: {"rate": (100.0, "samples/s")})
    with pytest.raises(DavidError, match="no compiler"):
        made.seconds(usual, 0.0)
    assert made.seconds(usual, 0.0) == 0.01 and made.step(ddp)[0] is not step  # made anew, with its memory given back
