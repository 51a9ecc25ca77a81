"""Runs that distil: stopped and gone on with, on one rank and on two, with what taught them and with nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from test_distill_task import ALONE, pictures, recipe_of, teachers
from typer.testing import CliRunner

import david
from david.cli import app
from david.model import build, label
from david.pack.errors import DavidError
from david.pack.files import sha256
from david.pipeline.loader import Loader
from david.train import distributed, run, shelf
from david.train.distill.teachers import drawn
from david.train.journal import read
from david.train.loop import train
from david.train.recipe import override
from david.train.step import micro_batch
from david.train.step.step import Step

pytestmark = pytest.mark.usefixtures("warm")
__all__ = ["teachers"]
STEPS = 4


@pytest.fixture(scope="module")
def how(figures: Path, teachers: list[Path]) -> dict[str, Any]:
    more = ("data.width=56", f"steps={STEPS}", "optim.warmup=1", "checkpoint_every=2", "parallel=exact", "batch_size=2")
    return {"recipe": recipe_of(teachers, *more), "shards": figures, "device": "cpu", "speaks": False}


@pytest.fixture(scope="module")
def through(how: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that went through."""
    out = tmp_path_factory.mktemp("distilled") / "run"
    train(out=out, **how)
    return out


def kept(out: Path) -> list[dict[str, Any]]:
    return list(read(out / "journal.jsonl"))


def tensors(out: Path) -> dict[str, torch.Tensor]:
    folder = shelf.path_of(out / "checkpoints", STEPS)
    return {f"{p.name}/{n}": t for p in folder.glob("*.safetensors") for n, t in load_file(p).items()}


def test_a_run_goes_on_to_the_bit_on_one_rank_and_on_two(how: dict[str, Any], through: Path, tmp_path: Path):
    before = [sha256(Path(name)) for name in how["recipe"].objective.teachers]
    train(out=tmp_path / "run", stop=1, **how)
    distributed.launch(
        2, train, out=tmp_path / "run", stop=3, **{**how, "recipe": run.trained(tmp_path / "run").recipe}
    )
    train(out=tmp_path / "run", **how)
    one, other = kept(through), kept(tmp_path / "run")
    told = {"loss", "norm", "median", "spread", "median_moved", "spread_moved", "teacher", "features", "local_global"}
    assert len(one) == STEPS and told <= set(one[0])
    for name in told:
        assert [line[name] for line in one] == [line[name] for line in other], name
    assert (one[0]["median_moved"], one[0]["spread_moved"]) == (0, 1) and one[-1]["spread_moved"] != 1
    ours, theirs = tensors(through), tensors(tmp_path / "run")
    assert ours.keys() == theirs.keys() and all(ours[name].equal(theirs[name]) for name in ours)
    assert [line["teacher"] for line in one] == [drawn(0, n, (1, 1)) for n in range(1, STEPS + 1)]
    assert {line["teacher"] for line in one} == {0, 1}
    assert [sha256(Path(name)) for name in how["recipe"].objective.teachers] == before


def test_run_checkpoint_and_weights_say_who_taught_and_hold_no_teacher(through: Path, teachers: list[Path]):
    expected = [sha256(one) for one in teachers]
    stored = json.loads((through / "recipe.json").read_text())["recipe"]
    state = json.loads((shelf.path_of(through / "checkpoints", STEPS) / shelf.STATE).read_text())["recipe"]
    about = label.read(through / run.WEIGHTS)
    assert about is not None
    for recipe in (stored, state, about["recipe"]):
        assert recipe["objective"]["sha256"] == expected
    names = {name.partition("/")[2] for name in tensors(through) if name.startswith("task.")}
    assert names == {"first", "known", *(f"projections.{n}.{part}" for n in (0, 1) for part in ("weight", "bias"))}


def test_a_student_predicts_as_any_network_and_is_pictured_beside_its_teacher(through: Path):
    picture = torch.randint(0, 256, (60, 40, 3), dtype=torch.uint8).numpy()
    assert david.load(through, device="cpu").predict(picture)["relative_disparity"].shape == (60, 40)
    assert len(list((through / "pictures").glob("*.png"))) == 2


def test_a_batch_is_cut_to_what_fits_beside_the_teachers_and_teaches_the_same(
    how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    recipe = override(how["recipe"], ["parallel=ddp", "objective.hold=0.1"])
    with Loader(how["shards"], "train", recipe.data, batch_size=1, seed=0) as loader:
        sample = next(loader)
    monkeypatch.setattr(micro_batch, "free_bytes", lambda: 16 << 20)
    most = [
        micro_batch.largest(micro_batch.fits_cpu(override(recipe, [f"objective.local_global={weight}"]), sample), 4096)
        for weight in (0.5, 0)
    ]
    assert 0 < most[0] < most[1]  # a window is a second image that a student keeps
    monkeypatch.setattr(micro_batch, "fits_cpu", lambda recipe, sample: lambda size: size <= 1)
    fitted = micro_batch.fitted(recipe, how["shards"], ALONE)
    assert (fitted.micro_batch, fitted.batch_size) == (1, 2)
    outcomes = []
    for one in (recipe, fitted):
        torch.manual_seed(0)
        outcomes.append(Step(build(one.model), one, ALONE)(pictures((56, 56), 2), 1))
    whole, parts = outcomes
    assert parts.losses.tolist() == pytest.approx(whole.losses.tolist(), rel=1e-4)
    assert {name: one.item() for name, one in parts.extras.items()} == pytest.approx(
        {name: one.item() for name, one in whole.extras.items()}
    )


def test_another_teacher_is_refused_with_both_values_and_code_2(
    how: dict[str, Any], through: Path, teachers: list[Path], tmp_path: Path
):
    other = tmp_path / "other.safetensors"
    other.write_bytes(teachers[0].read_bytes())
    same = f"objective.teachers={other},{teachers[1]}"
    words = ["train", "--shards", str(how["shards"]), "--out", str(through), "--device", "cpu", "--set", same]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output  # the same bytes, elsewhere
    other.write_bytes(teachers[1].read_bytes())
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, DavidError)  # with which the command line ends in one sentence and code 2
    said = str(done.exception)
    assert sha256(teachers[0]) in said and sha256(teachers[1]) in said and "\n" not in said
    words[-1] = f"objective.teachers={tmp_path / 'gone.pth'},{teachers[1]}"
    assert "gone.pth: no such file or folder" in str(CliRunner().invoke(app, words).exception)
