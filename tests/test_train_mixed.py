"""Sets of different fields train together: each head learns from the images that have its target."""

from pathlib import Path

import pytest
import torch
from smallest import SMALLEST
from test_pipeline_fields import SENSOR, packed

from david.model import build
from david.pack.errors import DavidError
from david.pipeline.loader import Loader
from david.train import recipes
from david.train.distributed import World
from david.train.journal import read
from david.train.loop import train
from david.train.losses.table import TERMS
from david.train.recipe import override
from david.train.step.step import Step

RECIPE = override(
    recipes.recipe("smoke"),
    [*SMALLEST, "batch_size=4", "steps=4", "optim.warmup=1", "data.weights=3,1", "objective.uncertainty=true"],
)
ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def mixed(figures: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """People with all fields, and what a depth camera saw: no normals, no alpha, other sizes."""
    folder = tmp_path_factory.mktemp("sensor") / "shards"
    return [figures, packed(folder, SENSOR, [(40, 56), (64, 48), (50, 50), (30, 70)], 2, "jpeg", "zstd")]


def test_an_image_teaches_exactly_what_its_set_has(mixed: list[Path]):
    with Loader(mixed, "train", RECIPE.data, batch_size=4, seed=0) as loader:
        batch = next(loader)
    place = batch.sets.tolist().index(1)
    torch.manual_seed(0)
    network = build(RECIPE.model)
    step = Step(network, RECIPE, ALONE)
    losses = step.gradients(batch.slice(place, place + 1), torch.tensor(1), torch.ones(()))
    for name, value in zip(step.task.terms, losses.tolist(), strict=True):
        assert value > 0 if TERMS[name].head == "depth" else value == 0
    for head, module in network.heads.items():
        gradients = [p.grad for p in module.parameters()]
        assert all(g is not None and g.isfinite().all() for g in gradients)
        assert any(g is not None and g.any() for g in gradients) == (head == "depth")
    assert [bool(g) for g in step.named["task.log_variances"].grad] == [True, False, False]


def test_a_mixture_trains_every_head_and_goes_on_to_the_bit(mixed: list[Path], tmp_path: Path):
    train(RECIPE, mixed, tmp_path / "through", device="cpu", speaks=False)
    train(RECIPE, mixed, tmp_path / "broken", device="cpu", speaks=False, stop=2)
    finished = train(RECIPE, mixed, tmp_path / "broken", device="cpu", speaks=False)
    one, other = (list(read(tmp_path / name / "journal.jsonl")) for name in ("through", "broken"))
    assert [line["loss"] for line in one] == [line["loss"] for line in other] and len(one) == 4
    assert all(line[name] > 0 for line in one for name in TERMS if name in line)
    assert {"depth_abs_rel", "normals_mean_deg", "alpha_mae"} <= finished.metrics.keys()


def test_heads_that_no_set_of_a_run_teaches_are_refused(mixed: list[Path], tmp_path: Path):
    with pytest.raises(DavidError, match="field normals, which no shard set here has.*the fields depth; leave"):
        train(override(RECIPE, ["data.weights="]), mixed[1], tmp_path / "run", device="cpu", speaks=False)
    assert not (tmp_path / "run").exists()
