"""NYU Depth V2 and SUN RGB-D train together in metres, each with its own holes: stopped, resumed, shared by ranks."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from layouts import nyu, sunrgbd
from safetensors.torch import load_file

from david.model import build
from david.model.config import configure
from david.pack.work import build as packing
from david.pack.work import plan
from david.pipeline.loader import Loader
from david.train import distributed, recipes, shelf
from david.train.distributed import World
from david.train.journal import read
from david.train.loop import train
from david.train.recipe import override
from david.train.step.step import Step

pytestmark = pytest.mark.usefixtures("warm")
RECIPE = override(
    replace(recipes.recipe("metric-smoke"), model=configure("da2-zoe-smoke")),
    [
        *("data.height=28", "data.width=42", "data.weights=2,1", "batch_size=4", "steps=6", "optim.warmup=2"),
        *("checkpoint_every=2", "model.max_depth=6", "parallel=exact"),
    ],
)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("mixed")
    sets = []
    for name, write in (("nyu", nyu), ("sunrgbd", sunrgbd)):
        raw, shards = folder / name, folder / f"{name}-shards"
        write(raw, 8, seed=len(name))
        packing.build(raw, shards, plan.PackOptions(shard_samples=4), source=_source(raw), workers=1)
        sets.append(shards)
    return sets


def _source(raw: Path):
    from david.pack.sources import table

    return table.chosen(raw)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(shelf.path_of(run / "checkpoints", 6) / shelf.MODEL)


def test_a_mixture_in_metres_goes_on_to_the_bit_on_one_rank_and_on_two(mixed: list[Path], tmp_path: Path):
    how = {"recipe": RECIPE, "shards": mixed, "device": "cpu", "speaks": False}
    train(out=tmp_path / "through", **how)
    train(out=tmp_path / "broken", stop=2, **how)
    distributed.launch(2, train, out=tmp_path / "broken", stop=4, **how)
    train(out=tmp_path / "broken", **how)
    one, other = (list(read(tmp_path / name / "journal.jsonl")) for name in ("through", "broken"))
    assert [line["loss"] for line in one] == [line["loss"] for line in other] and len(one) == 6
    assert all(line[name] > 0 for line in one for name in ("metric_zoe_silog", "metric_zoe_gradient"))
    ours, theirs = weights(tmp_path / "through"), weights(tmp_path / "broken")
    assert ours.keys() == theirs.keys() and all(ours[name].equal(theirs[name]) for name in ours)


def test_both_sets_teach_metres_each_where_it_is_valid_and_within_reach(mixed: list[Path]):
    with Loader(mixed, "train", RECIPE.data, batch_size=12, seed=0) as loader:
        batch = next(loader)
    assert set(batch.sets.tolist()) == {0, 1}
    shares = [batch.targets["depth"].valid[batch.sets == number].float().mean().item() for number in (0, 1)]
    assert all(0.5 < share < 1 for share in shares) and shares[0] != shares[1]
    torch.manual_seed(0)
    step = Step(build(RECIPE.model), RECIPE, World(0, 1, torch.device("cpu")))
    terms, counted = step.task(step.network, batch)
    assert counted.all() and (terms > 0).all()
    far = batch.depth_offset_m + batch.depth_scale_m > 6  # metres, which this network can't say
    assert far.any()
    moved = batch.targets["depth"].value.clone()
    metres = moved.float() * batch.depth_scale_m.view(-1, 1, 1, 1) + batch.depth_offset_m.view(-1, 1, 1, 1)
    beyond = metres > 6.001
    batch.targets["depth"].value[beyond] *= 0.999  # still beyond
    again, _ = step.task(step.network, batch)
    assert torch.equal(terms, again)
