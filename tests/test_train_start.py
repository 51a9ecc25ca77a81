"""Fine-tuning: a run that begins with another's weights."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file
from smallest import SMALLEST
from typer.testing import CliRunner

from david.cli import app
from david.model import build, weights
from david.pack.errors import DavidError
from david.train import recipes, run, shelf
from david.train.loop import train
from david.train.recipe import override, to_json
from david.train.start import Start
from david.train.subject import file_of

TINY = override(
    recipes.recipe("smoke"),
    [
        *SMALLEST,
        *("batch_size=4", "steps=2", "optim.warmup=1"),
    ],
)


@pytest.fixture(scope="module")
def shards(figures: Path) -> Path:
    return figures


@pytest.fixture(scope="module")
def source(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps that keeps an average."""
    out = tmp_path_factory.mktemp("source") / "run"
    train(override(TINY, ["optim.ema=0.5"]), shards, out, device="cpu", speaks=False)
    return out


def test_a_run_a_checkpoint_and_a_file_name_the_same_weights(source: Path, tmp_path: Path):
    step = shelf.path_of(source / "checkpoints", 2)
    assert file_of(source) == file_of(step) == step / "average.safetensors"
    assert file_of(step / shelf.MODEL) == step / shelf.MODEL
    with pytest.raises(DavidError, match="no run there"):
        file_of(tmp_path)
    with pytest.raises(DavidError, match="--from and --backbone-weights: give one"):
        Start(source, source)


def test_a_fine_tuned_run_begins_where_the_other_ended_with_its_recipe(source: Path, shards: Path, tmp_path: Path):
    out = tmp_path / "run"
    words = ["train", "--shards", str(shards), "--out", str(out), "--from", str(source), "--device", "cpu"]
    done = CliRunner().invoke(app, [*words, "--set", "optim.rate=1e-12", "--set", "optim.ema=0"])
    assert done.exit_code == 0, done.output
    stored = run.stored(out)
    assert stored and stored[0] == override(
        TINY, ["optim.rate=1e-12", "parallel=exact", "data.decode=cpu"]
    )  # auto on a CPU
    theirs = load_file(file_of(source))
    ours = load_file(shelf.path_of(out / "checkpoints", 2) / shelf.MODEL)
    assert all(tensor.allclose(theirs[name], atol=1e-9) for name, tensor in ours.items())
    shutil.rmtree(out / "pictures")
    assert CliRunner().invoke(app, [*words, "--steps", "3"]).exit_code == 0  # goes on; --from is for a beginning


def test_what_a_run_chose_for_its_own_machine_is_chosen_anew(tmp_path: Path):
    for decode in ("cpu", "gpu"):  # the second would be refused on a CPU
        made = override(TINY, [f"data.decode={decode}", "parallel=exact", "optim.rate=0.5"])
        weights.save(build(TINY.model), tmp_path / "w.safetensors", recipe=to_json(made))
        begun = Start(network=tmp_path / "w.safetensors").recipe()
        assert begun == override(made, ["data.decode=auto", "parallel=auto"])


def test_what_was_found_is_told(source: Path, tmp_path: Path):
    recipe = override(TINY, ["model.heads=depth"])
    (said,) = Start(network=source).fill(build(recipe.model), recipe)
    assert said.startswith("100.0% of the network's parameters from") and "unexpected: heads." in said
    weights.save(build(TINY.model), tmp_path / "w.safetensors")
    assert Start(network=tmp_path / "w.safetensors").fill(build(recipe.model), recipe)
    assert Start().fill(build(recipe.model), recipe) == []
